//! Commits: what is about to be written goes into the log, then the partition is written under a condition, then the log
//! says that it is over. The caller is answered after that.
//!
//! A commit is conditional on a revision that was read *before* its intent was in the log, or while the log was still this
//! process's. So whoever takes the log over, finds the intent and fences the partition knows that it cannot happen later.

use super::{
    answers,
    decide::{Decision, Mode, Plan, View, answer_row, answer_sort, decide, needs_serial},
    engine::Engine,
    expiry,
    known::Known,
    origins,
    partition::{self, ANSWER, Anchor, Outcome, RECORD, Reading, RowWrite},
    scan,
    session::Cql,
};
use crate::{
    Error, random,
    store::{AnswerKey, Commit, Seen, Transaction, checks},
};
use brink_protocol::{
    Position,
    change::{ChangeKind, Phase, RecordChange},
    record::Range,
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::{sync::MutexGuard, time::Instant};

/// How often a commit begins anew that others were quicker than.
const ATTEMPTS_MAX: u32 = 12;
/// How long it waits before, times the attempts so far, at most.
const PAUSE_MAX: Duration = Duration::from_millis(8);

/// Commits a transaction. It goes on when the caller goes away.
pub(super) async fn commit(
    engine: &Arc<Engine>,
    transaction: Transaction,
) -> Result<Commit, Error> {
    checks::transaction(&transaction)?;
    let sorts: BTreeSet<&str> = transaction.writes.iter().map(|w| w.sort.as_str()).collect();
    if sorts.len() < transaction.writes.len() {
        return Err(brink_protocol::Error::Malformed {
            what: "transaction",
            reason: "it writes a record twice".into(),
        }
        .into());
    }
    let permit = engine.room().await?;
    let task = {
        let engine = Arc::clone(engine);
        tokio::spawn(async move {
            let _permit = permit;
            let done = run(&engine, &transaction, Mode::Write).await?;
            Ok::<_, Error>(done.commit)
        })
    };
    const WHAT: &str = "commit";
    match tokio::time::timeout(engine.write_timeout, task).await {
        Ok(joined) => joined.map_err(|error| Error::store(WHAT, error))?,
        Err(_) => Err(Error::store(WHAT, "the engine did not answer in time")),
    }
}

/// What came of a transaction.
pub(super) struct Done {
    /// For its caller.
    pub(super) commit: Commit,
    /// Records that were changed.
    pub(super) changed: usize,
}

/// Does a transaction.
pub(super) async fn run(
    engine: &Arc<Engine>,
    transaction: &Transaction,
    mode: Mode,
) -> Result<Done, Error> {
    let deadline = Instant::now() + engine.write_timeout;
    let session = engine.keyspaces.of(&transaction.partition).await?;
    let mut attempt = Attempt {
        engine,
        session,
        transaction,
        mode,
        deadline,
        intent: None,
        is_noted: false,
    };
    let outcome = {
        let alone = engine.alone(&transaction.partition, deadline).await?;
        attempt.until_done(alone).await
    };
    attempt.finish(outcome).await
}

enum End {
    /// Nothing was written. These were to be deleted, and are gone.
    Nothing(Commit, Vec<RecordChange>),
    /// It was.
    Written(Plan),
    /// It may have been, or may still be.
    Unknown(Error),
}

struct Attempt<'a> {
    engine: &'a Arc<Engine>,
    /// Of the partition's keyspace.
    session: Arc<Cql>,
    transaction: &'a Transaction,
    mode: Mode,
    deadline: Instant,
    /// The entry that says what is intended.
    intent: Option<u64>,
    /// The ends of its rows are in the index.
    is_noted: bool,
}

impl Attempt<'_> {
    /// Reads, decides and writes until nobody was quicker.
    async fn until_done(&mut self, mut known: Option<MutexGuard<'_, Known>>) -> Result<End, Error> {
        let needs_serial = needs_serial(self.transaction);
        if let Some(known) = known.as_deref_mut()
            && !needs_serial
            && let Some(done) = self.by_memory(known).await?
        {
            return Ok(done);
        }
        let mut reading = if needs_serial {
            Reading::Serial
        } else {
            Reading::Quorum
        };
        for attempt in 1..=ATTEMPTS_MAX {
            let view = self.read(reading).await?;
            if self.intent.is_some() {
                origins::check(&self.engine.session, &self.engine.claim).await?;
            }
            let plan = match decide(self.transaction, self.mode, &view) {
                Decision::End(commit) => return Ok(End::Nothing(commit, Vec::new())),
                Decision::Nothing { versions, gone } => {
                    if !self.is_still_so(&view).await? {
                        continue;
                    }
                    let position = self.engine.position(self.engine.head());
                    return Ok(End::Nothing(Commit::Done { position, versions }, gone));
                }
                Decision::Write(plan) => plan,
            };
            match self.write(&view, &plan).await? {
                Outcome::Applied(after) => {
                    if let Some(known) = known.as_deref_mut() {
                        self.learn(known, after, &plan);
                    }
                    return Ok(End::Written(plan));
                }
                Outcome::Unknown(error) => return Ok(End::Unknown(error)),
                Outcome::Refused => {
                    metrics::counter!("brink_core_store_contended_total").increment(1);
                    reading = Reading::Serial;
                    tokio::time::sleep(random::pause(PAUSE_MAX * attempt)?).await;
                }
            }
            if Instant::now() >= self.deadline {
                break;
            }
        }
        Err(Error::Busy)
    }

    /// One attempt without reading, if what is needed is known; none: it has to be read.
    async fn by_memory(&mut self, known: &mut Known) -> Result<Option<End>, Error> {
        let session = Arc::downgrade(&self.session);
        let Some(view) = known.view(self.transaction, &session, Instant::now()) else {
            return Ok(None);
        };
        let Decision::Write(plan) = decide(self.transaction, self.mode, &view) else {
            return Ok(None);
        };
        let end = match self.write(&view, &plan).await? {
            Outcome::Applied(after) => {
                metrics::counter!("brink_core_store_unread_total").increment(1);
                self.learn(known, after, &plan);
                return Ok(Some(End::Written(plan)));
            }
            Outcome::Unknown(error) => Some(End::Unknown(error)),
            Outcome::Refused => None,
        };
        known.forget(&self.transaction.partition);
        Ok(end)
    }

    /// Keeps what a commit has left behind.
    fn learn(&self, known: &mut Known, after: Option<Anchor>, plan: &Plan) {
        let partition = &self.transaction.partition;
        match after {
            Some(anchor) => {
                let session = Arc::downgrade(&self.session);
                known.learn(partition, session, (anchor, plan), Instant::now());
            }
            None => known.forget(partition),
        }
    }

    /// What the transaction needs to know. The partition's revision comes first.
    async fn read(&self, reading: Reading) -> Result<View, Error> {
        let (session, transaction) = (&*self.session, self.transaction);
        let partition = &transaction.partition;
        let sorts: BTreeSet<String> = transaction
            .writes
            .iter()
            .map(|write| write.sort.clone())
            .chain(transaction.seen.iter().filter_map(|seen| match seen {
                Seen::Record { sort, .. } => Some(sort.clone()),
                Seen::Range { .. } => None,
            }))
            .collect();
        let sorts: Vec<String> = sorts.into_iter().collect();
        let (anchor, rows) = match reading {
            Reading::Quorum => partition::read(session, partition, sorts).await?,
            Reading::Serial => {
                let anchor = partition::anchor(session, partition, reading).await?;
                (anchor, partition::read(session, partition, sorts).await?.1)
            }
        };
        let answer = match &transaction.answer {
            Some(new) => answers::row(session, partition, &new.command, &new.key, reading).await?,
            None => None,
        };
        let mut ranges = Vec::new();
        for seen in &transaction.seen {
            if let Seen::Range { range, .. } = seen {
                let range = Range {
                    collection: partition.collection.clone(),
                    partition: partition.partition.clone(),
                    ..range.clone()
                };
                let page =
                    scan::page(session, &partition.tenant, &range, transaction.now_ms).await?;
                ranges.push(page);
            }
        }
        Ok(View {
            anchor,
            rows,
            answer,
            ranges,
        })
    }

    /// Whether what several reads gave is from one moment; a commit would find out by itself.
    async fn is_still_so(&self, view: &View) -> Result<bool, Error> {
        if self.transaction.seen.is_empty() {
            return Ok(true);
        }
        let partition = &self.transaction.partition;
        let now = partition::anchor(&self.session, partition, Reading::Serial).await?;
        Ok(now == view.anchor)
    }

    async fn write(&mut self, view: &View, plan: &Plan) -> Result<Outcome, Error> {
        let (engine, transaction) = (self.engine, self.transaction);
        let is_intent = self.intent.is_none() && !plan.changes.is_empty();
        let (intent, noted) = tokio::join!(self.intend(is_intent), self.note_ends(plan));
        // Before anything fails: an intent that is in the log is settled in any case.
        self.intent = intent?;
        noted?;
        self.is_noted = true;
        let mut rows = plan.rows.clone();
        if let Some(new) = &transaction.answer {
            // Whoever is given the answer later waits until this entry has its end.
            let position = engine.position(self.intent.unwrap_or_else(|| engine.head()));
            rows.push(answer_row(new, plan, position, transaction.now_ms)?);
        }
        // Who moves the partition elsewhere waits for a write's time and one request.
        if Instant::now() >= self.deadline {
            return Err(Error::Busy);
        }
        partition::commit(
            &self.session,
            &transaction.partition,
            &view.anchor,
            &rows,
            self.deadline,
        )
        .await
    }

    /// Notes when the records and the answer end. Every attempt has the same ends.
    async fn note_ends(&self, plan: &Plan) -> Result<(), Error> {
        if self.is_noted {
            return Ok(());
        }
        let transaction = self.transaction;
        let answer = transaction.answer.as_ref().map(|new| {
            let position = Position::default();
            answer_row(new, plan, position, transaction.now_ms)
        });
        let answer = answer.transpose()?;
        let rows: Vec<&RowWrite> = plan.rows.iter().chain(&answer).collect();
        let (partition, now_ms) = (&transaction.partition, transaction.now_ms);
        expiry::note(&self.session, partition, &rows, now_ms).await
    }

    /// All records that the transaction names: a later attempt may change others than the first.
    fn named(&self) -> Vec<RecordChange> {
        let named = self.transaction.writes.iter().map(|write| RecordChange {
            sort: write.sort.clone(),
            version: None,
        });
        named.collect()
    }

    /// Puts the intent into the log if there is to be one.
    async fn intend(&self, is_intent: bool) -> Result<Option<u64>, Error> {
        if !is_intent {
            return Ok(self.intent);
        }
        let kind = ChangeKind::Records {
            partition: self.transaction.partition.clone(),
            records: self.named(),
            phase: Phase::Intended,
        };
        let at_ms = self.transaction.now_ms;
        self.engine.log.append(at_ms, kind).await.map(Some)
    }

    /// Says in the log that it is over, then tells what came of it.
    async fn finish(self, outcome: Result<End, Error>) -> Result<Done, Error> {
        let engine = self.engine;
        let at_ms = self.transaction.now_ms;
        let plan = match outcome {
            Ok(End::Written(plan)) => plan,
            Ok(End::Nothing(commit, gone)) => {
                let commit = self.nothing(commit, gone).await?;
                return Ok(Done { commit, changed: 0 });
            }
            Ok(End::Unknown(error)) => {
                self.fence_later();
                return Err(error);
            }
            // An error before or between the writes: nothing was written, and nothing is under way.
            Err(error) => {
                self.give_up().await?;
                return Err(error);
            }
        };
        let changed = plan.changes.len();
        let sequence = match self.intent {
            Some(intent) => engine.log.settle(intent, plan.changes, at_ms).await?,
            None => engine.head(),
        };
        let commit = Commit::Done {
            position: engine.position(sequence),
            versions: plan.versions,
        };
        Ok(Done { commit, changed })
    }

    /// Settles what was intended, if anything was; gives the sequence of that.
    async fn give_up(&self) -> Result<Option<u64>, Error> {
        let Some(intent) = self.intent else {
            return Ok(None);
        };
        let at_ms = self.transaction.now_ms;
        let settled = self.engine.log.settle(intent, self.named(), at_ms).await?;
        Ok(Some(settled))
    }

    /// What is told where nothing was written.
    async fn nothing(&self, commit: Commit, gone: Vec<RecordChange>) -> Result<Commit, Error> {
        let settled = self.give_up().await?;
        match commit {
            Commit::Answered(answer) => {
                let Some(new) = &self.transaction.answer else {
                    return Ok(Commit::Answered(answer));
                };
                let key = AnswerKey {
                    partition: self.transaction.partition.clone(),
                    command: new.command.clone(),
                    key: new.key.clone(),
                };
                let settled = answers::settled(self.engine, &key, answer, self.deadline);
                Ok(Commit::Answered(settled.await?))
            }
            Commit::Done { versions, .. } if settled.is_some() || !gone.is_empty() => {
                // Whoever deleted it may not have said so yet, and its position would not be in this answer.
                let sequence = match settled {
                    Some(settled) => settled,
                    None => self.say(gone).await?,
                };
                let position = self.engine.position(sequence);
                Ok(Commit::Done { position, versions })
            }
            other => Ok(other),
        }
    }

    /// Says in the log that records are not what they were.
    async fn say(&self, records: Vec<RecordChange>) -> Result<u64, Error> {
        let kind = ChangeKind::Records {
            partition: self.transaction.partition.clone(),
            records,
            phase: Phase::Written,
        };
        let at_ms = self.transaction.now_ms;
        self.engine.log.append(at_ms, kind).await
    }

    /// Goes on in the background until nothing of the write can happen any more.
    fn fence_later(&self) {
        let Some(intent) = self.intent else {
            return;
        };
        let (records, at_ms) = (self.named(), self.transaction.now_ms);
        let answer = self.transaction.answer.as_ref();
        let answer = answer.map(|new| (ANSWER, answer_sort(&new.command, &new.key)));
        let rows = records.iter().map(|record| (RECORD, record.sort.clone()));
        let rows = rows.chain(answer).collect();
        let engine = Arc::clone(self.engine);
        let partition = self.transaction.partition.clone();
        tokio::spawn(async move {
            engine.fence(&partition, rows).await;
            if let Err(error) = engine.log.settle(intent, records, at_ms).await {
                tracing::warn!(%error, intent, "a write of unknown outcome stays open");
            }
        });
    }
}
