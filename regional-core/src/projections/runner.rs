//! One deployed projection at work: which of its streams have new events, and turns for each.
//!
//! All streams are looked through page by page, as far as there is room for those that are found; whoever comes to the end of
//! the room goes on from there once there is some again.

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
    events::walk::Walk,
    projections::rows::{self, Control, key_in},
    store::Store,
};
use brink_protocol::{event::head_key, record::GET_MANY_MAX};
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
    pub(super) queue: Mutex<Queue>,
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
        let mut looking = Looking {
            look: None,
            again: begin,
        };
        loop {
            self.look(&mut looking).await;
            while tasks.len() < STREAMS_AT_ONCE
                && let Some(stream) = self.take(now())
            {
                let failed = failures.remove(&stream).unwrap_or_default();
                let work = Arc::clone(&self.work);
                tasks.spawn(turn(work, stream, failed));
            }
            self.show();
            let look_at = self.looks_at(&looking);
            let due = self.inbox.queue().next_due();
            // While all are busy, what is due has to wait for one of them.
            let due = due
                .filter(|_| tasks.len() < STREAMS_AT_ONCE)
                .map(|due| begin + Duration::from_millis(due));
            let wake_at = due.into_iter().chain(look_at).min();
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
                () = sleep_until(wake_at.unwrap_or(begin)), if wake_at.is_some() => {}
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

    /// Looks at the next page of streams, or begins with the first one when that is due.
    pub(super) async fn look(&self, looking: &mut Looking) {
        let looked = match &mut looking.look {
            Some(_) if !self.has_room() => return,
            Some(look) => {
                let visit = |stream: &str, standing: &Standing| {
                    if standing.behind() > 0 {
                        self.inbox.push(stream);
                    }
                };
                look.next(&*self.work.store, &self.work.names, visit).await
            }
            None if self.inbox.look_through.swap(false, Ordering::Relaxed)
                || Instant::now() >= looking.again =>
            {
                looking.again = Instant::now() + LOOKED_THROUGH;
                let begun = Look::begin(&*self.work.store, &self.work.names, &self.share).await;
                begun.map(|look| {
                    looking.look = Some(look);
                    true
                })
            }
            None => return,
        };
        match (looked, &looking.look) {
            (Ok(true), _) | (Ok(false), None) => {}
            (Ok(false), Some(look)) => {
                metrics::gauge!("brink_core_projection_lag_events", "projection" => self.label())
                    .set(look.behind as f64);
                looking.look = None;
            }
            (Err(error), _) => {
                tracing::warn!(projection = %self.label(), %error, "streams were not looked through");
                looking.look = None;
                looking.again = Instant::now() + AGAIN;
            }
        }
    }

    fn has_room(&self) -> bool {
        self.inbox.queue().room() >= STREAMS_TOGETHER as usize
    }

    /// When there is something to look at; none: once there is room.
    fn looks_at(&self, looking: &Looking) -> Option<Instant> {
        match looking.look {
            None => Some(looking.again),
            Some(_) => self.has_room().then(Instant::now),
        }
    }
}

/// How far all streams are looked through.
pub(super) struct Looking {
    pub(super) look: Option<Look>,
    /// When it is begun again.
    pub(super) again: Instant,
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
    let mut look = Look::begin(store, names, share).await?;
    while look.next(store, names, &mut visit).await? {}
    Ok(look.behind)
}

/// A look through streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look {
    control: Control,
    walk: Walk,
    /// Events that are not applied, of the streams that were looked at.
    behind: u64,
}

impl Look {
    async fn begin(store: &dyn Store, names: &Names, share: &Share) -> Result<Self, Error> {
        let control = key_in(&names.control(), "");
        let control = store.get(&names.tenant, &control, now_ms()).await?;
        let control = control.map_or(Ok(Control::default()), |entry| rows::decode(&entry.value))?;
        let shards = Names::shards().filter(|shard| share(&names.share(*shard)));
        Ok(Self {
            control,
            walk: Walk::over(shards.flat_map(|shard| names.indexes(shard)).collect()),
            behind: 0,
        })
    }

    /// Visits the next streams; `false`: there are no more.
    async fn next(
        &mut self,
        store: &dyn Store,
        names: &Names,
        mut visit: impl FnMut(&str, &Standing),
    ) -> Result<bool, Error> {
        let next = self.walk.next(store, STREAMS_TOGETHER, now_ms()).await?;
        let Some(found) = next else {
            return Ok(false);
        };
        let mut keys = Vec::with_capacity(found.len() * 2);
        for stream in &found {
            keys.push(key_in(&names.places(stream), stream));
            keys.push(head_key(&names.source, stream));
        }
        let rows = store.get_many(&names.tenant, &keys, now_ms()).await?;
        for (stream, pair) in found.iter().zip(rows.chunks(2)) {
            let at = |index: usize| pair.get(index).and_then(Option::as_ref);
            let standing = Standing::of(self.control, at(0), at(1))?;
            self.behind += standing.behind();
            visit(stream, &standing);
        }
        Ok(true)
    }
}
