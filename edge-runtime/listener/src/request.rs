//! Makes one shape of the request targets of three protocols, and refuses what is malformed. Pure.

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, Parts, PathAndQuery, Scheme};
use http::{HeaderMap, Method, StatusCode, Uri, Version};

/// Why a request does not reach the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// RFC 9112 §3.2: not exactly one valid `Host`; RFC 9110 §4.2.4: user information in it.
    Host,
    /// RFC 9113 §8.3.1, RFC 9114 §4.3.1: `:authority` and `Host` differ.
    HostDiffers,
    /// The target does not make a URI.
    Target,
    /// More header fields than the limit.
    Fields,
    /// The header section has more bytes than the limit (HTTP/3; hyper finds it itself).
    HeaderBytes,
    /// A declared `content-length` over the limit.
    BodyBytes,
    /// `content-length` is not a number, or there are several.
    ContentLength,
    /// RFC 9114 §4.2: fields of one connection in HTTP/3. (h2 finds its own.)
    ConnectionField,
    /// A transfer coding beside one `chunked`.
    TransferCoding,
    /// `CONNECT`: there are no tunnels.
    Connect,
    /// `TRACE`: would show a caller what was added to its request.
    Trace,
}

impl Refusal {
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::Host
            | Self::HostDiffers
            | Self::Target
            | Self::ContentLength
            | Self::ConnectionField => StatusCode::BAD_REQUEST,
            Self::TransferCoding => StatusCode::NOT_IMPLEMENTED,
            Self::Fields | Self::HeaderBytes => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyBytes => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Connect => StatusCode::NOT_IMPLEMENTED,
            Self::Trace => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    /// The `detail` of a problem document (RFC 9457 §3.1.4).
    pub(crate) const fn detail(self) -> &'static str {
        match self {
            Self::Host => "the request needs exactly one valid Host",
            Self::HostDiffers => ":authority and Host differ",
            Self::Target => "the request target is not valid",
            Self::Fields => "the request has too many header fields",
            Self::HeaderBytes => "the request's header section is too large",
            Self::BodyBytes => "the request's content-length is over the limit",
            Self::ContentLength => "the request's content-length is not valid",
            Self::ConnectionField => "the request has a field of HTTP/1.1 connections",
            Self::TransferCoding => "no transfer coding but chunked, once, is implemented",
            Self::Connect => "CONNECT is not implemented",
            Self::Trace => "TRACE is not allowed",
        }
    }

    /// Whether the connection or stream cannot be trusted to be in step any more.
    pub(crate) const fn closes(self) -> bool {
        !matches!(self, Self::Trace)
    }
}

/// The limits that a request's head is held against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadLimits {
    pub(crate) fields_max: usize,
    pub(crate) body_bytes_max: u64,
}

/// Method, fields, length of the body: what needs no host.
pub(crate) fn check(
    method: &Method,
    headers: &HeaderMap,
    version: Version,
    limits: HeadLimits,
) -> Result<(), Refusal> {
    if *method == Method::CONNECT {
        return Err(Refusal::Connect);
    }
    if *method == Method::TRACE {
        return Err(Refusal::Trace);
    }
    if headers.len() > limits.fields_max {
        return Err(Refusal::Fields);
    }
    if version == Version::HTTP_3 && has_connection_field(headers) {
        return Err(Refusal::ConnectionField);
    }
    if !has_known_coding(headers) {
        return Err(Refusal::TransferCoding);
    }
    match content_length(headers)? {
        Some(length) if length > limits.body_bytes_max => Err(Refusal::BodyBytes),
        Some(_) | None => Ok(()),
    }
}

/// RFC 9112 §6.1: what stands before `chunked`, or twice, would be forwarded under a framing that says nothing of it.
fn has_known_coding(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    codings
        .next()
        .is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
        && codings.next().is_none()
}

fn has_connection_field(headers: &HeaderMap) -> bool {
    let te = headers
        .get(TE)
        .is_some_and(|te| !te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    te || headers.contains_key(CONNECTION)
        || headers.contains_key(TRANSFER_ENCODING)
        || headers.contains_key(UPGRADE)
}

/// RFC 9110 §8.6. Two fields are refused even if they agree: not every recipient after us takes them.
pub(crate) fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Refusal::ContentLength);
    }
    let text = value.to_str().map_err(|_| Refusal::ContentLength)?;
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::ContentLength);
    }
    text.parse().map(Some).map_err(|_| Refusal::ContentLength)
}

/// RFC 9110 §10.1.1: the client sends the body when it is asked to.
pub(crate) fn expects_continue(headers: &HeaderMap) -> bool {
    headers
        .get(EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Where the authority of a request comes from that does not say it itself (HTTP/1.0 without `Host`).
pub(crate) struct Defaults<'a> {
    pub(crate) scheme: &'a Scheme,
    pub(crate) local: &'a Authority,
}

/// Gives `uri` the connection's scheme and the request's authority, whatever the form it came in.
/// `known` is the authority of the connection's previous request: most connections have one only.
pub(crate) fn normalise(
    uri: &mut Uri,
    headers: &HeaderMap,
    version: Version,
    defaults: &Defaults<'_>,
    known: &mut Option<Authority>,
) -> Result<(), Refusal> {
    let host = sole_host(headers, version)?;
    // RFC 9112 §3.2.3: an authority alone is for CONNECT.
    if uri.authority().is_some() && uri.scheme().is_none() {
        return Err(Refusal::Target);
    }
    let authority = match (uri.authority(), host) {
        (Some(authority), None) => valid(authority.clone())?,
        (Some(authority), Some(host)) => {
            // RFC 9112 §3.2.2: an absolute-form target wins over Host. The newer protocols refuse a difference.
            if version >= Version::HTTP_2
                && !authority.as_str().as_bytes().eq_ignore_ascii_case(host)
            {
                return Err(Refusal::HostDiffers);
            }
            authority_of(host)?;
            valid(authority.clone())?
        }
        (None, Some(host)) => match known {
            Some(known) if known.as_str().as_bytes() == host => known.clone(),
            _ => {
                let authority = authority_of(host)?;
                *known = Some(authority.clone());
                authority
            }
        },
        (None, None) if version < Version::HTTP_11 => defaults.local.clone(),
        (None, None) => return Err(Refusal::Host),
    };
    if uri.authority().is_some() && uri.scheme() == Some(defaults.scheme) {
        return Ok(());
    }
    let taken = std::mem::take(uri).into_parts();
    let mut parts = Parts::default();
    parts.scheme = Some(defaults.scheme.clone());
    parts.authority = Some(authority);
    parts.path_and_query = Some(
        taken
            .path_and_query
            .unwrap_or_else(|| PathAndQuery::from_static("/")),
    );
    *uri = Uri::from_parts(parts).map_err(|_| Refusal::Target)?;
    Ok(())
}

/// RFC 9112 §3.2: HTTP/1.1 needs exactly one; the others may have one.
fn sole_host(headers: &HeaderMap, version: Version) -> Result<Option<&[u8]>, Refusal> {
    let mut values = headers.get_all(HOST).iter();
    let host = values.next();
    // The target's absolute form does not stand in for the field.
    if values.next().is_some() || (host.is_none() && version == Version::HTTP_11) {
        return Err(Refusal::Host);
    }
    Ok(host.map(http::HeaderValue::as_bytes))
}

/// A `Host` as an authority.
pub(crate) fn authority_of(host: &[u8]) -> Result<Authority, Refusal> {
    valid(Authority::try_from(host).map_err(|_| Refusal::Host)?)
}

/// What `http::uri::Authority` lets through and a host is not.
fn valid(authority: Authority) -> Result<Authority, Refusal> {
    let text = authority.as_str();
    let host = authority.host();
    let port = text.get(host.len()..).unwrap_or_default();
    let port_is_valid = match port.strip_prefix(':') {
        Some(digits) => digits.is_empty() || authority.port_u16().is_some(),
        None => port.is_empty(),
    };
    if host.is_empty() || text.contains('@') || !port_is_valid {
        return Err(Refusal::Host);
    }
    Ok(authority)
}

#[cfg(test)]
mod tests;
