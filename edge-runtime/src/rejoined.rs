//! A body whose beginning was read already.

use brink_listener::{Body, BoxError};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
};

/// First the pieces that were read, then the rest of the body they came from.
pub struct Rejoined {
    beginning: VecDeque<Bytes>,
    rest: Body,
}

impl Rejoined {
    /// `beginning` was taken from `rest`.
    #[must_use]
    pub fn new(beginning: Vec<Bytes>, rest: Body) -> Self {
        Self {
            beginning: beginning.into(),
            rest,
        }
    }
}

impl http_body::Body for Rejoined {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.beginning.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.beginning.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let read: u64 = self.beginning.iter().map(|piece| piece.len() as u64).sum();
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(read));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(read));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http_body::Body as _;
    use http_body_util::BodyExt as _;

    #[tokio::test]
    async fn the_beginning_comes_first_and_once() {
        let pieces = vec![Bytes::from_static(b"ab"), Bytes::from_static(b"c")];
        let body = Rejoined::new(pieces, Body::full("def"));
        assert_eq!(body.size_hint().exact(), Some(6));
        assert!(!body.is_end_stream());
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abcdef");
    }
}
