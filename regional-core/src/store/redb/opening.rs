//! Opening a database: whose it is, which life of the origin it holds, where its log ends.

use super::ends::ForeignEnds;
use super::tables::{self, LOG, META, OrStore, decode, encode};
use super::{ends, files};
use crate::{Error, clock::now_ms, random, store::beginning::beginning};
use ::redb::{Database, ReadableTable, Table, WriteTransaction};
use brink_protocol::{NodeName, OriginId, StoreId, change::Change, log::Log};
use std::path::{Path, PathBuf};

/// The version of the layout that this code reads and writes.
const SCHEMA: u32 = 2;
/// Newest entries of the own log that are searched for writes without an end. This engine leaves none, since it writes log
/// and records in one transaction.
const RECOVERED_MAX: u64 = 65_536;

/// Where an embedded store lives and what it may use.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its directory: `store.redb`, `components/`, `incarnation`.
    pub directory: PathBuf,
    /// The core node whose log it holds.
    pub node: NodeName,
    /// Changes that the log keeps; the oldest go first. At least 1.
    pub log_changes_max: u64,
    /// Writes that may wait; a write that finds the queue full for two seconds is refused with [`Error::Busy`].
    pub queue_max: usize,
    /// Memory for pages of the database, in bytes.
    pub cache_bytes: usize,
}

impl Options {
    /// The defaults for a directory and node: 1,000,000 changes, 8,192 waiting writes, 256 MiB of pages.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>, node: NodeName) -> Self {
        Self {
            directory: directory.into(),
            node,
            log_changes_max: 1_000_000,
            queue_max: 8_192,
            cache_bytes: 256 << 20,
        }
    }
}

#[cfg(unix)]
pub(super) fn restrict(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .map_err(|error| Error::file("restricted to its owner", path, error))
}

#[cfg(not(unix))]
pub(super) fn restrict(_: &Path) -> Result<(), Error> {
    Ok(())
}

/// Finds out who appends to this log, where it ends, and what is held of other logs.
///
/// The incarnation stands in the database and in a file beside it. A database that is new, or older than the file says
/// (it was restored), cannot go on counting where the lost one stopped: a new incarnation begins, with an empty log.
pub(super) fn begin(
    database: &Database,
    directory: &Path,
    node: &NodeName,
) -> Result<(StoreId, Log, ForeignEnds), Error> {
    const WHAT: &str = "reading who the store belongs to";
    let txn = database.begin_write().or_store(WHAT)?;
    tables::create_all(&txn).or_store(WHAT)?;
    let (id, origin) = {
        let mut meta = txn.open_table(META).or_store(WHAT)?;
        check_owner(&meta, node)?;
        let stored = match meta.get("incarnation").or_store(WHAT)? {
            Some(row) => decode("incarnation", row.value())?,
            None => 0u32,
        };
        let noted = files::read_incarnation(directory)?;
        let incarnation = if stored == 0 || noted > stored {
            noted.saturating_add(1)
        } else {
            stored
        };
        files::write_incarnation(directory, incarnation)?;
        if incarnation != stored {
            txn.delete_table(LOG).or_store(WHAT)?;
            txn.open_table(LOG).or_store(WHAT)?;
        }
        let id = match meta.get("id").or_store(WHAT)? {
            Some(row) => decode("id of the store", row.value())?,
            None => StoreId::new(random::bytes()?),
        };
        let rows = [
            ("id", tables::encode(&id)?),
            ("incarnation", tables::encode(&incarnation)?),
            ("node", tables::encode(node)?),
            ("schema", tables::encode(&SCHEMA)?),
        ];
        for (name, row) in rows {
            meta.insert(name, row.as_slice()).or_store(WHAT)?;
        }
        let origin = OriginId {
            node: node.clone(),
            incarnation,
        };
        (id, origin)
    };
    let log = recover(&txn, &origin)?;
    let foreign = ends::ends(&txn)?;
    txn.commit().or_store(WHAT)?;
    Ok((id, log, foreign))
}

/// The own log, with everything settled that its former writer left open.
fn recover(txn: &WriteTransaction, origin: &OriginId) -> Result<Log, Error> {
    const WHAT: &str = "recovering the log";
    let mut table = txn.open_table(LOG).or_store(WHAT)?;
    let head = table
        .last()
        .or_store(WHAT)?
        .map_or(0, |(key, _)| key.value());
    let first = table.first().or_store(WHAT)?.map(|(key, _)| key.value());
    let tail: Vec<Change> = table
        .range(head.saturating_sub(RECOVERED_MAX) + 1..)
        .or_store(WHAT)?
        .map(|row| decode("change", row.or_store(WHAT)?.1.value()))
        .collect::<Result<_, Error>>()?;
    let mut log = Log::recover_tail(origin.clone(), first.unwrap_or(1), &tail)?;
    for change in log.take_over(now_ms()) {
        append(&mut table, &change)?;
    }
    // A later life begins with an entry, so that it is in every head: who knows the earlier one alone starts anew.
    if origin.incarnation > 1 && log.kept().head == 0 {
        append(&mut table, &log.append(now_ms(), beginning()?)?)?;
    }
    Ok(log)
}

fn append(table: &mut Table<'_, u64, &'static [u8]>, change: &Change) -> Result<(), Error> {
    table
        .insert(change.sequence, encode(change)?.as_slice())
        .or_store("recovering the log")?;
    Ok(())
}

fn check_owner(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
    node: &NodeName,
) -> Result<(), Error> {
    const WHAT: &str = "reading who the store belongs to";
    if let Some(row) = meta.get("schema").or_store(WHAT)? {
        let schema: u32 = decode("schema", row.value())?;
        if schema != SCHEMA {
            return Err(Error::store(
                WHAT,
                format!("it has layout {schema}, and this program reads layout {SCHEMA} alone"),
            ));
        }
    }
    if let Some(row) = meta.get("node").or_store(WHAT)? {
        let owner: NodeName = decode("node", row.value())?;
        if owner != *node {
            return Err(Error::store(
                WHAT,
                format!("it belongs to node {owner}, not {node}"),
            ));
        }
    }
    Ok(())
}
