//! The origins of a route: one request, sent to one after the other until one answers.

use super::{
    error::Error,
    ticket::Ticket,
    upstream::{Attempt, Upstream, unwell},
};
use crate::chance::chance;
use brink_listener::Body;
use brink_policy::origins::{
    Candidate, Neighbours, Once, Repeat, RetryBudget, Standing, order, repeat,
};
use brink_protocol::origins::{Choice, OriginGroup};
use bytes::Bytes;
use http::Response;
use std::{
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The origins of a route.
pub(super) struct Group {
    members: Vec<Arc<Upstream>>,
    choice: Choice,
    budget: Mutex<RetryBudget>,
}

/// A request's body: as a whole, so that it can be sent again, or not.
pub(super) enum Outgoing {
    Held(Bytes),
    Streamed(Body),
}

type Outcome = Result<Response<Body>, Error>;

/// To which origins of its group a request was sent: where it goes on if an answer breaks off of which nothing was sent on.
#[derive(Debug, Default)]
pub struct Trail {
    /// Places in the group, in order; one that was asked twice stands here twice.
    asked: Vec<usize>,
}

impl Trail {
    fn attempts(&self) -> u32 {
        u32::try_from(self.asked.len()).unwrap_or(u32::MAX)
    }
}

impl Group {
    pub(super) fn new(spec: &OriginGroup, members: Vec<Arc<Upstream>>) -> Self {
        Self {
            members,
            choice: spec.choice,
            budget: Mutex::new(RetryBudget::new(spec.retry_percent)),
        }
    }

    /// Whether there is a second one to ask.
    pub(super) fn has_several(&self) -> bool {
        self.members.len() > 1
    }

    fn budget(&self) -> MutexGuard<'_, RetryBudget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&self, is_repeatable: bool) -> Vec<usize> {
        let candidate = |member: &Arc<Upstream>| Candidate {
            standing: member.gate().standing(),
            weight: member.spec().weight,
            in_flight: member.gate().in_flight(),
        };
        let candidates: Vec<_> = self.members.iter().map(candidate).collect();
        order(self.choice, &candidates, is_repeatable, chance())
    }

    /// Whether another than `member` is well.
    fn neighbours(&self, member: &Arc<Upstream>) -> Neighbours {
        let mut others = self
            .members
            .iter()
            .filter(|other| !Arc::ptr_eq(other, member));
        match others.any(|other| other.gate().standing() == Standing::Well) {
            true => Neighbours::Some,
            false => Neighbours::None,
        }
    }

    /// Sends a request to those that are well, until one answers. With a trail, the answer of its last one broke off: it goes
    /// on at the next, if that makes no difference.
    pub(super) async fn send(
        &self,
        attempt: &Attempt,
        mut body: Outgoing,
        trail: &mut Trail,
    ) -> Outcome {
        let is_repeatable = attempt.method.is_idempotent() && matches!(body, Outgoing::Held(_));
        let mut order = self.order(is_repeatable);
        let mut last = None;
        match trail.asked.last().and_then(|at| self.members.get(*at)) {
            None => self.budget().earn(),
            Some(before) => {
                order.retain(|at| !trail.asked.contains(at));
                let origin = before.spec().url.clone();
                let reason = "its answer broke off".into();
                let was_kept = false;
                let broken = Err(Error::Exchange {
                    origin,
                    reason,
                    was_kept,
                });
                let attempts = trail.attempts();
                if self.next(attempt, &body, &broken, attempts, !order.is_empty()) != Repeat::Next {
                    return broken;
                }
                before.gate().figures.repeated.increment(1);
                last = Some(broken);
            }
        }
        let mut places = order.into_iter();
        let mut at = places.next();
        while let Some((place, member)) = at.and_then(|at| Some((at, self.members.get(at)?))) {
            let neighbours = self.neighbours(member);
            let ticket = match member.enter(neighbours).await {
                Ok(ticket) => ticket,
                Err(refused) => {
                    // Nothing was sent: the next may have it, whatever it is.
                    last.get_or_insert(Err(refused));
                    at = places.next();
                    continue;
                }
            };
            trail.asked.push(place);
            let outcome = exchange(member, ticket, attempt, &mut body).await;
            let has_next = !places.as_slice().is_empty();
            let next = self.next(attempt, &body, &outcome, trail.attempts(), has_next);
            last = Some(better(last.take(), outcome));
            at = match next {
                Repeat::No => break,
                Repeat::Same => at,
                Repeat::Next => places.next(),
            };
            member.gate().figures.repeated.increment(1);
        }
        last.unwrap_or_else(|| {
            let origins = self.standings();
            Err(Error::NoneUsable { origins })
        })
    }

    fn next(
        &self,
        attempt: &Attempt,
        body: &Outgoing,
        outcome: &Outcome,
        attempts: u32,
        has_next: bool,
    ) -> Repeat {
        let failure = match outcome {
            Ok(response) => unwell(response.status()),
            Err(error) => error.failure(),
        };
        let Some(failure) = failure else {
            return Repeat::No;
        };
        let once = Once {
            method: &attempt.method,
            is_held: matches!(body, Outgoing::Held(_)),
            failure,
            attempts,
            has_next,
            was_kept: outcome.as_ref().is_err_and(Error::was_kept),
        };
        match (repeat(&once), self.members.first()) {
            (Repeat::No, _) | (_, None) => Repeat::No,
            (again, Some(first)) => match self.budget().spend(first.gate().now_ms()) {
                true => again,
                false => Repeat::No,
            },
        }
    }

    fn standings(&self) -> String {
        let mut text = String::new();
        for member in &self.members {
            let how = match member.gate().standing() {
                Standing::Well => "well",
                Standing::Trial | Standing::Resting => "failed of late",
                Standing::Down => "down by its health checks",
            };
            let comma = if text.is_empty() { "" } else { ", " };
            let _ = write!(text, "{comma}{} ({how})", member.spec().url);
        }
        text
    }
}

async fn exchange(
    member: &Upstream,
    ticket: Ticket,
    attempt: &Attempt,
    body: &mut Outgoing,
) -> Outcome {
    let body = match body {
        Outgoing::Held(bytes) => Body::full(bytes.clone()),
        Outgoing::Streamed(body) => std::mem::take(body),
    };
    member.exchange(ticket, attempt, body).await
}

/// Which of two outcomes the client gets: an answer, if only one that says why there is none, before a failure; what
/// happened before what could not be tried.
fn better(before: Option<Outcome>, now: Outcome) -> Outcome {
    match (before, now) {
        (Some(Ok(before)), Err(_)) => Ok(before),
        (_, now) => now,
    }
}
