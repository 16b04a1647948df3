//! One follower's way along the logs.

use super::Feed;
use crate::{session_keys::Frames, store::Held};
use brink_protocol::{
    OriginId, Position,
    codec::encode_frame,
    link::{FeedMessage, HEARTBEAT_MS},
    log,
};
use bytes::Bytes;
use std::{pin::Pin, sync::Arc, time::Duration};
use tokio::{
    sync::{broadcast, mpsc, watch},
    time::{Instant, Sleep},
};

const HEARTBEAT: Duration = Duration::from_millis(HEARTBEAT_MS);
const AWAY: &str = "it went away";
const TOO_MANY_COUNTS: &str = "it let too many counts wait";

/// Whose changes a follower is given.
#[derive(Debug, Clone)]
pub(super) enum Scope {
    /// Of all origins.
    All,
    /// Of this origin, the core's own.
    Own(OriginId),
}

impl Scope {
    /// What of the logs is in it.
    pub(super) fn view(&self, held: &Arc<Held>) -> Arc<Held> {
        match self {
            Self::All => Arc::clone(held),
            Self::Own(own) => {
                let kept = held.kept.get(own).map(|kept| (own.clone(), *kept));
                Arc::new(Held::new(kept.into_iter().collect()))
            }
        }
    }

    fn keys(&self, frames: &Frames) -> Bytes {
        match self {
            Self::All => frames.all.clone(),
            Self::Own(_) => frames.own.clone(),
        }
    }
}

/// A follower of the feed.
pub(super) struct Follower {
    feed: Arc<Feed>,
    scope: Scope,
    held: watch::Receiver<Arc<Held>>,
    keys: watch::Receiver<Arc<Frames>>,
    counts: broadcast::Receiver<Bytes>,
    chunks: mpsc::Sender<Bytes>,
    /// What was handed to its socket.
    position: Position,
    /// The origin whose changes it was given last.
    last: Option<OriginId>,
    /// When the next heartbeat is due. One timer that is left armed: to set one for each chunk would cost more than the chunk.
    heartbeat: Pin<Box<Sleep>>,
}

impl Follower {
    pub(super) fn new(
        feed: Arc<Feed>,
        scope: Scope,
        held: watch::Receiver<Arc<Held>>,
        position: Position,
        chunks: mpsc::Sender<Bytes>,
    ) -> Self {
        let mut keys = feed.sessions.frames();
        keys.mark_changed();
        Self {
            keys,
            counts: feed.counts.subscribe(),
            feed,
            scope,
            held,
            chunks,
            position,
            last: None,
            heartbeat: Box::pin(tokio::time::sleep(HEARTBEAT)),
        }
    }

    /// Follows until there is a reason not to; gives it.
    pub(super) async fn run(mut self, start: Bytes) -> &'static str {
        let stall = Duration::from_millis(self.feed.terms.stall_ms);
        let mut chunk = start;
        loop {
            match self.chunks.send_timeout(chunk, stall).await {
                Ok(()) => {}
                Err(mpsc::error::SendTimeoutError::Closed(_)) => return AWAY,
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

    /// The next chunk: what is not of the log first, for it is rare and short; then a heartbeat if its time has come, also
    /// under constant change; then changes.
    async fn next(&mut self) -> Result<Bytes, &'static str> {
        loop {
            if self.keys.has_changed().unwrap_or(false) {
                let frames = Arc::clone(&self.keys.borrow_and_update());
                return Ok(self.scope.keys(&frames));
            }
            if let Some(count) = self.count()? {
                return Ok(count);
            }
            let held = self.scope.view(&self.held.borrow_and_update());
            if self.heartbeat.deadline() <= Instant::now() {
                return self.heartbeat(&held);
            }
            if !log::reaches(&held.kept, &self.position) {
                return Err("a log no longer reaches back to it");
            }
            if let Some(chunk) = self.changes(&held).await? {
                return Ok(chunk);
            }
            tokio::select! {
                changed = self.held.changed() => changed.map_err(|_| "the store closed")?,
                // To be sent at the top.
                _ = self.keys.changed() => self.keys.mark_changed(),
                () = &mut self.heartbeat => {}
                () = self.chunks.closed() => return Err(AWAY),
                count = self.counts.recv() => {
                    if let (Scope::All, count) = (&self.scope, count) {
                        return count.map_err(|_| TOO_MANY_COUNTS);
                    }
                }
            }
        }
    }

    fn count(&mut self) -> Result<Option<Bytes>, &'static str> {
        use broadcast::error::TryRecvError;
        match (&self.scope, self.counts.try_recv()) {
            (Scope::All, Ok(count)) => Ok(Some(count)),
            (Scope::All, Err(TryRecvError::Lagged(_))) => Err(TOO_MANY_COUNTS),
            (Scope::Own(_), _) | (Scope::All, Err(TryRecvError::Empty | TryRecvError::Closed)) => {
                Ok(None)
            }
        }
    }

    fn heartbeat(&mut self, held: &Held) -> Result<Bytes, &'static str> {
        self.heartbeat.as_mut().reset(Instant::now() + HEARTBEAT);
        let head = held.heads.clone();
        encode_frame(&FeedMessage::Heartbeat { head }).map_err(|_| "a heartbeat is too large")
    }

    /// Changes of one origin that is ahead; each in its turn.
    async fn changes(&mut self, held: &Held) -> Result<Option<Bytes>, &'static str> {
        let is_ahead = |(origin, head): &(&OriginId, u64)| self.position.get(origin) < *head;
        let turn = held
            .heads
            .iter()
            .filter(is_ahead)
            .min_by_key(|(origin, _)| Some(*origin) <= self.last.as_ref());
        let Some((origin, _)) = turn else {
            return Ok(None);
        };
        let after = self.position.get(origin);
        let chunk = self.feed.chunk(origin, after).await.map_err(|error| {
            tracing::error!(%error, "the log could not be read for a follower");
            "the log could not be read"
        })?;
        let Some(chunk) = chunk else {
            return Err("a log no longer reaches back to it");
        };
        self.position.advance(origin, chunk.last);
        if self.position.get(origin) < chunk.last {
            return Err("its position names too many origins");
        }
        self.last = Some(origin.clone());
        Ok(Some(chunk.bytes))
    }
}
