//! Feeds to PoPs, their reports, and what may be said of them.

use super::{Core, held::Holding};
use crate::{
    context::{Context, Node},
    history::{Event, Place},
    messages::{Entry, Message},
    mutation::Mutation,
    network::Stream,
};
use brink_policy::coherence::Start;
use brink_protocol::{
    Position,
    log::{Resume, resume},
};
use std::sync::Arc;

/// Most frames that are dropped in a row.
const DROPPED_MAX: u64 = 8;

impl Core {
    fn to_pop(&self, ctx: &mut Context, pop: usize, feed: u64, message: Message) {
        ctx.send(
            Node::Core(self.id),
            Node::Pop(pop),
            Stream::of(feed),
            message,
        );
    }

    /// How old what this core knows of the others is.
    fn age_ms(&self, ctx: &Context) -> u64 {
        let Some(live) = &self.live else {
            return 0;
        };
        if ctx.lacks(Mutation::Age) {
            return 0;
        }
        let now_ms = self.clock.ms(ctx.now_us);
        let heads = live.held.heads();
        live.knowledge.age_ms(&live.origin, heads, now_ms)
    }

    pub(super) fn on_ask(
        &mut self,
        ctx: &mut Context,
        pop: usize,
        feed: u64,
        asked: Option<&Position>,
    ) {
        let age_ms = self.age_ms(ctx);
        let Some(live) = &mut self.live else {
            return self.to_pop(ctx, pop, feed, Message::Closed { feed });
        };
        let (position, resumed) = match resume(live.held.kept(), &live.origin, asked) {
            Resume::After(position) => (position, true),
            Resume::Anew(position) => (position, false),
        };
        let entries = live.held.after(&position, None);
        let start = Start {
            position,
            head: live.held.heads().clone(),
            resumed,
            lease_ms: ctx.scenario.lease_ms,
            age_ms,
        };
        live.followers.insert(pop, feed);
        let start = Box::new(start);
        self.to_pop(ctx, pop, feed, Message::Start { feed, start });
        for entry in entries {
            self.to_pop(ctx, pop, feed, Message::Change { feed, entry });
        }
    }

    /// Takes an entry that is durable, and hands it on to everybody.
    pub(super) fn hold(&mut self, ctx: &mut Context, entry: &Arc<Entry>) {
        let Some(live) = &mut self.live else {
            return;
        };
        match live.held.hold(entry) {
            Holding::New => {}
            Holding::Known => return,
            Holding::Missing => {
                live.lacks_entries = true;
                return;
            }
        }
        let change = &entry.change;
        live.note_purge(entry);
        live.knowledge.reached(live.held.heads());
        if let Some(purge) = entry.purge
            && change.origin == live.origin
        {
            let place = Place {
                origin: change.origin.clone(),
                sequence: change.sequence,
            };
            ctx.figures.logged(purge, self.id, place, ctx.now_us);
        }
        // What a former life said last may be lost: who followed it starts anew.
        let is_new_life = change.sequence == 1 && change.origin.incarnation > 1;
        let followers = live.followers.clone();
        if is_new_life {
            live.followers.clear();
        }
        let peers = live
            .owned
            .contains(&change.origin)
            .then(|| live.peers.clone());
        for (pop, feed) in followers {
            if is_new_life {
                self.to_pop(ctx, pop, feed, Message::Closed { feed });
            } else if !self.drops(ctx, pop) {
                let entry = Arc::clone(entry);
                self.to_pop(ctx, pop, feed, Message::Change { feed, entry });
            }
        }
        for peer in peers.into_iter().flatten() {
            let entry = Arc::clone(entry);
            let message = Message::Exchange { entry };
            ctx.send(
                Node::Core(self.id),
                Node::Core(peer),
                self.stream(),
                message,
            );
        }
        self.read_reached(ctx);
    }

    /// Whether a frame of a feed is dropped: some in a row now and then.
    fn drops(&mut self, ctx: &mut Context, pop: usize) -> bool {
        let Some(live) = &mut self.live else {
            return false;
        };
        if ctx.scenario.drop_frame == 0.0 {
            return false;
        }
        let left = live.dropping.entry(pop).or_default();
        if *left == 0 && ctx.random.chance(ctx.scenario.drop_frame) {
            *left = ctx.random.between(1, DROPPED_MAX);
        }
        let drops = *left > 0;
        *left = left.saturating_sub(1);
        drops
    }

    pub(super) fn on_report(
        &mut self,
        ctx: &mut Context,
        pop: usize,
        id: u64,
        position: &Position,
        purges: &[u64],
    ) {
        let age_ms = self.age_ms(ctx);
        let Some(live) = &mut self.live else {
            return;
        };
        let covered = live.purges.iter().filter(|(purge, origin, sequence)| {
            !live.reported.contains(&(*purge, pop)) && position.get(origin) >= *sequence
        });
        let applied: Vec<u64> = covered.map(|(purge, _, _)| *purge).collect();
        live.reported
            .extend(applied.iter().map(|purge| (*purge, pop)));
        let head = live.held.heads().clone();
        for purge in applied.iter().chain(purges) {
            self.report_purge(ctx, *purge, pop);
        }
        let message = Message::Claim { id, head, age_ms };
        ctx.send(Node::Core(self.id), Node::Pop(pop), Stream::Single, message);
    }

    /// A connection that this process knows nothing of is reset by its host.
    pub(super) fn reset_unknown(&self, ctx: &mut Context, pop: usize, feed: u64) {
        let known = self.live.as_ref().map(|live| &live.followers);
        if known.is_none_or(|known| known.get(&pop) != Some(&feed)) {
            let message = Message::Closed { feed };
            ctx.send(self.node(), Node::Pop(pop), Stream::Single, message);
        }
    }

    /// The status of a purge says from now on that a PoP has applied it.
    pub(super) fn report_purge(&self, ctx: &mut Context, purge: u64, pop: usize) {
        if ctx.figures.reported.insert((purge, pop)) {
            ctx.saw(Event::PurgeReported {
                at_us: ctx.now_us,
                id: purge,
                pop: pop as u32,
            });
        }
    }

    pub(super) fn tick_feeds(&mut self, ctx: &mut Context) {
        let Some(live) = &mut self.live else {
            return;
        };
        live.ticks += 1;
        if live.ticks % 2 == 0 {
            for (pop, feed) in live.followers.clone() {
                self.to_pop(ctx, pop, feed, Message::Heartbeat { feed });
            }
        }
    }
}
