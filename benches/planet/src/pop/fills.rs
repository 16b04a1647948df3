//! Fills: through a core, or first through the shield of the page.

use super::{Pop, Stored, reply, unanswered};
use crate::{
    context::{Context, Next, Node},
    history::{Seen, Source},
    messages::{Answer, Message, Reply, Request, Told},
    mutation::Mutation,
    network::Stream,
};
use brink_policy::coherence::{Admission, FillStart};
use brink_protocol::Position;
use std::sync::Arc;

/// A request to a core or a shield that takes longer is given up, in microseconds.
const REQUEST_US_MAX: u64 = 1_300_000;
/// How often a request is sent to a core at most.
const TRIES_MAX: usize = 3;
/// Entries in memory; beyond it one leaves by chance.
const MEMORY_MAX: usize = 24;

/// Whom an answer is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asker {
    Client(usize),
    /// A PoP whose shield this is, and the number of its question.
    Pop(usize, u64),
}

/// A request to a core, or to a shield.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) asker: Asker,
    pub(super) request: Request,
    start: FillStart,
    to: Node,
    tries: usize,
}

impl Pop {
    /// Asks whoever knows.
    pub(super) fn forward(&mut self, ctx: &mut Context, asker: Asker, request: Request) {
        let start = self.replica.begin();
        let shield = match (&request, asker) {
            (Request::Read { page, .. }, Asker::Client(_)) => self.shield_of(ctx, *page),
            _ => None,
        };
        let flight = Flight {
            asker,
            request,
            start,
            to: shield.map_or(Node::Core(self.core), Node::Pop),
            tries: usize::from(shield.is_none()),
        };
        self.send(ctx, flight);
    }

    fn send(&mut self, ctx: &mut Context, flight: Flight) {
        self.requests += 1;
        let id = self.requests;
        let mut request = flight.request.clone();
        if let (Node::Pop(_), Request::Read { at_least, .. }) = (flight.to, &mut request) {
            at_least.merge(&flight.start.position);
        }
        let (from, to) = (Node::Pop(self.id), flight.to);
        self.flights.insert(id, flight);
        ctx.send(from, to, Stream::Single, Message::Request { id, request });
        let late = Next::Late {
            pop: self.id,
            run: self.run,
            id,
        };
        ctx.after(REQUEST_US_MAX, late);
    }

    /// A request has taken too long.
    pub fn late(&mut self, ctx: &mut Context, id: u64) {
        if let Some(flight) = self.flights.remove(&id) {
            self.again(ctx, flight);
        }
    }

    /// Asks a core after a shield, another core, or gives up. What was asked may have been done all the same.
    fn again(&mut self, ctx: &mut Context, mut flight: Flight) {
        let is_done = flight.tries >= TRIES_MAX;
        let gives_up = matches!(flight.request, Request::Write { .. }) && ctx.random.chance(0.3);
        if is_done || gives_up {
            return match flight.asker {
                Asker::Client(client) => {
                    let answer = self.fall_back(ctx, &flight.request);
                    reply(ctx, client, answer);
                }
                Asker::Pop(pop, id) => self.tell(ctx, (pop, id), None),
            };
        }
        let core = match flight.to {
            Node::Pop(_) => self.core,
            _ => ctx.random.pick(&self.cores).copied().unwrap_or(self.core),
        };
        flight.to = Node::Core(core);
        flight.tries += 1;
        self.send(ctx, flight);
    }

    pub(super) fn on_answer(&mut self, ctx: &mut Context, id: u64, answer: Answer) {
        let Some(flight) = self.flights.remove(&id) else {
            return;
        };
        let answer = match answer {
            Answer::Unavailable => return self.again(ctx, flight),
            Answer::Written { version, place } => Reply::Written { version, place },
            Answer::Purged { place } => Reply::Purged { place },
            Answer::Read { seen, read_at } => {
                let mut is_kept = false;
                if let Request::Read { page, .. } = flight.request {
                    is_kept = self.store(ctx, page, &flight.start, &seen, Some(&read_at));
                }
                if let Asker::Pop(pop, id) = flight.asker {
                    return self.tell(ctx, (pop, id), Some(Told { seen, is_kept }));
                }
                Reply::Read {
                    source: Source::Forward,
                    seen,
                }
            }
        };
        if let Asker::Client(client) = flight.asker {
            reply(ctx, client, answer);
        }
    }

    /// A shield has answered, or passes.
    pub(super) fn on_told(&mut self, ctx: &mut Context, id: u64, told: Option<Told>) {
        let Some(flight) = self.flights.remove(&id) else {
            return;
        };
        let Some(told) = told else {
            return self.again(ctx, flight);
        };
        ctx.figures.shielded += 1;
        if let (true, Request::Read { page, .. }) = (told.is_kept, &flight.request) {
            self.store(ctx, *page, &flight.start, &told.seen, None);
        }
        if let Asker::Client(client) = flight.asker {
            let answer = Reply::Read {
                source: Source::Forward,
                seen: told.seen,
            };
            reply(ctx, client, answer);
        }
    }

    /// What is said when no core answers.
    fn fall_back(&self, ctx: &Context, request: &Request) -> Reply {
        self.stale(ctx, request)
            .unwrap_or_else(|| unanswered(request))
    }

    /// Stores what a fill brought, if the fence lets it; whether it did. `read_at`: where a core read it; none: a shield
    /// says so.
    fn store(
        &mut self,
        ctx: &mut Context,
        number: usize,
        start: &FillStart,
        seen: &[Seen],
        read_at: Option<&Position>,
    ) -> bool {
        let Some(page) = ctx.pages.get(number) else {
            return false;
        };
        let mut index = start.index;
        let read_at = read_at.filter(|_| !page.keys.is_empty());
        let is_held = !ctx.lacks(Mutation::ReadBehind);
        match self
            .replica
            .admit(start, &page.on, read_at.filter(|_| is_held))
        {
            Admission::Store => {}
            Admission::Fenced | Admission::Unknown if ctx.lacks(Mutation::Fence) => {
                index = self.replica.begin().index;
            }
            Admission::Fenced | Admission::Unknown => {
                ctx.figures.fenced += 1;
                return false;
            }
            Admission::ReadBehind => {
                ctx.figures.read_behind += 1;
                return false;
            }
        }
        if self.memory.len() >= MEMORY_MAX {
            let mut present: Vec<usize> = self.memory.keys().copied().collect();
            present.sort_unstable();
            if let Some(leaves) = ctx.random.pick(&present) {
                self.memory.remove(leaves);
            }
        }
        // What shows objects was seen at a moment of its own.
        let read_at = read_at.filter(|_| page.objects.is_empty());
        let stored = Stored {
            index,
            position: read_at
                .map_or_else(|| Arc::clone(&start.position), |at| Arc::new(at.clone())),
            seen: seen.into(),
        };
        if ctx.scenario.has_disks {
            self.disk.insert(number, stored.clone());
        }
        self.memory.insert(number, stored);
        true
    }
}
