//! An origin's body: bounded in size, and in the time between two pieces. It holds a place at its origin until it ends.

use super::ticket::Held;
use brink_listener::BoxError;
use brink_policy::{http::trailers::forwarded, origins::Failure};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::Sleep;

/// Why an origin's body ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is over the limit.
    #[error("the origin's answer is over {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// The next piece did not come in time.
    #[error("the origin's answer stood still for {limit_ms} ms")]
    Idle {
        /// The limit.
        limit_ms: u64,
    },
    /// The connection failed.
    #[error("the origin's answer broke off")]
    Broken(#[source] hyper::Error),
}

impl BodyError {
    fn failure(&self) -> Option<Failure> {
        match self {
            Self::TooLarge { .. } => None,
            Self::Idle { .. } => Some(Failure::Late),
            Self::Broken(_) => Some(Failure::Broken),
        }
    }
}

/// A frame without the trailer fields that do not go on.
pub(super) fn filtered(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(section) => Frame::trailers(forwarded(section)),
        Err(frame) => frame,
    }
}

/// A body that is watched.
pub(super) struct Watched {
    inner: Incoming,
    bytes_max: u64,
    bytes: u64,
    idle_ms_max: u64,
    /// Runs while a piece is awaited.
    idle: Option<Pin<Box<Sleep>>>,
    held: Option<Held>,
}

impl Watched {
    pub(super) fn new(inner: Incoming, bytes_max: u64, idle_ms_max: u64, held: Held) -> Self {
        Self {
            inner,
            bytes_max,
            bytes: 0,
            idle_ms_max,
            idle: None,
            held: Some(held),
        }
    }

    fn end(&mut self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let (Some(held), Some(failure)) = (self.held.take(), error.failure()) {
            held.broke_off(failure);
        }
        Poll::Ready(Some(Err(error.into())))
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            this.idle = None;
            let frame = match frame {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return this.end(BodyError::Broken(error)),
                None => {
                    this.held = None;
                    return Poll::Ready(None);
                }
            };
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            this.bytes = this.bytes.saturating_add(length);
            if this.bytes > this.bytes_max {
                let limit = this.bytes_max;
                return this.end(BodyError::TooLarge { limit });
            }
            return Poll::Ready(Some(Ok(filtered(frame))));
        }
        let limit_ms = this.idle_ms_max;
        let idle = this
            .idle
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(Duration::from_millis(limit_ms))));
        ready!(idle.as_mut().poll(cx));
        this.end(BodyError::Idle { limit_ms })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
