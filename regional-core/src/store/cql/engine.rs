//! What every operation of the store has: the connection, the log, what is held of all logs, and its bounds.

use super::{
    claiming,
    held::Logs,
    identity::identity,
    keyspaces::{Keyspaces, Ruling},
    known::Known,
    log::{Appender, Writer, fence},
    look::Looks,
    members::Members,
    options::Options,
    origins::Claim,
    partition::{Fence, RECORD},
    placed, read_log, schema,
    session::Cql,
};
use crate::{Error, clock::now_ms, store::beginning::beginning};
use brink_protocol::{Position, StoreId, address::PartitionAddress, log::Intent};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use std::{
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{Mutex, MutexGuard, OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// How long a write waits for room before it is refused.
const ROOM_WAIT: Duration = Duration::from_secs(2);
/// Locks that partitions share: commits of one partition follow each other within this process.
const LOCKS: usize = 1024;
/// How long a fence waits for a change of placements.
const FENCE_WAIT_MAX: Duration = Duration::from_secs(150);
/// Writes of a former process that are fenced at a time.
const FENCED_AT_ONCE: usize = 16;

/// The store's inside.
pub(super) struct Engine {
    /// The connection.
    pub(super) session: Arc<Cql>,
    /// Which store it is.
    pub(super) id: StoreId,
    /// In which keyspace which partition lies.
    pub(super) keyspaces: Keyspaces,
    /// The right to write this core's log.
    pub(super) claim: Claim,
    /// Appends to it.
    pub(super) log: Appender,
    /// What is held of all logs.
    pub(super) logs: Arc<Logs>,
    /// The cores that write to the engine.
    pub(super) members: Arc<Members>,
    /// Looks for the logs of other cores.
    pub(super) looks: Arc<Looks>,
    /// How long a write may take.
    pub(super) write_timeout: Duration,
    /// How long the last request of it may take.
    request_timeout: Duration,
    /// The log takes no more entries.
    pub(super) failed: CancellationToken,
    closing: CancellationToken,
    room: Arc<Semaphore>,
    locks: Vec<Mutex<Known>>,
    hasher: RandomState,
}

impl Engine {
    /// Connects, brings the schema up to date, takes over this core's log and settles what is open in it.
    pub(super) async fn open(options: &Options) -> Result<Arc<Self>, Error> {
        let session = Arc::new(schema::open(options).await?);
        let id = identity(&session).await?;
        let closing = CancellationToken::new();
        let closed_on_error = closing.clone().drop_guard();
        let members = Members::join(Arc::clone(&session), options).await?;
        tokio::spawn(Arc::clone(&members).run(closing.clone()));
        let claim = claiming::claim(&session, options, &members).await?;
        let head = fence(&session, &claim).await?;
        let log = read_log::recover(&session, &claim.origin, claim.oldest, head).await?;
        let logs = Arc::new(Logs::new(claim.origin.clone(), log.kept()));
        let failed = CancellationToken::new();
        let looks = Arc::new(Looks {
            session: Arc::clone(&session),
            logs: Arc::clone(&logs),
            claim: claim.clone(),
            failed: failed.clone(),
            answered: Default::default(),
        });
        looks.look().await?;
        let open: Vec<(u64, Intent)> = log
            .open()
            .map(|(sequence, intent)| (sequence, intent.clone()))
            .collect();
        let log = Writer::start(
            Arc::clone(&session),
            claim.clone(),
            log,
            Arc::clone(&logs),
            options.log_changes_max,
            failed.clone(),
        );
        let keyspaces = Keyspaces::new(options.clone(), Arc::clone(&session));
        keyspaces.learn(&placed::at_start(&session, options.confirm).await?);
        let engine = Arc::new(Self {
            session,
            id,
            keyspaces,
            claim,
            log,
            logs,
            looks,
            write_timeout: options.write_timeout,
            request_timeout: options.request_timeout,
            failed,
            members,
            closing,
            room: Arc::new(Semaphore::new(options.writes_max.max(1))),
            locks: (0..LOCKS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
        });
        engine.settle_all(&engine.log, open).await?;
        // A later life begins with an entry, so that it is in every head: who knows the earlier one alone starts anew.
        if engine.claim.origin.incarnation > 1 && engine.head() == 0 {
            engine.log.append(now_ms(), beginning()?).await?;
        }
        let looks = Arc::clone(&engine.looks);
        tokio::spawn(looks.follow(options.poll_interval, engine.closing.clone()));
        closed_on_error.disarm();
        Ok(engine)
    }

    /// Settles what a former process left open: first it is made certain that none of it happens any more.
    pub(super) async fn settle_all(
        &self,
        log: &Appender,
        open: Vec<(u64, Intent)>,
    ) -> Result<(), Error> {
        if !open.is_empty() {
            tracing::info!(writes = open.len(), "settling writes that were cut off");
        }
        let settled = open.into_iter().map(|(sequence, intent)| async move {
            let rows = intent.records.iter();
            let rows = rows.map(|record| (RECORD, record.sort.clone())).collect();
            self.fence(&intent.partition, rows).await;
            log.settle(sequence, intent.records, now_ms()).await
        });
        stream::iter(settled)
            .buffer_unordered(FENCED_AT_ONCE)
            .try_for_each(|_| async { Ok(()) })
            .await
    }

    /// Makes sure that no commit happens any more that has read the partition before now, and that one that has happened is
    /// where a commit is confirmed, with these rows of it. Never gives up; whoever waits may.
    ///
    /// A fence is a write: it waits while where the partition belongs is being changed, and is left where it belongs to
    /// another region by then. Nobody completes there what is half-way here.
    pub(super) async fn fence(&self, partition: &PartitionAddress, rows: Vec<(i8, String)>) {
        let mut fence = Fence::new(partition, rows);
        let began = Instant::now();
        loop {
            match self.keyspaces.ruling(partition) {
                Ruling::Write => {
                    let attempt = tokio::time::timeout(self.write_timeout, async {
                        let session = self.keyspaces.of(partition).await?;
                        fence.advance(&session).await
                    });
                    match attempt.await {
                        Ok(Ok(true)) => return,
                        Ok(Ok(false)) => continue,
                        Ok(Err(error)) => tracing::warn!(%error, "fencing a partition again"),
                        Err(_) => tracing::warn!("fencing a partition again: the engine is slow"),
                    }
                }
                Ruling::Wait => {
                    // A change that was left behind is ended by a core, which may be this one once it has begun.
                    if began.elapsed() > FENCE_WAIT_MAX {
                        tracing::warn!("a write that was cut off is settled unseen");
                        return;
                    }
                    if let Err(error) = self.keyspaces.read(true).await {
                        tracing::debug!(%error, "placements were not read for a fence");
                    }
                }
                Ruling::Leave => {
                    tracing::warn!(
                        "a write that was cut off is settled unseen: its home is another region now"
                    );
                    return;
                }
            }
            tokio::time::sleep(fence.pause()).await;
        }
    }

    /// How long a write may take from the moment at which it is let through until nothing of it can happen any more: the
    /// wait for room, its own time, and the request that was begun last.
    pub(super) fn write_max(&self) -> Duration {
        ROOM_WAIT + self.write_timeout + self.request_timeout
    }

    /// The last entry of this core's log.
    pub(super) fn head(&self) -> u64 {
        self.logs.own().head
    }

    /// The position of an entry of this core's log.
    pub(super) fn position(&self, sequence: u64) -> Position {
        let mut position = Position::default();
        position.advance(&self.claim.origin, sequence);
        position
    }

    /// Room for one more write.
    pub(super) async fn room(&self) -> Result<OwnedSemaphorePermit, Error> {
        let room = tokio::time::timeout(ROOM_WAIT, Arc::clone(&self.room).acquire_owned()).await;
        match room {
            Ok(Ok(permit)) if !self.closing.is_cancelled() => Ok(permit),
            _ => {
                metrics::counter!("brink_core_store_refused_total").increment(1);
                Err(Error::Busy)
            }
        }
    }

    /// Keeps other commits of this process away from a partition, so that they do not fail by each other, and gives what
    /// those before have left behind of it.
    ///
    /// # Errors
    /// [`Error::Busy`]: those before it were not done by the deadline.
    pub(super) async fn alone(
        &self,
        partition: &PartitionAddress,
        deadline: Instant,
    ) -> Result<Option<MutexGuard<'_, Known>>, Error> {
        let hash = self.hasher.hash_one(partition);
        let index = usize::try_from(hash % LOCKS as u64).unwrap_or_default();
        let Some(lock) = self.locks.get(index) else {
            return Ok(None);
        };
        let locked = tokio::time::timeout_at(deadline, lock.lock()).await;
        locked.map(Some).map_err(|_| Error::Busy)
    }

    /// Cancelled when the store is closed.
    pub(super) fn closing(&self) -> CancellationToken {
        self.closing.clone()
    }

    /// Takes no more writes and ends what follows other logs.
    pub(super) fn close(&self) {
        self.closing.cancel();
    }
}
