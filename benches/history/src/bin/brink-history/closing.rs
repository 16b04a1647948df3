//! After the run: the stores are opened once more, everything is read, and so are the logs.

use crate::{
    Error,
    settings::{Place, now_ns},
    subject::Subject,
};
use brink_core::store::Store;
use brink_history::history::{Call, KEYS, Operation, Outcome, RECORDS};
use brink_protocol::{OriginId, change::Change};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::task::JoinSet;

/// Partitions that are read at a time.
const AT_ONCE: usize = 16;
/// How often something is tried that must work now.
const TRIES_MAX: u32 = 20;
const PAUSE: Duration = Duration::from_millis(500);
/// Changes of one reading.
const CHANGES: usize = 1_000;
/// Names of operations begin here.
const IDS: u64 = 1 << 52;

/// The logs of all stores.
pub(crate) type Logs = BTreeMap<OriginId, Vec<Change>>;

/// Opens every store, so that what was left open is settled, and reads all partitions and logs.
pub(crate) async fn close(
    places: &[Place],
    partitions: BTreeSet<String>,
) -> Result<(Vec<Operation>, Logs), Error> {
    let mut stores = Vec::new();
    for place in places {
        stores.push(open(place).await?);
    }
    let Some(store) = stores.first() else {
        return Ok(Default::default());
    };
    let subject = Arc::new(Subject::new(Arc::clone(store), None)?);
    let origin = store.origin().clone();
    let mut read = Vec::new();
    let mut tasks = JoinSet::new();
    for (partition, number) in partitions.into_iter().zip(0u64..) {
        if tasks.len() >= AT_ONCE
            && let Some(done) = tasks.join_next().await
        {
            read.extend(done.map_err(|error| Error::Other(error.to_string()))??);
        }
        let (subject, origin) = (Arc::clone(&subject), origin.clone());
        let ids = IDS + number * 64;
        tasks.spawn(async move { read_all(&subject, &origin, &partition, ids).await });
    }
    while let Some(done) = tasks.join_next().await {
        read.extend(done.map_err(|error| Error::Other(error.to_string()))??);
    }
    let mut logs = Logs::new();
    for store in &stores {
        let origin = store.origin().clone();
        let log = log(store.as_ref(), &origin).await?;
        logs.insert(origin, log);
    }
    Ok((read, logs))
}

/// Opens the first store, and closes it.
pub(crate) async fn prepare(places: &[Place]) -> Result<(), Error> {
    if let Some(place) = places.first() {
        drop(open(place).await?);
    }
    Ok(())
}

async fn open(place: &Place) -> Result<Arc<dyn Store>, Error> {
    let mut tries = 0;
    loop {
        match place.open().await {
            Ok(store) => return Ok(store),
            Err(error) if tries >= TRIES_MAX => return Err(error),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
        tries += 1;
    }
}

async fn read_all(
    subject: &Subject,
    origin: &OriginId,
    partition: &str,
    ids: u64,
) -> Result<Vec<Operation>, Error> {
    let versions = (0..RECORDS).map(Call::LastVersion);
    let calls = [Call::Scan, Call::GetMany].into_iter().chain(versions);
    let mut operations = Vec::new();
    for (call, id) in calls.chain((0..KEYS).map(Call::Answer)).zip(ids..) {
        let mut tries = 0;
        let (began_ns, outcome) = loop {
            let began_ns = now_ns();
            let outcome = subject.call(partition, &call, 1).await;
            if outcome != Outcome::Unknown {
                break (began_ns, outcome);
            }
            tries += 1;
            if tries >= TRIES_MAX {
                return Err(Error::Other(format!("{partition} cannot be read")));
            }
            tokio::time::sleep(PAUSE).await;
        };
        operations.push(Operation {
            id,
            origin: origin.clone(),
            partition: partition.to_owned(),
            began_ns,
            ended_ns: Some(now_ns()),
            call,
            outcome,
        });
    }
    Ok(operations)
}

async fn log(store: &dyn Store, origin: &OriginId) -> Result<Vec<Change>, Error> {
    let head = store.span().head;
    let mut log: Vec<Change> = Vec::new();
    loop {
        let after = log.last().map_or(0, |last| last.sequence);
        if after >= head {
            return Ok(log);
        }
        let more = store.changes(origin, after, CHANGES).await?;
        if more.is_empty() {
            return Err(Error::Other(format!(
                "the log of {origin} ends at {after} and not at {head}"
            )));
        }
        log.extend(more);
    }
}
