//! Messages, components, feeds and failures as HTTP.

use crate::refusal::Refusal;
use brink_listener::{Body, BodyTooLarge, BoxError};
use brink_protocol::{codec, problem};
use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE},
};
use http_body::Frame;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::sync::mpsc;

/// Why a request of an edge or a core is not answered with a message.
#[derive(Debug)]
pub(super) enum Failure {
    /// The client's certificate names no PoP.
    NoPop,
    /// The message names another PoP than the certificate.
    OtherPop,
    /// This is for cores alone, and the client's certificate names none, or the message another, or it is no peer.
    NoCore,
    /// Another core knows more of this core's log than this core: see [`crate::exchange::knows_more`].
    SetBack,
    /// There is nothing at this path.
    NotFound,
    /// Only this method is answered here.
    Method(&'static str),
    /// The body is no message.
    MediaType,
    /// The message is too long.
    TooLarge,
    /// The body broke off.
    Body(BoxError),
    /// The message does not decode, or is beyond a limit.
    Malformed(brink_protocol::Error),
    /// Too many requests at a time.
    Busy,
    /// It took too long.
    Timeout,
    /// The core did not do it.
    Refused(Refusal),
}

impl Failure {
    fn problem(&self) -> problem::Problem {
        let new = |status: u16, slug: &str, title: &str, detail: &str| {
            problem::Problem::new(status, slug, title, detail)
        };
        match self {
            Self::NoPop => new(
                403,
                "no-pop",
                "Not a PoP",
                "The certificate names no PoP (NAME.pop.brink.internal).",
            ),
            Self::OtherPop => new(
                403,
                "other-pop",
                "Another PoP",
                "The message names another PoP than the certificate.",
            ),
            Self::NoCore => new(
                403,
                "no-core",
                "Not a core",
                "The certificate names no core (NODE.core.brink.internal), or not that of the message, or none of the `[[peers]]` of this core.",
            ),
            Self::SetBack => new(
                409,
                "set-back",
                "The log was put back",
                "This core's log ends before what its peers have of it: its data was put back to an earlier state. Write a \
                 greater number into its file `incarnation`, and start it again.",
            ),
            Self::NotFound => new(
                404,
                "not-found",
                "There is no such thing",
                "Nothing is here.",
            ),
            Self::Method(allowed) => new(
                405,
                "method",
                "Another method is needed",
                &format!("Only {allowed} is answered."),
            ),
            Self::MediaType => new(
                415,
                "media-type",
                "Not a message",
                &format!("The body is {}.", codec::MEDIA_TYPE),
            ),
            Self::TooLarge => new(
                413,
                "too-large",
                "Too large",
                &format!("The limit is {} bytes.", codec::MESSAGE_BYTES_MAX),
            ),
            Self::Body(error) => new(400, "body", "The body broke off", &error.to_string()),
            Self::Malformed(error) => {
                new(400, "malformed", "Not a valid message", &error.to_string())
            }
            Self::Busy => new(
                503,
                "busy",
                "The core has too much to do",
                "Too many requests are waiting; try again.",
            ),
            Self::Timeout => new(
                504,
                "timeout",
                "Not in time",
                "The core did not answer in time.",
            ),
            Self::Refused(refusal) => {
                let mut problem = refusal.problem();
                if matches!(refusal, Refusal::Core(crate::Error::Store { .. })) {
                    // Between parts of the platform 503 says that nothing was done.
                    problem.status = 500;
                }
                problem
            }
        }
    }
}

/// Reads a message.
pub(super) async fn read<T: DeserializeOwned>(request: Request<Body>) -> Result<T, Failure> {
    if request.method() != Method::POST {
        return Err(Failure::Method("POST"));
    }
    let media_type = request
        .headers()
        .get(CONTENT_TYPE)
        .map(HeaderValue::as_bytes);
    if media_type != Some(codec::MEDIA_TYPE.as_bytes()) {
        return Err(Failure::MediaType);
    }
    let body = Limited::new(request.into_body(), codec::MESSAGE_BYTES_MAX);
    let collected = body.collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() || error.is::<BodyTooLarge>() {
            Failure::TooLarge
        } else {
            Failure::Body(error)
        }
    })?;
    codec::decode(&collected.to_bytes()).map_err(Failure::Malformed)
}

fn typed(body: Body, media_type: &'static str) -> Response<Body> {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// Answers with a message.
pub(super) fn answer<T: Serialize>(message: &T) -> Result<Response<Body>, Failure> {
    let bytes =
        codec::encode(message).map_err(|error| Failure::Refused(Refusal::Invalid(error)))?;
    Ok(typed(Body::full(bytes), codec::MEDIA_TYPE))
}

/// Answers with a component.
pub(super) fn component(bytes: Bytes) -> Response<Body> {
    typed(Body::full(bytes), "application/wasm")
}

/// Answers with a problem document.
pub(super) fn refuse(failure: &Failure) -> Response<Body> {
    let problem = failure.problem();
    let mut response = typed(Body::full(problem.to_json()), problem::MEDIA_TYPE);
    *response.status_mut() =
        StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Failure::Method(allowed) = failure {
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static(allowed));
    }
    response
}

/// A feed's chunks as a body that ends when the follower does.
pub(super) struct FeedBody {
    chunks: mpsc::Receiver<Bytes>,
}

impl FeedBody {
    pub(super) fn response(chunks: mpsc::Receiver<Bytes>) -> Response<Body> {
        typed(Body::stream(Self { chunks }), codec::MEDIA_TYPE)
    }
}

impl http_body::Body for FeedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = ready!(self.chunks.poll_recv(cx));
        Poll::Ready(chunk.map(|bytes| Ok(Frame::data(bytes))))
    }
}
