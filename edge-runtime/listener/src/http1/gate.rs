//! What hyper reads from and writes to: it begins with bytes that were read already, and may end with them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream with a beginning.
pub(crate) struct Gate<I> {
    stream: I,
    beginning: Bytes,
    /// Nothing is read behind the beginning.
    is_shut: bool,
    watch: Arc<Watch>,
}

/// What is seen at a gate.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    wants_more: AtomicBool,
    is_flushed: AtomicBool,
}

impl Watch {
    /// The beginning was read, more is wanted, and what was written is out.
    pub(crate) fn is_through(&self) -> bool {
        self.wants_more.load(Ordering::Relaxed) && self.is_flushed.load(Ordering::Relaxed)
    }
}

impl<I> Gate<I> {
    /// Gives `beginning` and then, unless it `is_shut`, what the stream has.
    pub(crate) fn new(stream: I, beginning: Bytes, is_shut: bool) -> (Self, Arc<Watch>) {
        let watch = Arc::new(Watch::default());
        let gate = Self {
            stream,
            beginning,
            is_shut,
            watch: Arc::clone(&watch),
        };
        (gate, watch)
    }

    /// The stream.
    pub(crate) fn into_stream(self) -> I {
        self.stream
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Gate<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.beginning.is_empty() {
            let count = self.beginning.len().min(buffer.remaining());
            buffer.put_slice(self.beginning.get(..count).unwrap_or_default());
            self.beginning.advance(count);
            return Poll::Ready(Ok(()));
        }
        if self.is_shut {
            // Nobody is woken: who drives the connection looks whether it is through.
            self.watch.wants_more.store(true, Ordering::Relaxed);
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Gate<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.watch.is_flushed.store(false, Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.watch.is_flushed.store(false, Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        let is_flushed = matches!(flushed, Poll::Ready(Ok(())));
        self.watch.is_flushed.store(is_flushed, Ordering::Relaxed);
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
