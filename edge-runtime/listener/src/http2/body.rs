//! The body of an HTTP/2 request.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};

use crate::error::BoxError;
use crate::interim::Interim;

/// What arrives on a stream behind its header section. What was read is given back to the flow control's windows then, so
/// that a service that does not read is not sent more than one window. That the bytes are as many as `content-length` says
/// is seen to below.
pub(super) struct RequestBody {
    stream: RecvStream,
    /// Bytes that are still to come, if the client has said.
    rest: Option<u64>,
    /// The trailer section is next.
    is_through: bool,
    /// The client waits to be asked for it (RFC 9110 §10.1.1), which the first read does.
    unasked: Option<Interim>,
}

impl RequestBody {
    pub(super) const fn new(
        stream: RecvStream,
        length: Option<u64>,
        unasked: Option<Interim>,
    ) -> Self {
        Self {
            stream,
            rest: length,
            is_through: false,
            unasked,
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if let Some(interim) = this.unasked.take() {
            interim.proceed();
        }
        if !this.is_through {
            match ready!(this.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // An error says that the stream is closed: the next read finds out.
                    let _ = this.stream.flow_control().release_capacity(data.len());
                    let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
                    this.rest = this.rest.map(|rest| rest.saturating_sub(length));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => this.is_through = true,
            }
        }
        let trailers = ready!(this.stream.poll_trailers(cx))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.rest
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
