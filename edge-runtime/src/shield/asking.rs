//! The PoP's side: which shield is asked, and what its answer says.

use super::{
    config::Settings,
    connection::Connection,
    message::{Asked, Question, SHIELD_FIELD, Told},
};
use crate::{
    cache::{Kept, ShieldTerms},
    exchange::Exchange,
};
use brink_listener::{Body, BoxError, Interim, client::ALPN_HTTP2, takes_trailers};
use brink_policy::{
    coherence::tags,
    http::fields::remove_hop_by_hop,
    shield::{Breaker, SHIELDS_MAX, order},
};
use brink_protocol::Position;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, Version, header};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// RFC 8586.
const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");
/// Time for the head of an answer: longer than the shield gives an origin.
const ANSWER_MAX: Duration = Duration::from_secs(65);

/// The shields that this PoP asks.
pub struct Shields {
    shields: Vec<One>,
    /// Hashes of their addresses.
    names: Vec<u64>,
    base: Instant,
    answered: metrics::Counter,
    passed: metrics::Counter,
}

struct One {
    connection: Connection,
    breaker: Mutex<Breaker>,
}

/// What is asked for, on whose behalf.
pub struct Sought {
    /// Hash of tenant and URL.
    key: u64,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    interim: Option<Interim>,
}

/// An answer by way of a shield.
pub struct Shielded {
    /// It, with its body.
    pub response: Response<Body>,
    /// What the shield says of it; none: it is for this one request.
    pub kept: Option<Kept>,
    /// Where what was written on the request's behalf is in the log.
    pub written: Position,
}

impl Shields {
    /// The shields of `settings`; none if there are none to ask.
    ///
    /// # Errors
    /// A certificate or key cannot be read.
    pub fn new(settings: &Settings) -> Result<Option<Self>, brink_listener::Error> {
        let Some((addresses, tls)) = &settings.ask else {
            return Ok(None);
        };
        let tls = Arc::new(tls.config(&[ALPN_HTTP2])?);
        let default = brink_protocol::deployment::default_tenant();
        let one = |address: &String| One {
            connection: Connection::new(address.clone(), Arc::clone(&tls)),
            breaker: Mutex::default(),
        };
        Ok(Some(Self {
            names: addresses
                .iter()
                .map(|address| tags::name(&default, address))
                .collect(),
            shields: addresses.iter().take(SHIELDS_MAX).map(one).collect(),
            base: Instant::now(),
            answered: metrics::counter!("brink_shield_answers_total"),
            passed: metrics::counter!("brink_shield_passed_total"),
        }))
    }

    /// Asks the shields that are well, one after the other; none: the origin is to be asked directly.
    pub async fn ask(&self, sought: Sought) -> Option<Shielded> {
        for at in order(sought.key, &self.names) {
            let Some(shield) = self.shields.get(at) else {
                continue;
            };
            if !shield.breaker().allows(self.now_ms()) {
                continue;
            }
            let sending = shield
                .connection
                .send(sought.request(), sought.interim.as_ref());
            let asking = tokio::time::timeout(ANSWER_MAX, sending);
            let outcome = asking.await.map_err(BoxError::from).flatten();
            let error = match outcome {
                Ok(response) => {
                    shield.breaker().answered();
                    // Another shield would say the same of what this one does not answer.
                    return self.answered(shield, response);
                }
                Err(error) => error,
            };
            shield.breaker().failed(self.now_ms());
            tracing::warn!(shield = shield.connection.address(), %error, "a shield did not answer");
        }
        self.passed.increment(1);
        None
    }

    fn answered(&self, shield: &One, response: Response<Body>) -> Option<Shielded> {
        let (mut head, body) = response.into_parts();
        let Some(told) = Told::take(&mut head.headers) else {
            let status = head.status.as_u16();
            tracing::debug!(
                shield = shield.connection.address(),
                status,
                "a shield passed"
            );
            self.passed.increment(1);
            return None;
        };
        self.answered.increment(1);
        remove_hop_by_hop(&mut head.headers);
        head.version = Version::HTTP_11;
        head.extensions.clear();
        Some(Shielded {
            response: Response::from_parts(head, body),
            kept: told.kept,
            written: told.written,
        })
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl One {
    fn breaker(&self) -> std::sync::MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sought {
    /// What an exchange asks for that goes forward, on the terms of its fill; none if they take too many bytes.
    #[must_use]
    pub fn new(exchange: &Exchange, terms: ShieldTerms) -> Option<Self> {
        let ago_ms = |ago: Duration| u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
        let fields_set = exchange.fields_set.iter();
        let asked = Asked::from(Question {
            tenant: exchange.tenant().clone(),
            scheme: exchange.scheme().to_owned(),
            revision: exchange.entry.revision,
            at_least: terms.at_least,
            outdated_ms: ago_ms(terms.outdated),
            fields_set: fields_set.map(ToString::to_string).collect(),
            client: Some(exchange.client()),
            caller: exchange.caller.as_deref().cloned(),
        });
        let mut headers = exchange.head.headers.clone();
        let takes_trailers = takes_trailers(&headers);
        remove_hop_by_hop(&mut headers);
        if takes_trailers {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
        for name in [header::HOST, header::CONTENT_LENGTH, header::EXPECT] {
            headers.remove(name);
        }
        exchange.name_forwarded(&mut headers);
        headers.append(header::VIA, HeaderValue::from_static("2.0 brink"));
        headers.insert(SHIELD_FIELD, asked.to_value()?);
        let url = format!("{}{}", exchange.host(), exchange.path_and_query());
        Some(Self {
            key: tags::url(exchange.tenant(), &url),
            method: exchange.head.method.clone(),
            uri: exchange.head.uri.clone(),
            headers,
            interim: exchange.head.extensions.get().cloned(),
        })
    }

    fn request(&self) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// Marks a request that leaves this PoP, `own` being its name, so that it is known again. RFC 8586.
pub fn mark_loop(headers: &mut HeaderMap, own: &HeaderValue) {
    headers.append(CDN_LOOP, own.clone());
}

/// Whether a request has left this PoP before.
#[must_use]
pub fn is_loop(headers: &HeaderMap, own: &HeaderValue) -> bool {
    let own = own.as_bytes();
    headers
        .get_all(CDN_LOOP)
        .iter()
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .filter_map(|member| member.split(|b| *b == b';').next())
        .any(|id| id.trim_ascii() == own)
}
