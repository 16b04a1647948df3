//! What hyper reads from and writes to: it begins with bytes that were read already, and may end with them. Interim
//! answers, of which hyper's server knows nothing, are written here.
//!
//! They go out when hyper flushes, as nothing of its own is left to be written then: all answers before are out, and the
//! final one is not given to hyper before the interim ones are (see [`Interim::poll_settled`]).

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::interim::{self, Interim};

/// A stream with a beginning.
pub(crate) struct Gate<I> {
    stream: I,
    beginning: Bytes,
    /// Nothing is read behind the beginning.
    is_shut: bool,
    /// What is left of an interim answer.
    interim: Bytes,
    watch: Arc<Watch>,
}

/// What is seen at a gate, and given to it.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    wants_more: AtomicBool,
    is_flushed: AtomicBool,
    /// Of the request that is being answered; there is one at a time.
    interim: Mutex<Option<Interim>>,
}

impl Watch {
    /// The beginning was read, more is wanted, and what was written is out.
    pub(crate) fn is_through(&self) -> bool {
        self.wants_more.load(Ordering::Relaxed) && self.is_flushed.load(Ordering::Relaxed)
    }

    /// The way of interim answers to the request that hyper has given just now.
    pub(crate) fn interim(&self) -> Interim {
        let interim = Interim::new();
        let mut current = self.interim.lock().unwrap_or_else(PoisonError::into_inner);
        *current = Some(interim.clone());
        interim
    }

    fn next_interim(&self, cx: &mut Context<'_>) -> Option<Bytes> {
        let current = self.interim.lock().unwrap_or_else(PoisonError::into_inner);
        match current.as_ref()?.poll_next(cx) {
            Poll::Ready(head) => Some(interim::encode(&head).into()),
            Poll::Pending => None,
        }
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
            interim: Bytes::new(),
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

impl<I: AsyncWrite + Unpin> Gate<I> {
    /// Writes what is left of an interim answer.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.interim.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.interim))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.interim.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes all interim answers that wait.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_rest(cx))?;
            match self.watch.next_interim(cx) {
                Some(head) => self.interim = head,
                None => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Gate<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.watch.is_flushed.store(false, Ordering::Relaxed);
        ready!(self.poll_rest(cx))?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.watch.is_flushed.store(false, Ordering::Relaxed);
        ready!(self.poll_rest(cx))?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watch.is_flushed.store(false, Ordering::Relaxed);
        ready!(self.poll_interim(cx))?;
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        let is_flushed = matches!(flushed, Poll::Ready(Ok(())));
        self.watch.is_flushed.store(is_flushed, Ordering::Relaxed);
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
