//! Answers.

use crate::problem::{PROBLEM_JSON, Problem};
use serde::Serialize;
use std::hash::{DefaultHasher, Hasher};

/// An answer: status, headers, and a body that is wholly in memory.
///
/// ```
/// use brink_sdk::Response;
/// let response = Response::json(&["a", "b"]).header("vary", "accept-language").etag();
/// assert_eq!(response.status(), 200);
/// assert_eq!(response.body(), br#"["a","b"]"#);
/// assert_eq!(response.get("content-type"), Some("application/json"));
/// assert!(response.get("etag").is_some());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Response {
    /// An answer without a body.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// 200 with a body of a media type.
    #[must_use]
    pub fn new(content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: 200,
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            body: body.into(),
        }
    }

    /// 200 with a JSON body. A value that has no JSON form (a map with keys that are not text) becomes a 500.
    #[must_use]
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self::new("application/json", body),
            Err(error) => Problem::new(500, "Internal error")
                .detail(format!("the answer has no JSON form: {error}"))
                .into(),
        }
    }

    /// 200 with plain text.
    #[must_use]
    pub fn text(body: impl Into<String>) -> Self {
        Self::new("text/plain; charset=utf-8", body.into())
    }

    /// 200 with HTML. Text from outside must be escaped before: [`escape_html`].
    #[must_use]
    pub fn html(body: impl Into<String>) -> Self {
        Self::new("text/html; charset=utf-8", body.into())
    }

    /// A problem document. The same as `Response::from(Problem::new(status, title).detail(detail))`.
    #[must_use]
    pub fn problem(status: u16, title: &str, detail: &str) -> Self {
        Problem::new(status, title).detail(detail).into()
    }

    /// 405 with `Allow` (RFC 9110 §15.5.6).
    #[must_use]
    pub fn method_not_allowed(allowed: &[&str]) -> Self {
        let allowed = allowed.join(", ");
        Self::from(Problem::new(405, "Method not allowed").detail(format!("allowed: {allowed}")))
            .header("allow", &allowed)
    }

    /// The same with another status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Sets a header, in the place of one with the same name.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers
            .retain(|(present, _)| !present.eq_ignore_ascii_case(name));
        self.append(name, value)
    }

    /// Adds a header beside those with the same name.
    #[must_use]
    pub fn append(mut self, name: &str, value: &str) -> Self {
        self.headers
            .push((name.to_ascii_lowercase(), value.to_owned()));
        self
    }

    /// Adds an entity tag made from the body, so that clients and PoPs can revalidate (RFC 9110 §8.8.3).
    #[must_use]
    pub fn etag(self) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(&self.body);
        let tag = format!("\"{:016x}\"", hasher.finish());
        self.header("etag", &tag)
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The first header of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(present, _)| present.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Every header, in order, names in lower case.
    #[must_use]
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

impl From<Problem> for Response {
    fn from(problem: Problem) -> Self {
        let response = Self::new(PROBLEM_JSON, problem.to_bytes()).with_status(problem.status());
        // An error says nothing about later requests, unless its author says so.
        response.header("cache-control", "no-store")
    }
}

/// Escapes text for HTML, in elements and in quoted attributes.
///
/// ```
/// assert_eq!(brink_sdk::escape_html("<a & 'b'>"), "&lt;a &amp; &#39;b&#39;&gt;");
/// ```
#[must_use]
pub fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_set_once_and_appended_often() {
        let response = Response::empty(204)
            .header("X-A", "1")
            .header("x-a", "2")
            .append("x-a", "3");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(response.headers(), [pair("x-a", "2"), pair("x-a", "3")]);
    }

    #[test]
    fn problems_are_not_stored() {
        let response = Response::problem(404, "Not found", "no such item");
        assert_eq!(
            (
                response.status(),
                response.get("content-type"),
                response.get("cache-control")
            ),
            (404, Some(PROBLEM_JSON), Some("no-store"))
        );
    }

    #[test]
    fn entity_tags_follow_the_body() {
        let tag = |body: &str| Response::text(body).etag().get("etag").map(str::to_owned);
        assert_eq!(tag("a"), tag("a"));
        assert_ne!(tag("a"), tag("b"));
    }
}
