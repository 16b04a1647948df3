//! Problem documents: the one form of every error that leaves a module (RFC 9457).

use serde::Serialize;
use serde_json::{Map, Value};
use std::fmt;

/// Why a request is not answered as asked. `?` turns the errors of this crate into one.
///
/// ```
/// use brink_sdk::Problem;
/// let problem = Problem::new(409, "Insufficient stock").detail("2 lines are short").with("lines", ["AB-1", "AB-2"]);
/// assert_eq!(problem.status(), 409);
/// assert_eq!(problem.to_json()["lines"][1], "AB-2");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    status: u16,
    title: String,
    kind: Option<String>,
    detail: Option<String>,
    members: Map<String, Value>,
}

/// The media type of problem documents.
pub const PROBLEM_JSON: &str = "application/problem+json";

impl Problem {
    /// A problem with the HTTP status it is answered with (400 to 599; anything else becomes 500) and a short title that is
    /// the same for every problem of its kind.
    #[must_use]
    pub fn new(status: u16, title: impl Into<String>) -> Self {
        let status = if (400..600).contains(&status) {
            status
        } else {
            500
        };
        Self {
            status,
            title: title.into(),
            kind: None,
            detail: None,
            members: Map::new(),
        }
    }

    /// 400: the request says something that cannot be.
    #[must_use]
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(400, "Bad request").detail(detail)
    }

    /// 404: there is no such thing.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(404, "Not found").detail(detail)
    }

    /// 422: the request is well-formed, and what it asks for is not possible.
    #[must_use]
    pub fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(422, "Unprocessable content").detail(detail)
    }

    /// What is special to this occurrence.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// A URI that names the kind of problem. Absent: `about:blank`, the kind is the status.
    #[must_use]
    pub fn kind(mut self, uri: impl Into<String>) -> Self {
        self.kind = Some(uri.into());
        self
    }

    /// An extension member (RFC 9457 §3.2). A value that has no JSON form is left out.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        if let Ok(value) = serde_json::to_value(value) {
            self.members.insert(name.into(), value);
        }
        self
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The short title.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// An extension member.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Value> {
        self.members.get(name)
    }

    /// The document.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut document = Map::new();
        if let Some(kind) = &self.kind {
            document.insert("type".into(), kind.clone().into());
        }
        document.insert("title".into(), self.title.clone().into());
        document.insert("status".into(), self.status.into());
        if let Some(detail) = &self.detail {
            document.insert("detail".into(), detail.clone().into());
        }
        for (name, value) in &self.members {
            document
                .entry(name.clone())
                .or_insert_with(|| value.clone());
        }
        Value::Object(document)
    }

    /// The document's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_json().to_string().into_bytes()
    }

    /// Reads a document, as a command that refuses answers with; none if the bytes are not one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let Ok(Value::Object(mut document)) = serde_json::from_slice(bytes) else {
            return None;
        };
        let status = document
            .remove("status")?
            .as_u64()
            .and_then(|status| u16::try_from(status).ok())?;
        let text = |value: Value| value.as_str().map(str::to_owned);
        let title = document.remove("title").and_then(text).unwrap_or_default();
        let kind = document.remove("type").and_then(text);
        let detail = document.remove("detail").and_then(text);
        Some(Self {
            kind,
            detail,
            members: document,
            ..Self::new(status, title)
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.title)?;
        match &self.detail {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn survives_the_way_through_bytes() {
        let problem = Problem::new(409, "Short")
            .kind("https://example.com/short")
            .detail("two")
            .with("lines", [1, 2]);
        assert_eq!(Problem::from_bytes(&problem.to_bytes()).unwrap(), problem);
    }

    #[test]
    fn only_documents_are_read() {
        for bytes in [
            "",
            "x",
            "[]",
            "{}",
            r#"{"status":"409"}"#,
            r#"{"status":70000}"#,
        ] {
            assert_eq!(Problem::from_bytes(bytes.as_bytes()), None, "{bytes}");
        }
        assert_eq!(
            Problem::from_bytes(br#"{"status":200,"title":"?"}"#)
                .unwrap()
                .status(),
            500
        );
    }

    #[test]
    fn members_do_not_replace_the_standards() {
        let problem = Problem::new(404, "Gone")
            .with("status", 200)
            .with("title", "x");
        assert_eq!(problem.to_json()["status"], 404);
        assert_eq!(problem.to_json()["title"], "Gone");
    }
}
