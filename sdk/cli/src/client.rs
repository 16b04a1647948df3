//! Speaks with the control API: TLS, JSON, bearer token, problem documents, timeouts.

mod failure;
mod secret;
mod trust;

pub(crate) use secret::Secret;

use crate::{error::Error, settings::Settings};
use brink_protocol::{control::IDEMPOTENCY_HEADER, problem::Problem, transfer::MEDIA_TYPE};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{path::Path, time::Duration};

/// Longest time to connect, without TLS.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// Longest time of an ordinary request, from its first byte to the last of its answer.
pub(crate) const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
/// Longest time of a publish: the core compiles before it answers, and 12 MiB of JavaScript engine take their time.
pub(crate) const PUBLISH_TIME_MAX: Duration = Duration::from_secs(300);
/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// How much of an answer that is not JSON is shown, in characters.
const EXCERPT_CHARS_MAX: usize = 300;

type Http = HttpClient<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A client of one control API.
pub(crate) struct Client {
    http: Http,
    base: String,
    token: Option<Secret>,
}

/// An answer's status and JSON.
pub(crate) struct Answer<T> {
    /// The status, 2xx.
    pub(crate) status: StatusCode,
    /// The body.
    pub(crate) body: T,
}

/// A request's body.
pub(crate) enum Content {
    /// None.
    Empty,
    /// JSON.
    Json(Vec<u8>),
    /// A component.
    Component(Vec<u8>),
    /// Lines of JSON.
    Lines(Vec<u8>),
}

impl Content {
    /// `value` as JSON.
    ///
    /// # Errors
    /// It has no JSON form.
    pub(crate) fn json(value: &impl Serialize) -> Result<Self, Error> {
        serde_json::to_vec(value)
            .map(Self::Json)
            .map_err(|error| Error::failed("the request has no JSON form", error))
    }

    fn into_parts(self) -> (Option<&'static str>, Bytes) {
        match self {
            Self::Empty => (None, Bytes::new()),
            Self::Json(bytes) => (Some("application/json"), bytes.into()),
            Self::Component(bytes) => (Some("application/wasm"), bytes.into()),
            Self::Lines(bytes) => (Some(MEDIA_TYPE), bytes.into()),
        }
    }
}

/// A client that trusts this authority; none: those of the system.
fn connected(ca: Option<&Path>) -> Result<Http, Error> {
    let tls = trust::config(ca)?;
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT_TIME_MAX));
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(tcp);
    Ok(HttpClient::builder(TokioExecutor::new()).build(connector))
}

impl Client {
    /// Reads authority and token; connects only with the first request.
    ///
    /// # Errors
    /// The authority's or the token's file is missing or wrong.
    pub(crate) fn new(settings: &Settings) -> Result<Self, Error> {
        let token = settings
            .token_file
            .as_deref()
            .map(Secret::read)
            .transpose()?;
        Self::with_token(settings, token)
    }

    /// As [`Client::new`], with this token.
    ///
    /// # Errors
    /// The authority's file is missing or wrong.
    pub(crate) fn with_token(settings: &Settings, token: Option<Secret>) -> Result<Self, Error> {
        Ok(Self {
            http: connected(settings.ca.as_deref())?,
            base: settings.control.as_str().to_owned(),
            token,
        })
    }

    /// A client of another API at `base`, to which no token is shown.
    ///
    /// # Errors
    /// The system's authorities cannot be read.
    pub(crate) fn without_token(base: String) -> Result<Self, Error> {
        Ok(Self {
            http: connected(None)?,
            base,
            token: None,
        })
    }

    /// Where it sends its requests.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// `GET path`.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        Ok(self
            .send(Method::GET, path, Content::Empty, REQUEST_TIME_MAX)
            .await?
            .body)
    }

    /// Sends a JSON body.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub(crate) async fn send_json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Error> {
        Ok(self
            .send(method, path, Content::json(body)?, REQUEST_TIME_MAX)
            .await?
            .body)
    }

    /// `DELETE path`; what it answers does not matter.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub(crate) async fn delete(&self, path: &str) -> Result<(), Error> {
        self.exchange(Method::DELETE, path, Content::Empty, REQUEST_TIME_MAX, None)
            .await
            .map(drop)
    }

    /// Sends a request and reads its answer as JSON.
    ///
    /// # Errors
    /// The control API is not reached, answers with an error, not in time, or with something else than was asked for.
    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        content: Content,
        time_max: Duration,
    ) -> Result<Answer<T>, Error> {
        self.send_keyed(method, path, content, time_max, None).await
    }

    /// As [`Client::send`], under an idempotency key.
    ///
    /// # Errors
    /// As [`Client::send`], or the key is not one that a field can carry.
    pub(crate) async fn send_keyed<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        content: Content,
        time_max: Duration,
        key: Option<&str>,
    ) -> Result<Answer<T>, Error> {
        let (status, bytes) = self.exchange(method, path, content, time_max, key).await?;
        let body = serde_json::from_slice(&bytes).map_err(|error| {
            Error::Failed(format!(
                "{}{path} answered with {status}, but not as Brink's control API does: {error}\n{}\n\
                 Is it a control API of this version ({})?",
                self.base,
                excerpt(&bytes),
                env!("CARGO_PKG_VERSION"),
            ))
        })?;
        Ok(Answer { status, body })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        content: Content,
        time_max: Duration,
        key: Option<&str>,
    ) -> Result<(StatusCode, Bytes), Error> {
        let request = self.request(method, path, content, key)?;
        let late = |_| failure::late(&self.base, time_max);
        let (parts, bytes) = tokio::time::timeout(time_max, self.round_trip(request))
            .await
            .map_err(late)??;
        if parts.status.is_success() {
            Ok((parts.status, bytes))
        } else {
            Err(Error::Answer(problem(&parts, &bytes)))
        }
    }

    /// `GET path`, with an answer of any length, which goes to `out` as it arrives: each part within `part_time_max`.
    ///
    /// # Errors
    /// As [`Client::send`], the answer broke off, or `out` takes no more.
    pub(crate) async fn download(
        &self,
        path: &str,
        out: &mut impl std::io::Write,
        part_time_max: Duration,
    ) -> Result<(), Error> {
        let request = self.request(Method::GET, path, Content::Empty, None)?;
        let late = |_| failure::late(&self.base, part_time_max);
        let response = tokio::time::timeout(part_time_max, self.http.request(request))
            .await
            .map_err(late)?
            .map_err(|error| failure::of(&self.base, &error))?;
        let broke = |error: &dyn std::fmt::Display| {
            Error::failed(format_args!("the answer of {} broke off", self.base), error)
        };
        let (parts, mut body) = response.into_parts();
        if !parts.status.is_success() {
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect();
            let body = tokio::time::timeout(part_time_max, body)
                .await
                .map_err(late)?;
            let bytes = body.map_err(|error| broke(&error))?.to_bytes();
            return Err(Error::Answer(problem(&parts, &bytes)));
        }
        while let Some(frame) = tokio::time::timeout(part_time_max, body.frame())
            .await
            .map_err(late)?
        {
            let frame = frame.map_err(|error| broke(&error))?;
            if let Some(data) = frame.data_ref() {
                out.write_all(data)
                    .map_err(|error| Error::failed("the file cannot be written", error))?;
            }
        }
        Ok(())
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        content: Content,
        key: Option<&str>,
    ) -> Result<Request<Full<Bytes>>, Error> {
        let (content_type, bytes) = content.into_parts();
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(
                header::USER_AGENT,
                concat!("brink/", env!("CARGO_PKG_VERSION")),
            )
            .header(header::ACCEPT, "application/json, application/problem+json");
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        if let Some(key) = key {
            request = request.header(IDEMPOTENCY_HEADER, key);
        }
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token.authorization()?);
        }
        request
            .body(Full::new(bytes))
            .map_err(|error| Error::failed("the request is malformed", error))
    }

    async fn round_trip(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(http::response::Parts, Bytes), Error> {
        let response = self
            .http
            .request(request)
            .await
            .map_err(|error| failure::of(&self.base, &error))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let bytes = body.map_err(|error| {
            Error::failed(format_args!("the answer of {} broke off", self.base), error)
        })?;
        Ok((parts, bytes.to_bytes()))
    }
}

/// The problem that an error says; one made of the status if it says none.
fn problem(parts: &http::response::Parts, bytes: &[u8]) -> Problem {
    let status = parts.status;
    if let Ok(mut problem) = serde_json::from_slice::<Problem>(bytes) {
        // RFC 9457 §3.1.2: the member is advisory, the status line counts.
        problem.status = status.as_u16();
        return problem;
    }
    let title = status.canonical_reason().unwrap_or("Error").to_owned();
    let text = excerpt(bytes);
    let detail = (!text.is_empty()).then_some(text);
    Problem {
        kind: "about:blank".into(),
        title,
        status: status.as_u16(),
        detail,
        instance: None,
    }
}

/// The beginning of a text from outside, without control characters.
fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let clean = text
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c });
    clean.take(EXCERPT_CHARS_MAX).collect()
}

/// A part of a path or query, percent-encoded: RFC 3986 §2.1, everything but unreserved characters.
pub(crate) fn encoded(text: &str) -> String {
    text.bytes()
        .fold(String::with_capacity(text.len()), |mut out, byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                out.push(char::from(byte));
            } else {
                out.push_str(&format!("%{byte:02X}"));
            }
            out
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding() {
        for (text, encoding) in [
            ("a-Z_0.~", "a-Z_0.~"),
            ("a/b c", "a%2Fb%20c"),
            ("é&=", "%C3%A9%26%3D"),
        ] {
            assert_eq!(encoded(text), encoding);
        }
    }

    #[test]
    fn excerpts_are_short_and_clean() {
        assert_eq!(excerpt(b" a\x1b[31mb\n"), "a [31mb");
        assert_eq!(
            excerpt("x".repeat(5000).as_bytes()).len(),
            EXCERPT_CHARS_MAX
        );
    }
}
