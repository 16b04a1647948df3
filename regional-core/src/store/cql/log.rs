//! This core's own log: one task appends, groups of changes at a time, each under the condition that the log is still
//! this process's and ends where it is known to end.
//!
//! The task never gives up on a group: it asks until it knows that the group is in the log, or that the log is another
//! process's. Whoever waits for an entry may give up before.

use super::{
    group::{BUCKET_ENTRIES, GROUP_BYTES_MAX, bucket_of, last_of, push},
    held::Logs,
    look::bucket_key,
    origins::{self, Claim},
    session::{Applied, Bind, Cql},
};
use crate::{Error, clock::now_ms};
use brink_protocol::{
    change::{Change, ChangeKind, Phase, RecordChange},
    log::Log,
};
use bytes::Bytes;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Entries of one group.
const GROUP_ENTRIES_MAX: usize = 512;
/// Entries that wait for their group.
const QUEUE_MAX: usize = 8192;
/// How long the task waits before it asks again, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

const APPEND: &str = "UPDATE log SET term = ?, head = ?, open_from = ?, changes = ? \
                      WHERE node = ? AND incarnation = ? AND bucket = ? AND sequence = ? \
                      IF term = ? AND head = ?";
const FENCE: &str = "UPDATE log SET term = ? WHERE node = ? AND incarnation = ? AND bucket = ? \
                     IF term = ? AND head = ?";
const STATE: &str =
    "SELECT term, head FROM log WHERE node = ? AND incarnation = ? AND bucket = ? LIMIT 1";
const DROP: &str = "DELETE FROM log WHERE node = ? AND incarnation = ? AND bucket = ?";

type Reply = oneshot::Sender<Result<u64, Error>>;

enum Entry {
    Append {
        kind: ChangeKind,
        at_ms: u64,
    },
    Settle {
        intent: u64,
        records: Vec<RecordChange>,
        at_ms: u64,
    },
}

/// The way to the task.
#[derive(Clone)]
pub(super) struct Appender(mpsc::Sender<(Entry, Reply)>);

impl Appender {
    /// Appends a change; gives its sequence once it is durable.
    pub(super) async fn append(&self, at_ms: u64, kind: ChangeKind) -> Result<u64, Error> {
        self.ask(Entry::Append { kind, at_ms }).await
    }

    /// Settles what an entry intended; gives the sequence of the settlement once it is durable.
    pub(super) async fn settle(
        &self,
        intent: u64,
        records: Vec<RecordChange>,
        at_ms: u64,
    ) -> Result<u64, Error> {
        self.ask(Entry::Settle {
            intent,
            records,
            at_ms,
        })
        .await
    }

    async fn ask(&self, entry: Entry) -> Result<u64, Error> {
        const WHAT: &str = "appending to the log";
        let (reply, answer) = oneshot::channel();
        let ended = |_| Error::store(WHAT, "the store is closed");
        self.0.send((entry, reply)).await.map_err(|_| {
            Error::store(WHAT, "the log is closed, or another process writes it now")
        })?;
        answer.await.map_err(ended)?
    }
}

/// What a bucket says of itself; nothing if it was never written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct State {
    term: Option<i64>,
    head: Option<i64>,
}

async fn state(session: &Cql, claim: &Claim, bucket: u64) -> Result<State, Error> {
    let values = bucket_key(&claim.origin, bucket);
    let rows: Vec<(Option<i64>, Option<i64>)> = session.serial_rows(STATE, values).await?;
    let found = rows.first().map(|&(term, head)| State { term, head });
    Ok(found.unwrap_or_default())
}

/// Shuts out whoever wrote the log before, and gives its head: nobody but the claim's process can move it any more.
pub(super) async fn fence(session: &Cql, claim: &Claim) -> Result<u64, Error> {
    let mut bucket = bucket_of(claim.oldest.max(1));
    let mut head = claim.oldest.saturating_sub(1);
    loop {
        let found = state(session, claim, bucket).await?;
        if let Some(end) = found.head {
            head = end.cast_unsigned();
            if head == last_of(bucket) {
                bucket += 1;
                continue;
            }
        }
        if found.term.is_some_and(|term| term > claim.term) {
            return Err(origins::over(&claim.origin));
        }
        let mut values = vec![Bind::Big(claim.term)];
        values.extend(bucket_key(&claim.origin, bucket));
        values.extend([found.term.into(), found.head.into()]);
        match session.conditional(FENCE, values).await {
            Ok(Applied::Yes) => return Ok(head),
            // The former writer moved on, or the answer was lost: look again.
            Ok(Applied::No) => {}
            Err(failure) => return Err(failure.error),
        }
    }
}

/// The task that appends.
pub(super) struct Writer {
    session: Arc<Cql>,
    claim: Claim,
    log: Log,
    /// What the present bucket says of itself.
    state: State,
    logs: Arc<Logs>,
    changes_max: u64,
    failed: CancellationToken,
}

impl Writer {
    /// Starts it on a log that was fenced.
    pub(super) fn start(
        session: Arc<Cql>,
        claim: Claim,
        log: Log,
        logs: Arc<Logs>,
        changes_max: u64,
        failed: CancellationToken,
    ) -> Appender {
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        let head = log.kept().head;
        let is_begun = !head.is_multiple_of(BUCKET_ENTRIES);
        let writer = Self {
            session,
            state: State {
                // The fence has put it there, also into a bucket without entries.
                term: Some(claim.term),
                head: is_begun.then_some(head.cast_signed()),
            },
            claim,
            log,
            logs,
            changes_max,
            failed,
        };
        tokio::spawn(writer.run(queue));
        Appender(jobs)
    }

    async fn run(mut self, mut queue: mpsc::Receiver<(Entry, Reply)>) {
        // Also when it panics.
        let _failed = self.failed.clone().drop_guard();
        self.publish();
        let mut waiting = VecDeque::new();
        let mut taken = Vec::with_capacity(GROUP_ENTRIES_MAX);
        loop {
            if waiting.is_empty() && queue.recv_many(&mut taken, GROUP_ENTRIES_MAX).await == 0 {
                return;
            }
            waiting.extend(taken.drain(..));
            let mut group = Group::default();
            self.fill(&mut group, &mut waiting);
            let begun = std::time::Instant::now();
            if let Err(error) = self.commit(&mut group).await {
                tracing::error!(%error, "the log takes no more entries");
                let reason = error.to_string();
                for (reply, ..) in group.replies {
                    let _ = reply.send(Err(Error::store("appending to the log", &reason)));
                }
                return;
            }
            metrics::histogram!("brink_core_store_commit_seconds").record(begun.elapsed());
            #[expect(clippy::cast_precision_loss, reason = "at most GROUP_ENTRIES_MAX")]
            metrics::histogram!("brink_core_store_batch_writes").record(group.replies.len() as f64);
            self.answer(group, &mut waiting);
            self.cut().await;
        }
    }

    /// Takes waiting entries into a group, as many as go into it and into the bucket.
    fn fill(&mut self, group: &mut Group, waiting: &mut VecDeque<(Entry, Reply)>) {
        while let Some((entry, reply)) = waiting.pop_front() {
            let (appended, intent) = match entry {
                Entry::Append { kind, at_ms } => {
                    let is_intent = matches!(
                        kind,
                        ChangeKind::Records {
                            phase: Phase::Intended,
                            ..
                        }
                    );
                    // Too many are open: nothing was written.
                    (
                        self.log.append(at_ms, kind).map_err(|_| Error::Busy),
                        is_intent,
                    )
                }
                Entry::Settle {
                    intent,
                    records,
                    at_ms,
                } => {
                    let settled = self.log.settle(intent, records, at_ms);
                    let reason = "it is not open";
                    (
                        settled.ok_or_else(|| Error::store("settling an entry", reason)),
                        false,
                    )
                }
            };
            let pushed = appended.and_then(|change| {
                push(&mut group.bytes, &change)?;
                Ok(change)
            });
            match pushed {
                Ok(change) => group.replies.push((reply, change, intent)),
                Err(error) => {
                    let _ = reply.send(Err(error));
                }
            }
            let head = self.log.kept().head;
            if group.bytes.len() >= GROUP_BYTES_MAX
                || group.replies.len() >= GROUP_ENTRIES_MAX
                || (head.is_multiple_of(BUCKET_ENTRIES) && !group.replies.is_empty())
            {
                return;
            }
        }
    }

    fn open_from(&self) -> u64 {
        let first = self.log.open().next().map(|(sequence, _)| sequence);
        first.unwrap_or(self.log.kept().head + 1)
    }

    /// Writes a group, however long it takes.
    async fn commit(&mut self, group: &mut Group) -> Result<(), Error> {
        let Some((_, last, _)) = group.replies.last() else {
            return Ok(());
        };
        let head = last.sequence.cast_signed();
        let bytes = Bytes::from(std::mem::take(&mut group.bytes));
        let next = State {
            term: Some(self.claim.term),
            head: Some(head),
        };
        let bucket = bucket_of(last.sequence);
        let mut values = vec![
            Bind::Big(self.claim.term),
            Bind::Big(head),
            Bind::Big(self.open_from().cast_signed()),
            Bind::Blob(bytes),
        ];
        values.extend(bucket_key(&self.claim.origin, bucket));
        values.extend([
            Bind::Big(head),
            self.state.term.into(),
            self.state.head.into(),
        ]);
        let mut backoff = BACKOFF.0;
        loop {
            let failure = match self.session.conditional(APPEND, values.clone()).await {
                Ok(Applied::Yes) => break,
                Ok(Applied::No) => match state(&self.session, &self.claim, bucket).await {
                    // An earlier attempt whose answer was lost.
                    Ok(found) if found == next => break,
                    Ok(found) if found == self.state => continue,
                    Ok(_) => return Err(origins::over(&self.claim.origin)),
                    Err(error) => error,
                },
                Err(failure) if failure.is_ours => return Err(failure.error),
                Err(failure) => failure.error,
            };
            metrics::counter!("brink_core_store_log_retries_total").increment(1);
            tracing::warn!(error = %failure, "appending to the log again");
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF.1);
        }
        self.state = if last.sequence == last_of(bucket) {
            State::default()
        } else {
            next
        };
        Ok(())
    }

    fn publish(&self) {
        let (kept, open_from) = (self.log.kept(), self.open_from());
        self.logs.moved(&self.claim.origin, kept, open_from);
    }

    /// Shows the new head, then answers. An intent that nobody waits for any more is settled at once: its write, which
    /// waits for the intent, never begins.
    fn answer(&self, group: Group, waiting: &mut VecDeque<(Entry, Reply)>) {
        self.publish();
        for (reply, change, is_intent) in group.replies {
            let sequence = change.sequence;
            if reply.send(Ok(sequence)).is_ok() || !is_intent {
                continue;
            }
            if let ChangeKind::Records { records, .. } = change.kind {
                let entry = Entry::Settle {
                    intent: sequence,
                    records,
                    at_ms: now_ms(),
                };
                waiting.push_back((entry, oneshot::channel().0));
            }
        }
    }

    /// Drops the oldest bucket when more than enough is kept without it.
    async fn cut(&mut self) {
        let oldest = self.log.kept().oldest;
        let next = last_of(bucket_of(oldest)).saturating_add(1);
        if next > self.log.droppable_before(self.changes_max.max(1)) {
            return;
        }
        let cut = async {
            if origins::cut(&self.session, &self.claim, next).await? == Applied::Yes {
                self.log.dropped_before(next);
                self.publish();
                let key = bucket_key(&self.claim.origin, bucket_of(oldest));
                self.session.write(DROP, key).await?;
            }
            Ok::<(), Error>(())
        };
        if let Err(error) = cut.await {
            tracing::warn!(%error, "the old end of the log was not cut off; it will be tried again");
        }
    }
}

#[derive(Default)]
struct Group {
    bytes: Vec<u8>,
    /// Who waits for which change, and whether it intends something.
    replies: Vec<(Reply, Change, bool)>,
}
