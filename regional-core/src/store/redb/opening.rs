//! Opening a database: whose it is, which life of the origin it holds, where its log ends.

use super::batch::Tail;
use super::files;
use super::tables::{self, LOG, META, OrStore, decode};
use crate::Error;
use ::redb::{Database, ReadableTable};
use brink_protocol::{NodeName, OriginId};
use std::path::Path;

/// Versions of the layout that this code reads and writes.
const SCHEMA: u32 = 1;

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

/// Finds out who appends to this log and where it ends.
///
/// The incarnation stands in the database and in a file beside it. A database that is new, or older than the file says
/// (it was restored), cannot go on counting where the lost one stopped: a new incarnation begins, with an empty log.
pub(super) fn begin(
    database: &Database,
    directory: &Path,
    node: &NodeName,
) -> Result<(OriginId, Tail), Error> {
    const WHAT: &str = "reading who the store belongs to";
    let txn = database.begin_write().or_store(WHAT)?;
    tables::create_all(&txn).or_store(WHAT)?;
    let origin = {
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
        let rows = [
            ("incarnation", tables::encode(&incarnation)?),
            ("node", tables::encode(node)?),
            ("schema", tables::encode(&SCHEMA)?),
        ];
        for (name, row) in rows {
            meta.insert(name, row.as_slice()).or_store(WHAT)?;
        }
        OriginId {
            node: node.clone(),
            incarnation,
        }
    };
    let tail = {
        let log = txn.open_table(LOG).or_store(WHAT)?;
        let head = log.last().or_store(WHAT)?.map_or(0, |(key, _)| key.value());
        let oldest = log.first().or_store(WHAT)?.map(|(key, _)| key.value());
        Tail {
            oldest: oldest.unwrap_or(head + 1),
            head,
        }
    };
    txn.commit().or_store(WHAT)?;
    Ok((origin, tail))
}

fn check_owner(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
    node: &NodeName,
) -> Result<(), Error> {
    const WHAT: &str = "reading who the store belongs to";
    if let Some(row) = meta.get("schema").or_store(WHAT)? {
        let schema: u32 = decode("schema", row.value())?;
        if schema > SCHEMA {
            return Err(Error::store(
                WHAT,
                format!("it has layout {schema}, this program reads up to {SCHEMA}"),
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
