//! The first stage: how much is in flight, which route, which id, which session, and nothing internal from outside.

use crate::{
    coherence_field,
    exchange::{self, Exchange, normal_host, strip_internal},
    routes::{Entry, Table, Target},
    session::Sessions,
};
use brink_listener::{Body, Connection};
use brink_protocol::{Position, problem::Problem};
use brink_telemetry::{RequestId, TraceContext};
use http::{Method, Request};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Instant, SystemTime},
};

/// Counts what is in flight.
#[derive(Debug)]
pub struct Admission {
    in_flight: AtomicU32,
    exchanges_max: u32,
    sessions: Arc<Sessions>,
}

/// One exchange in flight; gives its place back when it is dropped.
#[derive(Debug)]
pub struct Place<'a>(&'a AtomicU32);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a request goes no further. The request's id and what is told the client.
#[derive(Debug)]
pub struct Refusal {
    /// The request's name.
    pub id: RequestId,
    /// What the client is told.
    pub problem: Problem,
}

/// Methods that every route serves. RFC 9110 §9, RFC 5789.
pub const ALLOWED: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

impl Admission {
    /// Lets `exchanges_max` requests be in flight at a time, from their head to the head of their answer.
    #[must_use]
    pub const fn new(exchanges_max: u32, sessions: Arc<Sessions>) -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            exchanges_max,
            sessions,
        }
    }

    /// Requests in flight.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Takes a place; none if all are taken.
    #[must_use]
    pub fn place(&self) -> Option<Place<'_>> {
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let place = Place(&self.in_flight);
        (before < self.exchanges_max).then_some(place)
    }

    /// Takes a request in: gives it a place, an id and a route.
    ///
    /// # Errors
    /// All places are taken (503), there is no route (404), the method is not served (501), the host or the session token
    /// is not one (400).
    pub fn admit(
        &self,
        table: &Table,
        request: Request<Body>,
        connection: Arc<Connection>,
    ) -> Result<(Exchange, Place<'_>), Box<Refusal>> {
        let now = SystemTime::now();
        let id = RequestId::generate();
        let refused = |problem| Err(Box::new(Refusal { id, problem }));
        let Some(place) = self.place() else {
            return refused(self.overloaded());
        };
        let (mut head, body) = request.into_parts();
        if let Err(problem) = normalise(&mut head.uri) {
            return refused(*problem);
        }
        if exchange::normalise_host(&mut head).is_none() {
            return refused(no_host());
        }
        let entry = match find(table, &head.uri) {
            Ok(entry) => Arc::clone(entry),
            Err(problem) => return refused(*problem),
        };
        if let Err(problem) = check_method(&head.method, &entry.target) {
            return refused(*problem);
        }
        let session = match self.sessions.take(&mut head.headers, now) {
            Ok(session) => session,
            Err(problem) => return refused(*problem),
        };
        let shows_coherence =
            entry.route.show_coherence || coherence_field::is_asked(&head.headers);
        strip_internal(&mut head.headers);
        let parent = TraceContext::from_headers(&head.headers);
        let exchange = Exchange {
            id,
            continues_trace: parent.is_some(),
            trace: parent.unwrap_or_else(TraceContext::root),
            connection,
            entry,
            head,
            body,
            now,
            began: Instant::now(),
            caller: None,
            session: session.seen,
            session_is_unknown: session.is_unknown,
            drops_cookie: session.drops_cookie,
            shows_coherence,
            fields_set: Vec::new(),
            plugins_passed: 0,
            written: Position::default(),
            cache: None,
            stored: None,
            for_pop: None,
        };
        Ok((exchange, place))
    }

    /// What those are told for whom there is no place.
    #[must_use]
    pub fn overloaded(&self) -> Problem {
        let exchanges_max = self.exchanges_max;
        Problem::new(
            503,
            "overloaded",
            "The PoP is overloaded",
            format!("{exchanges_max} requests are in flight, come again in a second"),
        )
    }
}

/// An origin knows its methods itself: all are passed on but those that are for the next hop (RFC 9110 §9.3.6, §9.3.8).
/// `PURGE` never comes as far as this.
fn check_method(method: &Method, target: &Target) -> Result<(), Box<Problem>> {
    match (method.as_str(), target) {
        ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS", _) => Ok(()),
        (other, Target::Origin(_)) if !matches!(other, "CONNECT" | "TRACE") => Ok(()),
        _ => Err(Box::new(Problem::new(
            501,
            "method-unknown",
            "The method is not known",
            format!("served are {ALLOWED}"),
        ))),
    }
}

/// Gives the path the one spelling by which routes, cache and purges know it.
fn normalise(uri: &mut http::Uri) -> Result<(), Box<Problem>> {
    exchange::normalise(uri).ok_or_else(|| {
        Box::new(Problem::new(
            400,
            "path",
            "The path is not valid",
            "it has segments . or .., which clients resolve before they ask, or is too long",
        ))
    })
}

fn find<'a>(table: &'a Table, uri: &http::Uri) -> Result<&'a Arc<Entry>, Box<Problem>> {
    let authority = uri.authority().map_or("", |a| a.as_str());
    let Some(host) = normal_host(authority) else {
        return Err(Box::new(no_host()));
    };
    table.find(&host, uri.path()).ok_or_else(|| {
        let path: String = uri.path().chars().take(200).collect();
        Box::new(Problem::new(
            404,
            "no-route",
            "There is no route",
            format!("no route leads from host {host} and path {path} to a module or an origin"),
        ))
    })
}

fn no_host() -> Problem {
    Problem::new(
        400,
        "host",
        "The host is not valid",
        "it has characters that no host has",
    )
}

#[cfg(test)]
mod tests;
