//! One deployed projection at work: which of its streams have new events, and turns for each.

use super::{
    Share,
    queue::Queue,
    retry::Failures,
    rows::Names,
    stream::{Standing, Turn, Work},
};
use crate::{
    Error,
    clock::now_ms,
    events::streams,
    projections::rows::{self, Control, key_in},
    store::Store,
};
use brink_protocol::{address::PartitionAddress, event::head_key, record::GET_MANY_MAX};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// Streams that are worked on at a time.
const STREAMS_AT_ONCE: usize = 16;
/// How often all streams are looked through although nothing seems to have been missed.
const LOOKED_THROUGH: Duration = Duration::from_secs(60);
/// How long to wait after looking through all streams failed.
const AGAIN: Duration = Duration::from_secs(2);
/// Streams of the index that are looked at together: a head and a place of each.
const STREAMS_TOGETHER: u32 = (GET_MANY_MAX / 2) as u32;

/// Says what a projection has to do, to its [`Runner`].
#[derive(Default)]
pub(super) struct Inbox {
    queue: Mutex<Queue>,
    look_through: AtomicBool,
    wake: Notify,
}

impl Inbox {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream has new events.
    pub(super) fn push(&self, stream: &str) {
        if !self.queue().push(stream) {
            self.look_through.store(true, Ordering::Relaxed);
        }
        self.wake.notify_one();
    }

    /// Any stream may have new events.
    pub(super) fn look_through(&self) {
        self.look_through.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Streams with something to do, and those of them that wait after a failure.
    pub(super) fn sizes(&self) -> (usize, usize) {
        let queue = self.queue();
        (queue.len(), queue.failing())
    }
}

/// Runs one projection until it is dropped.
pub(super) struct Runner {
    pub(super) work: Arc<Work>,
    pub(super) inbox: Arc<Inbox>,
    /// Which shards this core has to do with.
    pub(super) share: Share,
}

type Worked = (String, Turn, Failures);

impl Runner {
    /// Works for ever.
    pub(super) async fn run(self) {
        let begin = Instant::now();
        let now = || u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut failures: HashMap<String, Failures> = HashMap::new();
        let mut tasks: JoinSet<Worked> = JoinSet::new();
        let mut look_at = begin;
        loop {
            if self.inbox.look_through.swap(false, Ordering::Relaxed) || Instant::now() >= look_at {
                look_at = Instant::now() + self.look().await;
            }
            while tasks.len() < STREAMS_AT_ONCE
                && let Some(stream) = self.take(now())
            {
                let failed = failures.remove(&stream).unwrap_or_default();
                let work = Arc::clone(&self.work);
                tasks.spawn(turn(work, stream, failed));
            }
            self.show();
            let due = self.inbox.queue().next_due();
            let due = due.map_or(look_at, |due| begin + Duration::from_millis(due));
            // While all are busy, what is due has to wait for one of them.
            let due = if tasks.len() < STREAMS_AT_ONCE {
                due.min(look_at)
            } else {
                look_at
            };
            tokio::select! {
                Some(done) = tasks.join_next() => {
                    if let Ok((stream, turn, failed)) = done {
                        self.put_back(&stream, &turn, now());
                        if !failed.is_empty() {
                            failures.insert(stream, failed);
                        }
                    }
                }
                () = self.inbox.wake.notified() => {}
                () = sleep_until(due) => {}
            }
        }
    }

    fn take(&self, now: u64) -> Option<String> {
        self.inbox.queue().take(now)
    }

    fn put_back(&self, stream: &str, turn: &Turn, now: u64) {
        let mut queue = self.inbox.queue();
        match turn {
            Turn::Done => queue.put_back(stream, true),
            Turn::More => queue.put_back(stream, false),
            Turn::Later(wait) => {
                metrics::counter!("brink_core_projection_retried_total", "projection" => self.label())
                    .increment(1);
                queue.retry_at(stream, now.saturating_add(*wait));
            }
        }
    }

    fn label(&self) -> String {
        format!("{}/{}", self.work.names.tenant, self.work.names.name)
    }

    fn show(&self) {
        let (waiting, failing) = self.inbox.sizes();
        let label = self.label();
        metrics::gauge!("brink_core_projection_streams_waiting", "projection" => label.clone())
            .set(waiting as f64);
        metrics::gauge!("brink_core_projection_streams_failing", "projection" => label)
            .set(failing as f64);
    }

    /// Looks through all streams; gives how long it is until that is done again.
    async fn look(&self) -> Duration {
        let looked = look_through(
            &*self.work.store,
            &self.work.names,
            &self.share,
            |stream, standing| {
                if standing.behind() > 0 {
                    self.inbox.push(stream);
                }
            },
        );
        match looked.await {
            Ok(behind) => {
                metrics::gauge!("brink_core_projection_lag_events", "projection" => self.label())
                    .set(behind as f64);
                LOOKED_THROUGH
            }
            Err(error) => {
                tracing::warn!(projection = %self.label(), %error, "streams were not looked through");
                AGAIN
            }
        }
    }
}

async fn turn(work: Arc<Work>, stream: String, mut failures: Failures) -> Worked {
    let turn = work.turn(&stream, &mut failures).await;
    (stream, turn, failures)
}

/// Visits every stream of a projection's source, of the shards that `share` says; gives how many events are not applied.
pub(super) async fn look_through(
    store: &dyn Store,
    names: &Names,
    share: &Share,
    mut visit: impl FnMut(&str, &Standing),
) -> Result<u64, Error> {
    let control = store
        .get(&names.tenant, &key_in(&names.control(), ""), now_ms())
        .await?;
    let control = control.map_or(Ok(Control::default()), |entry| rows::decode(&entry.value))?;
    let mut behind = 0;
    for shard in Names::shards().filter(|shard| share(&names.share(*shard))) {
        for index in names.indexes(shard) {
            behind += look_at(store, names, control, &index, &mut visit).await?;
        }
    }
    Ok(behind)
}

async fn look_at(
    store: &dyn Store,
    names: &Names,
    control: Control,
    index: &PartitionAddress,
    visit: &mut impl FnMut(&str, &Standing),
) -> Result<u64, Error> {
    let mut behind = 0;
    let mut after = None;
    loop {
        let (found, more) = streams(store, index, after.take(), STREAMS_TOGETHER, now_ms()).await?;
        let mut keys = Vec::with_capacity(found.len() * 2);
        for stream in &found {
            keys.push(key_in(&names.places(stream), stream));
            keys.push(head_key(&names.source, stream));
        }
        let rows = store.get_many(&names.tenant, &keys, now_ms()).await?;
        for (stream, pair) in found.iter().zip(rows.chunks(2)) {
            let at = |index: usize| pair.get(index).and_then(Option::as_ref);
            let standing = Standing::of(control, at(0), at(1))?;
            behind += standing.behind();
            visit(stream, &standing);
        }
        after = found.last().cloned();
        if !more || after.is_none() {
            return Ok(behind);
        }
    }
}
