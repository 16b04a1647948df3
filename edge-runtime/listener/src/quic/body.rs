//! The body of an HTTP/3 request.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::error::Code;
use h3::server::RequestStream;
use http_body::{Frame, SizeHint};

use super::transport::Exchange;
use crate::error::BoxError;

/// A request's body was shorter or longer than its `content-length` (RFC 9114 §4.1.2).
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("request body: {received} bytes, but a content-length of {declared}")]
struct LengthMismatch {
    declared: u64,
    received: u64,
}

/// What arrives on a request stream behind its header section.
pub(super) struct RequestBody {
    stream: RequestStream<Exchange, Bytes>,
    declared: Option<u64>,
    received: u64,
    /// Read before anybody asked, to know whether there is a body at all.
    first: Option<Frame<Bytes>>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Data,
    Trailers,
    Ended,
}

impl RequestBody {
    pub(super) const fn new(stream: RequestStream<Exchange, Bytes>, declared: Option<u64>) -> Self {
        Self {
            stream,
            declared,
            received: 0,
            first: None,
            state: State::Data,
        }
    }

    /// Looks whether the end, or the first bytes, are there already. Most requests have no body, and
    /// their end comes with their head.
    pub(super) fn look(&mut self, cx: &mut Context<'_>) -> Result<(), BoxError> {
        match http_body::Body::poll_frame(Pin::new(self), cx) {
            Poll::Ready(Some(frame)) => self.first = Some(frame?),
            Poll::Ready(None) | Poll::Pending => {}
        }
        Ok(())
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.state == State::Data {
            match ready!(self.stream.poll_recv_data(cx)) {
                Ok(Some(mut data)) => {
                    let data = data.copy_to_bytes(data.remaining());
                    let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
                    self.received = self.received.saturating_add(length);
                    return Poll::Ready(Some(self.check(false).map(|()| Frame::data(data))));
                }
                Ok(None) => self.state = State::Trailers,
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
            if let Err(error) = self.check(true) {
                return Poll::Ready(Some(Err(error)));
            }
        }
        if self.state == State::Trailers {
            let trailers = ready!(self.stream.poll_recv_trailers(cx));
            self.state = State::Ended;
            return Poll::Ready(match trailers {
                Ok(Some(trailers)) => Some(Ok(Frame::trailers(trailers))),
                Ok(None) => None,
                Err(error) => Some(Err(error.into())),
            });
        }
        Poll::Ready(None)
    }

    /// Another length than the declared one is a malformed request: a recipient behind us might see another end.
    fn check(&mut self, ended: bool) -> Result<(), BoxError> {
        let Some(declared) = self.declared else {
            return Ok(());
        };
        let received = self.received;
        if received > declared || (ended && received < declared) {
            self.stream.stop_sending(Code::H3_MESSAGE_ERROR);
            return Err(LengthMismatch { declared, received }.into());
        }
        Ok(())
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(frame) = self.first.take() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let frame = ready!(self.poll_next(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.state = State::Ended;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.state == State::Ended && self.first.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() {
            return SizeHint::with_exact(0);
        }
        let first = self
            .first
            .as_ref()
            .and_then(Frame::data_ref)
            .map_or(0, Bytes::len);
        let given = self
            .received
            .saturating_sub(u64::try_from(first).unwrap_or(u64::MAX));
        match self.declared {
            Some(declared) => SizeHint::with_exact(declared.saturating_sub(given)),
            None => SizeHint::default(),
        }
    }
}
