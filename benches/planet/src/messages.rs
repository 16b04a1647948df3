//! What nodes say to each other.

use crate::history::{Place, Seen, Source};
use brink_policy::coherence::{Start, Touch};
use brink_protocol::{OriginId, Position, change::Change};
use std::{collections::BTreeMap, sync::Arc};

/// An entry of a log, and what it touches.
#[derive(Debug)]
pub struct Entry {
    /// The entry.
    pub change: Change,
    /// See [`brink_policy::coherence::touched_by`].
    pub touch: Touch,
    /// The purge that it is.
    pub purge: Option<u64>,
}

/// What a PoP asks of a core on behalf of a client.
#[derive(Debug, Clone)]
pub enum Request {
    /// Read what a page shows.
    Read {
        /// Which page.
        page: usize,
        /// The answer must be at least as new.
        at_least: Position,
    },
    /// Write a record. Sent again with the same value it is done once.
    Write {
        /// Which record.
        key: u64,
        /// What.
        value: u64,
    },
    /// Purge.
    Purge {
        /// A name for it.
        purge: u64,
        /// What.
        objects: Arc<[u64]>,
        /// Entries become stale.
        soft: bool,
    },
}

/// What a core answers.
#[derive(Debug, Clone)]
pub enum Answer {
    /// To a read.
    Read {
        /// What was read.
        seen: Vec<Seen>,
        /// Where.
        read_at: Position,
    },
    /// To a write.
    Written {
        /// The record's version.
        version: u64,
        /// The entry that settled it.
        place: Place,
    },
    /// To a purge.
    Purged {
        /// Its entry.
        place: Place,
    },
    /// It may or may not have happened.
    Unavailable,
}

/// What a shield answers.
#[derive(Debug, Clone)]
pub struct Told {
    /// What the page shows.
    pub seen: Vec<Seen>,
    /// Whether the PoP that asked may keep it.
    pub is_kept: bool,
}

/// What a client gets to hear.
#[derive(Debug, Clone)]
pub enum Reply {
    /// To a read.
    Read {
        /// Where it came from.
        source: Source,
        /// What it shows.
        seen: Vec<Seen>,
    },
    /// To a write.
    Written {
        /// The record's version.
        version: u64,
        /// The entry that settled it.
        place: Place,
    },
    /// A write that may have happened.
    NotWritten,
    /// To a purge.
    Purged {
        /// Its entry.
        place: Place,
    },
    /// A purge that may have happened.
    NotPurged,
}

/// A core's life in the list of members.
#[derive(Debug, Clone)]
pub struct Member {
    /// The core.
    pub core: usize,
    /// None: it may append; else the last sequence that there will ever be.
    pub last: Option<u64>,
    /// How long the store has not heard from it, in milliseconds.
    pub silent_ms: u64,
}

/// All lives of all cores.
pub type Members = BTreeMap<OriginId, Member>;

/// What a core asks of the shared store.
#[derive(Debug)]
pub enum StoreRequest {
    /// A process has begun: which life may it lead?
    Join {
        /// By the core's clock.
        sent_ms: u64,
    },
    /// Append to a log.
    Append {
        /// The writer's term.
        term: u64,
        /// What.
        entry: Arc<Entry>,
    },
    /// Write a record.
    Put {
        /// On behalf of which log.
        origin: OriginId,
        /// The writer's term.
        term: u64,
        /// Which record.
        key: u64,
        /// What.
        value: u64,
    },
    /// Read what a page shows.
    Read {
        /// For whom.
        token: u64,
        /// Which page.
        page: usize,
        /// How old it may be, in microseconds.
        lag_us: u64,
    },
    /// Say that the core is there; who else is, and where do all logs end?
    Poll {
        /// By the core's clock.
        sent_ms: u64,
        /// Entries after it are wanted too.
        after: Option<Position>,
    },
    /// Take a log over: its writer may not write any more.
    Open {
        /// Whose log.
        origin: OriginId,
    },
    /// A log that was taken over has ended.
    Close {
        /// Whose log.
        origin: OriginId,
        /// The term that was given for it.
        term: u64,
        /// Its last sequence.
        last: u64,
    },
}

/// What the store answers.
#[derive(Debug)]
pub enum StoreAnswer {
    /// To `Join`.
    Joined {
        /// From the request.
        sent_ms: u64,
        /// The life.
        origin: OriginId,
        /// What it writes with.
        term: u64,
        /// All logs.
        logs: BTreeMap<OriginId, Vec<Arc<Entry>>>,
        /// All lives.
        members: Members,
    },
    /// It is durable.
    Appended {
        /// What.
        entry: Arc<Entry>,
    },
    /// The writer's term has ended.
    Refused {
        /// Whose log.
        origin: OriginId,
    },
    /// To `Put`.
    Put {
        /// What.
        value: u64,
        /// The record's version.
        version: u64,
    },
    /// To `Read`.
    Read {
        /// From the request.
        token: u64,
        /// What was read.
        seen: Vec<Seen>,
        /// Where the logs ended then.
        read_at: Position,
    },
    /// To `Poll`.
    Polled {
        /// From the request.
        sent_ms: u64,
        /// All lives.
        members: Members,
        /// Where all logs end.
        heads: Position,
        /// Those that were wanted.
        entries: Vec<Arc<Entry>>,
    },
    /// To `Open`.
    Opened {
        /// Whose log.
        origin: OriginId,
        /// What it is written with from now on.
        term: u64,
        /// All of it.
        entries: Vec<Arc<Entry>>,
    },
}

/// Everything that is sent.
#[derive(Debug)]
pub enum Message {
    /// PoP to core: the feed, please.
    Ask {
        /// Which feed; later ones have greater numbers.
        feed: u64,
        /// What was applied.
        position: Option<Position>,
    },
    /// Core to PoP.
    Start {
        /// Which feed.
        feed: u64,
        /// What it says.
        start: Box<Start>,
    },
    /// Core to PoP.
    Change {
        /// Which feed.
        feed: u64,
        /// The entry.
        entry: Arc<Entry>,
    },
    /// Core to PoP.
    Heartbeat {
        /// Which feed.
        feed: u64,
    },
    /// Core to PoP: ask again.
    Closed {
        /// Which feed.
        feed: u64,
    },
    /// PoP to core.
    Report {
        /// A number for it.
        id: u64,
        /// The feed that the PoP believes to have.
        feed: u64,
        /// What was applied.
        position: Arc<Position>,
        /// Purges that were.
        purges: Vec<u64>,
    },
    /// Core to PoP, to a report.
    Claim {
        /// Of the report.
        id: u64,
        /// See [`brink_protocol::link::ReportAnswer`].
        head: Position,
        /// See there.
        age_ms: u64,
    },
    /// Shield to PoP.
    Told {
        /// Of the request.
        id: u64,
        /// None: it passes.
        told: Option<Told>,
    },
    /// PoP to core, or to its shield.
    Request {
        /// A number for it.
        id: u64,
        /// What.
        request: Request,
    },
    /// Core to PoP.
    Answer {
        /// Of the request.
        id: u64,
        /// What.
        answer: Answer,
    },
    /// Core to core: the entries of your logs, please.
    Subscribe {
        /// What is held.
        position: Position,
    },
    /// Core to core.
    Exchange {
        /// The entry.
        entry: Arc<Entry>,
    },
    /// Core to core: where do your logs end?
    Heads {
        /// By the clock of who asks.
        sent_ms: u64,
    },
    /// Core to core.
    HeadsAnswer {
        /// From the request.
        sent_ms: u64,
        /// Where they end.
        head: Position,
        /// Which they are.
        origins: Vec<OriginId>,
        /// Their entries are sent to who asks.
        is_subscribed: bool,
    },
    /// Core to store.
    Store {
        /// Which process of the core.
        run: u32,
        /// What.
        request: StoreRequest,
    },
    /// Store to core.
    Stored {
        /// From the request.
        run: u32,
        /// What.
        answer: StoreAnswer,
    },
}
