//! The feed: the log of this core as a stream of frames, one for each PoP.
//!
//! Followers read by position. The newest changes are kept encoded in memory, once for all followers; what is older is
//! read from the store. So a slow follower costs nothing but the chunks that wait for its socket, and is cut off when the
//! socket takes none for [`STALL_MS_MAX`]; it resumes from its position.

use crate::{
    Error,
    clock::now_ms,
    pops::{Following, Pops},
    records::{position, position_of},
    store::Store,
};
use brink_protocol::{
    Position,
    codec::encode_frame,
    link::{FeedMessage, FeedRequest, HEARTBEAT_MS},
};
use bytes::{Bytes, BytesMut};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Bytes of frames that are kept in memory for all followers.
pub const RECENT_BYTES_MAX: usize = 16 << 20;
/// A follower whose socket takes nothing for so long is cut off, in milliseconds.
pub const STALL_MS_MAX: u64 = 10_000;
/// Chunks that wait for one follower's socket.
const CHUNKS_MAX: usize = 2;
/// Bytes that are put into one chunk; a single larger frame is a chunk of its own.
const CHUNK_BYTES: usize = 64 << 10;
/// Changes that are read from the store at a time.
const READ_CHANGES: usize = 256;

/// A change as a frame.
#[derive(Clone)]
struct Frame {
    sequence: u64,
    bytes: Bytes,
}

/// The newest frames, gapless.
#[derive(Default)]
struct Recent {
    frames: VecDeque<Frame>,
    bytes: usize,
}

impl Recent {
    /// Frames after `after`, as many as make a chunk; none if they are not all here.
    fn after(&self, after: u64) -> Option<Vec<Frame>> {
        let first = self.frames.front()?.sequence;
        let begin = usize::try_from((after + 1).checked_sub(first)?).ok()?;
        let mut bytes = 0;
        let frames: Vec<Frame> = self
            .frames
            .iter()
            .skip(begin)
            .take_while(|frame| {
                let fits = bytes == 0 || bytes + frame.bytes.len() <= CHUNK_BYTES;
                bytes += frame.bytes.len();
                fits
            })
            .cloned()
            .collect();
        (!frames.is_empty()).then_some(frames)
    }

    /// Adds a frame that follows the last one; any other begins anew.
    fn push(&mut self, frame: Frame) {
        let last = self.frames.back().map(|frame| frame.sequence);
        if last.is_some_and(|last| last + 1 != frame.sequence) {
            self.frames.clear();
            self.bytes = 0;
        }
        self.bytes += frame.bytes.len();
        self.frames.push_back(frame);
        while self.bytes > RECENT_BYTES_MAX && self.frames.len() > 1 {
            self.bytes -= self.frames.pop_front().map_or(0, |frame| frame.bytes.len());
        }
    }
}

/// What the feed says of itself at its start.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The core's region.
    pub region: String,
    /// How long an edge may call coherent entries fresh without hearing from the feed, in milliseconds.
    pub lease_ms: u64,
}

/// The log as a source of frames.
pub struct Feed {
    store: Arc<dyn Store>,
    pops: Arc<Pops>,
    terms: Terms,
    recent: Mutex<Recent>,
    /// Held by the one follower that reads what is new from the store for all.
    filling: tokio::sync::Mutex<()>,
}

/// Where a follower begins.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Begin {
    position: Position,
    resumed: bool,
    after: u64,
}

impl Feed {
    /// Over a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, pops: Arc<Pops>, terms: Terms) -> Arc<Self> {
        let (recent, filling) = Default::default();
        Arc::new(Self {
            store,
            pops,
            terms,
            recent,
            filling,
        })
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the log holds everything after `position`, and where to begin.
    fn begin(&self, asked: Option<&Position>) -> Begin {
        let span = self.store.span();
        let head = position_of(&span.origin, span.head);
        let fresh = Begin {
            position: head,
            resumed: false,
            after: span.head,
        };
        let Some(asked) = asked else {
            return fresh;
        };
        // What another origin has said since is not in this log, so nothing that depends on it may be kept.
        let is_ours = asked.iter().all(|(origin, _)| *origin == span.origin);
        let after = asked.get(&span.origin);
        if is_ours && after <= span.head && after + 1 >= span.oldest {
            Begin {
                position: position_of(&span.origin, after),
                resumed: true,
                after,
            }
        } else {
            fresh
        }
    }

    /// Begins to follow: chunks of frames arrive in the channel until the follower goes away, is cut off, or `stop`.
    pub fn follow(
        self: &Arc<Self>,
        request: &FeedRequest,
        revision: u64,
        stop: CancellationToken,
    ) -> Result<mpsc::Receiver<Bytes>, Error> {
        // Before the beginning is read, so that a change in between wakes.
        let head = self.store.head();
        let begin = self.begin(request.position.as_ref());
        let start = encode_frame(&FeedMessage::Start {
            position: begin.position.clone(),
            head: position(&*self.store),
            resumed: begin.resumed,
            revision,
            region: self.terms.region.clone(),
            lease_ms: self.terms.lease_ms,
            age_ms: 0,
        })?;
        let following = self.pops.follow(&request.pop, now_ms());
        let (chunks, receiver) = mpsc::channel(CHUNKS_MAX);
        let follower = Follower {
            feed: Arc::clone(self),
            head,
            after: begin.after,
            chunks,
            _following: following,
        };
        let pop = request.pop.clone();
        tracing::info!(%pop, resumed = begin.resumed, after = begin.after, "a PoP follows the feed");
        tokio::spawn(async move {
            let reason = tokio::select! {
                reason = follower.run(start) => reason,
                () = stop.cancelled() => "the core stops",
            };
            tracing::info!(%pop, reason, "a PoP no longer follows the feed");
        });
        Ok(receiver)
    }

    /// Frames after `after`, at least one if there is any.
    async fn frames(&self, after: u64) -> Result<Vec<Frame>, Error> {
        if let Some(frames) = self.recent().after(after) {
            return Ok(frames);
        }
        let filling = self.filling.lock().await;
        // Another follower may have read it while this one waited.
        if let Some(frames) = self.recent().after(after) {
            return Ok(frames);
        }
        let is_new = self
            .recent()
            .frames
            .back()
            .is_none_or(|last| last.sequence <= after);
        let changes = self
            .store
            .changes(self.store.origin(), after, READ_CHANGES)
            .await?;
        let mut frames = Vec::with_capacity(changes.len());
        for change in changes {
            let sequence = change.sequence;
            let bytes = encode_frame(&FeedMessage::Change(change))?;
            frames.push(Frame { sequence, bytes });
        }
        // Old changes for one late follower do not push out the new ones that all others want.
        if is_new {
            let mut recent = self.recent();
            frames.iter().cloned().for_each(|frame| recent.push(frame));
        }
        drop(filling);
        Ok(frames)
    }
}

/// One PoP's way along the log.
struct Follower {
    feed: Arc<Feed>,
    head: watch::Receiver<u64>,
    after: u64,
    chunks: mpsc::Sender<Bytes>,
    _following: Following,
}

impl Follower {
    /// Follows until there is a reason not to; gives it.
    async fn run(mut self, start: Bytes) -> &'static str {
        let mut chunk = start;
        loop {
            let sent = self
                .chunks
                .send_timeout(chunk, Duration::from_millis(STALL_MS_MAX))
                .await;
            match sent {
                Ok(()) => {}
                Err(mpsc::error::SendTimeoutError::Closed(_)) => return "it went away",
                Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                    metrics::counter!("brink_core_feed_cut_off_total").increment(1);
                    return "it did not take what was sent";
                }
            }
            chunk = match self.next().await {
                Ok(chunk) => chunk,
                Err(reason) => return reason,
            };
        }
    }

    /// The next chunk: changes if there are any, else a heartbeat when its time has come.
    async fn next(&mut self) -> Result<Bytes, &'static str> {
        let heartbeat = tokio::time::sleep(Duration::from_millis(HEARTBEAT_MS));
        tokio::pin!(heartbeat);
        loop {
            let head = *self.head.borrow_and_update();
            if head > self.after {
                return self.changes().await;
            }
            tokio::select! {
                changed = self.head.changed() => changed.map_err(|_| "the store closed")?,
                () = &mut heartbeat => {
                    let head = position(&*self.feed.store);
                    return encode_frame(&FeedMessage::Heartbeat { head }).map_err(|_| "a heartbeat is too large");
                }
                () = self.chunks.closed() => return Err("it went away"),
            }
        }
    }

    async fn changes(&mut self) -> Result<Bytes, &'static str> {
        let frames = self.feed.frames(self.after).await.map_err(|error| {
            tracing::error!(%error, "the log could not be read for a follower");
            "the log could not be read"
        })?;
        let mut chunk = BytesMut::new();
        let (mut first, mut count) = (None, 0);
        for frame in frames {
            if frame.sequence != self.after + 1 {
                return Err("the log no longer reaches back to it");
            }
            if count > 0 && chunk.len() + frame.bytes.len() > CHUNK_BYTES {
                break;
            }
            self.after = frame.sequence;
            count += 1;
            if count == 1 {
                chunk.reserve(frame.bytes.len().min(CHUNK_BYTES));
                first = Some(frame.bytes.clone());
            }
            chunk.extend_from_slice(&frame.bytes);
        }
        match (count, first) {
            (0, _) | (_, None) => Err("the log ends before its head"),
            // One frame, as is common: shared by all followers, not copied.
            (1, Some(frame)) => Ok(frame),
            _ => Ok(chunk.freeze()),
        }
    }
}

#[cfg(test)]
mod tests;
