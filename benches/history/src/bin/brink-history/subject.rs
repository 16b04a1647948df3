//! Calls of a history as calls of a store, and the stores that do them wrong.

use crate::{Error, flaw::Flaw};
use brink_core::{
    Error as StoreError,
    store::{self, ANSWER_LIFETIME_MS, Action, AnswerKey, NewAnswer, Seen, Store, Transaction},
};
use brink_history::history::{Call, Commit, Held, Outcome, RECORDS, sort};
use brink_protocol::{
    Digest, ModuleName, TenantName,
    address::PartitionAddress,
    link::Condition,
    record::{Bound, Entry, Key, Range},
};
use bytes::Bytes;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Of how many operations a flaw spoils one.
const FLAW_ONE_IN: u64 = 20;
const COLLECTION: &str = "c";

/// A store that clients call.
pub(crate) struct Subject {
    store: Arc<dyn Store>,
    tenant: TenantName,
    command: ModuleName,
    flaw: Option<Flaw>,
    /// What was read last, for stale reads.
    read: Mutex<HashMap<(String, usize), Outcome>>,
}

impl Subject {
    pub(crate) fn new(store: Arc<dyn Store>, flaw: Option<Flaw>) -> Result<Self, Error> {
        Ok(Self {
            store,
            tenant: "default".parse()?,
            command: "command".parse()?,
            flaw,
            read: Mutex::default(),
        })
    }

    /// Does it. `chance` is any number.
    pub(crate) async fn call(&self, partition: &str, call: &Call, chance: u64) -> Outcome {
        let spoils = chance.is_multiple_of(FLAW_ONE_IN);
        match (self.flaw, call) {
            (Some(Flaw::Stale), Call::Get(record)) => {
                let found = self.try_call(partition, call).await;
                let key = (partition.to_owned(), *record);
                let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
                let before = read.insert(key, found.clone());
                before.filter(|_| spoils).unwrap_or(found)
            }
            (Some(Flaw::Lost), Call::Commit(commit)) if spoils => {
                self.pretend(partition, commit).await
            }
            (Some(Flaw::ReadThenWrite), Call::Commit(commit)) => {
                self.read_then_write(partition, commit).await
            }
            (Some(Flaw::Torn), Call::Commit(commit)) if commit.writes.len() > 1 => {
                self.torn(partition, commit).await
            }
            (Some(Flaw::Twice), Call::Commit(commit)) if spoils => {
                let outcome = self.try_call(partition, call).await;
                if matches!(outcome, Outcome::Done { .. }) {
                    let again = without_conditions(commit);
                    self.try_call(partition, &Call::Commit(again)).await;
                }
                outcome
            }
            _ => self.try_call(partition, call).await,
        }
    }

    async fn try_call(&self, partition: &str, call: &Call) -> Outcome {
        let done = self.real(partition, call).await;
        done.unwrap_or_else(|error| match error {
            StoreError::Busy => Outcome::Refused,
            _ => Outcome::Unknown,
        })
    }

    fn key(&self, partition: &str, record: usize) -> Key {
        Key {
            collection: COLLECTION.to_owned(),
            partition: partition.to_owned(),
            sort: sort(record),
        }
    }

    fn address(&self, partition: &str) -> PartitionAddress {
        PartitionAddress {
            tenant: self.tenant.clone(),
            collection: COLLECTION.to_owned(),
            partition: partition.to_owned(),
        }
    }

    async fn real(&self, partition: &str, call: &Call) -> Result<Outcome, StoreError> {
        let (store, tenant, now) = (&self.store, &self.tenant, brink_core::clock::now_ms());
        Ok(match call {
            Call::Get(record) => {
                let found = store
                    .get(tenant, &self.key(partition, *record), now)
                    .await?;
                Outcome::Record(found.as_ref().map(held))
            }
            Call::GetMany => {
                let keys: Vec<Key> = (0..RECORDS).map(|n| self.key(partition, n)).collect();
                let found = store.get_many(tenant, &keys, now).await?;
                Outcome::Records(found.iter().map(|entry| entry.as_ref().map(held)).collect())
            }
            Call::Scan => {
                let page = store.scan(tenant, &whole(partition), now).await?;
                let of = |n: usize| page.entries.iter().find(|entry| entry.sort == sort(n));
                Outcome::Records((0..RECORDS).map(|n| of(n).map(held)).collect())
            }
            Call::LastVersion(record) => {
                let key = self.key(partition, *record);
                Outcome::Version(store.last_version(tenant, &key).await?)
            }
            Call::Answer(key) => {
                let key = AnswerKey {
                    partition: self.address(partition),
                    command: self.command.clone(),
                    key: format!("k{key}"),
                };
                let kept = store.answer(&key, now).await?;
                Outcome::Kept(kept.map(|answer| number(&answer.output)))
            }
            Call::Commit(commit) => {
                let transaction = self.transaction(partition, commit, now);
                match store.commit(transaction).await? {
                    store::Commit::Done { position, versions } => Outcome::Done {
                        sequence: position.get(store.origin()),
                        versions,
                    },
                    store::Commit::Conflict { present } => Outcome::Conflict { present },
                    store::Commit::Answered(answer) => Outcome::Answered(number(&answer.output)),
                }
            }
        })
    }

    fn transaction(&self, partition: &str, commit: &Commit, now_ms: u64) -> Transaction {
        let seen = if commit.is_range {
            let entry =
                |(record, version): &(usize, Option<u64>)| Some((sort(*record), (*version)?));
            vec![Seen::Range {
                range: whole(partition),
                entries: commit.seen.iter().filter_map(entry).collect(),
                more: false,
            }]
        } else {
            let record = |(record, version): &(usize, Option<u64>)| Seen::Record {
                sort: sort(*record),
                version: *version,
            };
            commit.seen.iter().map(record).collect()
        };
        let writes = commit.writes.iter().map(|write| store::Write {
            sort: sort(write.record),
            action: write.value.map_or(Action::Delete, |value| Action::Put {
                value: value.to_string().into(),
                expires_at_ms: None,
            }),
            condition: write.condition,
        });
        Transaction {
            partition: self.address(partition),
            seen,
            writes: writes.collect(),
            answer: commit.answer.map(|(key, answer)| NewAnswer {
                command: self.command.clone(),
                key: format!("k{key}"),
                input: Digest::of(b"input"),
                output: answer.to_string().into(),
                lifetime_ms: ANSWER_LIFETIME_MS,
            }),
            now_ms,
        }
    }

    /// What would come of a commit, by reads alone.
    async fn pretend(&self, partition: &str, commit: &Commit) -> Outcome {
        let mut versions = Vec::new();
        for write in &commit.writes {
            let last = self
                .try_call(partition, &Call::LastVersion(write.record))
                .await;
            let Outcome::Version(last) = last else {
                return Outcome::Unknown;
            };
            versions.push(write.value.map(|_| last + 1));
        }
        Outcome::Done {
            sequence: self.store.span().head,
            versions,
        }
    }

    async fn read_then_write(&self, partition: &str, commit: &Commit) -> Outcome {
        let found = self.try_call(partition, &Call::GetMany).await;
        let Outcome::Records(found) = found else {
            return Outcome::Unknown;
        };
        let version = |record: usize| {
            found
                .get(record)
                .copied()
                .flatten()
                .map(|held| held.version)
        };
        for (record, seen) in &commit.seen {
            let present = version(*record);
            if present != *seen {
                let present = present.filter(|_| !commit.is_range);
                return Outcome::Conflict { present };
            }
        }
        for write in &commit.writes {
            let present = version(write.record);
            let holds = match write.condition {
                Condition::Always => true,
                Condition::Absent => present.is_none(),
                Condition::Version(version) => present == Some(version),
            };
            if !holds {
                return Outcome::Conflict { present };
            }
        }
        let mut plain = without_conditions(commit);
        plain.answer = commit.answer;
        self.try_call(partition, &Call::Commit(plain)).await
    }

    async fn torn(&self, partition: &str, commit: &Commit) -> Outcome {
        let mut all = Vec::new();
        let mut last = 0;
        let mut rest = commit.clone();
        for write in &commit.writes {
            rest.writes = vec![write.clone()];
            match self.try_call(partition, &Call::Commit(rest.clone())).await {
                Outcome::Done { sequence, versions } => {
                    last = sequence;
                    all.extend(versions);
                }
                other if all.is_empty() => return other,
                _ => return Outcome::Unknown,
            }
            rest = without_conditions(commit);
        }
        Outcome::Done {
            sequence: last,
            versions: all,
        }
    }
}

fn without_conditions(commit: &Commit) -> Commit {
    let mut plain = commit.clone();
    plain.seen.clear();
    plain.is_range = false;
    plain.answer = None;
    for write in &mut plain.writes {
        write.condition = Condition::Always;
    }
    plain
}

fn whole(partition: &str) -> Range {
    Range {
        collection: COLLECTION.to_owned(),
        partition: partition.to_owned(),
        lower: Bound::Unbounded,
        upper: Bound::Unbounded,
        limit: 100,
        descending: false,
    }
}

fn held(entry: &Entry) -> Held {
    Held {
        value: number(&entry.value),
        version: entry.version,
    }
}

/// What is not a number was never written.
fn number(bytes: &Bytes) -> u64 {
    let text = std::str::from_utf8(bytes).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(u64::MAX)
}
