//! Clients: read, write and purge at any PoP, and carry the tokens of their sessions from one to another.

use crate::{
    context::{Context, Next},
    history::{Event, Read, Source},
    messages::Reply,
    store::Store,
};
use brink_protocol::Position;
use std::sync::Arc;

/// PoPs that clients use, so that caches are warm.
const BUSY_POPS: usize = 24;

/// What a client asks for.
#[derive(Debug, Clone)]
pub enum Op {
    /// A page.
    Read {
        /// Which.
        page: usize,
        /// What its session's token vouches for.
        at_least: Position,
    },
    /// A write.
    Write {
        /// Which record.
        key: u64,
        /// What.
        value: u64,
    },
    /// A purge.
    Purge {
        /// A name for it.
        purge: u64,
        /// What.
        objects: Arc<[u64]>,
        /// Entries become stale.
        soft: bool,
    },
}

/// What clients share: numbers that are given once.
#[derive(Debug, Default)]
pub struct Numbers {
    values: u64,
    purges: u64,
    sessions: u64,
}

/// A client: one request at a time.
#[derive(Debug)]
pub struct Client {
    id: usize,
    session: u64,
    token: Position,
    began_us: u64,
    pop: usize,
    op: Option<Op>,
    /// PoPs and pages that it reads one after the other, the last one first; none: whatever it likes.
    plan: Option<Vec<(usize, usize)>>,
}

impl Client {
    /// One that does whatever it likes.
    #[must_use]
    pub fn new(id: usize) -> Self {
        Self {
            id,
            session: 0,
            token: Position::default(),
            began_us: 0,
            pop: 0,
            op: None,
            plan: None,
        }
    }

    /// One that reads these pages at these PoPs, in no session.
    #[must_use]
    pub fn reader(id: usize, plan: Vec<(usize, usize)>) -> Self {
        Self {
            plan: Some(plan),
            ..Self::new(id)
        }
    }

    /// What it waits for an answer to.
    #[must_use]
    pub fn op(&self) -> Option<&Op> {
        self.op.as_ref()
    }

    /// Whether it has read all that it was to read.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.op.is_none() && self.plan.as_ref().is_none_or(Vec::is_empty)
    }

    /// Sends its next request.
    pub fn act(&mut self, ctx: &mut Context, numbers: &mut Numbers, store: &mut Store) {
        self.began_us = ctx.now_us;
        let op = match &mut self.plan {
            Some(plan) => {
                let Some((pop, page)) = plan.pop() else {
                    return;
                };
                self.pop = pop;
                let at_least = Position::default();
                Op::Read { page, at_least }
            }
            None if ctx.now_us >= ctx.scenario.active_us => return,
            None => self.choose(ctx, numbers, store),
        };
        self.op = Some(op);
        let arrive = Next::Arrive {
            client: self.id,
            pop: self.pop,
        };
        let delay_us = ctx.random.between(500, 15_000);
        ctx.after(delay_us, arrive);
    }

    fn choose(&mut self, ctx: &mut Context, numbers: &mut Numbers, store: &mut Store) -> Op {
        if self.session == 0 || ctx.random.chance(0.03) {
            numbers.sessions += 1;
            self.session = numbers.sessions;
            self.token = Position::default();
        }
        if ctx.random.chance(0.3) {
            let stride = (ctx.scenario.pops / BUSY_POPS).max(1);
            let busy = ctx.scenario.pops.min(BUSY_POPS);
            self.pop = ctx.random.below(busy) * stride;
        }
        if ctx.random.between(1, 100) <= ctx.scenario.reads {
            return Op::Read {
                page: ctx.random.below(ctx.pages.len()),
                at_least: self.token.clone(),
            };
        }
        match ctx.random.below(4) {
            0 => purge(ctx, numbers, store),
            _ => self.write(ctx, numbers),
        }
    }

    fn write(&self, ctx: &mut Context, numbers: &mut Numbers) -> Op {
        numbers.values += 1;
        let key = ctx.random.between(0, ctx.scenario.keys - 1);
        let value = numbers.values;
        ctx.saw(Event::WriteBegan {
            at_us: ctx.now_us,
            client: self.id as u64,
            session: self.session,
            pop: self.pop as u32,
            key,
            value,
        });
        Op::Write { key, value }
    }

    /// An answer arrives.
    pub fn hear(&mut self, ctx: &mut Context, reply: Reply) {
        let Some(op) = self.op.take() else {
            return;
        };
        match (op, reply) {
            (Op::Read { at_least, .. }, Reply::Read { source, seen }) => {
                ctx.figures.reads += 1;
                match source {
                    Source::Hit => ctx.figures.hits += 1,
                    Source::Stale => ctx.figures.stale += 1,
                    Source::Error => ctx.figures.errors += 1,
                    Source::Forward => {}
                }
                let read = Read {
                    client: self.id as u64,
                    session: self.session,
                    pop: self.pop as u32,
                    began_us: self.began_us,
                    ended_us: ctx.now_us,
                    source,
                    at_least,
                    seen,
                };
                ctx.saw(Event::Read(read));
            }
            (Op::Write { value, .. }, Reply::Written { version, place }) => {
                ctx.figures.writes += 1;
                self.token.advance(&place.origin, place.sequence);
                ctx.saw(Event::WriteAcked {
                    at_us: ctx.now_us,
                    value,
                    version: Some(version),
                    place: Some(place),
                    token: self.token.clone(),
                });
            }
            (Op::Write { value, .. }, _) => ctx.saw(Event::WriteFailed {
                at_us: ctx.now_us,
                value,
                is_unknown: true,
            }),
            (Op::Purge { purge, .. }, Reply::Purged { place }) => {
                ctx.figures.purges += 1;
                self.token.advance(&place.origin, place.sequence);
                ctx.saw(Event::PurgeAcked {
                    at_us: ctx.now_us,
                    id: purge,
                });
                ctx.after(ctx.scenario.bound_us(), Next::Audit { purge });
            }
            _ => {}
        }
        let think_us = match self.plan {
            Some(_) => 0,
            None => ctx.random.between(0, ctx.scenario.think_us),
        };
        ctx.after(think_us, Next::Act { client: self.id });
    }
}

/// The origin has something new, and who put it there purges what was stored of it.
fn purge(ctx: &mut Context, numbers: &mut Numbers, store: &mut Store) -> Op {
    let count = 1 + ctx.random.below(2);
    let mut objects: Vec<u64> = (0..count)
        .map(|_| ctx.random.between(0, ctx.scenario.objects - 1))
        .collect();
    objects.sort_unstable();
    objects.dedup();
    let at_us = ctx.now_us;
    for object in &objects {
        let generation = store.renew(*object);
        ctx.saw(Event::OriginChanged {
            at_us,
            object: *object,
            generation,
        });
    }
    numbers.purges += 1;
    let id = numbers.purges;
    let soft = ctx.random.chance(0.25);
    ctx.saw(Event::PurgeBegan {
        at_us,
        id,
        objects: objects.clone(),
        soft,
    });
    Op::Purge {
        purge: id,
        objects: objects.into(),
        soft,
    }
}
