//! Session tokens at the edge: read from requests, taken off what goes on, put on answers to writes (coherence.md, P4).
//!
//! | the token | in the field | in the cookie |
//! |---|---|---|
//! | is valid | the answer is not older | the same |
//! | is made up or changed | 400 `session-invalid` | ignored; the answer ends the cookie |
//! | has a key that has ended | as if there were none | the same |
//! | has a key that is not known here | nothing stored answers, and reads go to the core | the same |
//!
//! Browsers send several cookies of one name when their paths or domains differ, and a script may send the field beside
//! them. Each is read, and the answer is as new as all of them say: any might be the newest. The listener's bound on a
//! request's fields bounds them too.
//!
//! Keys are handed out an hour before they sign, so the last line is for a place that has just begun, or a core that is
//! not known any more. If such a request writes, its new token says what was written and all that this PoP has applied:
//! what the unreadable one said is in that, unless it is younger than the lease.
//!
//! An edge without a core knows no keys and writes nothing: it takes tokens off and pays no attention to them.

use crate::{exchange::Exchange, reports::unix_ms};
use arc_swap::ArcSwap;
use brink_protocol::{
    Position,
    problem::Problem,
    session::{SESSION_COOKIE, SESSION_HEADER, SessionKeys, TokenError},
};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{COOKIE, SET_COOKIE},
};
use metrics::Counter;
use std::{sync::Arc, time::SystemTime};

/// How long a browser keeps the cookie, in seconds: as long as a key signs.
const COOKIE_AGE_S: u64 = 86_400;

/// What a request's token says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Session {
    /// The client has seen this much; none: it said nothing, or nothing that matters.
    pub seen: Option<Box<Position>>,
    /// The client has seen something, and the key that says what is not known here.
    pub is_unknown: bool,
    /// It sent a cookie that is no token: the answer ends it.
    pub drops_cookie: bool,
}

/// Reads and signs tokens. The keys are in memory alone, and come over the feed.
pub struct Sessions {
    keys: ArcSwap<SessionKeys>,
    has_core: bool,
    unsigned: Counter,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions")
            .field("keys", &self.keys_count())
            .finish_non_exhaustive()
    }
}

impl Sessions {
    /// No keys yet; without a core there never will be.
    #[must_use]
    pub fn new(has_core: bool) -> Self {
        Self {
            keys: ArcSwap::default(),
            has_core,
            unsigned: metrics::counter!("brink_sessions_unsigned_total"),
        }
    }

    /// The feed brought the keys of now.
    pub fn set_keys(&self, keys: SessionKeys) {
        self.keys.store(Arc::new(keys));
    }

    /// How many keys are known.
    #[must_use]
    pub fn keys_count(&self) -> usize {
        self.keys.load().len()
    }

    /// Whether answers to writes can be signed, or never need to be.
    #[must_use]
    pub fn can_sign(&self) -> bool {
        !self.has_core || self.keys_count() > 0
    }

    /// Reads the token of a request and takes the cookie off. The field is left to
    /// [`crate::exchange::strip_internal`].
    ///
    /// # Errors
    /// What the client is told, see the table above.
    pub fn take(&self, headers: &mut HeaderMap, now: SystemTime) -> Result<Session, Box<Problem>> {
        let cookies = take_cookies(headers);
        if !self.has_core {
            return Ok(Session::default());
        }
        let fields: Vec<&HeaderValue> = headers.get_all(SESSION_HEADER).iter().collect();
        match fields.as_slice() {
            [] if cookies.is_empty() => Ok(Session::default()),
            [] => Ok(self.read_cookies(&cookies, now)),
            [field] => {
                let mut session = self.read_cookies(&cookies, now);
                session.merge(self.read_field(field, now)?);
                Ok(session)
            }
            _ => Err(invalid("there are several, and one is allowed")),
        }
    }

    fn verify(&self, token: &[u8], now: SystemTime) -> Result<Position, TokenError> {
        let token = std::str::from_utf8(token).map_err(|_| TokenError::Malformed)?;
        self.keys.load().verify(token, unix_ms(now))
    }

    fn read_field(&self, field: &HeaderValue, now: SystemTime) -> Result<Session, Box<Problem>> {
        match self.verify(field.as_bytes(), now) {
            Ok(position) => Ok(Session::seen(position)),
            Err(TokenError::KeyEnded) => Ok(Session::default()),
            Err(TokenError::KeyAhead) => Ok(Session {
                is_unknown: true,
                ..Session::default()
            }),
            Err(error @ (TokenError::Malformed | TokenError::Signature)) => {
                Err(invalid(&error.to_string()))
            }
        }
    }

    fn read_cookies(&self, cookies: &[Vec<u8>], now: SystemTime) -> Session {
        let mut session = Session::default();
        let mut seen = Position::default();
        for cookie in cookies {
            match self.verify(cookie, now) {
                Ok(position) => seen.merge(&position),
                Err(TokenError::KeyEnded) => {}
                Err(TokenError::KeyAhead) => session.is_unknown = true,
                Err(TokenError::Malformed | TokenError::Signature) => session.drops_cookie = true,
            }
        }
        Session {
            seen: Session::seen(seen).seen,
            ..session
        }
    }

    /// The token of what was `written`, beside all that the client had `seen`. None: there are no keys, or it is too
    /// long; counted as `brink_sessions_unsigned_total`.
    #[must_use]
    pub fn sign(&self, written: &Position, seen: Option<&Position>) -> Option<HeaderValue> {
        let mut position = written.clone();
        if let Some(seen) = seen {
            position.merge(seen);
        }
        let token = self
            .keys
            .load()
            .sign(&position, unix_ms(SystemTime::now()))
            .and_then(|token| HeaderValue::try_from(token).ok());
        if token.is_none() {
            self.unsigned.increment(1);
        }
        token
    }

    /// Puts on the answer what concerns the session: the token if something was written, as a cookie too where the
    /// route says so; the end of a cookie that was no token. `applied`: what this PoP has applied by now.
    pub fn put(
        &self,
        exchange: &Exchange,
        applied: impl FnOnce() -> Position,
        answer: &mut HeaderMap,
    ) {
        let signs = self.has_core && !exchange.written.is_empty();
        let unreadable = (signs && exchange.session_is_unknown).then(applied);
        let seen = unreadable.as_ref().or(exchange.session.as_deref());
        let token = signs.then(|| self.sign(&exchange.written, seen)).flatten();
        let is_https = exchange.scheme() == "https";
        let mut sets_cookie = false;
        if let Some(token) = token {
            if exchange.entry.route.session_cookie
                && let Some(cookie) = cookie(&token, COOKIE_AGE_S, is_https)
            {
                answer.append(SET_COOKIE, cookie);
                sets_cookie = true;
            }
            answer.insert(HeaderName::from_static(SESSION_HEADER), token);
        }
        let ended = HeaderValue::from_static("");
        if exchange.drops_cookie
            && !sets_cookie
            && let Some(cookie) = cookie(&ended, 0, is_https)
        {
            answer.append(SET_COOKIE, cookie);
        }
    }
}

impl Session {
    fn seen(position: Position) -> Self {
        Self {
            seen: (!position.is_empty()).then(|| Box::new(position)),
            ..Self::default()
        }
    }

    /// All that `other` says too.
    fn merge(&mut self, other: Self) {
        match (&mut self.seen, other.seen) {
            (Some(seen), Some(other)) => seen.merge(&other),
            (seen, other) => *seen = seen.take().or(other),
        }
        self.is_unknown |= other.is_unknown;
        self.drops_cookie |= other.drops_cookie;
    }
}

/// RFC 6265 §4.1.
fn cookie(token: &HeaderValue, age_s: u64, is_https: bool) -> Option<HeaderValue> {
    let token = token.to_str().ok()?;
    let secure = if is_https { "; Secure" } else { "" };
    HeaderValue::try_from(format!(
        "{SESSION_COOKIE}={token}; Path=/; HttpOnly{secure}; SameSite=Lax; Max-Age={age_s}"
    ))
    .ok()
}

/// Takes cookies of the token's name off the request, whoever reads it next; answers the values of the first few. RFC
/// 6265 §4.2, and RFC 9113 §8.2.3: there may be several `Cookie` fields.
fn take_cookies(headers: &mut HeaderMap) -> Vec<Vec<u8>> {
    let name = SESSION_COOKIE.as_bytes();
    let mentions = |field: &HeaderValue| field.as_bytes().windows(name.len()).any(|w| w == name);
    if !headers.get_all(COOKIE).iter().any(mentions) {
        return Vec::new();
    }
    let mut taken = Vec::new();
    let mut kept = Vec::new();
    for field in headers.get_all(COOKIE) {
        let mut others: Vec<&[u8]> = Vec::new();
        for pair in field.as_bytes().split(|b| *b == b';') {
            let pair = pair.trim_ascii();
            match pair.strip_prefix(name).map(<[u8]>::trim_ascii_start) {
                Some([b'=', value @ ..]) => taken.push(unquoted(value.trim_ascii()).to_vec()),
                Some(_) | None if pair.is_empty() => {}
                Some(_) | None => others.push(pair),
            }
        }
        if let Ok(others) = HeaderValue::from_bytes(&others.join(&b"; "[..]))
            && !others.is_empty()
        {
            kept.push(others);
        }
    }
    headers.remove(COOKIE);
    for field in kept {
        headers.append(COOKIE, field);
    }
    taken
}

fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        value => value,
    }
}

fn invalid(reason: &str) -> Box<Problem> {
    Box::new(Problem::new(
        400,
        "session-invalid",
        "The session token is not valid",
        format!(
            "{reason}; brink-session is to be sent back as it was answered, or not at all: drop it and go on without"
        ),
    ))
}

#[cfg(test)]
mod tests;
