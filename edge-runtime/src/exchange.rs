//! One request on its way through the stages.

use crate::{
    cache::{Kept, PopAsks},
    routes::Entry,
};
use brink_listener::{Body, Connection, Interim};
use brink_policy::{cache_status::CacheStatus, http::directives::BRINK_CACHE_CONTROL};
use brink_protocol::{
    Position, TenantName,
    problem::Problem,
    purge::{normal_path, normal_query},
};
use brink_telemetry::{RequestId, TraceContext};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HOST},
    request::Parts,
};
use http_body::Body as _;
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

/// The field that names a request in answers, problem documents and logs.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Prefix of fields that mean something between parts of the platform; clients cannot send them.
pub const INTERNAL_PREFIX: &str = "brink-";

/// The authenticated caller, as a plugin found it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Caller {
    /// Who.
    pub subject: Option<String>,
    /// What is known of it.
    pub claims: Vec<(String, String)>,
}

/// What a shield keeps of another PoP's question.
#[derive(Debug, Clone, Default)]
pub struct ForPop {
    /// How long ago an unsafe request may have outdated the URL there, at last.
    pub outdated: Duration,
    /// Whose request it is.
    pub client: Option<SocketAddr>,
    /// Where a part is asked for, the whole may be fetched.
    pub widens: bool,
    /// The answer may be stored, on these terms.
    pub kept: Option<Kept>,
}

impl ForPop {
    /// What it asks of the cache.
    #[must_use]
    pub fn asks(&self) -> PopAsks {
        PopAsks {
            outdated: self.outdated,
            widens: self.widens,
        }
    }
}

/// The value that travels: what is known of a request, and what the stages found out on its way.
pub struct Exchange {
    /// The request's name.
    pub id: RequestId,
    /// Where it stands in its trace; what it causes is a child of this.
    pub trace: TraceContext,
    /// The trace is the client's, not one begun here.
    pub continues_trace: bool,
    /// How it came.
    pub connection: Arc<Connection>,
    /// Where it goes.
    pub entry: Arc<Entry>,
    /// Its head, as plugins left it. The URI has scheme and authority.
    pub head: Parts,
    /// Its body, until a stage takes it.
    pub body: Body,
    /// When it arrived.
    pub now: SystemTime,
    /// When it arrived, to measure from.
    pub began: Instant,
    /// Who sends it, if a plugin said so.
    pub caller: Option<Arc<Caller>>,
    /// The client's session token: it has seen this much and must not see less (coherence.md, P4).
    pub session: Option<Box<Position>>,
    /// It sent a token that cannot be read here: nothing that is stored here may answer, records included.
    pub session_is_unknown: bool,
    /// It sent a cookie that is no token, and the answer ends it.
    pub drops_cookie: bool,
    /// The answer says what this PoP knew: the route or the request wants it.
    pub shows_coherence: bool,
    /// Fields that plugins set: the answer depends on them, so they join its `Vary`.
    pub fields_set: Vec<HeaderName>,
    /// How many plugins have seen the request.
    pub plugins_passed: usize,
    /// What was written on its behalf is in the log at this position.
    pub written: Position,
    /// What the cache did.
    pub cache: Option<CacheStatus>,
    /// The position of the stored answer that this one was made of; none if it was not.
    pub stored: Option<Arc<Position>>,
    /// Another PoP asks, and this one is its shield.
    pub for_pop: Option<Box<ForPop>>,
}

impl Exchange {
    /// Whose route it is.
    #[must_use]
    pub fn tenant(&self) -> &TenantName {
        &self.entry.route.tenant
    }

    /// `host[:port]` in the form of [`brink_protocol::purge::normal_host`].
    #[must_use]
    pub fn host(&self) -> Cow<'_, str> {
        let authority = self.head.uri.authority().map_or("", |a| a.as_str());
        normal_host(authority).unwrap_or(Cow::Borrowed(""))
    }

    /// `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.head.uri.scheme_str().unwrap_or("http")
    }

    /// The target, beginning with `/`.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        self.head.uri.path_and_query().map_or("/", |p| p.as_str())
    }

    /// The request for an origin, with the body.
    #[must_use]
    pub fn origin_request(&mut self) -> Request<Body> {
        self.mark_forwarded();
        let mut request = Request::new(std::mem::take(&mut self.body));
        *request.method_mut() = self.head.method.clone();
        *request.uri_mut() = self.head.uri.clone();
        *request.version_mut() = self.head.version;
        *request.headers_mut() = self.head.headers.clone();
        request.extensions_mut().insert(self.client());
        if let Some(interim) = self.head.extensions.get::<Interim>() {
            request.extensions_mut().insert(interim.clone());
        }
        request
    }

    /// The client's address.
    #[must_use]
    pub fn client(&self) -> SocketAddr {
        let said = self.for_pop.as_ref().and_then(|pop| pop.client);
        said.unwrap_or(self.connection.peer)
    }

    /// Tells who answers next which request and trace this is.
    pub fn mark_forwarded(&mut self) {
        self.trace.inject(&mut self.head.headers);
        name(self.id, &mut self.head.headers);
    }

    /// The same, on a copy of the fields.
    pub fn name_forwarded(&self, headers: &mut HeaderMap) {
        self.trace.inject(headers);
        name(self.id, headers);
    }

    /// The same request without its body, for what is asked on its behalf and may outlive it.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self {
            id: self.id,
            trace: self.trace.child(),
            continues_trace: true,
            connection: Arc::clone(&self.connection),
            entry: Arc::clone(&self.entry),
            head: self.head.clone(),
            body: Body::empty(),
            now: self.now,
            began: self.began,
            caller: self.caller.clone(),
            session: self.session.clone(),
            session_is_unknown: self.session_is_unknown,
            drops_cookie: false,
            shows_coherence: false,
            fields_set: self.fields_set.clone(),
            plugins_passed: 0,
            written: self.written.clone(),
            cache: None,
            stored: None,
            for_pop: self.for_pop.clone(),
        }
    }

    /// A problem document that names this request.
    #[must_use]
    pub fn problem(&self, problem: Problem) -> Response<Body> {
        problem_response(problem.with_instance(self.id.to_string()))
    }

    /// The last touch before the answer leaves: its id, no body for `HEAD`.
    #[must_use]
    pub fn close(&self, mut response: Response<Body>) -> Response<Body> {
        name(self.id, response.headers_mut());
        if self.head.method == Method::HEAD {
            without_body(response)
        } else {
            response
        }
    }
}

/// Names the request in the fields of a message.
pub fn name(id: RequestId, headers: &mut HeaderMap) {
    if let Ok(id) = HeaderValue::try_from(id.to_string()) {
        headers.insert(REQUEST_ID, id);
    }
}

/// RFC 9110 §9.3.2: the fields of what `GET` would answer, and no body.
fn without_body(response: Response<Body>) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact()
        && length > 0
        && !head.headers.contains_key(CONTENT_LENGTH)
    {
        head.headers.insert(CONTENT_LENGTH, length.into());
    }
    Response::from_parts(head, Body::empty())
}

/// A problem document as a response. RFC 9457 §3.
#[must_use]
pub fn problem_response(problem: Problem) -> Response<Body> {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = Response::new(Body::from(problem.to_json()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static(brink_protocol::problem::MEDIA_TYPE),
    );
    headers.insert(
        http::header::CACHE_CONTROL,
        HeaderValue::from_static("no-store"),
    );
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(http::header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// As [`brink_protocol::purge::normal_host`], without a copy where the text is in that form already.
#[must_use]
pub fn normal_host(authority: &str) -> Option<Cow<'_, str>> {
    let is_normal = !authority.is_empty()
        && authority.len() <= 255
        && authority
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_:[]".contains(&b))
        && !authority.ends_with(":443")
        && !authority.ends_with(":80")
        && !authority.ends_with(':');
    if is_normal {
        return Some(Cow::Borrowed(authority));
    }
    brink_protocol::purge::normal_host(authority)
        .ok()
        .map(Cow::Owned)
}

/// Makes path and query normal (see [`normal_path`] and [`normal_query`]); none if they cannot be.
pub fn normalise(uri: &mut Uri) -> Option<()> {
    let path = normal_path(uri.path())?;
    let query = uri.query().map(normal_query);
    if matches!(
        (&path, &query),
        (Cow::Borrowed(_), None | Some(Cow::Borrowed(_)))
    ) {
        return Some(());
    }
    let target = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.into_owned(),
    };
    let mut parts = std::mem::take(uri).into_parts();
    parts.path_and_query = Some(target.parse().ok()?);
    *uri = Uri::from_parts(parts).ok()?;
    Some(())
}

/// Gives a request the spelling of its host that is part of its key: an answer that repeats another (`:443` on `http`) would be
/// kept for those who did not send it.
///
/// # Errors
/// The host is none.
pub fn normalise_host(head: &mut Parts) -> Option<()> {
    let authority = head.uri.authority().map_or("", |a| a.as_str());
    let Cow::Owned(host) = normal_host(authority)? else {
        return Some(());
    };
    if let Some(named) = head.headers.get_mut(HOST) {
        *named = HeaderValue::from_str(&host).ok()?;
    }
    let mut parts = std::mem::take(&mut head.uri).into_parts();
    parts.authority = Some(host.parse().ok()?);
    head.uri = Uri::from_parts(parts).ok()?;
    Some(())
}

/// Takes off the fields that only the platform may set. RFC 9110 §7.6.1's hop-by-hop fields are the cache's and the
/// origin client's to deal with.
pub fn strip_internal(headers: &mut HeaderMap) {
    strip(headers, |name| name.as_str().starts_with(INTERNAL_PREFIX));
}

/// The same of what a module or an origin answers, which may speak to the cache.
pub fn strip_internal_of_answer(headers: &mut HeaderMap) {
    strip(headers, |name| {
        name.as_str().starts_with(INTERNAL_PREFIX) && *name != BRINK_CACHE_CONTROL
    });
}

fn strip(headers: &mut HeaderMap, is_internal: impl Fn(&HeaderName) -> bool) {
    if !headers.keys().any(&is_internal) {
        return;
    }
    let internal: Vec<HeaderName> = headers.keys().filter(|n| is_internal(n)).cloned().collect();
    for name in internal {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn hosts_are_normal_with_and_without_a_copy() {
        for (authority, normal, is_copy) in [
            ("example.com", Some("example.com"), false),
            ("127.0.0.1:8080", Some("127.0.0.1:8080"), false),
            ("[::1]:8443", Some("[::1]:8443"), false),
            ("Example.com", Some("example.com"), true),
            ("example.com:443", Some("example.com"), true),
            ("example.com:80", Some("example.com"), true),
            ("", None, false),
            ("a%b", None, false),
            ("example.com:", None, false),
        ] {
            let found = normal_host(authority);
            assert_eq!(found.as_deref(), normal, "{authority}");
            assert_eq!(matches!(found, Some(Cow::Owned(_))), is_copy, "{authority}");
            let theirs = brink_protocol::purge::normal_host(authority).ok();
            assert_eq!(theirs.as_deref(), normal, "{authority}");
        }
    }

    #[test]
    fn requests_have_the_host_of_their_key() {
        for (uri, expected) in [
            ("http://Example.com:443/a", Some("http://example.com/a")),
            ("https://example.com:80/a", Some("https://example.com/a")),
            ("http://example.com:81/a", Some("http://example.com:81/a")),
            ("http://example.com:/a", None),
        ] {
            let request = http::Request::get(uri).header(HOST, "any").body(());
            let mut head = request.unwrap().into_parts().0;
            let normal = normalise_host(&mut head).map(|()| head.uri.to_string());
            assert_eq!(normal.as_deref(), expected, "{uri}");
            let is_changed = expected.is_some_and(|expected| expected != uri);
            assert_eq!(head.headers[HOST] == "example.com", is_changed, "{uri}");
        }
    }

    #[test]
    fn targets_have_the_spelling_that_purges_have() {
        for (target, expected) in [
            ("http://h/%7ea?b=%7e", Some("h/~a?b=%7e")),
            ("http://h/\u{e9}", Some("h/%C3%A9")),
            ("http://h/a?b=\u{e9}", Some("h/a?b=%C3%A9")),
            ("http://h/?", Some("h/?")),
            ("http://h/a/../b", None),
        ] {
            let mut uri: Uri = target.parse().unwrap();
            let normal = normalise(&mut uri).map(|()| uri.to_string());
            let normal = normal.as_deref().map(|uri| &uri["http://".len()..]);
            assert_eq!(normal, expected, "{target}");
            if let Some(expected) = expected {
                let purged = brink_protocol::purge::normal_url(target).unwrap();
                assert_eq!(purged, expected, "{target}");
            }
        }
    }

    #[test]
    fn internal_fields_leave() {
        let mut headers = HeaderMap::new();
        let sent = [
            "brink-subject",
            "brink-position",
            "brink-cache-control",
            "accept",
            "x-brink",
        ];
        for name in sent {
            headers.append(name, HeaderValue::from_static("1"));
            headers.append(name, HeaderValue::from_static("2"));
        }
        strip_internal_of_answer(&mut headers);
        assert_eq!(headers.keys_len(), 3);
        strip_internal(&mut headers);
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "x-brink"]);
    }

    #[test]
    fn problems_are_documents_that_no_cache_keeps() {
        let response = problem_response(Problem::new(503, "overloaded", "t", "d"));
        assert_eq!(response.status(), 503);
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["retry-after"], "1");
        let length = response.body().size_hint().exact().unwrap();
        let head = without_body(response);
        assert_eq!(
            head.headers()["content-length"],
            length.to_string().as_str()
        );
        assert_eq!(head.body().size_hint().exact(), Some(0));
    }
}
