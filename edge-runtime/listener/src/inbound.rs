//! Request bodies as they arrive: limited in bytes, obliged to make progress, drained when dropped.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::config::Limits;
use crate::error::BoxError;

/// The request's body is larger than [`Limits::body_bytes_max`]. Answer 413.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("request body: more than {bytes_max} bytes")]
pub struct BodyTooLarge {
    /// The limit.
    pub bytes_max: u64,
}

/// The request's body did not make the progress of [`Limits::body_progress_ms`]. Answer 408.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("request body: less than {bytes_min} bytes in {within_ms} ms")]
pub struct BodyTooSlow {
    /// The bytes that should have arrived.
    pub bytes_min: u64,
    /// The time they had.
    pub within_ms: u64,
}

/// Where the bytes come from.
pub(crate) enum Source {
    /// HTTP/1.1.
    Hyper(hyper::body::Incoming),
    /// HTTP/2 and HTTP/3. Boxed: it is larger than the rest, and most requests have no body.
    Boxed(Pin<Box<dyn http_body::Body<Data = Bytes, Error = BoxError> + Send>>),
}

impl Source {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self {
            Self::Hyper(incoming) => Pin::new(incoming).poll_frame(cx).map_err(Into::into),
            Self::Boxed(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Hyper(incoming) => incoming.is_end_stream(),
            Self::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Hyper(incoming) => incoming.size_hint(),
            Self::Boxed(body) => body.size_hint(),
        }
    }
}

/// What holds for one body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    bytes_max: u64,
    progress: Duration,
    progress_bytes_min: u64,
    unread_bytes_max: u64,
    unread: Duration,
}

impl Bounds {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            bytes_max: limits.body_bytes_max,
            progress: Duration::from_millis(limits.body_progress_ms),
            progress_bytes_min: limits.body_progress_bytes_min,
            unread_bytes_max: limits.unread_body_bytes_max,
            unread: Duration::from_millis(limits.unread_body_ms_max),
        }
    }
}

/// A request body on its way in.
pub(crate) struct Inbound {
    /// `None` after the end or an error.
    source: Option<Source>,
    bounds: Bounds,
    bytes: u64,
    progress: Progress,
    timer: Option<Pin<Box<Sleep>>>,
    /// The client sends the body only when asked to (`expect: 100-continue`, RFC 9110 §10.1.1),
    /// which reading does. Cleared by the first read.
    unasked: bool,
}

impl Inbound {
    pub(crate) fn new(source: Source, bounds: Bounds, expects_continue: bool) -> Self {
        let progress = Progress::new(bounds.progress, bounds.progress_bytes_min);
        Self {
            source: Some(source),
            bounds,
            bytes: 0,
            progress,
            timer: None,
            unasked: expects_continue,
        }
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.unasked = false;
        let Some(source) = &mut self.source else {
            return Poll::Ready(None);
        };
        match source.poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                let length = u64::try_from(length).unwrap_or(u64::MAX);
                self.progress.arrived(length, Instant::now);
                self.bytes = self.bytes.saturating_add(length);
                if self.bytes > self.bounds.bytes_max {
                    self.source = None;
                    let error = BodyTooLarge {
                        bytes_max: self.bounds.bytes_max,
                    };
                    return Poll::Ready(Some(Err(error.into())));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.source = None;
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(None) => {
                self.source = None;
                Poll::Ready(None)
            }
            Poll::Pending => {
                let error = ready!(self.poll_stalled(cx));
                self.source = None;
                Poll::Ready(Some(Err(error.into())))
            }
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.source.as_ref().is_none_or(Source::is_end_stream)
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.source
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Source::size_hint)
    }

    /// Nothing is at hand: waits, until it was too long.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<BodyTooSlow> {
        if let Some(deadline) = self.progress.wait(Instant::now) {
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(deadline),
                None => self.timer = Some(Box::pin(tokio::time::sleep_until(deadline))),
            }
        }
        if let Some(timer) = &mut self.timer {
            ready!(timer.as_mut().poll(cx));
        }
        Poll::Ready(BodyTooSlow {
            bytes_min: self.bounds.progress_bytes_min,
            within_ms: u64::try_from(self.bounds.progress.as_millis()).unwrap_or(u64::MAX),
        })
    }
}

impl Drop for Inbound {
    /// A client that is still sending must be able to read an early answer: closing its stream or
    /// connection under it makes some count the request as failed. So the rest is read, within bounds.
    fn drop(&mut self) {
        let Some(mut source) = self.source.take() else {
            return;
        };
        if self.unasked || source.is_end_stream() {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let (bytes_max, within) = (self.bounds.unread_bytes_max, self.bounds.unread);
        runtime.spawn(async move {
            let drain = async {
                let mut bytes = 0_usize;
                while let Some(Ok(frame)) = std::future::poll_fn(|cx| source.poll_frame(cx)).await {
                    bytes = bytes.saturating_add(frame.data_ref().map_or(0, Bytes::len));
                    if u64::try_from(bytes).unwrap_or(u64::MAX) > bytes_max {
                        break;
                    }
                }
            };
            // Out of time and out of bytes end the same way: the source is dropped, which stops the client.
            let _ = tokio::time::timeout(within, drain).await;
        });
    }
}

/// The minimum progress of a body. Only the time during which somebody waits for bytes counts, so
/// a slow service is never taken for a slow client, and a body that is at hand costs no clock.
#[derive(Debug)]
struct Progress {
    window: Duration,
    bytes_min: u64,
    /// Bytes of the current window.
    bytes: u64,
    /// Time of the current window that was spent waiting, without the wait that goes on.
    waited: Duration,
    waiting_since: Option<Instant>,
}

impl Progress {
    const fn new(window: Duration, bytes_min: u64) -> Self {
        Self {
            window,
            bytes_min,
            bytes: 0,
            waited: Duration::ZERO,
            waiting_since: None,
        }
    }

    /// Bytes are at hand: the wait, if there was one, is over.
    fn arrived(&mut self, bytes: u64, now: impl FnOnce() -> Instant) {
        if let Some(since) = self.waiting_since.take() {
            let waited = now().saturating_duration_since(since);
            self.waited = self.waited.saturating_add(waited);
        }
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes >= self.bytes_min {
            self.bytes = 0;
            self.waited = Duration::ZERO;
        }
    }

    /// Nothing is at hand. Returns when it will have been too long, if the wait begins here.
    fn wait(&mut self, now: impl FnOnce() -> Instant) -> Option<Instant> {
        if self.waiting_since.is_some() {
            return None;
        }
        let now = now();
        self.waiting_since = Some(now);
        now.checked_add(self.window.saturating_sub(self.waited))
    }
}

#[cfg(test)]
mod tests;
