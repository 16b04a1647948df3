//! Archives: what ends by its lifetime is written to files before it is removed, where its collection asks for that.
//!
//! A file is of one tenant, collection and day: `TENANT/COLLECTION/2026-11-21/NODE-ULID.frames`. Each of its frames holds
//! lines of JSON, compressed with zstd, and is made durable before what it holds is removed. So a crash in between leaves
//! a record in two files: it is the same one if partition, sort key and version are.

mod line;
mod read;
#[cfg(test)]
mod tests;

pub use line::ArchivedLine;
pub use read::{Found, Wanted, files, read, verify};

use crate::{
    Error,
    backup::{frames, time},
    private::make_private_directory,
    store::{CollectionNames, EndedRow, Spared, Store, Swept},
};
use brink_protocol::{NodeName, TenantName, placement::PlacementTable};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// What names of files end with.
const ENDING: &str = "frames";
/// Records that are archived at a time.
const ROWS_MAX: usize = 256;
/// Times that one sweep archives.
const ROUNDS_MAX: usize = 100;
/// Files that are open at a time; further ones are begun anew.
const OPEN_MAX: usize = 64;
/// How much zstd tries.
const LEVEL: i32 = 3;

/// `[archive]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ArchiveConfig {
    /// Directory in which records of collections with `archive` are written when their lifetime has ended, before they are
    /// removed. It should lie on another disk than the data. Without it they stay, unseen, until a core of their home has one.
    pub directory: Option<PathBuf>,
}

/// Tenant, collection, day.
type Name = (TenantName, String, String);

/// Writes archives.
pub struct Archiver {
    directory: Option<PathBuf>,
    node: NodeName,
    open: Mutex<BTreeMap<Name, frames::Writer>>,
    is_told: AtomicBool,
}

/// Where the chain of a file begins: no file can stand in another's place.
fn beginning(tenant: &str, collection: &str, day: &str, file: &str) -> frames::Link {
    frames::beginning(&format!("archive/{tenant}/{collection}/{day}/{file}"))
}

/// The collections whose records are archived.
fn collections(table: &PlacementTable) -> CollectionNames {
    let all = table.collections.values().flat_map(BTreeMap::values);
    let archived = all.filter(|collection| collection.archive);
    archived
        .map(|c| (c.tenant.clone(), c.name.clone()))
        .collect()
}

impl Archiver {
    /// Of a core.
    #[must_use]
    pub fn new(config: &ArchiveConfig, node: NodeName) -> Arc<Self> {
        Arc::new(Self {
            directory: config.directory.clone(),
            node,
            open: Mutex::default(),
            is_told: AtomicBool::new(false),
        })
    }

    /// Removes what has ended, and archives before what is to be archived. Where that fails nothing of it is removed.
    ///
    /// # Errors
    /// The store; a directory that cannot be written is told in the log, and the rest is swept.
    pub async fn sweep(
        self: &Arc<Self>,
        store: &dyn Store,
        table: &PlacementTable,
        now_ms: u64,
        limit: usize,
    ) -> Result<Swept, Error> {
        let collections = collections(table);
        if collections.is_empty() {
            return store.sweep(now_ms, limit).await;
        }
        let mut all = Swept::default();
        for _ in 0..ROUNDS_MAX {
            let archived = match self.archive(store, &collections, now_ms).await {
                Ok(archived) => archived,
                Err(error) => {
                    metrics::counter!("brink_core_archive_failed_total").increment(1);
                    tracing::error!(%error, "what has ended was not archived, and stays; it is tried again");
                    Vec::new()
                }
            };
            let is_more = archived.len() >= ROWS_MAX;
            let spared = spared(collections.clone(), archived);
            let swept = store.sweep_but(now_ms, limit, &spared).await?;
            all.records += swept.records;
            all.answers += swept.answers;
            if !is_more || swept.records == 0 {
                break;
            }
        }
        Ok(all)
    }

    async fn archive(
        self: &Arc<Self>,
        store: &dyn Store,
        collections: &CollectionNames,
        now_ms: u64,
    ) -> Result<Vec<EndedRow>, Error> {
        let Some(directory) = self.directory.clone() else {
            if !self.is_told.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    "collections ask for an archive, and this core has no `archive.directory`: what ends stays"
                );
            }
            return Ok(Vec::new());
        };
        let rows = store.ended(now_ms, ROWS_MAX, collections).await?;
        let archiver = Arc::clone(self);
        let written = tokio::task::spawn_blocking(move || {
            archiver.write(&directory, &rows, now_ms)?;
            Ok::<_, Error>(rows)
        });
        written
            .await
            .map_err(|error| Error::store("archiving", error))?
    }

    /// Writes rows, and makes them durable.
    fn write(&self, directory: &Path, rows: &[EndedRow], now_ms: u64) -> Result<(), Error> {
        let day: String = time(now_ms).chars().take(10).collect();
        let mut lines: BTreeMap<Name, (Vec<u8>, u64)> = BTreeMap::new();
        for ended in rows {
            let Some(line) = ArchivedLine::of(ended, now_ms) else {
                continue;
            };
            let partition = &ended.partition;
            let (tenant, collection) = (partition.tenant.clone(), partition.collection.clone());
            let of = lines.entry((tenant, collection, day.clone())).or_default();
            serde_json::to_writer(&mut of.0, &line)
                .map_err(|error| Error::store("archiving", error))?;
            of.0.push(b'\n');
            of.1 += 1;
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|(_, _, of), _| *of == day);
        for (name, (lines, count)) in lines {
            // One that failed is not gone on with: what is half-written stays the end of its file.
            let mut writer = match open.remove(&name) {
                Some(writer) => writer,
                None => self.begin(directory, &name)?,
            };
            let failed = |error| Error::file("written", directory, error);
            let frame = zstd::bulk::compress(&lines, LEVEL).map_err(failed)?;
            writer.push(&frame)?;
            writer.sync()?;
            if open.len() >= OPEN_MAX {
                open.clear();
            }
            open.insert(name, writer);
            metrics::counter!("brink_core_archived_total").increment(count);
        }
        Ok(())
    }

    /// Begins a new file; its name is durable, too.
    fn begin(&self, directory: &Path, name: &Name) -> Result<frames::Writer, Error> {
        let (tenant, collection, day) = name;
        let of_tenant = directory.join(tenant.as_str());
        let of_collection = of_tenant.join(collection);
        let of_day = of_collection.join(day);
        make_private_directory(&of_day)?;
        let file = format!("{}-{}.{ENDING}", self.node, ulid::Ulid::new());
        let chain = beginning(tenant.as_str(), collection, day, &file);
        let mut writer = frames::Writer::create(&of_day.join(&file), chain)?;
        writer.sync()?;
        for made in [&of_day, &of_collection, &of_tenant, directory] {
            let synced = File::open(made).and_then(|made| made.sync_all());
            synced.map_err(|error| Error::file("written", made, error))?;
        }
        Ok(writer)
    }
}

fn spared(collections: CollectionNames, archived: Vec<EndedRow>) -> Spared {
    let mut spared = Spared {
        collections,
        ..Spared::default()
    };
    for ended in archived {
        let version = ended.row.map_or(0, |row| row.version);
        let of = spared.archived.entry(ended.partition).or_default();
        of.insert(ended.sort, version);
    }
    spared
}
