//! Requests that wait for the fill of another, and read its answer along.

use super::{
    fill::Answer,
    flights::{FOLLOWER_TIME_MAX, Joined, Ticket, Waited},
    growing::{Beginning, Growing},
    request::{PopAsks, apart},
    shared::{Entry, Found},
    stored::Key,
    tiers::Tier,
    way::Way,
};
use brink_listener::Body;
use brink_policy::{
    coherence::Verdict,
    collapse::FAILURES_MAX,
    http::{
        Reuse,
        reuse::{self, reuse},
        vary,
    },
};
use brink_protocol::problem::Problem;
use http::header::RANGE;
use std::{sync::Arc, time::Instant};

/// What a request has waited for.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// When it began to wait.
    pub(super) since: Option<Instant>,
    /// Fills that failed meanwhile.
    failures: u32,
    /// The hash of the variant that it turned out to want.
    pub(super) variant: Option<u64>,
}

/// What a request does that nothing stored answers.
pub(super) enum Next {
    Look,
    Forward(Ticket),
    Answer(Box<Answer>),
    /// It is told this, unless there is something stale that it may get.
    GiveUp(Box<Problem>),
}

/// Whether a request may read an answer that is on its way to another.
enum Along {
    Answer(Box<Answer>),
    /// The answer is another variant's; the hash of this request's own.
    Other(u64),
    /// It has come whole: it is stored, if it may be.
    Over,
    /// A change has ended it.
    Ended,
    /// It does not suit this request, or cannot be read from its beginning.
    Alone,
}

impl Way<'_> {
    /// Leads a fill, goes alone, or waits for another's.
    pub(super) async fn joined(
        &self,
        key: &Key,
        found: &Found,
        together: bool,
        waits: &mut Waits,
    ) -> Next {
        let (hash, uri) = (found.hash, self.shared.tiers.hash(&key.0));
        let flights = &self.shared.flights;
        let now = Instant::now();
        let apart = apart(hash, self.request.headers);
        if !together || flights.is_uncollapsed(apart, now) {
            return Next::Forward(flights.alone(hash, uri));
        }
        let mut follower = match flights.join(hash, uri, waits.since, now) {
            Joined::Leader(ticket) | Joined::Alone(ticket) => return Next::Forward(ticket),
            Joined::Follower(follower) => follower,
            Joined::Failed(problem) => return Next::GiveUp(Box::new((*problem).clone())),
        };
        let since = *waits.since.get_or_insert(now);
        match follower.wait(since + FOLLOWER_TIME_MAX).await {
            Waited::Over => Next::Look,
            Waited::Turn => Next::Forward(flights.alone(hash, uri)),
            Waited::TooLong => Next::GiveUp(Box::new(too_long())),
            Waited::Failed { problem, is_final } => {
                waits.failures += 1;
                match is_final || waits.failures >= FAILURES_MAX {
                    true => Next::GiveUp(Box::new((*problem).clone())),
                    false => Next::Look,
                }
            }
            // A part cannot be cut out of what is not there yet.
            Waited::Streams(_) if self.request.headers.contains_key(RANGE) => {
                Next::Forward(flights.alone(hash, uri))
            }
            Waited::Streams(growing) => match self.along(key, &growing) {
                Along::Answer(answer) => Next::Answer(answer),
                Along::Over => Next::Look,
                Along::Alone => Next::Forward(flights.alone(hash, uri)),
                Along::Other(variant) => {
                    waits.variant = Some(variant);
                    Next::Look
                }
                Along::Ended => flights
                    .supersede(hash, uri, &follower, Instant::now())
                    .map_or(Next::Look, Next::Forward),
            },
        }
    }

    /// Reads an answer on its way to another, if it may: as a stored one, it is held against the changes first.
    fn along(&self, key: &Key, growing: &Arc<Growing>) -> Along {
        let stored = &growing.entry;
        let Some(fields) = stored.selecting() else {
            return Along::Alone;
        };
        let wanted = vary::selection(&fields, self.request.headers);
        if wanted.is_none() || !self.request.set_on_way.iter().all(|n| fields.contains(n)) {
            return Along::Alone;
        }
        if wanted != vary::selection(&fields, &growing.request) {
            let variant = key.0.variant(wanted.as_deref().unwrap_or_default());
            return Along::Other(self.shared.tiers.hash(&variant));
        }
        let applied = self.has_applied();
        let vouched = self.shared.ledger.vouched();
        if self.shared.ledger.verdict(stored) != Verdict::Valid {
            return Along::Ended;
        }
        let entry = Entry {
            stored: stored.clone(),
            tier: Tier::Memory,
            soft: false,
            vouched,
            first: None,
        };
        let age = stored.age(self.now);
        let held = reuse::Stored {
            lifetime: &stored.lifetime,
            age_seconds: age,
            soft_purged: false,
        };
        let connection = self
            .shared
            .connection(vouched, self.request.when_disconnected);
        let is_outdated =
            |pop: PopAsks| !stored.was_asked_after(pop.outdated_at(self.now), self.now);
        if self.request.pop.is_some_and(is_outdated)
            || !self.is_new_enough(&entry, applied)
            || reuse(&self.directives, &held, connection) != Reuse::Serve
        {
            return Along::Alone;
        }
        let reader = match growing.read() {
            Beginning::Reader(reader) => reader,
            Beginning::Over => return Along::Over,
            Beginning::Gone => return Along::Alone,
        };
        let mut answer = self.answer(&entry, age, None, true, None);
        let has_body = answer.head.status == stored.status;
        answer.stream = has_body.then(|| Body::stream(reader));
        Along::Answer(Box::new(answer))
    }
}

fn too_long() -> Problem {
    Problem::new(
        504,
        "answer-slow",
        "The answer takes too long",
        "the same was asked before, and is not answered yet; try again soon",
    )
}
