//! A core: appends to its log, writes records, serves feeds, exchanges logs with its peers, and takes over those of the dead.

mod exchange;
mod feeds;
mod held;
mod knowledge;
mod reads;
mod writes;

use crate::{
    clock::Clock,
    context::{Context, Next, Node},
    messages::{Answer, Entry, Members, Message, Request, StoreAnswer, StoreRequest},
    mutation::Mutation,
    network::Stream,
};
use brink_policy::coherence::touched_by;
use brink_protocol::{
    NodeName, OriginId,
    change::{Change, ChangeKind, Phase},
    log::Log,
};
use held::Held;
use knowledge::Knowledge;
use reads::Reads;
use rustc_hash::FxHashSet;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use writes::Writes;

/// How often a core does its regular work, in microseconds.
const TICK_US: u64 = 250_000;
/// A record that no client reads: what the log of a later life begins with.
const FIRST_KEY: u64 = 1 << 40;

/// A core.
#[derive(Debug)]
pub struct Core {
    id: usize,
    name: NodeName,
    clock: Clock,
    run: u32,
    /// None while it is down or has not joined yet.
    live: Option<Live>,
    is_up: bool,
}

/// What a process of a core has in memory.
#[derive(Debug)]
struct Live {
    origin: OriginId,
    term: u64,
    log: Log,
    held: Held,
    /// Its own log, and those that it has taken over.
    owned: BTreeSet<OriginId>,
    knowledge: Knowledge,
    /// PoPs with the numbers of their feeds.
    followers: BTreeMap<usize, u64>,
    /// Cores that are sent the logs that are owned here.
    peers: BTreeSet<usize>,
    writes: Writes,
    reads: Reads,
    taking_over: Option<(OriginId, u64)>,
    lacks_entries: bool,
    /// How many of the next frames of a PoP's feed are dropped.
    dropping: BTreeMap<usize, u64>,
    /// Purges in the logs that are held, with their places.
    purges: Vec<(u64, OriginId, u64)>,
    reported: FxHashSet<(u64, usize)>,
    ticks: u64,
}

impl Core {
    /// One that is down.
    #[must_use]
    pub fn new(id: usize, name: NodeName, clock: Clock) -> Self {
        Self {
            id,
            name,
            clock,
            run: 0,
            live: None,
            is_up: false,
        }
    }

    /// Its place among the nodes.
    #[must_use]
    pub fn node(&self) -> Node {
        Node::Core(self.id)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &NodeName {
        &self.name
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

    /// Its process begins.
    pub fn start(&mut self, ctx: &mut Context) {
        if self.is_up {
            return;
        }
        self.is_up = true;
        self.run += 1;
        let sent_ms = self.clock.ms(ctx.now_us);
        self.ask_store(ctx, StoreRequest::Join { sent_ms });
        self.tick_later(ctx);
    }

    /// Its process ends: what was in memory is gone, what was sent is on its way.
    pub fn crash(&mut self) {
        self.is_up = false;
        self.live = None;
        self.run += 1;
    }

    fn tick_later(&self, ctx: &mut Context) {
        let node = Node::Core(self.id);
        ctx.after(
            TICK_US,
            Next::Tick {
                node,
                run: self.run,
            },
        );
    }

    /// Each process has connections of its own: what one that ended has sent may arrive later than what the next sends.
    fn stream(&self) -> Stream {
        Stream::of(u64::from(self.run))
    }

    fn ask_store(&self, ctx: &mut Context, request: StoreRequest) {
        let message = Message::Store {
            run: self.run,
            request,
        };
        ctx.send(Node::Core(self.id), Node::Store, self.stream(), message);
    }

    fn answer(&self, ctx: &mut Context, pop: usize, id: u64, answer: Answer) {
        let message = Message::Answer { id, answer };
        ctx.send(Node::Core(self.id), Node::Pop(pop), Stream::Single, message);
    }

    /// A message arrives.
    pub fn on(&mut self, ctx: &mut Context, from: Node, message: Message) {
        match (from, message) {
            (Node::Store, Message::Stored { run, answer }) if run == self.run => {
                self.on_stored(ctx, answer);
            }
            (Node::Pop(pop), Message::Ask { feed, position }) => {
                self.on_ask(ctx, pop, feed, position.as_ref());
            }
            (
                Node::Pop(pop),
                Message::Report {
                    id,
                    feed,
                    position,
                    purges,
                },
            ) => {
                self.on_report(ctx, pop, id, &position, &purges);
                self.reset_unknown(ctx, pop, feed);
            }
            (Node::Pop(pop), Message::Request { id, request }) => {
                self.on_request(ctx, pop, id, request);
            }
            (Node::Core(peer), message) => self.on_peer(ctx, peer, message),
            _ => {}
        }
    }

    fn on_request(&mut self, ctx: &mut Context, pop: usize, id: u64, request: Request) {
        if self.live.is_none() {
            return self.answer(ctx, pop, id, Answer::Unavailable);
        }
        match request {
            Request::Read { page, at_least } => self.on_read(ctx, (pop, id), page, at_least),
            Request::Write { key, value } => self.on_write(ctx, (pop, id), key, value),
            Request::Purge {
                purge,
                objects,
                soft,
            } => self.on_purge(ctx, (pop, id), purge, &objects, soft),
        }
    }

    fn on_stored(&mut self, ctx: &mut Context, answer: StoreAnswer) {
        match answer {
            StoreAnswer::Joined {
                sent_ms,
                origin,
                term,
                logs,
                members,
            } => self.on_joined(ctx, sent_ms, (origin, term), &logs, members),
            StoreAnswer::Appended { entry } => self.on_appended(ctx, &entry),
            StoreAnswer::Refused { origin } => self.on_refused(ctx, &origin),
            StoreAnswer::Put { value, version } => self.on_put(ctx, value, version),
            StoreAnswer::Read {
                token,
                seen,
                read_at,
            } => self.on_store_read(ctx, token, seen, read_at),
            StoreAnswer::Polled {
                sent_ms,
                members,
                heads,
                entries,
            } => self.on_polled(ctx, sent_ms, members, heads, &entries),
            StoreAnswer::Opened {
                origin,
                term,
                entries,
            } => self.on_opened(ctx, &origin, term, &entries),
        }
    }

    /// The store says which life this process leads.
    fn on_joined(
        &mut self,
        ctx: &mut Context,
        sent_ms: u64,
        (origin, term): (OriginId, u64),
        logs: &BTreeMap<OriginId, Vec<Arc<Entry>>>,
        members: Members,
    ) {
        let own = logs.get(&origin).map_or(&[][..], Vec::as_slice);
        let Ok(mut log) = Log::recover(origin.clone(), own.iter().map(|entry| &entry.change))
        else {
            return;
        };
        let settled = if ctx.lacks(Mutation::Settle) {
            Vec::new()
        } else {
            log.take_over(self.clock.ms(ctx.now_us))
        };
        let is_later_life = origin.incarnation > 1 && own.is_empty();
        let mut live = Live {
            owned: BTreeSet::from([origin.clone()]),
            origin,
            term,
            log,
            held: Held::new(ctx.scenario.keep),
            knowledge: Knowledge::default(),
            followers: BTreeMap::new(),
            peers: BTreeSet::new(),
            writes: Writes::default(),
            reads: Reads::default(),
            taking_over: None,
            lacks_entries: false,
            dropping: BTreeMap::new(),
            purges: Vec::new(),
            reported: FxHashSet::default(),
            ticks: 0,
        };
        let origins: Vec<OriginId> = logs.keys().cloned().collect();
        for entry in logs.values().flatten() {
            live.held.hold(entry);
            live.note_purge(entry);
        }
        live.knowledge.learn(members, sent_ms);
        let heads = live.held.heads().clone();
        live.knowledge
            .claim(sent_ms, heads.clone(), origins, &heads);
        self.live = Some(live);
        for change in settled {
            self.send_append(ctx, change, term, None);
        }
        if is_later_life {
            let kind = ChangeKind::Records {
                partition: ctx.names.partition(FIRST_KEY),
                records: vec![ctx.names.record(FIRST_KEY, None)],
                phase: Phase::Written,
            };
            self.append(ctx, kind, None);
        }
    }

    /// Appends to the own log; gives the sequence.
    fn append(&mut self, ctx: &mut Context, kind: ChangeKind, purge: Option<u64>) -> Option<u64> {
        let at_ms = self.clock.ms(ctx.now_us);
        let live = self.live.as_mut()?;
        let change = live.log.append(at_ms, kind).ok()?;
        let (sequence, term) = (change.sequence, live.term);
        self.send_append(ctx, change, term, purge);
        Some(sequence)
    }

    fn send_append(&self, ctx: &mut Context, change: Change, term: u64, purge: Option<u64>) {
        let touch = touched_by(&change);
        let entry = Arc::new(Entry {
            change,
            touch,
            purge,
        });
        self.ask_store(ctx, StoreRequest::Append { term, entry });
    }

    /// Somebody else writes this log now.
    fn on_refused(&mut self, ctx: &mut Context, origin: &OriginId) {
        let Some(live) = &mut self.live else {
            return;
        };
        if live.origin == *origin {
            let node = Node::Core(self.id);
            ctx.after(0, Next::Crash { node });
        } else {
            live.taking_over = None;
        }
    }

    /// Its regular work.
    pub fn tick(&mut self, ctx: &mut Context) {
        self.tick_later(ctx);
        self.tick_exchange(ctx);
        self.tick_feeds(ctx);
        self.tick_reads(ctx);
    }
}

impl Live {
    fn note_purge(&mut self, entry: &Entry) {
        if let Some(purge) = entry.purge {
            let change = &entry.change;
            self.purges
                .push((purge, change.origin.clone(), change.sequence));
        }
    }
}
