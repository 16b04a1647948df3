//! The feed at a PoP, its reports, and the claims that its lease is made of.

use super::Pop;
use crate::{
    context::{Context, Node},
    messages::{Entry, Message},
    mutation::Mutation,
    network::Stream,
};
use brink_policy::coherence::{Applied, Next as Order, Start, Started, Touch};
use brink_protocol::{Position, change::Change};
use std::sync::Arc;

/// A feed that is silent for so long is asked for again, in microseconds.
const SILENT_US_MAX: u64 = 1_500_000;
/// Before this time not everybody is connected yet, and nothing is measured, in microseconds.
const WARM_US: u64 = 2_000_000;
/// Most reports whose answers are waited for.
const REPORTS_MAX: usize = 16;

/// A report under way.
#[derive(Debug)]
pub(super) struct Sent {
    id: u64,
    sent_ms: u64,
    purges: Vec<u64>,
}

impl Pop {
    fn to_core(&self, ctx: &mut Context, message: Message) {
        let (from, to) = (Node::Pop(self.id), Node::Core(self.core));
        ctx.send(from, to, Stream::Single, message);
    }

    /// Asks for the feed, at the next core if this one did not answer.
    pub(super) fn ask(&mut self, ctx: &mut Context) {
        if let Some(core) = self.cores.get(self.attempts % self.cores.len().max(1)) {
            self.core = *core;
        }
        self.attempts += 1;
        self.feed += 1;
        self.is_connected = false;
        self.heard_us = ctx.now_us;
        self.fresh_us = ctx.now_us;
        self.asked_ms = self.clock.ms(ctx.now_us);
        let position = Position::clone(self.replica.position());
        self.is_asked = self.has_state;
        let message = Message::Ask {
            feed: self.feed,
            position: self.has_state.then_some(position),
        };
        self.to_core(ctx, message);
    }

    /// A frame of the feed.
    pub(super) fn on_feed(&mut self, ctx: &mut Context, feed: u64, message: Message) {
        if feed != self.feed {
            return;
        }
        self.heard_us = ctx.now_us;
        match message {
            Message::Start { start, .. } => self.on_start(ctx, &start),
            Message::Change { entry, .. } if self.is_connected => self.on_change(ctx, &entry),
            Message::Closed { .. } => {
                // Asked for again at the next tick.
                self.is_connected = false;
                self.heard_us = ctx.now_us.saturating_sub(SILENT_US_MAX);
            }
            _ => {}
        }
    }

    fn on_start(&mut self, ctx: &mut Context, start: &Start) {
        self.is_connected = true;
        self.attempts -= 1;
        match self.replica.start(start, self.is_asked, self.asked_ms) {
            Started::Resumed => {}
            Started::Reset => {
                self.memory.clear();
                self.journal.reset(start.position.clone());
                self.sync(ctx);
                if self.has_state {
                    ctx.figures.resets += 1;
                }
            }
        }
        self.has_state = true;
        self.answer_sought(ctx);
        self.report(ctx);
    }

    fn on_change(&mut self, ctx: &mut Context, entry: &Arc<Entry>) {
        let change = &entry.change;
        if ctx.lacks(Mutation::Gap) && self.replica.next(change) == Order::Gap {
            let first = self.replica.position().get(&change.origin) + 1;
            for sequence in first..change.sequence {
                let missing = Change {
                    sequence,
                    ..change.clone()
                };
                self.replica.apply(&missing, &Touch::default());
            }
        }
        match self.replica.apply(change, &entry.touch) {
            Applied::Repeated => return,
            Applied::InOrder { .. } => self.journal.change(entry),
            Applied::Gap => {
                self.memory.clear();
                ctx.figures.resets += 1;
                self.journal.begin(&self.replica);
            }
        }
        self.journal.compact(&self.replica);
        self.answer_sought(ctx);
        if let Some(purge) = entry.purge {
            self.applied.push(purge);
            self.sync(ctx);
            self.measure(ctx, purge);
            self.report(ctx);
        }
    }

    fn sync(&mut self, ctx: &Context) {
        if !ctx.lacks(Mutation::Sync) {
            self.journal.sync();
        }
    }

    /// How long a purge took to be applied here.
    fn measure(&self, ctx: &mut Context, purge: u64) {
        let Some(on_its_way) = ctx.figures.under_way.get(&purge).cloned() else {
            return;
        };
        if !ctx.figures.done.insert((purge, self.id)) {
            return;
        }
        if on_its_way.logged_us < WARM_US {
            return;
        }
        let core = Node::Core(self.core);
        let path = ctx.delay_us(Node::Core(on_its_way.core), core)
            + ctx.delay_us(core, Node::Pop(self.id));
        let took = ctx.now_us.saturating_sub(on_its_way.logged_us);
        ctx.figures.propagation_us.push(took);
        ctx.figures.beyond_us.push(took.saturating_sub(path));
    }

    /// Says what was applied, and asks where the logs end.
    pub(super) fn report(&mut self, ctx: &mut Context) {
        self.reports += 1;
        let purges = self.applied.clone();
        self.sent.push_back(Sent {
            id: self.reports,
            sent_ms: self.clock.ms(ctx.now_us),
            purges: purges.clone(),
        });
        if self.sent.len() > REPORTS_MAX {
            self.sent.pop_front();
        }
        let message = Message::Report {
            id: self.reports,
            feed: self.feed,
            position: Arc::clone(self.replica.position()),
            purges,
        };
        self.to_core(ctx, message);
    }

    pub(super) fn on_claim(&mut self, ctx: &Context, id: u64, head: Position, age_ms: u64) {
        let Some(at) = self.sent.iter().position(|sent| sent.id == id) else {
            return;
        };
        if let Some(sent) = self.sent.remove(at) {
            self.applied.retain(|purge| !sent.purges.contains(purge));
            let head = if ctx.lacks(Mutation::Claim) {
                Position::default()
            } else {
                head
            };
            self.replica.claim(sent.sent_ms, head, age_ms);
        }
    }

    /// Its regular work.
    pub fn tick(&mut self, ctx: &mut Context) {
        self.tick_later(ctx);
        if self.replica.fresh_at(self.clock.ms(ctx.now_us)) {
            self.fresh_us = ctx.now_us;
        }
        let never_fresh_us = 3 * ctx.scenario.lease_ms * 1_000 + SILENT_US_MAX;
        if ctx.now_us >= self.heard_us + SILENT_US_MAX
            || ctx.now_us >= self.fresh_us + never_fresh_us
        {
            self.ask(ctx);
        } else if self.is_connected {
            self.report(ctx);
        }
    }
}
