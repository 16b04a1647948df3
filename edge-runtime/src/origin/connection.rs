//! A connection to an origin, and whether it has answered yet.

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::{
    client::legacy::connect::{self, Connected},
    rt::TokioIo,
};
use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};
use tokio::net::TcpStream;

type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Whether a connection has answered a request.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept(Arc<AtomicBool>);

impl Kept {
    /// It has.
    pub(super) fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether a connection had, of which this is known.
    pub(super) fn was(connected: Option<&Connected>) -> bool {
        let mut known = http::Extensions::new();
        if let Some(connected) = connected {
            connected.get_extras(&mut known);
        }
        let kept = known.get::<Self>();
        kept.is_some_and(|kept| kept.0.load(Ordering::Relaxed))
    }
}

/// A connection.
pub(super) struct Connection {
    inner: Stream,
    kept: Kept,
}

impl Connection {
    pub(super) fn new(inner: Stream) -> Self {
        let kept = Kept::default();
        Self { inner, kept }
    }
}

impl connect::Connection for Connection {
    fn connected(&self) -> Connected {
        self.inner.connected().extra(self.kept.clone())
    }
}

impl Read for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl Write for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
