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
};

/// A body on its way; the shield sends no more than there is room for here.
pub(super) struct Coming {
    stream: RecvStream,
    /// What is missing yet, if the head says how long it is.
    left: Option<u64>,
    /// All of the content came.
    is_whole: bool,
}

impl Coming {
    pub(super) fn new(stream: RecvStream, head: &HeaderMap) -> Self {
        let length = head.get(CONTENT_LENGTH);
        Self {
            left: length.and_then(|length| length.to_str().ok()?.parse().ok()),
            is_whole: false,
            stream,
        }
    }
}

impl Body for Coming {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if !this.is_whole {
            match ready!(this.stream.poll_data(cx)) {
                Some(Ok(bytes)) => {
                    let taken = this.stream.flow_control().release_capacity(bytes.len());
                    if let Err(error) = taken {
                        return Poll::Ready(Some(Err(error.into())));
                    }
                    if let Some(left) = &mut this.left {
                        *left = left.saturating_sub(bytes.len() as u64);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => this.is_whole = true,
            }
        }
        Poll::Ready(match ready!(this.stream.poll_trailers(cx)) {
            Ok(Some(section)) => Some(Ok(Frame::trailers(forwarded(section)))),
            Ok(None) => None,
            Err(error) => Some(Err(error.into())),
        })
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
