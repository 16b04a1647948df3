//! The one writer: takes whatever writes are waiting, puts them into one transaction of the engine, syncs it once, and
//! answers them all (group commit).

use super::tables::OrStore;
use super::{batch::Batch, ends::ForeignEnds};
use crate::{Error, store::Held};
use ::redb::{Database, Durability};
use brink_protocol::log::Log;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// Writes of one transaction of the engine.
const BATCH_WRITES_MAX: usize = 1024;
/// How long a write waits for room in the queue before it is refused.
const QUEUE_WAIT: Duration = Duration::from_secs(2);

/// A write that waits for its batch.
trait Job: Send {
    /// Does it; false: it failed.
    fn run(&mut self, batch: &mut Batch<'_>) -> bool;
    /// Answers it, with `failure` if its batch was not committed.
    fn answer(self: Box<Self>, failure: Option<&str>);
}

struct Pending<F, T> {
    write: Option<F>,
    outcome: Option<Result<T, Error>>,
    reply: oneshot::Sender<Result<T, Error>>,
}

impl<F, T> Job for Pending<F, T>
where
    F: FnOnce(&mut Batch<'_>) -> Result<T, Error> + Send,
    T: Send,
{
    fn run(&mut self, batch: &mut Batch<'_>) -> bool {
        if let Some(write) = self.write.take() {
            self.outcome = Some(write(batch));
        }
        matches!(self.outcome, Some(Ok(_)))
    }

    fn answer(self: Box<Self>, failure: Option<&str>) {
        let outcome = match (self.outcome, failure) {
            // What failed by itself wrote nothing and says its own reason.
            (Some(Err(error)), _) => Err(error),
            (_, Some(reason)) => Err(Error::store("commit", reason)),
            (Some(Ok(answer)), None) => Ok(answer),
            (None, None) => Err(Error::store("commit", "the write did not run")),
        };
        // A caller that went away does not want its answer.
        let _ = self.reply.send(outcome);
    }
}

/// What readers see of the logs.
pub(super) type HeldSender = watch::Sender<Arc<Held>>;

/// All logs as one value.
pub(super) fn held(log: &Log, foreign: &ForeignEnds) -> Arc<Held> {
    let mut kept = foreign.clone();
    kept.insert(log.origin().clone(), log.kept());
    Arc::new(Held::new(kept))
}

/// The way to the writer's thread. Dropping it ends the thread after the writes that wait.
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(
        database: Arc<Database>,
        (log, foreign): (Log, ForeignEnds),
        held: Arc<HeldSender>,
        changes_max: u64,
        queue_max: usize,
        failed: CancellationToken,
    ) -> Result<Self, Error> {
        let (queue, jobs) = mpsc::channel(queue_max.max(1));
        let mut state = State {
            database,
            log,
            foreign,
            held,
            changes_max,
            failed,
        };
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || {
                // A panic is the end of writing, too.
                let _ended = state.failed.clone().drop_guard();
                state.run(jobs);
            })
            .or_store("starting the writer")?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Hands over a write and waits until it is durable.
    pub(super) async fn write<F, T>(&self, write: F) -> Result<T, Error>
    where
        F: FnOnce(&mut Batch<'_>) -> Result<T, Error> + Send + 'static,
        T: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Pending {
            write: Some(write),
            outcome: None,
            reply,
        });
        let queue = self.queue.as_ref().ok_or(Error::Busy)?;
        queue.send_timeout(job, QUEUE_WAIT).await.map_err(|_| {
            metrics::counter!("brink_core_store_refused_total").increment(1);
            Error::Busy
        })?;
        answer
            .await
            .unwrap_or_else(|_| Err(Error::store("commit", "the writer ended")))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the writer was told to every caller already.
            let _ = thread.join();
        }
    }
}

struct State {
    database: Arc<Database>,
    log: Log,
    foreign: ForeignEnds,
    held: Arc<HeldSender>,
    changes_max: u64,
    failed: CancellationToken,
}

impl State {
    fn run(&mut self, mut jobs: mpsc::Receiver<Box<dyn Job>>) {
        let mut waiting = Vec::with_capacity(BATCH_WRITES_MAX);
        while jobs.blocking_recv_many(&mut waiting, BATCH_WRITES_MAX) > 0 {
            let begun = Instant::now();
            let failure = self
                .commit(&mut waiting)
                .err()
                .map(|error| error.to_string());
            if let Some(reason) = &failure {
                tracing::error!(
                    reason,
                    writes = waiting.len(),
                    "a batch of writes was not committed"
                );
            }
            metrics::histogram!("brink_core_store_commit_seconds").record(begun.elapsed());
            #[expect(clippy::cast_precision_loss, reason = "at most BATCH_WRITES_MAX")]
            metrics::histogram!("brink_core_store_batch_writes").record(waiting.len() as f64);
            for job in waiting.drain(..) {
                job.answer(failure.as_deref());
            }
        }
    }

    /// Runs the jobs and commits what they wrote; publishes the new ends of the log before anyone is answered.
    fn commit(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), Error> {
        let begun = self.database.begin_write();
        if begun.is_err() {
            // After a failure of the disk (it may be full) the engine refuses all writes until it is opened anew.
            self.failed.cancel();
        }
        let mut txn = begun.or_store("beginning a batch")?;
        txn.set_durability(Durability::Immediate)
            .or_store("beginning a batch")?;
        let (log, foreign) = {
            let mut batch = Batch::open(&txn, self.log.clone(), self.foreign.clone())?;
            let mut is_written = false;
            for job in jobs {
                let is_done = job.run(&mut batch);
                let is_touched = batch.take_touched();
                if is_touched && !is_done {
                    return Err(Error::store(
                        "commit",
                        "another write of the batch failed half-way",
                    ));
                }
                is_written |= is_touched;
            }
            if !is_written {
                return Ok(());
            }
            batch.close(self.changes_max)?
        };
        txn.commit().or_store("commit")?;
        (self.log, self.foreign) = (log, foreign);
        let now = held(&self.log, &self.foreign);
        self.held.send_if_modified(|before| {
            let is_new = **before != *now;
            if is_new {
                *before = now;
            }
            is_new
        });
        Ok(())
    }
}
