//! The feed: what happens at the cores, read, applied to this PoP's cache, and told to who waits for it.
//!
//! What is the next change, what is fresh and what has to leave is decided by
//! [`brink_policy::coherence::Replica`] behind the cache. A feed says nothing about freshness while it runs: reports do
//! (see [`crate::reporter`]), so one that trickles what happened long ago keeps nothing fresh.

mod figures;

use crate::{
    backoff::Backoff,
    cache::Cache,
    chance::chance,
    link::{AnswerBody, Link, LinkError, Stream},
    progress::{Progress, lag},
    reports::Reports,
    session::Sessions,
};
use brink_policy::coherence::{Next, Start, Started};
use brink_protocol::{
    OriginId, PopName, Position,
    change::{Change, ChangeKind},
    codec::FrameReader,
    link::{CountRequest, FeedMessage, FeedRequest, HEARTBEAT_MS, path},
    session::SessionKeys,
};
use figures::Figures;
use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Silence after which a feed is given up: four heartbeats are missing.
const SILENCE_MAX: Duration = Duration::from_millis(4 * HEARTBEAT_MS);
/// After so many messages in one go other tasks get a turn.
const TURN_MESSAGES: u32 = 256;

/// Follows the feed of the core.
pub struct Feed {
    /// Who follows.
    pub pop: PopName,
    /// The way to the core.
    pub link: Link,
    /// What changes are applied to.
    pub cache: Cache,
    /// What others learn of it.
    pub progress: Arc<Progress>,
    /// Where applied purges are reported.
    pub reports: Arc<Reports>,
    /// Who needs the keys of session tokens.
    pub sessions: Arc<Sessions>,
    /// Where dry runs of purges are counted; those over its bound go uncounted.
    pub counting: mpsc::Sender<CountRequest>,
}

/// Why a feed broke off.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("a message cannot be read: {0}")]
    Message(#[from] brink_protocol::Error),
    #[error("the core ended it")]
    Ended,
    #[error("nothing came for {} ms", SILENCE_MAX.as_millis())]
    Silent { core: usize },
    #[error("another core is used now")]
    Moved,
    #[error("it began with another message than Start, or began twice")]
    NoStart,
    #[error("{origin}: changes before {sequence} are missing")]
    Gap { origin: OriginId, sequence: u64 },
}

impl Feed {
    /// Follows until `stop`; a feed that breaks is taken up again at the position that was applied.
    pub async fn follow(&self, stop: CancellationToken) {
        let figures = Figures::register();
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        while !stop.is_cancelled() {
            let following = async {
                self.link.connected().await;
                self.session(&figures).await
            };
            let broken = tokio::select! {
                () = stop.cancelled() => return,
                broken = following => broken,
            };
            if self.progress.is_live() {
                backoff.reset();
            }
            self.progress.set_live(false);
            figures.live.set(0.0);
            tracing::warn!(reason = %broken, position = %self.cache.position(), "feed broke off");
            match broken {
                Broken::Silent { core } => self.link.suspect(core),
                Broken::Gap { .. } => figures.gaps.increment(1),
                // The other core has not failed: its feed is asked for at once.
                Broken::Moved => continue,
                Broken::Link(_) | Broken::Message(_) | Broken::Ended | Broken::NoStart => {}
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(backoff.next(chance())) => {}
            }
        }
    }

    /// Follows one feed until it breaks; says why.
    async fn session(&self, figures: &Figures) -> Broken {
        match self.run(figures).await {
            Ok(never) => match never {},
            Err(broken) => broken,
        }
    }

    /// Follows the feed of the core that is used, as long as it is used. The next one goes on from what was applied:
    /// positions name the logs of all cores.
    async fn run(&self, figures: &Figures) -> Result<Infallible, Broken> {
        let held = self.cache.position();
        let request = FeedRequest {
            pop: self.pop.clone(),
            position: (!held.is_empty()).then_some(held),
        };
        let is_asked = request.position.is_some();
        let sent = Instant::now();
        let Stream { mut body, core } = self.link.stream(path::FEED, &request).await?;
        let reading = async {
            let mut incoming = Incoming {
                body: &mut body,
                frames: FrameReader::default(),
                core,
            };
            let start = incoming.next().await?;
            self.start(start, is_asked, sent, figures)?;
            self.read(incoming, figures).await
        };
        tokio::select! {
            broken = reading => broken,
            () = self.link.moved_from(core) => Err(Broken::Moved),
        }
    }

    async fn read(
        &self,
        mut incoming: Incoming<'_>,
        figures: &Figures,
    ) -> Result<Infallible, Broken> {
        let mut messages = 0u32;
        loop {
            let message = incoming.next().await?;
            match message {
                FeedMessage::Change(change) => self.change(&change, figures)?,
                FeedMessage::Heartbeat { head } => self.heartbeat(head, figures),
                FeedMessage::SessionKeys(keys) => {
                    self.sessions.set_keys(SessionKeys::new(keys)?);
                    // Answers wait that could not be signed.
                    self.progress.applied();
                }
                FeedMessage::Count(request) => self.count(request, figures),
                FeedMessage::Start { .. } => return Err(Broken::NoStart),
            }
            messages = messages.wrapping_add(1);
            if messages.is_multiple_of(TURN_MESSAGES) {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Begins a feed that was asked for at `sent`.
    fn start(
        &self,
        message: FeedMessage,
        is_asked: bool,
        sent: Instant,
        figures: &Figures,
    ) -> Result<(), Broken> {
        let FeedMessage::Start {
            position,
            head,
            resumed,
            revision,
            region,
            lease_ms,
            age_ms,
        } = message
        else {
            return Err(Broken::NoStart);
        };
        tracing::info!(%position, resumed, revision, region, lease_ms, age_ms, "feed began");
        let start = Start {
            position,
            head: head.clone(),
            resumed,
            lease_ms,
            age_ms,
        };
        match self.cache.start(&start, is_asked, sent) {
            Started::Resumed => {}
            Started::Reset => {
                figures.resets.increment(1);
                if is_asked {
                    self.progress.feed_was_reset();
                }
            }
        }
        self.progress.set_region(region);
        self.progress.set_head(head);
        self.progress.set_live(true);
        self.progress.want_revision(revision);
        self.progress.applied();
        self.reports.urge();
        figures.starts.increment(1);
        figures.live.set(1.0);
        Ok(())
    }

    fn heartbeat(&self, head: Position, figures: &Figures) {
        let behind = lag(&self.cache.position(), &head);
        figures.lag.set(u32::try_from(behind).unwrap_or(u32::MAX));
        self.progress.set_head(head);
    }

    /// Applies a change of any origin.
    fn change(&self, change: &Change, figures: &Figures) -> Result<(), Broken> {
        match self.cache.next(change) {
            Next::InOrder => {}
            Next::Repeated => {
                figures.repeats.increment(1);
                return Ok(());
            }
            // Asked again, the core may have it, and nothing is lost.
            Next::Gap => {
                return Err(Broken::Gap {
                    origin: change.origin.clone(),
                    sequence: change.sequence,
                });
            }
        }
        let applied = self.cache.apply(change);
        figures.applied(change, SystemTime::now());
        self.progress.applied();
        match &change.kind {
            ChangeKind::Records { .. } => {}
            ChangeKind::Purge(purge) => {
                tracing::info!(purge = %purge.id, objects = applied.objects, "purge applied");
                self.reports
                    .purged(purge.id.clone(), applied.objects, SystemTime::now());
            }
            // Of another core's table: only its entries leave. 0 is never more than what is wanted.
            ChangeKind::Deployments { revision, .. } => {
                self.progress.want_revision_at_least(*revision);
            }
        }
        Ok(())
    }

    fn count(&self, request: CountRequest, figures: &Figures) {
        if let Err(error) = self.counting.try_send(request) {
            figures.uncounted.increment(1);
            tracing::warn!(%error, "a dry run of a purge is not counted");
        }
    }
}

/// The messages of one feed.
struct Incoming<'a> {
    body: &'a mut AnswerBody,
    frames: FrameReader,
    core: usize,
}

impl Incoming<'_> {
    /// The next message, however many pieces it comes in.
    async fn next(&mut self) -> Result<FeedMessage, Broken> {
        loop {
            if let Some(message) = self.frames.next()? {
                return Ok(message);
            }
            let piece = tokio::time::timeout(SILENCE_MAX, self.body.piece())
                .await
                .map_err(|_| Broken::Silent { core: self.core })??;
            self.frames.push(&piece.ok_or(Broken::Ended)?);
        }
    }
}
