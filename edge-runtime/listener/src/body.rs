//! The body of requests and answers: one type for all protocols, without a box where it is whole.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;

use crate::error::BoxError;
use crate::inbound::Inbound;

type Stream = dyn http_body::Body<Data = Bytes, Error = BoxError> + Send;

/// A request's or an answer's body: nothing, bytes at hand, or a stream.
pub struct Body(Kind);

enum Kind {
    /// `None` once it was read, and for no body at all.
    Full(Option<Bytes>),
    Inbound(Inbound),
    Stream(Pin<Box<Stream>>),
}

impl Body {
    /// No bytes.
    pub const fn empty() -> Self {
        Self(Kind::Full(None))
    }

    /// Bytes at hand. Costs no allocation of its own.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self(Kind::Full((!bytes.is_empty()).then_some(bytes)))
    }

    /// Any other body. Trailers pass through.
    pub fn stream<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(Kind::Stream(Box::pin(body.map_err(Into::into))))
    }

    /// Bytes at hand, and a trailer section behind them if it is not empty.
    pub fn with_trailers(bytes: impl Into<Bytes>, trailers: HeaderMap) -> Self {
        let bytes = bytes.into();
        if trailers.is_empty() {
            return Self::full(bytes);
        }
        let trailers = Some(trailers);
        Self(Kind::Stream(Box::pin(WithTrailers { bytes, trailers })))
    }

    /// A body that arrives on one of this crate's connections.
    pub(crate) fn inbound(inbound: Inbound) -> Self {
        Self(Kind::Inbound(inbound))
    }

    /// The bytes, if they are all at hand (an empty body is none of them): an answer can then be sent in one write.
    pub(crate) fn take_full(&mut self) -> Option<Bytes> {
        match &mut self.0 {
            Kind::Full(bytes) => bytes.take(),
            Kind::Inbound(_) | Kind::Stream(_) => None,
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Kind::Full(_) => "full",
            Kind::Inbound(_) => "inbound",
            Kind::Stream(_) => "stream",
        };
        f.debug_tuple("Body").field(&kind).finish()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::full(bytes)
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::full(bytes)
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::full(text)
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::full(text)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Kind::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Inbound(inbound) => inbound.poll_frame(cx),
            Kind::Stream(stream) => stream.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Full(bytes) => bytes.is_none(),
            Kind::Inbound(inbound) => inbound.is_end_stream(),
            Kind::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Full(bytes) => {
                let length = bytes.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
            }
            Kind::Inbound(inbound) => inbound.size_hint(),
            Kind::Stream(stream) => stream.size_hint(),
        }
    }
}

/// Bytes at hand, and a trailer section behind them.
struct WithTrailers {
    bytes: Bytes,
    trailers: Option<HeaderMap>,
}

impl http_body::Body for WithTrailers {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if !self.bytes.is_empty() {
            let bytes = std::mem::take(&mut self.bytes);
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        let trailers = self.trailers.take();
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.bytes.len()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests;
