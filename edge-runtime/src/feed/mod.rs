//! The feed: what happens at the cores, applied to this PoP's cache in order and without gaps.

mod sequence;

use crate::{
    backoff::Backoff,
    cache::Cache,
    chance::chance,
    link::{AnswerBody, Link, LinkError},
    progress::{Progress, lag},
    reports::Reports,
};
use brink_protocol::{
    OriginId, PopName, Position,
    change::{Change, ChangeKind},
    codec::FrameReader,
    link::{FeedMessage, FeedRequest, path},
};
use metrics::{Counter, Gauge};
use sequence::Step;
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio_util::sync::CancellationToken;

/// Silence after which a feed is given up: several heartbeats are missing.
const SILENCE_MAX: Duration = Duration::from_secs(3);

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
    Silent,
    /// What comes now may have been sent long ago, and how much more there is cannot be known from it: asked again, the
    /// core says where its log ends.
    #[error("nothing came for longer than the lease of {} ms", .0.as_millis())]
    Late(Duration),
    #[error("it began with another message than Start")]
    NoStart,
    #[error("{origin}: {expected} is missing, {actual} came")]
    Gap {
        origin: OriginId,
        expected: u64,
        actual: u64,
    },
}

/// What the first message of a feed says of those that follow.
struct Begun {
    /// Where the core's log ended.
    head: Position,
    /// How long the edge may go without a message.
    lease: Duration,
}

struct Figures {
    changes: Counter,
    repeats: Counter,
    gaps: Counter,
    starts: Counter,
    resets: Counter,
    live: Gauge,
    lag: Gauge,
}

impl Figures {
    fn register() -> Self {
        Self {
            changes: metrics::counter!("brink_feed_changes_total"),
            repeats: metrics::counter!("brink_feed_repeats_total"),
            gaps: metrics::counter!("brink_feed_gaps_total"),
            starts: metrics::counter!("brink_feed_starts_total"),
            resets: metrics::counter!("brink_feed_resets_total"),
            live: metrics::gauge!("brink_feed_live"),
            lag: metrics::gauge!("brink_feed_lag_changes"),
        }
    }
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
                Broken::Silent => self.link.suspect(),
                Broken::Gap { .. } => figures.gaps.increment(1),
                Broken::Link(_)
                | Broken::Message(_)
                | Broken::Ended
                | Broken::Late(_)
                | Broken::NoStart => {}
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

    async fn run(&self, figures: &Figures) -> Result<std::convert::Infallible, Broken> {
        let held = self.cache.position();
        let request = FeedRequest {
            pop: self.pop.clone(),
            position: (!held.is_empty()).then_some(held),
        };
        let asked_for = request.position.is_some();
        let mut body = self.link.stream(path::FEED, &request).await?;
        let mut frames = FrameReader::default();
        let start = next(&mut body, &mut frames).await?;
        let Begun { head, lease } = self.start(start, asked_for, figures)?;
        let mut is_behind = true;
        let mut heard = Instant::now();
        loop {
            // A feed that was away first brings what was missed: until that is applied, nothing here is known to be fresh.
            is_behind = is_behind && !self.cache.position().covers(&head);
            if !is_behind {
                heard = Instant::now();
                self.cache.heard(heard);
            }
            let message = next(&mut body, &mut frames).await?;
            if !is_behind && heard.elapsed() > lease {
                return Err(Broken::Late(lease));
            }
            match message {
                FeedMessage::Change(change) => self.change(&change, figures)?,
                FeedMessage::Heartbeat { head } => {
                    let behind = lag(&self.cache.position(), &head);
                    figures.lag.set(u32::try_from(behind).unwrap_or(u32::MAX));
                    self.progress.set_head(head);
                }
                FeedMessage::SessionKeys(_) | FeedMessage::Count(_) => {}
                FeedMessage::Start { .. } => return Err(Broken::NoStart),
            }
        }
    }

    /// Begins a feed.
    fn start(
        &self,
        message: FeedMessage,
        asked_for: bool,
        figures: &Figures,
    ) -> Result<Begun, Broken> {
        let FeedMessage::Start {
            position,
            head,
            resumed,
            revision,
            region,
            lease_ms,
            age_ms: _,
        } = message
        else {
            return Err(Broken::NoStart);
        };
        tracing::info!(%position, resumed, revision, region, lease_ms, "feed began");
        if !(resumed && asked_for) {
            self.cache.reset(position.clone());
            figures.resets.increment(1);
        }
        let lease = Duration::from_millis(lease_ms);
        self.cache.set_lease(lease);
        self.progress.set_region(region);
        self.progress.set_head(head.clone());
        self.progress.set_live(true);
        self.progress.want_revision(revision);
        self.progress.applied();
        self.reports.urge();
        figures.starts.increment(1);
        figures.live.set(1.0);
        Ok(Begun { head, lease })
    }

    /// Applies the next change of its origin.
    fn change(&self, change: &Change, figures: &Figures) -> Result<(), Broken> {
        match sequence::step(&self.cache.position(), change) {
            Step::Apply => {}
            Step::Repeat => {
                figures.repeats.increment(1);
                return Ok(());
            }
            Step::Gap { origin, expected } => {
                let actual = change.sequence;
                return Err(Broken::Gap {
                    origin,
                    expected,
                    actual,
                });
            }
        }
        let applied = self.cache.apply(change);
        figures.changes.increment(1);
        self.progress.applied();
        match &change.kind {
            ChangeKind::Records { .. } => {}
            ChangeKind::Purge(purge) => {
                tracing::info!(purge = %purge.id, objects = applied.objects, "purge applied");
                self.reports
                    .purged(purge.id.clone(), applied.objects, SystemTime::now());
            }
            ChangeKind::Deployments { revision, .. } => {
                self.progress.want_revision_at_least(*revision);
            }
        }
        Ok(())
    }
}

/// The next message, however many pieces it comes in.
async fn next(body: &mut AnswerBody, frames: &mut FrameReader) -> Result<FeedMessage, Broken> {
    loop {
        if let Some(message) = frames.next()? {
            return Ok(message);
        }
        let piece = tokio::time::timeout(SILENCE_MAX, body.piece())
            .await
            .map_err(|_| Broken::Silent)??;
        frames.push(&piece.ok_or(Broken::Ended)?);
    }
}
