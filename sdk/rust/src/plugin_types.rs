//! The types of `brink:platform/plugin-types`, as wit-bindgen would make them. [`crate::plugin!`] generates the rest of the
//! world over them.

/// Names and values.
pub type Headers = Vec<(String, Vec<u8>)>;

/// `request-head`.
#[derive(Debug)]
#[allow(missing_docs, reason = "see wit/platform.wit")]
pub struct RequestHead {
    pub method: String,
    pub scheme: String,
    pub authority: String,
    pub path_and_query: String,
    pub headers: Headers,
    pub client_address: String,
}

/// `request-change`.
#[derive(Debug)]
#[allow(missing_docs, reason = "see wit/platform.wit")]
pub struct RequestChange {
    pub path_and_query: Option<String>,
    pub set: Headers,
    pub remove: Vec<String>,
}

/// `response-head`.
#[derive(Debug)]
#[allow(missing_docs, reason = "see wit/platform.wit")]
pub struct ResponseHead {
    pub status: u16,
    pub headers: Headers,
}

/// `response`.
#[derive(Debug)]
#[allow(missing_docs, reason = "see wit/platform.wit")]
pub struct Response {
    pub status: u16,
    pub headers: Headers,
    pub body: Vec<u8>,
}

/// `request-action`.
#[derive(Debug)]
#[allow(missing_docs, reason = "see wit/platform.wit")]
pub enum RequestAction {
    Pass,
    Change(RequestChange),
    Answer(Response),
}

/// `response-action`.
#[derive(Debug)]
#[allow(missing_docs, reason = "see wit/platform.wit")]
pub enum ResponseAction {
    Pass,
    Change(ResponseHead),
    Answer(Response),
}
