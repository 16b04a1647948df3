//! A request's body on its way to an origin: bounded, and it tells who keeps whom waiting.

use super::body::filtered;
use brink_listener::{Body, BoxError};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::Limited;
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

/// How far the body is. An origin is late only if it is the one who is waited for: otherwise a client that sends slowly could
/// make it seem so.
#[derive(Debug)]
pub(super) struct Progress {
    began: Instant,
    moved_ms: AtomicU64,
    waits: AtomicBool,
    is_broken: AtomicBool,
}

impl Progress {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            moved_ms: AtomicU64::new(0),
            waits: AtomicBool::new(false),
            is_broken: AtomicBool::new(false),
        })
    }

    /// Until when the origin may take its time, at `now`.
    pub(super) fn due(&self, limit: Duration, now: Instant) -> Instant {
        match self.waits.load(Relaxed) {
            true => now + limit,
            false => self.began + Duration::from_millis(self.moved_ms.load(Relaxed)) + limit,
        }
    }

    /// Whether the client broke off.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken.load(Relaxed)
    }

    fn moved(&self) {
        let ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved_ms.store(ms, Relaxed);
        self.waits.store(false, Relaxed);
    }
}

/// The body.
pub(super) struct Upload {
    inner: Limited<Body>,
    progress: Arc<Progress>,
}

impl Upload {
    pub(super) fn new(body: Body, bytes_max: u64, progress: Arc<Progress>) -> Self {
        let limit = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        Self {
            inner: Limited::new(body, limit),
            progress,
        }
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        match &polled {
            Poll::Pending => self.progress.waits.store(true, Relaxed),
            Poll::Ready(frame) => {
                self.progress.moved();
                if matches!(frame, Some(Err(_))) {
                    self.progress.is_broken.store(true, Relaxed);
                }
            }
        }
        polled.map_ok(filtered)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Upload {
    /// The whole body was taken, or nobody wants it any more.
    fn drop(&mut self) {
        self.progress.waits.store(false, Relaxed);
    }
}
