//! Writes and purges: the intent is durable before the record is written, and the answer waits for its settlement.

use super::Core;
use crate::{
    context::{Context, Next, Node},
    history::Place,
    messages::{Answer, Entry, Message, StoreRequest},
    mutation::Mutation,
};
use brink_protocol::{
    change::{ChangeKind, Phase},
    purge::Purge,
};
use rustc_hash::FxHashMap;
use std::{collections::VecDeque, sync::Arc};

/// How long the store takes at most to begin with a write, in microseconds.
const SLOW_US_MAX: u64 = 2_500_000;

/// A write that a PoP waits for.
#[derive(Debug, Clone, Copy)]
struct Write {
    pop: usize,
    id: u64,
    key: u64,
    value: u64,
}

/// Writes and purges under way.
#[derive(Debug, Default)]
pub(super) struct Writes {
    /// By the sequence of the intent, which is not durable yet.
    intended: FxHashMap<u64, Write>,
    /// By value, with the intents: the record is being written.
    putting: FxHashMap<u64, VecDeque<(Option<u64>, Write)>>,
    /// By the sequence of the settlement, which is not durable yet.
    settling: FxHashMap<u64, (Write, u64)>,
    /// By sequence.
    purging: FxHashMap<u64, (usize, u64, u64)>,
}

impl Core {
    fn records(&self, ctx: &Context, key: u64, version: Option<u64>, phase: Phase) -> ChangeKind {
        ChangeKind::Records {
            partition: ctx.names.partition(key),
            records: vec![ctx.names.record(key, version)],
            phase,
        }
    }

    pub(super) fn on_write(
        &mut self,
        ctx: &mut Context,
        (pop, id): (usize, u64),
        key: u64,
        value: u64,
    ) {
        let write = Write {
            pop,
            id,
            key,
            value,
        };
        if ctx.lacks(Mutation::Intent) {
            return self.put(ctx, None, write);
        }
        let kind = self.records(ctx, key, None, Phase::Intended);
        let intent = self.append(ctx, kind, None);
        match (intent, &mut self.live) {
            (Some(intent), Some(live)) => {
                live.writes.intended.insert(intent, write);
            }
            _ => self.answer(ctx, pop, id, Answer::Unavailable),
        }
    }

    fn put(&mut self, ctx: &mut Context, intent: Option<u64>, write: Write) {
        let Some(live) = &mut self.live else {
            return;
        };
        let putting = live.writes.putting.entry(write.value).or_default();
        putting.push_back((intent, write));
        let request = StoreRequest::Put {
            origin: live.origin.clone(),
            term: live.term,
            key: write.key,
            value: write.value,
        };
        // What ends a core is often what makes the store slow, too: then the write is done when nobody waits for it.
        let is_last = ctx.random.chance(ctx.scenario.crash_at_write);
        let slow = if is_last {
            ctx.scenario.slow_write.sqrt()
        } else {
            ctx.scenario.slow_write
        };
        self.put_store(ctx, slow, request);
        if is_last {
            let node = Node::Core(self.id);
            ctx.after(0, Next::Crash { node });
        }
    }

    /// Sends a write to the store, which is slow with some probability. Others may overtake it: nothing else waits for it.
    fn put_store(&self, ctx: &mut Context, slow: f64, request: StoreRequest) {
        let is_slow = ctx.random.chance(slow);
        let more_us = if is_slow {
            ctx.random.between(20_000, SLOW_US_MAX)
        } else {
            0
        };
        let message = Message::Store {
            run: self.run,
            request,
        };
        ctx.send_slowly(self.node(), Node::Store, more_us, message);
    }

    pub(super) fn on_put(&mut self, ctx: &mut Context, value: u64, version: u64) {
        let at_ms = self.clock.ms(ctx.now_us);
        let Some(live) = &mut self.live else {
            return;
        };
        let putting = live.writes.putting.get_mut(&value);
        let Some((intent, write)) = putting.and_then(VecDeque::pop_front) else {
            return;
        };
        let record = ctx.names.record(write.key, Some(version));
        let settled = match intent {
            Some(intent) => {
                let change = live.log.settle(intent, vec![record], at_ms);
                let term = live.term;
                change.map(|change| {
                    let sequence = change.sequence;
                    self.send_append(ctx, change, term, None);
                    sequence
                })
            }
            None => {
                let kind = self.records(ctx, write.key, Some(version), Phase::Written);
                self.append(ctx, kind, None)
            }
        };
        if let (Some(sequence), Some(live)) = (settled, &mut self.live) {
            live.writes.settling.insert(sequence, (write, version));
        }
    }

    pub(super) fn on_purge(
        &mut self,
        ctx: &mut Context,
        (pop, id): (usize, u64),
        purge: u64,
        objects: &[u64],
        soft: bool,
    ) {
        let kind = ChangeKind::Purge(Purge {
            id: purge.to_string(),
            tenant: ctx.names.tenant().clone(),
            selectors: objects
                .iter()
                .map(|object| ctx.names.selector(*object))
                .collect(),
            soft,
        });
        let sequence = self.append(ctx, kind, Some(purge));
        if let (Some(sequence), Some(live)) = (sequence, &mut self.live) {
            live.writes.purging.insert(sequence, (pop, id, purge));
        }
    }

    /// An entry is durable: what waited for it goes on.
    pub(super) fn on_appended(&mut self, ctx: &mut Context, entry: &Arc<Entry>) {
        self.hold(ctx, entry);
        let Some(live) = &mut self.live else {
            return;
        };
        let sequence = entry.change.sequence;
        if live.origin != entry.change.origin {
            return;
        }
        let place = || Place {
            origin: entry.change.origin.clone(),
            sequence,
        };
        if let Some(write) = live.writes.intended.remove(&sequence) {
            self.put(ctx, Some(sequence), write);
        } else if let Some((write, version)) = live.writes.settling.remove(&sequence) {
            let place = place();
            let answer = Answer::Written { version, place };
            self.answer(ctx, write.pop, write.id, answer);
        } else if let Some((pop, id, purge)) = live.writes.purging.remove(&sequence) {
            if ctx.lacks(Mutation::Report) {
                for pop in 0..ctx.scenario.pops {
                    self.report_purge(ctx, purge, pop);
                }
            }
            let place = place();
            self.answer(ctx, pop, id, Answer::Purged { place });
        }
    }
}
