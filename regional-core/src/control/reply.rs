//! Answers of the control API: JSON with a position, or a problem document.

use crate::{Error, refusal::Refusal};
use axum::{
    Json,
    response::{IntoResponse, Response},
};
use brink_protocol::{
    Position,
    control::POSITION_HEADER,
    problem::{self, Problem},
};
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde::Serialize;

tokio::task_local! {
    /// The name of the request in progress, for its problem document.
    pub(super) static REQUEST_ID: String;
}

/// A problem document.
#[derive(Debug)]
pub(super) struct Failure(pub(super) Problem);

impl Failure {
    pub(super) fn new(status: u16, slug: &str, title: &str, detail: impl Into<String>) -> Self {
        Self(Problem::new(status, slug, title, detail))
    }

    pub(super) fn not_found(what: impl Into<String>) -> Self {
        Refusal::NotFound(what.into()).into()
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self(refusal.problem())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Refusal::from(error).into()
    }
}

impl From<brink_protocol::Error> for Failure {
    fn from(error: brink_protocol::Error) -> Self {
        Refusal::Invalid(error).into()
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let problem = match REQUEST_ID.try_with(Clone::clone) {
            Ok(id) => self.0.with_instance(id),
            Err(_) => self.0,
        };
        let status =
            StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, problem.to_json()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(problem::MEDIA_TYPE));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"brink\""),
            );
        }
        response
    }
}

/// What a write answers: its position is in a header, so that a client can wait for it elsewhere.
pub(super) struct Written<T> {
    pub(super) status: StatusCode,
    pub(super) position: Position,
    pub(super) body: T,
}

impl<T> Written<T> {
    pub(super) fn ok(position: Position, body: T) -> Self {
        Self {
            status: StatusCode::OK,
            position,
            body,
        }
    }
}

/// Adds the position of a write.
pub(super) fn with_position(mut response: Response, position: &Position) -> Response {
    if let Ok(value) = HeaderValue::from_str(&position.to_string()) {
        response.headers_mut().insert(POSITION_HEADER, value);
    }
    response
}

impl<T: Serialize> IntoResponse for Written<T> {
    fn into_response(self) -> Response {
        with_position(
            (self.status, Json(self.body)).into_response(),
            &self.position,
        )
    }
}

/// A write that leaves nothing to show.
pub(super) struct Removed(pub(super) Position);

impl IntoResponse for Removed {
    fn into_response(self) -> Response {
        with_position(StatusCode::NO_CONTENT.into_response(), &self.0)
    }
}

/// What a handler gives.
pub(super) type Reply<T> = Result<T, Failure>;
