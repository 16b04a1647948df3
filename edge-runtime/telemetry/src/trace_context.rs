//! W3C Trace Context: which trace a request belongs to, from client to edge to core to module.
//!
//! ```
//! use brink_telemetry::TraceContext;
//!
//! let mut headers = http::HeaderMap::new();
//! let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
//! headers.insert("traceparent", http::HeaderValue::from_static(traceparent));
//!
//! let client = TraceContext::from_headers(&headers);
//! let span = tracing::info_span!("exchange");
//! let here = TraceContext::begin(client.as_ref(), &span);
//! assert_eq!(here.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
//! here.inject(&mut headers); // what we ask others in turn carries the trace on
//! ```

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::{SpanContext, TraceContextExt, TraceFlags, TraceState};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Registry;
use tracing_subscriber::registry::LookupSpan;

use crate::random;

/// W3C Trace Context §3.2.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// W3C Trace Context §3.3.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Length of a version 00 `traceparent`.
const TRACEPARENT_BYTES: usize = 55;
/// §3.3.1.1.
const STATE_MEMBERS_MAX: usize = 32;
/// §3.3.1.5 asks for at least 512. A longer `tracestate` is dropped whole.
const STATE_BYTES_MAX: usize = 1024;
/// §3.2.2.5.1.
const SAMPLED: u8 = 0x01;
/// §3.2.2.5.2 (Level 2): the trace id is random.
const RANDOM: u8 = 0x02;

/// A trace: 16 bytes, not all zero, as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

/// A span of a trace: 8 bytes, not all zero, as 16 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(u64);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl SpanId {
    fn generate() -> Self {
        Self(random::next().max(1))
    }
}

/// A place in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: TraceId,
    span_id: SpanId,
    flags: u8,
    /// Vendors' own members, passed on as they came.
    state: Option<HeaderValue>,
}

/// The ids of a span, kept with it for log lines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ids {
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: SpanId,
}

impl TraceContext {
    /// A new trace. Not sampled: nobody has decided to record it.
    pub fn root() -> Self {
        let trace_id = (u128::from(random::next()) << 64) | u128::from(random::next());
        Self {
            trace_id: TraceId(trace_id.max(1)),
            span_id: SpanId::generate(),
            flags: RANDOM,
            state: None,
        }
    }

    /// The sender's place. `None` without a valid `traceparent`: then a trace begins here (§4.3). A
    /// `tracestate` that is not valid is dropped alone.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let value = values.next()?;
        if values.next().is_some() {
            return None;
        }
        let mut context = Self::parse(value.to_str().ok()?)?;
        context.state = state(headers);
        Some(context)
    }

    /// A `traceparent` alone (§3.2.2). Later versions are read as version 00, what follows is ignored.
    fn parse(text: &str) -> Option<Self> {
        let known = text.get(..TRACEPARENT_BYTES)?;
        let rest = text.get(TRACEPARENT_BYTES..)?;
        let mut fields = known.split('-');
        let version = hex(fields.next()?, 2)?;
        let trace_id = hex(fields.next()?, 32)?;
        let span_id = u64::try_from(hex(fields.next()?, 16)?).ok()?;
        let flags = u8::try_from(hex(fields.next()?, 2)?).ok()?;
        let well_formed = match version {
            0x00 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest.starts_with('-'),
        };
        if !well_formed || fields.next().is_some() || trace_id == 0 || span_id == 0 {
            return None;
        }
        let (trace_id, span_id) = (TraceId(trace_id), SpanId(span_id));
        Some(Self {
            trace_id,
            span_id,
            flags: flags & (SAMPLED | RANDOM),
            state: None,
        })
    }

    /// Makes `span` a part of the trace of `parent` (or of a new one) and returns its place. Log lines
    /// within the span carry its ids, whether spans are exported or not; when they are, the exported
    /// span has the same ids and the sender's span as its parent.
    ///
    /// Call it right after the span is made, before it is entered. A span that is filtered out costs
    /// nothing more than its random id.
    pub fn begin(parent: Option<&Self>, span: &tracing::Span) -> Self {
        let context = Self::exported(parent, span)
            .unwrap_or_else(|| parent.map_or_else(Self::root, Self::child));
        span.with_subscriber(|(id, subscriber)| {
            let ids = Ids {
                trace_id: context.trace_id,
                span_id: context.span_id,
            };
            if let Some(span) = subscriber
                .downcast_ref::<Registry>()
                .and_then(|it| it.span(id))
            {
                span.extensions_mut().replace(ids);
            }
        });
        context
    }

    /// The place that OpenTelemetry gives the span, when spans are exported.
    fn exported(parent: Option<&Self>, span: &tracing::Span) -> Option<Self> {
        if span.is_disabled() {
            return None;
        }
        if let Some(parent) = parent {
            let remote = opentelemetry::Context::new().with_remote_span_context(parent.remote());
            span.set_parent(remote).ok()?;
        }
        let context = span.context();
        let context = context.span().span_context().clone();
        context.is_valid().then(|| Self {
            trace_id: TraceId(u128::from_be_bytes(context.trace_id().to_bytes())),
            span_id: SpanId(u64::from_be_bytes(context.span_id().to_bytes())),
            flags: context.trace_flags().to_u8() | parent.map_or(RANDOM, |it| it.flags & RANDOM),
            state: parent.and_then(|parent| parent.state.clone()),
        })
    }

    fn remote(&self) -> SpanContext {
        SpanContext::new(
            opentelemetry::TraceId::from_bytes(self.trace_id.0.to_be_bytes()),
            opentelemetry::SpanId::from_bytes(self.span_id.0.to_be_bytes()),
            TraceFlags::new(self.flags & SAMPLED),
            true,
            // Passed on by us, unread.
            TraceState::NONE,
        )
    }

    /// Another span of the same trace.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            span_id: SpanId::generate(),
            ..self.clone()
        }
    }

    /// The trace.
    pub const fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// This place in it.
    pub const fn span_id(&self) -> SpanId {
        self.span_id
    }

    /// Whether the one who began the trace records it.
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The `traceparent` that names this place.
    pub fn traceparent(&self) -> HeaderValue {
        let text = self.to_string();
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// Sets `traceparent` and `tracestate` of a request that we send.
    pub fn inject(&self, headers: &mut HeaderMap) {
        headers.insert(TRACEPARENT, self.traceparent());
        match &self.state {
            Some(state) => headers.insert(TRACESTATE, state.clone()),
            None => headers.remove(TRACESTATE),
        };
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{}-{}-{:02x}",
            self.trace_id, self.span_id, self.flags
        )
    }
}

/// `digits` lower-case hexadecimal digits (§3.2.2.1: upper case is not valid).
fn hex(text: &str, digits: usize) -> Option<u128> {
    let lower = text
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if text.len() != digits || !lower {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

/// All `tracestate` fields as one (§3.3.1.4), if they are valid.
fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut members: Vec<&str> = Vec::new();
    let mut bytes = 0;
    for value in headers.get_all(TRACESTATE) {
        for member in value.to_str().ok()?.split(',') {
            let member = member.trim_matches([' ', '\t']);
            if member.is_empty() {
                continue;
            }
            let (key, value) = member.split_once('=')?;
            let twice = members
                .iter()
                .any(|seen| seen.split_once('=').is_some_and(|(seen, _)| seen == key));
            bytes += member.len() + 1;
            if !is_key(key) || !is_value(value) || twice || bytes > STATE_BYTES_MAX {
                return None;
            }
            members.push(member);
        }
    }
    if members.is_empty() || members.len() > STATE_MEMBERS_MAX {
        return None;
    }
    HeaderValue::try_from(members.join(",")).ok()
}

/// §3.3.1.3.1, as Level 2 has it: 1 to 256 of these, of which the first is a letter or digit.
fn is_key(key: &str) -> bool {
    let first = key.bytes().next();
    key.len() <= 256
        && first.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && key.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(&byte)
        })
}

/// §3.3.1.3.2: 1 to 256 printable characters, no comma, no equals sign, no space at the end.
fn is_value(value: &str) -> bool {
    (1..=256).contains(&value.len())
        && !value.ends_with(' ')
        && value
            .bytes()
            .all(|byte| matches!(byte, b' '..=b'~') && byte != b',' && byte != b'=')
}

#[cfg(test)]
mod tests;
