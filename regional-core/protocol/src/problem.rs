//! Problem details for HTTP APIs: RFC 9457.

use serde::{Deserialize, Serialize};

/// Media type, RFC 9457 §3.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// A problem document. RFC 9457 §3.1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// Which kind of problem: a URI reference that identifies it, `about:blank` if the status says all.
    #[serde(rename = "type", default = "about_blank")]
    pub kind: String,
    /// A short summary of the kind.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong this time, and what to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Which request it was: its request id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

fn about_blank() -> String {
    "about:blank".into()
}

impl Problem {
    /// A problem whose kind is `https://brink.dev/problems/{slug}`.
    #[must_use]
    pub fn new(status: u16, slug: &str, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("https://brink.dev/problems/{slug}"),
            title: title.into(),
            status,
            detail: Some(detail.into()),
            instance: None,
        }
    }

    /// Names the request.
    #[must_use]
    pub fn with_instance(mut self, request_id: impl Into<String>) -> Self {
        self.instance = Some(request_id.into());
        self
    }

    /// In one line: title and detail.
    #[must_use]
    pub fn summary(&self) -> String {
        match &self.detail {
            Some(detail) => format!("{}: {detail}", self.title),
            None => self.title.clone(),
        }
    }

    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| "{}".into())
    }
}
