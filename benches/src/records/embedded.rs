//! The embedded store in process: reads, and writes that are durable when they are answered.

use super::{
    Plan,
    chance::Chance,
    load::{self, Client},
    report::{Line, Report, Runs},
};
use crate::cpu;
use anyhow::{Result, bail};
use brink_core::{
    clock::now_ms,
    store::{Action, Commit, Options, RedbStore, Store, Transaction, Write},
};
use brink_protocol::{
    TenantName,
    address::PartitionAddress,
    deployment::default_tenant,
    link::Condition,
    record::{Key, Version},
};
use bytes::Bytes;
use std::{
    fs::File,
    io::Write as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// Records in a partition of those that are read.
const PER_PARTITION: u64 = 10;
/// Records that a writer writes, in turn, in a partition of its own.
pub(super) const PER_WRITER: u64 = 64;
/// Records that one commit makes before the reads.
const PER_COMMIT: u64 = PER_PARTITION;
/// Commits under way while records are made.
const MAKERS: usize = 512;
/// Bytes of a write whose sync shows what the disk needs by itself.
const SYNCED_BYTES: usize = 4096;

/// Where record `number` of those that are read is.
pub(super) fn key(number: u64) -> Key {
    Key {
        collection: "read".to_owned(),
        partition: format!("partition-{}", number / PER_PARTITION),
        sort: format!("record-{}", number % PER_PARTITION),
    }
}

/// Measures reads and writes.
pub(super) async fn measure(plan: &Plan, report: &mut Report) -> Result<()> {
    std::fs::create_dir_all(&plan.directory)?;
    let directory = tempfile::tempdir_in(&plan.directory)?;
    let sync = sync_time(directory.path())?;
    let options = Options::new(directory.path(), "bench".parse()?);
    let store = tokio::task::spawn_blocking(move || RedbStore::open(&options)).await??;
    let store = Arc::new(store);
    fill(&store, plan).await?;
    report.section(format!(
        "Embedded store, in process: {} records of {} bytes; a write of {SYNCED_BYTES} bytes and its sync take {:.0} us on this disk (median)",
        plan.records,
        plan.value_bytes,
        sync.as_secs_f64() * 1e6
    ));
    for &at_once in &plan.readers {
        let reader = |number| Reader {
            store: Arc::clone(&store),
            tenant: default_tenant(),
            chance: Chance::new(number),
            records: plan.records,
        };
        let clients = (0..at_once).map(reader).collect();
        let runs = runs(plan, clients).await?;
        line(report, "get", at_once, runs);
    }
    for &at_once in &plan.writers {
        let writer = |number| Writer::new(Arc::clone(&store), number, plan.value_bytes);
        let clients = (0..at_once).map(writer).collect();
        let runs = runs(plan, clients).await?;
        line(report, "conditional put, durable", at_once, runs);
    }
    Ok(())
}

fn line(report: &mut Report, what: &str, at_once: usize, runs: Runs) {
    report.add(Line {
        what: what.to_owned(),
        at_once,
        runs,
        beside: None,
    });
}

async fn runs<C: Client>(plan: &Plan, mut clients: Vec<C>) -> Result<Runs> {
    load::run(&mut clients, plan.warm_up()).await?;
    let mut runs = Runs::default();
    for _ in 0..plan.rounds() {
        let before = cpu::spent(std::process::id())?;
        let sample = load::run(&mut clients, plan.time()).await?;
        let spent = cpu::spent(std::process::id())? - before;
        #[allow(clippy::cast_precision_loss)]
        let each = spent.as_secs_f64() * 1e6 / sample.count as f64;
        runs.own_us.push(each);
        runs.samples.push(sample);
    }
    Ok(runs)
}

/// What one write and its sync take.
fn sync_time(directory: &Path) -> Result<Duration> {
    let mut file = File::create(directory.join("synced"))?;
    let mut took = Vec::new();
    for _ in 0..64 {
        let begun = Instant::now();
        file.write_all(&[b'x'; SYNCED_BYTES])?;
        file.sync_data()?;
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    Ok(took.get(took.len() / 2).copied().unwrap_or_default())
}

async fn fill(store: &Arc<RedbStore>, plan: &Plan) -> Result<()> {
    let mut tasks = tokio::task::JoinSet::new();
    let value = Bytes::from(vec![b'x'; plan.value_bytes]);
    for first in (0..plan.records).step_by(usize::try_from(PER_COMMIT)?) {
        if tasks.len() >= MAKERS
            && let Some(done) = tasks.join_next().await
        {
            done??;
        }
        let (store, value) = (Arc::clone(store), value.clone());
        let end = plan.records.min(first + PER_COMMIT);
        tasks.spawn(async move {
            let writes =
                (first..end).map(|number| put(key(number).sort, &value, Condition::Always));
            let transaction = transaction(&key(first), writes.collect());
            store.commit(transaction).await.map(drop)
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

fn put(sort: String, value: &Bytes, condition: Condition) -> Write {
    Write {
        sort,
        action: Action::Put {
            value: value.clone(),
            expires_at_ms: None,
        },
        condition,
    }
}

fn transaction(key: &Key, writes: Vec<Write>) -> Transaction {
    Transaction {
        partition: PartitionAddress {
            tenant: default_tenant(),
            collection: key.collection.clone(),
            partition: key.partition.clone(),
        },
        seen: Vec::new(),
        writes,
        answer: None,
        now_ms: now_ms(),
    }
}

struct Reader {
    store: Arc<RedbStore>,
    tenant: TenantName,
    chance: Chance,
    records: u64,
}

impl Client for Reader {
    async fn once(&mut self) -> Result<()> {
        let key = key(self.chance.below(self.records));
        match self.store.get(&self.tenant, &key, now_ms()).await? {
            Some(_) => Ok(()),
            None => bail!("{key:?} is not there"),
        }
    }
}

struct Writer {
    store: Arc<RedbStore>,
    key: Key,
    value: Bytes,
    versions: Vec<Option<Version>>,
    next: usize,
}

impl Writer {
    fn new(store: Arc<RedbStore>, number: usize, value_bytes: usize) -> Self {
        Self {
            store,
            key: Key {
                collection: "written".to_owned(),
                // Runs of different sizes have partitions of their own.
                partition: format!("{}-{number}", unique()),
                sort: String::new(),
            },
            value: Bytes::from(vec![b'x'; value_bytes]),
            versions: (0..PER_WRITER).map(|_| None).collect(),
            next: 0,
        }
    }
}

/// Something that no other writer has.
pub(super) fn unique() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Client for Writer {
    async fn once(&mut self) -> Result<()> {
        self.next = (self.next + 1) % self.versions.len();
        let Some(version) = self.versions.get_mut(self.next) else {
            bail!("a writer without records");
        };
        let condition = version.map_or(Condition::Absent, Condition::Version);
        let write = put(format!("record-{}", self.next), &self.value, condition);
        let transaction = transaction(&self.key, vec![write]);
        match self.store.commit(transaction).await? {
            Commit::Done { versions, .. } => {
                *version = versions.into_iter().next().flatten();
                Ok(())
            }
            other => bail!("a write was not done: {other:?}"),
        }
    }
}
