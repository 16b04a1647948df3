//! Bounds of the cache.

use super::content::PIECE_BYTES;
use serde::Deserialize;
use std::path::PathBuf;

/// Smallest disk tier, in bytes.
pub(super) const DISK_BYTES_MIN: u64 = 64 << 20;
/// A body takes at most one part in so many of the tier that it lies in.
const OBJECT_PART: u64 = 4;

/// Bounds of the cache. Every key has a default.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the disk tier and the journal live. None (the default): memory only, and nothing outlives a restart.
    pub dir: Option<PathBuf>,
    /// Stored answers in memory, in bytes, with all that is kept for them there: heads, keys, tags, coded forms,
    /// bookkeeping (about 2 kB for an empty answer). Default 256 MiB.
    pub memory_bytes_max: u64,
    /// Size of the disk tier, in bytes; at least 64 MiB are used. Default 1 GiB. At most 800 times `memory_bytes_max`, which holds its index.
    pub disk_bytes_max: u64,
    /// Largest body that is stored, in bytes; larger ones are passed. At most 4 GiB, and a quarter of the disk tier (of memory,
    /// without one). Parts (206) are stored up to 8 MiB. Default 1 GiB.
    pub object_bytes_max: u64,
    /// Most variants (`Vary`) of one URI; a further one takes the place of the oldest. Default 64.
    pub variants_max: usize,
    /// Most requests that wait for one fill; further ones are forwarded by themselves. Default 100,000.
    pub followers_max: usize,
    /// When a fill takes longer than this, in milliseconds, one of the requests that wait for it is forwarded by itself; after
    /// as long another one, and so on. Each waits for a minute at most. Default 5,000.
    pub follower_wait_ms_max: u64,
    /// How long a key whose answer could not be shared is not collapsed, in milliseconds. Default 10,000.
    pub uncollapsed_ms: u64,
    /// Most tags whose last change is remembered. Entries older than the oldest of them are not served. Default 262,144
    /// (about 25 MiB when full, twice as much if each write is to another partition).
    pub changes_max: usize,
    /// Longest time for which a stale answer is served because the core or the origin is away and the route or the
    /// answer allows it, in seconds. Default 86,400.
    pub stale_seconds_max: u64,
    /// There is a feed to follow: entries count as fresh only while the lease holds (see [`super::Cache::claim`]). Set
    /// by the program, not by a file: false where there is no core.
    #[serde(skip)]
    pub follows_feed: bool,
    /// Shields are asked before origins. Set by the program, not by a file.
    #[serde(skip)]
    pub asks_shields: bool,
    /// Stored answers are held against the changes and the lease, and fills against the fence. Default true. False
    /// serves what is stale: it is there to measure what coherence costs, and only a program can set it.
    #[serde(skip)]
    pub coherence: bool,
    /// A full disk takes only what is asked for again. Default true. False writes all that is stored: it is there to measure
    /// what that costs, and only a program can set it.
    #[serde(skip)]
    pub admission: bool,
}

impl Config {
    /// What [`Config::object_bytes_max`] comes to beside the other bounds: one body must not take what many others need.
    pub(super) fn object_bytes_max(&self) -> u64 {
        let tier = match self.dir {
            Some(_) => self.disk_bytes_max.max(DISK_BYTES_MIN),
            None => self.memory_bytes_max,
        };
        // What is no longer than a piece is one entry among others.
        let share = (tier / OBJECT_PART).max(PIECE_BYTES as u64);
        self.object_bytes_max.min(share)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dir: None,
            memory_bytes_max: 256 << 20,
            disk_bytes_max: 1 << 30,
            object_bytes_max: 1 << 30,
            variants_max: 64,
            followers_max: 100_000,
            follower_wait_ms_max: 5_000,
            uncollapsed_ms: 10_000,
            changes_max: 1 << 18,
            stale_seconds_max: 86_400,
            follows_feed: false,
            asks_shields: false,
            coherence: true,
            admission: true,
        }
    }
}
