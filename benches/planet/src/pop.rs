//! A PoP: the replica that edges run in production, a small cache of two tiers around it, and fills through a core, or through
//! another PoP that is its shield.

mod feed;
mod fills;
mod journal;
mod shield;

use crate::{
    client::Op,
    clock::Clock,
    context::{Context, Next, Node},
    history::{Seen, Source},
    messages::{Message, Reply, Request},
    mutation::Mutation,
};
use brink_policy::coherence::{Replica, Verdict};
use brink_protocol::{
    Position,
    log::{Reach, reach},
};
use feed::Sent;
use fills::{Asker, Flight};
use journal::Journal;
use rustc_hash::FxHashMap;
use shield::Sought;
use std::{collections::VecDeque, sync::Arc};

/// How often a PoP reports, in microseconds.
const TICK_US: u64 = 500_000;
/// Of its journal's last records fewer than this are lost in a crash.
const LOST_MAX: usize = 60;

/// What a PoP does with an entry that nobody vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outage {
    Revalidate,
    ServeStale,
    Fail,
}

/// A stored answer.
#[derive(Debug, Clone)]
struct Stored {
    index: u64,
    /// As of when it was read at the latest: what counts for a session that has seen more than this PoP.
    position: Arc<Position>,
    seen: Arc<[Seen]>,
}

/// A PoP.
#[derive(Debug)]
pub struct Pop {
    id: usize,
    clock: Clock,
    outage: Outage,
    run: u32,
    is_up: bool,
    replica: Replica,
    memory: FxHashMap<usize, Stored>,
    disk: FxHashMap<usize, Stored>,
    journal: Journal,
    /// It has followed a feed before.
    has_state: bool,
    /// Nearest first.
    cores: Vec<usize>,
    core: usize,
    attempts: usize,
    feed: u64,
    is_asked: bool,
    is_connected: bool,
    asked_ms: u64,
    heard_us: u64,
    fresh_us: u64,
    reports: u64,
    sent: VecDeque<Sent>,
    /// Purges applied, and not known to have been reported.
    applied: Vec<u64>,
    requests: u64,
    flights: FxHashMap<u64, Flight>,
    /// What other PoPs ask of it as their shield, and it has not applied enough for yet.
    sought: Vec<Sought>,
}

impl Pop {
    /// One that is down and knows nothing.
    #[must_use]
    pub fn new(id: usize, clock: Clock, ctx: &mut Context) -> Self {
        let delay = |core: &usize| ctx.delay_us(Node::Core(*core), Node::Pop(id));
        let mut cores: Vec<usize> = (0..ctx.scenario.cores).collect();
        cores.sort_by_key(delay);
        let outages = if ctx.scenario.has_power_failures {
            &[Outage::ServeStale][..]
        } else {
            &[Outage::Revalidate, Outage::ServeStale, Outage::Fail]
        };
        Self {
            id,
            clock,
            outage: ctx.random.pick(outages).copied().unwrap_or(Outage::Fail),
            run: 0,
            is_up: false,
            replica: Replica::new(ctx.scenario.tags_max),
            memory: FxHashMap::default(),
            disk: FxHashMap::default(),
            journal: Journal::default(),
            has_state: false,
            core: cores.first().copied().unwrap_or(0),
            cores,
            attempts: 0,
            feed: 0,
            is_asked: false,
            is_connected: false,
            asked_ms: 0,
            heard_us: 0,
            fresh_us: 0,
            reports: 0,
            sent: VecDeque::new(),
            applied: Vec::new(),
            requests: 0,
            flights: FxHashMap::default(),
            sought: Vec::new(),
        }
    }

    /// Whether a process runs.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.is_up
    }

    /// The number of its process.
    #[must_use]
    pub fn run(&self) -> u32 {
        self.run
    }

    /// Its number.
    #[must_use]
    pub fn index(&self) -> usize {
        self.id
    }

    /// Its place among the nodes.
    #[must_use]
    pub fn node(&self) -> Node {
        Node::Pop(self.id)
    }

    /// The core that it follows, and the number of its feed.
    #[must_use]
    pub fn follows(&self) -> (usize, u64) {
        (self.core, self.feed)
    }

    /// What it has applied.
    #[must_use]
    pub fn position(&self) -> &Position {
        self.replica.position()
    }

    /// Whether it knows everything as of some milliseconds ago.
    #[must_use]
    pub fn is_vouched_for(&self, ctx: &Context, within_ms: u64) -> bool {
        let bound_ms = self.replica.staleness_bound_ms(self.clock.ms(ctx.now_us));
        self.is_up && bound_ms.is_some_and(|bound_ms| bound_ms <= within_ms)
    }

    /// Whether it calls anything fresh.
    #[must_use]
    pub fn is_fresh(&self, ctx: &Context) -> bool {
        ctx.lacks(Mutation::Lease) || self.replica.fresh_at(self.clock.ms(ctx.now_us))
    }

    /// Its process begins.
    pub fn start(&mut self, ctx: &mut Context) {
        if self.is_up {
            return;
        }
        self.is_up = true;
        self.run += 1;
        self.attempts = 0;
        self.ask(ctx);
        self.tick_later(ctx);
    }

    /// Its process ends. What was in memory is gone; what is on disk stays if the journal does.
    pub fn crash(&mut self, ctx: &mut Context, keeps_journal: bool) {
        self.is_up = false;
        self.is_connected = false;
        self.run += 1;
        self.memory.clear();
        self.sent.clear();
        self.applied.clear();
        let tags_max = ctx.scenario.tags_max;
        if keeps_journal && self.has_state && ctx.scenario.has_disks {
            let lost = ctx.random.below(LOST_MAX);
            let leaves_gap = !ctx.lacks(Mutation::Journal);
            self.replica = self.journal.recover(lost, tags_max, leaves_gap);
        } else {
            self.replica = Replica::new(tags_max);
            self.disk.clear();
            self.has_state = false;
        }
        self.journal.begin(&self.replica);
        let mut flights: Vec<(u64, Flight)> = self.flights.drain().collect();
        flights.sort_unstable_by_key(|(id, _)| *id);
        for (_, flight) in flights {
            // PoPs find out by themselves.
            if let Asker::Client(client) = flight.asker {
                reply(ctx, client, unanswered(&flight.request));
            }
        }
        self.sought.clear();
    }

    /// Loses its connections; it asks for the feed again.
    pub fn disconnect(&mut self, ctx: &mut Context) {
        if self.is_up {
            self.ask(ctx);
        }
    }

    fn tick_later(&self, ctx: &mut Context) {
        let jitter = ctx.random.between(0, TICK_US / 50);
        let node = Node::Pop(self.id);
        ctx.after(
            TICK_US + jitter,
            Next::Tick {
                node,
                run: self.run,
            },
        );
    }

    /// A message arrives.
    pub fn on(&mut self, ctx: &mut Context, from: Node, message: Message) {
        match message {
            Message::Request {
                id,
                request: Request::Read { page, at_least },
            } => {
                if let Node::Pop(pop) = from {
                    self.on_sought(ctx, (pop, id), page, at_least);
                }
            }
            Message::Told { id, told } => self.on_told(ctx, id, told),
            Message::Start { feed, .. }
            | Message::Change { feed, .. }
            | Message::Heartbeat { feed }
            | Message::Closed { feed } => self.on_feed(ctx, feed, message),
            Message::Claim { id, head, age_ms } => self.on_claim(ctx, id, head, age_ms),
            Message::Answer { id, answer } => self.on_answer(ctx, id, answer),
            _ => {}
        }
    }

    /// What a client sent arrives.
    pub fn serve(&mut self, ctx: &mut Context, client: usize, op: &Op) {
        if !self.is_up {
            return reply(ctx, client, unasked(op));
        }
        let request = match op {
            Op::Read { page, at_least } => {
                if let Some(answer) = self.look_up(ctx, *page, at_least) {
                    return reply(ctx, client, answer);
                }
                Request::Read {
                    page: *page,
                    at_least: at_least.clone(),
                }
            }
            Op::Write { key, value } => Request::Write {
                key: *key,
                value: *value,
            },
            Op::Purge {
                purge,
                objects,
                soft,
            } => Request::Purge {
                purge: *purge,
                objects: Arc::clone(objects),
                soft: *soft,
            },
        };
        self.forward(ctx, Asker::Client(client), request);
    }

    fn stored(&self, page: usize) -> Option<&Stored> {
        self.memory.get(&page).or_else(|| self.disk.get(&page))
    }

    /// What is stored for a page, what the changes say of it, and whether a session may see it.
    fn judge(
        &self,
        ctx: &Context,
        page: usize,
        at_least: &Position,
    ) -> Option<(Arc<[Seen]>, Verdict)> {
        let stored = self.stored(page)?;
        let on = &ctx.pages.get(page)?.on;
        let verdict = if ctx.lacks(Mutation::Verdict) {
            Verdict::Valid
        } else {
            self.replica.verdict(on, stored.index)
        };
        let is_reached = matches!(reach(self.replica.position(), at_least), Reach::Reached);
        let may_see = is_reached || ctx.lacks(Mutation::Session);
        may_see.then(|| (Arc::clone(&stored.seen), verdict))
    }

    /// The answer from the cache, if there is one.
    fn look_up(&mut self, ctx: &Context, page: usize, at_least: &Position) -> Option<Reply> {
        let (seen, verdict) = self.judge(ctx, page, at_least)?;
        let answer = |source| {
            Some(Reply::Read {
                source,
                seen: seen.to_vec(),
            })
        };
        match verdict {
            Verdict::Valid if self.is_fresh(ctx) => answer(Source::Hit),
            Verdict::Valid => match self.outage {
                Outage::Revalidate => None,
                Outage::ServeStale => answer(Source::Stale),
                Outage::Fail => Some(Reply::Read {
                    source: Source::Error,
                    seen: Vec::new(),
                }),
            },
            Verdict::Soft => None,
            Verdict::Ended | Verdict::Unknown => {
                self.memory.remove(&page);
                self.disk.remove(&page);
                None
            }
        }
    }

    /// What is stored, marked as stale, if it is served so when no core answers.
    fn stale(&self, ctx: &Context, request: &Request) -> Option<Reply> {
        if let Request::Read { page, at_least } = request
            && self.outage == Outage::ServeStale
            && let Some((seen, verdict)) = self.judge(ctx, *page, at_least)
            && matches!(verdict, Verdict::Valid | Verdict::Soft)
        {
            return Some(Reply::Read {
                source: Source::Stale,
                seen: seen.to_vec(),
            });
        }
        None
    }
}

fn unanswered(request: &Request) -> Reply {
    match request {
        Request::Read { .. } => Reply::Read {
            source: Source::Error,
            seen: Vec::new(),
        },
        Request::Write { .. } => Reply::NotWritten,
        Request::Purge { .. } => Reply::NotPurged,
    }
}

/// Nobody was there.
fn unasked(op: &Op) -> Reply {
    match op {
        Op::Read { .. } => Reply::Read {
            source: Source::Error,
            seen: Vec::new(),
        },
        Op::Write { .. } => Reply::NotWritten,
        Op::Purge { .. } => Reply::NotPurged,
    }
}

fn reply(ctx: &mut Context, client: usize, reply: Reply) {
    // Between a PoP and its clients.
    let delay_us = ctx.random.between(500, 15_000);
    ctx.after(delay_us, Next::Reply { client, reply });
}
