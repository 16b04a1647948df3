//! How far this PoP has got: what the feed has applied and said. The feed writes it; everyone may read it.

use brink_protocol::{
    Position,
    log::{self, Reach},
};
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;

/// How long an answer to a write, or to a purge, waits until this PoP has applied it. Then it is answered all the same:
/// the session token on it keeps the promise, see [`crate::pipeline`].
pub const APPLIED_WAIT_MAX: Duration = Duration::from_secs(1);

/// What the feed has brought.
#[derive(Debug)]
pub struct Progress {
    live: AtomicBool,
    feed_resets: AtomicU64,
    head: Mutex<Position>,
    region: Mutex<String>,
    applied: watch::Sender<u64>,
    revision_wanted: watch::Sender<u64>,
    revision_active: AtomicU64,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            live: AtomicBool::new(false),
            feed_resets: AtomicU64::new(0),
            head: Mutex::default(),
            region: Mutex::default(),
            applied: watch::Sender::new(0),
            revision_wanted: watch::Sender::new(0),
            revision_active: AtomicU64::new(0),
        }
    }
}

impl Progress {
    /// The feed began (`true`) or broke (`false`).
    pub fn set_live(&self, live: bool) {
        self.live.store(live, Ordering::Release);
    }

    /// Whether the feed is running: it has begun and is not known to be broken.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.live.load(Ordering::Acquire)
    }

    /// The feed could not go on where this PoP was: everything was dropped.
    pub fn feed_was_reset(&self) {
        self.feed_resets.fetch_add(1, Ordering::Relaxed);
    }

    /// How often that happened.
    #[must_use]
    pub fn feed_resets(&self) -> u64 {
        self.feed_resets.load(Ordering::Relaxed)
    }

    /// A change was applied to the cache, or keys came: those who wait look again.
    pub fn applied(&self) {
        self.applied.send_modify(|count| *count += 1);
    }

    /// Waits until `is_reached` holds, looking again after each applied change; at most `limit`. Answers whether it does.
    pub async fn wait_until(&self, limit: Duration, is_reached: impl Fn() -> bool) -> bool {
        let mut watching = self.applied.subscribe();
        let waiting = async {
            while !is_reached() {
                if watching.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(limit, waiting).await.is_ok() || is_reached()
    }

    /// The core said where its log ends.
    pub fn set_head(&self, head: Position) {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = head;
    }

    /// Where the core's log ended when it last said so.
    #[must_use]
    pub fn head(&self) -> Position {
        self.head
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The core's region; empty until the feed has said it.
    #[must_use]
    pub fn region(&self) -> String {
        self.region
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The feed said which region the core is in.
    pub fn set_region(&self, region: String) {
        *self.region.lock().unwrap_or_else(PoisonError::into_inner) = region;
    }

    /// The feed said that the deployment table has this revision.
    pub fn want_revision(&self, revision: u64) {
        self.revision_wanted.send_if_modified(|wanted| {
            let changes = *wanted != revision;
            *wanted = revision;
            changes
        });
    }

    /// The feed brought the change that made this revision; an old one, brought again, counts for nothing. Changes of
    /// another core's table have revision 0 and leave what is wanted as it is.
    pub fn want_revision_at_least(&self, revision: u64) {
        let wanted = *self.revision_wanted.borrow();
        self.want_revision(revision.max(wanted));
    }

    /// The revision that the feed said last, to wait for the next.
    #[must_use]
    pub fn revision_wanted(&self) -> watch::Receiver<u64> {
        self.revision_wanted.subscribe()
    }

    /// This revision of the deployment table is active as a whole.
    pub fn set_revision_active(&self, revision: u64) {
        self.revision_active.store(revision, Ordering::Release);
    }

    /// The revision of the deployment table that is active as a whole; 0: none.
    #[must_use]
    pub fn revision_active(&self) -> u64 {
        self.revision_active.load(Ordering::Acquire)
    }
}

/// Whether a PoP that has `applied` so much has seen all of `position`, or need not see it any more: see [`log::reach`].
#[must_use]
pub fn has_reached(applied: &Position, position: &Position) -> bool {
    match log::reach(applied, position) {
        Reach::Reached => true,
        Reach::Behind(..) => false,
    }
}

/// How many changes `behind` has not applied that `head` has, over all origins.
#[must_use]
pub fn lag(behind: &Position, head: &Position) -> u64 {
    head.iter()
        .map(|(origin, sequence)| sequence.saturating_sub(behind.get(origin)))
        .sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::Arc;

    #[test]
    fn lag_counts_over_all_origins() {
        for (behind, head, changes) in [
            ("", "", 0),
            ("a.1=3", "a.1=3", 0),
            ("a.1=3", "a.1=5,b.1=2", 4),
            ("a.1=9", "a.1=5", 0),
        ] {
            let (behind, head) = (behind.parse().unwrap(), head.parse().unwrap());
            assert_eq!(lag(&behind, &head), changes, "{behind} {head}");
        }
    }

    #[tokio::test]
    async fn waiting_ends_when_it_is_reached_or_too_late() {
        let progress = Arc::new(Progress::default());
        let reached = Arc::new(AtomicBool::new(false));
        assert!(!progress.wait_until(Duration::ZERO, || false).await);
        let waiting = {
            let (progress, reached) = (Arc::clone(&progress), Arc::clone(&reached));
            tokio::spawn(async move {
                let reached = || reached.load(Ordering::Relaxed);
                progress.wait_until(Duration::from_secs(60), reached).await
            })
        };
        progress.applied();
        reached.store(true, Ordering::Relaxed);
        progress.applied();
        assert!(waiting.await.unwrap());
    }
}
