//! Outbound requests and their answers.

use crate::problem::Problem;

/// Largest body of an outbound answer that is read unless the request says otherwise, in bytes.
pub const ANSWER_BYTES_MAX: usize = 8 << 20;

/// A request to another server.
#[derive(Debug, Clone)]
#[must_use = "a request is not sent before `send`"]
pub struct Request {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) answer_bytes_max: usize,
}

impl Request {
    /// A request with a method to an absolute `http` or `https` URL.
    pub fn new(method: &str, url: impl Into<String>) -> Self {
        let (headers, body) = (Vec::new(), Vec::new());
        Self {
            method: method.to_owned(),
            url: url.into(),
            headers,
            body,
            timeout_ms: None,
            answer_bytes_max: ANSWER_BYTES_MAX,
        }
    }

    /// A GET.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// A GET of another module of the same tenant, by the name under which it is deployed; the path begins with `/`.
    pub fn module(name: &str, path_and_query: &str) -> Self {
        Self::get(format!(
            "http://{name}.module.brink.internal{path_and_query}"
        ))
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers
            .push((name.to_ascii_lowercase(), value.to_owned()));
        self
    }

    /// Sets the body and its media type.
    pub fn body(self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            ..self
        }
        .header("content-type", content_type)
    }

    /// How long to wait for the connection, for the first byte and between bytes, in milliseconds each. Without it: what the
    /// host allows.
    pub fn timeout_ms(mut self, timeout_ms: u64) -> Self {
        self.timeout_ms = Some(timeout_ms);
        self
    }

    /// Largest body of the answer, in bytes.
    pub fn answer_up_to(mut self, bytes: usize) -> Self {
        self.answer_bytes_max = bytes;
        self
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The body's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.body
    }
}

/// The answer of another server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header of that name, if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self
            .headers
            .iter()
            .find(|(present, _)| present.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok()
    }
}

/// Why there is no answer of another server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request cannot be sent as it is.
    #[error("the outbound request is not possible: {0}")]
    Invalid(String),
    /// The server could not be reached, did not answer in time, or answered nonsense; or the deployment may not ask it.
    #[error("the outbound request failed: {0}")]
    Failed(String),
    /// The answer's body is longer than allowed, in bytes.
    #[error("the outbound answer is longer than {0} bytes")]
    TooLarge(usize),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        match error {
            Error::Invalid(_) => Problem::new(500, "Internal error").detail(detail),
            Error::Failed(_) | Error::TooLarge(_) => {
                Problem::new(502, "Bad gateway").detail(detail)
            }
        }
    }
}

/// Scheme, authority and path with query of an absolute URL.
#[cfg_attr(
    not(target_arch = "wasm32"),
    allow(dead_code, reason = "only the host takes URLs apart")
)]
pub(crate) fn split(url: &str) -> Result<(&str, &str, String), Error> {
    let refuse = || Error::Invalid(format!("{url:?} is not an absolute http or https URL"));
    let (scheme, rest) = url.split_once("://").ok_or_else(refuse)?;
    if scheme != "http" && scheme != "https" {
        return Err(refuse());
    }
    let rest = rest.split_once('#').map_or(rest, |(rest, _fragment)| rest);
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.is_empty() || authority.contains('@') {
        return Err(refuse());
    }
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok((scheme, authority, format!("{slash}{path}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (url, authority, path) in [
            ("http://a", "a", "/"),
            ("https://a:81/b?c#d", "a:81", "/b?c"),
            ("http://[::1]:80?x", "[::1]:80", "/?x"),
        ] {
            let (_, split_authority, split_path) = split(url).unwrap();
            assert_eq!(
                (split_authority, split_path.as_str()),
                (authority, path),
                "{url}"
            );
        }
        for url in [
            "",
            "a",
            "/b",
            "ftp://a",
            "http://",
            "http:///x",
            "http://u:p@h/",
        ] {
            assert!(split(url).is_err(), "{url}");
        }
    }
}
