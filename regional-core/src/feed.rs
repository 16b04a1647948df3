//! The feed: the logs of all origins that this core holds, merged into one stream of frames for each PoP; and this core's
//! own log alone for each of its peers.
//!
//! Followers read by position. The newest changes are kept encoded in memory, once for all followers ([`recent`]); what is
//! older is read from the store. So a slow follower costs nothing but the chunks that wait for its socket, and is cut off
//! when the socket takes none for the time that the terms allow; it resumes from its position.

mod follower;
mod recent;

use self::{
    follower::{Follower, Scope},
    recent::{Chunk, Found, Recent, encode},
};
use crate::{
    Error, clock::now_ms, exchange::Ages, pops::Pops, session_keys::SessionSigner, store::Store,
};
use brink_protocol::{
    NodeName, OriginId, PopName, Position,
    codec::encode_frame,
    link::{CountRequest, FeedMessage},
    log::{self, Resume},
};
use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio_util::sync::CancellationToken;

/// Bytes of frames that are kept in memory for all followers, over all origins.
pub const RECENT_BYTES_MAX: usize = 16 << 20;
/// Followers at a time; more are refused.
pub const FOLLOWERS_MAX: usize = 10_000;
/// Counts that wait for one follower; one that lets more come together is cut off.
pub const COUNTS_MAX: usize = 64;
/// A core that has nothing of this core's log is given all of it if it is no longer than this; else it begins at the head.
pub const REPLAYED_MAX: u64 = 10_000;
/// Chunks that wait for one follower's socket.
const CHUNKS_MAX: usize = 2;
/// Changes that are read from the store at a time.
const READ_CHANGES: usize = 256;
/// Followers for which old changes are read from the store at the same time.
const OLD_READERS_MAX: usize = 4;

/// What the feed says of itself at its start, and how patient it is.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The core's region.
    pub region: String,
    /// How long an edge may call coherent entries fresh without a new word of how far the log is, in milliseconds.
    pub lease_ms: u64,
    /// A follower whose socket takes nothing for so long is cut off, in milliseconds.
    pub stall_ms: u64,
}

/// Who follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reader {
    /// A PoP: the changes of all origins, the session keys of all cores, counts.
    Pop(PopName),
    /// Another core: this core's own changes and session keys.
    Core(NodeName),
}

/// The logs as a source of frames.
pub struct Feed {
    store: Arc<dyn Store>,
    pops: Arc<Pops>,
    sessions: Arc<SessionSigner>,
    ages: Arc<Ages>,
    terms: Terms,
    recent: Mutex<Recent>,
    /// Held by the one follower that reads what is new from the store for all.
    filling: tokio::sync::Mutex<()>,
    old_readers: Semaphore,
    followers: Arc<Semaphore>,
    counts: broadcast::Sender<Bytes>,
}

impl Feed {
    /// Over a store.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        pops: Arc<Pops>,
        sessions: Arc<SessionSigner>,
        ages: Arc<Ages>,
        terms: Terms,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            pops,
            sessions,
            ages,
            terms,
            recent: Mutex::new(Recent::new(RECENT_BYTES_MAX)),
            filling: tokio::sync::Mutex::new(()),
            old_readers: Semaphore::new(OLD_READERS_MAX),
            followers: Arc::new(Semaphore::new(FOLLOWERS_MAX)),
            counts: broadcast::Sender::new(COUNTS_MAX),
        })
    }

    /// The core's region.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.terms.region
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks every PoP that follows now how much a purge would end; they answer in their reports.
    ///
    /// # Errors
    /// It is over a message's size.
    pub fn count(&self, request: &CountRequest) -> Result<(), Error> {
        let frame = encode_frame(&FeedMessage::Count(request.clone()))?;
        // Nobody may follow now.
        let _ = self.counts.send(frame);
        Ok(())
    }

    /// Begins to follow: chunks of frames arrive in the channel until the follower goes away, is cut off, or `stop`.
    /// None: there are [`FOLLOWERS_MAX`] already.
    ///
    /// # Errors
    /// Its first message is over a message's size.
    pub fn follow(
        self: &Arc<Self>,
        reader: Reader,
        asked: Option<&Position>,
        revision: u64,
        stop: CancellationToken,
    ) -> Result<Option<mpsc::Receiver<Bytes>>, Error> {
        let Ok(permit) = Arc::clone(&self.followers).try_acquire_owned() else {
            return Ok(None);
        };
        let scope = match &reader {
            Reader::Pop(_) => Scope::All,
            Reader::Core(_) => Scope::Own(self.store.origin().clone()),
        };
        let mut held = self.store.held();
        let view = scope.view(&held.borrow_and_update());
        let nothing = Position::default();
        let asked = match reader {
            // All of a short log, so that its PoPs need not start anew because of a peer that has hardly begun.
            Reader::Core(_) if asked.is_none() && self.store.span().head <= REPLAYED_MAX => {
                Some(&nothing)
            }
            Reader::Core(_) | Reader::Pop(_) => asked,
        };
        let resume = log::resume(&view.kept, self.store.origin(), asked);
        let (position, resumed) = match resume {
            Resume::After(position) => (position, true),
            Resume::Anew(position) => (position, false),
        };
        let start = encode_frame(&FeedMessage::Start {
            position: position.clone(),
            head: view.heads.clone(),
            resumed,
            revision,
            region: self.terms.region.clone(),
            lease_ms: self.terms.lease_ms,
            age_ms: match reader {
                Reader::Pop(_) => self.ages.age_ms(&view),
                Reader::Core(_) => 0,
            },
        })?;
        let (chunks, receiver) = mpsc::channel(CHUNKS_MAX);
        tracing::info!(?reader, resumed, %position, "a follower of the feed begins");
        let following = match &reader {
            Reader::Pop(pop) => Some(self.pops.follow(pop, now_ms())),
            Reader::Core(_) => None,
        };
        let follower = Follower::new(Arc::clone(self), scope, held, position, chunks);
        tokio::spawn(async move {
            let _ends_with_it = (following, permit);
            let reason = tokio::select! {
                reason = follower.run(start) => reason,
                () = stop.cancelled() => "the core stops",
            };
            tracing::info!(?reader, reason, "a follower of the feed ends");
        });
        Ok(Some(receiver))
    }

    /// What follows `after` in the origin's log, at least one frame if there is any.
    async fn chunk(&self, origin: &OriginId, after: u64) -> Result<Option<Chunk>, Error> {
        let found = self.recent().after(origin, after);
        match found {
            Found::Chunk(chunk) => return Ok(Some(chunk)),
            Found::Older => return self.old_chunk(origin, after).await,
            Found::Newer => {}
        }
        let filling = self.filling.lock().await;
        // Another follower may have read it while this one waited.
        let found = self.recent().after(origin, after);
        match found {
            Found::Chunk(chunk) => return Ok(Some(chunk)),
            Found::Older => {
                drop(filling);
                return self.old_chunk(origin, after).await;
            }
            Found::Newer => {}
        }
        let slabs = encode(self.store.changes(origin, after, READ_CHANGES).await?)?;
        let mut recent = self.recent();
        recent.push(origin, slabs);
        Ok(match recent.after(origin, after) {
            Found::Chunk(chunk) => Some(chunk),
            Found::Newer | Found::Older => None,
        })
    }

    /// Old changes are read for one late follower, and do not push out the new ones that all others want.
    async fn old_chunk(&self, origin: &OriginId, after: u64) -> Result<Option<Chunk>, Error> {
        let _permit = self.old_readers.acquire().await;
        let changes = self.store.changes(origin, after, READ_CHANGES).await?;
        // The log no longer reaches back to it: the next look at where it begins ends the follower.
        if changes
            .first()
            .is_none_or(|first| first.sequence != after + 1)
        {
            return Ok(None);
        }
        Ok(encode(changes)?.first().map(recent::Slab::chunk))
    }
}

#[cfg(test)]
mod tests;
