//! Requests, as a module's handler gets them.

use crate::problem::Problem;
use crate::target;
use serde::de::DeserializeOwned;
use std::fmt;

/// Largest body that [`Request::body`] and [`Request::json`] read, in bytes.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// The method of a request (RFC 9110 §9).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Method {
    /// Read. A `HEAD` reaches the handler as `GET`; the SDK leaves the body out of the answer.
    Get,
    /// Hand over, create.
    Post,
    /// Replace.
    Put,
    /// Change in part (RFC 5789).
    Patch,
    /// Delete.
    Delete,
    /// Ask what is possible.
    Options,
    /// Any other.
    Other(String),
}

impl Method {
    /// The method of that name; names are case-sensitive.
    #[must_use]
    pub fn of(name: &str) -> Self {
        match name {
            "GET" | "HEAD" => Self::Get,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "PATCH" => Self::Patch,
            "DELETE" => Self::Delete,
            "OPTIONS" => Self::Options,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// Why a body could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is longer than the limit, in bytes.
    #[error("the request's body is longer than {0} bytes")]
    TooLarge(usize),
    /// The client went away, or sent something else than it announced.
    #[error("the request's body ended early: {0}")]
    Broken(String),
    /// It was read before; the host hands a body over once.
    #[error("the request's body was read before")]
    Taken,
    /// It is not the JSON that was expected.
    #[error("the request's body is not the JSON expected: {0}")]
    NotJson(String),
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge(limit) => Problem::new(413, "Content too large")
                .detail(error.to_string())
                .with("limit", limit),
            BodyError::Broken(_) => Problem::bad_request(error.to_string()),
            BodyError::Taken => Problem::new(500, "Internal error").detail(error.to_string()),
            BodyError::NotJson(_) => Problem::unprocessable(error.to_string()),
        }
    }
}

/// Where the parts of a request come from that are fetched only when asked for.
pub(crate) trait Source {
    /// The values of a header, in order. The name is in lower case.
    fn header(&self, name: &str) -> Vec<Vec<u8>>;
    /// Every header.
    fn headers(&self) -> Vec<(String, Vec<u8>)>;
    /// `host[:port]`.
    fn authority(&self) -> Option<String>;
    /// The body, once.
    fn body(&self, limit: usize) -> Result<Vec<u8>, BodyError>;
}

/// A request. Headers and body cross from the host to the module only when they are asked for: a handler that never looks at
/// `authorization` or `cookie` keeps its answers shareable between callers, whatever these send. [`Request::headers`] looks at
/// all of them. An answer that was made by looking is its caller's own, unless it says `Cache-Control: public` or names the
/// header in `Vary`; where the header was not there, `Vary` names it without being told.
///
/// ```
/// use brink_sdk::{Method, Request};
/// let request = Request::get("/inventory/items/AB%2D1?warehouse=AMS1&verbose");
/// assert_eq!(request.method(), &Method::Get);
/// assert_eq!(request.segments(), ["inventory", "items", "AB-1"]);
/// assert_eq!(request.below("/inventory").unwrap(), ["items", "AB-1"]);
/// assert_eq!(request.query("warehouse"), Some("AMS1"));
/// assert_eq!(request.query("verbose"), Some(""));
/// ```
pub struct Request {
    method: Method,
    path: String,
    segments: Vec<String>,
    parameters: Vec<(String, String)>,
    source: Box<dyn Source>,
}

impl Request {
    pub(crate) fn from_parts(
        method: Method,
        path_and_query: &str,
        source: Box<dyn Source>,
    ) -> Self {
        let (path, query) = path_and_query
            .split_once('?')
            .unwrap_or((path_and_query, ""));
        Self {
            method,
            path: path.to_owned(),
            segments: target::segments(path),
            parameters: target::parameters(query),
            source,
        }
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The path as it was sent, from the root of the host: the route's own path is not taken off.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The decoded segments of the path, without empty ones.
    #[must_use]
    pub fn segments(&self) -> Vec<&str> {
        self.segments.iter().map(String::as_str).collect()
    }

    /// The decoded segments below a prefix such as `/inventory`; none if the path is not below it.
    #[must_use]
    pub fn below(&self, prefix: &str) -> Option<Vec<&str>> {
        let mut segments = self.segments.iter().map(String::as_str);
        let prefix = prefix.split('/').filter(|segment| !segment.is_empty());
        for expected in prefix {
            if segments.next() != Some(expected) {
                return None;
            }
        }
        Some(segments.collect())
    }

    /// The first query parameter of that name, decoded. Empty if it has no value.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(present, _)| present == name)
            .map(|(_, value)| value.as_str())
    }

    /// The first query parameter of that name, parsed; none if it is absent.
    ///
    /// # Errors
    /// 400, naming the parameter, if it does not parse.
    pub fn query_as<T: std::str::FromStr<Err: fmt::Display>>(
        &self,
        name: &str,
    ) -> Result<Option<T>, Problem> {
        let parsed = self.query(name).map(str::parse::<T>).transpose();
        parsed.map_err(|error| Problem::bad_request(format!("query parameter {name}: {error}")))
    }

    /// The decoded query parameters in order, at most 256.
    #[must_use]
    pub fn parameters(&self) -> &[(String, String)] {
        &self.parameters
    }

    /// The first header of that name, if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let first = self
            .source
            .header(&name.to_ascii_lowercase())
            .into_iter()
            .next()?;
        String::from_utf8(first).ok()
    }

    /// Every header, names in lower case. Prefer [`Request::header`]: this one reads them all.
    #[must_use]
    pub fn headers(&self) -> Vec<(String, Vec<u8>)> {
        self.source.headers()
    }

    /// `host[:port]` that the request was sent to.
    #[must_use]
    pub fn authority(&self) -> Option<String> {
        self.source.authority()
    }

    /// The body, at most [`BODY_BYTES_MAX`]. It can be read once.
    ///
    /// # Errors
    /// It is larger, broken, or was read before.
    pub fn body(&self) -> Result<Vec<u8>, BodyError> {
        self.body_up_to(BODY_BYTES_MAX)
    }

    /// The body, at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Request::body`].
    pub fn body_up_to(&self, limit: usize) -> Result<Vec<u8>, BodyError> {
        self.source.body(limit)
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// As [`Request::body`], and if it is not the JSON expected (422).
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, BodyError> {
        serde_json::from_slice(&self.body()?).map_err(|error| BodyError::NotJson(error.to_string()))
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Requests made by hand, for tests.
impl Request {
    /// A request with a method, a path with an optional query, and neither headers nor body.
    #[must_use]
    pub fn given(method: &str, path_and_query: &str) -> Self {
        Self::from_parts(
            Method::of(method),
            path_and_query,
            Box::new(Given {
                headers: Vec::new(),
                body: Vec::new(),
            }),
        )
    }

    /// A GET.
    #[must_use]
    pub fn get(path_and_query: &str) -> Self {
        Self::given("GET", path_and_query)
    }

    /// The same with another header; what was there before stays.
    #[must_use]
    pub fn with_header(self, name: &str, value: &str) -> Self {
        let mut headers = self.source.headers();
        headers.push((name.to_ascii_lowercase(), value.as_bytes().to_vec()));
        let body = self.source.body(usize::MAX).unwrap_or_default();
        Self {
            source: Box::new(Given { headers, body }),
            ..self
        }
    }

    /// The same with a body.
    #[must_use]
    pub fn with_body(self, body: impl Into<Vec<u8>>) -> Self {
        Self {
            source: Box::new(Given {
                headers: self.source.headers(),
                body: body.into(),
            }),
            ..self
        }
    }
}

struct Given {
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Source for Given {
    fn header(&self, name: &str) -> Vec<Vec<u8>> {
        self.headers
            .iter()
            .filter(|(present, _)| present == name)
            .map(|(_, value)| value.clone())
            .collect()
    }

    fn headers(&self) -> Vec<(String, Vec<u8>)> {
        self.headers.clone()
    }

    fn authority(&self) -> Option<String> {
        self.header("host")
            .into_iter()
            .next()
            .and_then(|host| String::from_utf8(host).ok())
    }

    fn body(&self, limit: usize) -> Result<Vec<u8>, BodyError> {
        if self.body.len() > limit {
            Err(BodyError::TooLarge(limit))
        } else {
            Ok(self.body.clone())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn headers_are_found_in_any_case() {
        let request = Request::get("/")
            .with_header("X-Key", "a")
            .with_header("x-key", "b");
        assert_eq!(request.header("X-KEY").as_deref(), Some("a"));
        assert_eq!(request.headers().len(), 2);
        assert_eq!(request.header("host"), None);
    }

    #[test]
    fn bodies_are_bounded_and_parsed() {
        let request = Request::given("POST", "/").with_body("[1,2]");
        assert_eq!(request.json::<Vec<u8>>().unwrap(), [1, 2]);
        assert_eq!(request.body_up_to(4), Err(BodyError::TooLarge(4)));
        assert_eq!(Problem::from(BodyError::TooLarge(4)).status(), 413);
        let error = request.json::<String>().unwrap_err();
        assert_eq!(Problem::from(error).status(), 422);
    }

    #[test]
    fn parameters_are_parsed_with_their_name_in_the_error() {
        let request = Request::get("/?limit=x&after=3");
        assert_eq!(request.query_as::<u32>("after").unwrap(), Some(3));
        assert_eq!(request.query_as::<u32>("none").unwrap(), None);
        let problem = request.query_as::<u32>("limit").unwrap_err();
        assert!(problem.to_string().contains("limit"), "{problem}");
    }

    #[test]
    fn below_matches_whole_segments() {
        for (path, prefix, rest) in [
            ("/a/b", "/a", Some(vec!["b"])),
            ("/ab", "/a", None),
            ("/a", "/a/", Some(vec![])),
            ("/x/a", "/a", None),
            ("/x", "/", Some(vec!["x"])),
        ] {
            assert_eq!(
                Request::get(path).below(prefix),
                rest,
                "{path} below {prefix}"
            );
        }
    }

    #[test]
    fn head_is_handled_as_get() {
        assert_eq!(Method::of("HEAD"), Method::Get);
        assert_eq!(Method::of("get"), Method::Other("get".to_owned()));
    }
}
