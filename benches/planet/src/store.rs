//! The shared store: records, logs and the list of members. Replicated, and linearizable for each key; but records and logs
//! are apart, and no transaction spans them. That is what intents are for.
//!
//! Every log has one writer at a time: who opens it gets a new term, and whoever writes with an old one is refused, to the
//! log and to the records. A core's data is never lost here: its own crash ends a process, not a log.

use crate::{
    context::{Context, Node},
    history::Seen,
    messages::{Entry, Member, Members, Message, StoreAnswer, StoreRequest},
    mutation::Mutation,
    network::Stream,
};
use brink_protocol::{NodeName, OriginId, Position};
use rustc_hash::FxHashMap;
use std::{collections::BTreeMap, sync::Arc};

/// The answers to a core keep their order.
const ANSWERS: Stream = Stream::Ordered(0);

#[derive(Debug)]
struct Log {
    core: usize,
    term: u64,
    entries: Vec<Arc<Entry>>,
    last: Option<u64>,
}

/// A value of a record, and since when.
#[derive(Debug, Clone, Copy)]
struct Value {
    since_us: u64,
    value: u64,
    version: u64,
}

/// The store.
#[derive(Debug, Default)]
pub struct Store {
    records: FxHashMap<u64, Vec<Value>>,
    /// Writes that were done, with the versions that they made.
    done: FxHashMap<u64, u64>,
    /// Generations of objects, and since when.
    objects: FxHashMap<u64, u64>,
    logs: BTreeMap<OriginId, Log>,
    /// Where all logs ended, and since when.
    heads: Vec<(u64, Position)>,
    seen_us: FxHashMap<usize, u64>,
}

impl Store {
    /// What a record holds: value and version.
    #[must_use]
    pub fn record(&self, key: u64) -> Option<(u64, u64)> {
        let newest = self.records.get(&key)?.last()?;
        Some((newest.value, newest.version))
    }

    /// An origin makes a new generation of an object.
    pub fn renew(&mut self, object: u64) -> u64 {
        let generation = self.objects.entry(object).or_default();
        *generation += 1;
        *generation
    }

    /// A request arrives.
    pub fn on(&mut self, ctx: &mut Context, core: usize, name: &NodeName, message: Message) {
        let Message::Store { run, request } = message else {
            return;
        };
        if let Some(answer) = self.answer(ctx, core, name, request) {
            let message = Message::Stored { run, answer };
            ctx.send(Node::Store, Node::Core(core), ANSWERS, message);
        }
    }

    fn answer(
        &mut self,
        ctx: &mut Context,
        core: usize,
        name: &NodeName,
        request: StoreRequest,
    ) -> Option<StoreAnswer> {
        let now_us = ctx.now_us;
        match request {
            StoreRequest::Join { sent_ms } => Some(self.join(now_us, core, name, sent_ms)),
            StoreRequest::Append { term, entry } => Some(self.append(now_us, term, entry)),
            StoreRequest::Put {
                origin,
                term,
                key,
                value,
            } => {
                let is_writer = self.is_writer(&origin, term);
                if !is_writer && !ctx.lacks(Mutation::Writer) {
                    return Some(StoreAnswer::Refused { origin });
                }
                let version = self.put(now_us, key, value);
                Some(StoreAnswer::Put { value, version })
            }
            StoreRequest::Read {
                token,
                page,
                lag_us,
            } => {
                let at_us = now_us.saturating_sub(lag_us);
                let (seen, read_at) = self.read(ctx, page, at_us);
                Some(StoreAnswer::Read {
                    token,
                    seen,
                    read_at,
                })
            }
            StoreRequest::Poll { sent_ms, after } => {
                self.seen_us.insert(core, now_us);
                Some(StoreAnswer::Polled {
                    sent_ms,
                    members: self.members(now_us),
                    heads: self.heads_at(now_us),
                    entries: after.map_or_else(Vec::new, |after| self.entries(&after)),
                })
            }
            StoreRequest::Open { origin } => {
                let log = self.logs.get_mut(&origin)?;
                if log.last.is_some() {
                    return Some(StoreAnswer::Refused { origin });
                }
                log.term += 1;
                Some(StoreAnswer::Opened {
                    term: log.term,
                    entries: log.entries.clone(),
                    origin,
                })
            }
            StoreRequest::Close { origin, term, last } => {
                let is_writer = self.is_writer(&origin, term);
                let log = self.logs.get_mut(&origin)?;
                if is_writer && length(log) == last {
                    log.last = Some(last);
                }
                None
            }
        }
    }

    fn is_writer(&self, origin: &OriginId, term: u64) -> bool {
        self.logs
            .get(origin)
            .is_some_and(|log| log.term == term && log.last.is_none())
    }

    fn join(&mut self, now_us: u64, core: usize, name: &NodeName, sent_ms: u64) -> StoreAnswer {
        self.seen_us.insert(core, now_us);
        let lives = self.logs.keys().filter(|origin| origin.node == *name);
        let newest = lives.max().cloned();
        let open = newest
            .clone()
            .filter(|origin| self.logs.get(origin).is_some_and(|log| log.last.is_none()));
        let origin = open.unwrap_or_else(|| OriginId {
            node: name.clone(),
            incarnation: newest.map_or(1, |origin| origin.incarnation + 1),
        });
        let log = self.logs.entry(origin.clone()).or_insert(Log {
            core,
            term: 0,
            entries: Vec::new(),
            last: None,
        });
        log.term += 1;
        let term = log.term;
        let logs = self.logs.iter();
        StoreAnswer::Joined {
            sent_ms,
            origin,
            term,
            logs: logs
                .map(|(origin, log)| (origin.clone(), log.entries.clone()))
                .collect(),
            members: self.members(now_us),
        }
    }

    fn append(&mut self, now_us: u64, term: u64, entry: Arc<Entry>) -> StoreAnswer {
        let origin = entry.change.origin.clone();
        let next = self.logs.get(&origin).map_or(1, |log| length(log) + 1);
        if !self.is_writer(&origin, term) || entry.change.sequence != next {
            return StoreAnswer::Refused { origin };
        }
        let mut heads = self.heads_at(now_us);
        heads.advance(&origin, next);
        self.heads.push((now_us, heads));
        if let Some(log) = self.logs.get_mut(&origin) {
            log.entries.push(Arc::clone(&entry));
        }
        StoreAnswer::Appended { entry }
    }

    fn put(&mut self, now_us: u64, key: u64, value: u64) -> u64 {
        if let Some(version) = self.done.get(&value) {
            return *version;
        }
        let values = self.records.entry(key).or_default();
        let version = values.last().map_or(1, |newest| newest.version + 1);
        values.push(Value {
            since_us: now_us,
            value,
            version,
        });
        self.done.insert(value, version);
        version
    }

    /// What a page shows as of a moment, and where the logs ended then. Objects are never old: their origin is asked.
    fn read(&self, ctx: &Context, page: usize, at_us: u64) -> (Vec<Seen>, Position) {
        let Some(page) = ctx.pages.get(page) else {
            return (Vec::new(), Position::default());
        };
        let record = |key: &u64| {
            let values = self.records.get(key).map_or(&[][..], Vec::as_slice);
            let newest = values.iter().rev().find(|value| value.since_us <= at_us);
            Seen::Record {
                key: *key,
                value: newest.map(|value| value.value),
                version: Some(newest.map_or(0, |value| value.version)),
            }
        };
        let object = |object: &u64| Seen::Object {
            object: *object,
            generation: self.objects.get(object).copied().unwrap_or(0),
        };
        let records = page.keys.iter().map(record);
        let seen = records.chain(page.objects.iter().map(object)).collect();
        (seen, self.heads_at(at_us))
    }

    fn heads_at(&self, at_us: u64) -> Position {
        let after = self.heads.partition_point(|(since, _)| *since <= at_us);
        let newest = after.checked_sub(1).and_then(|at| self.heads.get(at));
        newest.map(|(_, heads)| heads.clone()).unwrap_or_default()
    }

    fn members(&self, now_us: u64) -> Members {
        let member = |log: &Log| Member {
            core: log.core,
            last: log.last,
            silent_ms: (now_us - self.seen_us.get(&log.core).copied().unwrap_or(0)) / 1_000,
        };
        let logs = self.logs.iter();
        logs.map(|(origin, log)| (origin.clone(), member(log)))
            .collect()
    }

    fn entries(&self, after: &Position) -> Vec<Arc<Entry>> {
        let logs = self.logs.iter().flat_map(|(origin, log)| {
            let known = usize::try_from(after.get(origin)).unwrap_or(usize::MAX);
            log.entries.get(known..).unwrap_or_default()
        });
        logs.cloned().collect()
    }
}

fn length(log: &Log) -> u64 {
    log.entries.len() as u64
}
