//! The body of a shield's answer.

use brink_listener::BoxError;
use brink_policy::http::trailers::forwarded;
use bytes::Bytes;
use h2::RecvStream;
use http::{HeaderMap, header::CONTENT_LENGTH};
use http_body::{Body, Frame, SizeHint};
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::Sleep;

type Polled = Poll<Option<Result<Frame<Bytes>, BoxError>>>;

/// Longest time between two pieces: longer than the shield gives an origin.
const IDLE_MAX: Duration = Duration::from_secs(65);

/// The body did not go on.
#[derive(Debug, thiserror::Error)]
#[error("the shield's answer stood still for {} s", IDLE_MAX.as_secs())]
struct Idle;

/// A body on its way; the shield sends no more than there is room for here.
pub(super) struct Coming {
    stream: RecvStream,
    /// What is missing yet, if the head says how long it is.
    left: Option<u64>,
    /// All of the content came.
    is_whole: bool,
    /// Runs while a piece is awaited.
    idle: Option<Pin<Box<Sleep>>>,
}

impl Coming {
    pub(super) fn new(stream: RecvStream, head: &HeaderMap) -> Self {
        let length = head.get(CONTENT_LENGTH);
        Self {
            left: length.and_then(|length| length.to_str().ok()?.parse().ok()),
            is_whole: false,
            idle: None,
            stream,
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Polled {
        if !self.is_whole {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(bytes)) => {
                    let taken = self.stream.flow_control().release_capacity(bytes.len());
                    if let Err(error) = taken {
                        return Poll::Ready(Some(Err(error.into())));
                    }
                    if let Some(left) = &mut self.left {
                        *left = left.saturating_sub(bytes.len() as u64);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => self.is_whole = true,
            }
        }
        Poll::Ready(match ready!(self.stream.poll_trailers(cx)) {
            Ok(Some(section)) => Some(Ok(Frame::trailers(forwarded(section)))),
            Ok(None) => None,
            Err(error) => Some(Err(error.into())),
        })
    }
}

impl Body for Coming {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = &mut *self;
        if let Poll::Ready(frame) = this.poll_next(cx) {
            this.idle = None;
            return Poll::Ready(frame);
        }
        let idle = || Box::pin(tokio::time::sleep(IDLE_MAX));
        ready!(this.idle.get_or_insert_with(idle).as_mut().poll(cx));
        Poll::Ready(Some(Err(Idle.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.left {
            _ if self.stream.is_end_stream() => SizeHint::with_exact(0),
            Some(left) => SizeHint::with_exact(left),
            None => SizeHint::default(),
        }
    }
}
