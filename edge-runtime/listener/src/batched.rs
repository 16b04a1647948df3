//! Writes of many small pieces as few large ones.
//!
//! The HTTP/2 library writes and flushes each DATA frame by itself. That would be a TLS record and a system call for each
//! answer. Here what is written is gathered, and goes out when the connection has nothing more to do at the moment, or
//! when there is enough of it.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are gathered at most: four TLS records of the largest size (RFC 8446 §5.1).
const GATHERED_BYTES_MAX: usize = 64 * 1024;

/// The connection's side: what the HTTP library reads from and writes to.
pub(crate) struct Batched<I>(Arc<Mutex<Gathering<I>>>);

/// The driver's side: writes what was gathered.
pub(crate) struct Outlet<I> {
    shared: Arc<Mutex<Gathering<I>>>,
    counts: Arc<Counts>,
}

/// Bytes that passed so far.
#[derive(Default)]
pub(crate) struct Counts {
    heard: AtomicU64,
    written: AtomicU64,
}

impl Counts {
    /// From the client.
    pub(crate) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// To the client.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }
}

fn add(count: &AtomicU64, bytes: usize) {
    count.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
}

struct Gathering<I> {
    stream: I,
    gathered: Vec<u8>,
    /// Of these, so many are written.
    written: usize,
    counts: Arc<Counts>,
}

/// Both sides of a stream.
pub(crate) fn batched<I>(stream: I) -> (Batched<I>, Outlet<I>) {
    let counts = Arc::<Counts>::default();
    let shared = Arc::new(Mutex::new(Gathering {
        stream,
        gathered: Vec::new(),
        written: 0,
        counts: Arc::clone(&counts),
    }));
    (Batched(Arc::clone(&shared)), Outlet { shared, counts })
}

fn locked<I>(shared: &Mutex<Gathering<I>>) -> MutexGuard<'_, Gathering<I>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    /// Where a connection gathers that has nothing gathered: idle ones have no memory for it.
    static SPARE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn put_by(gathered: &mut Vec<u8>) {
    gathered.clear();
    SPARE.replace(std::mem::take(gathered));
}

impl<I: AsyncWrite + Unpin> Gathering<I> {
    fn room(&self) -> usize {
        GATHERED_BYTES_MAX.saturating_sub(self.gathered.len())
    }

    fn gather(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.get(..bytes.len().min(self.room()));
        let taken = taken.unwrap_or_default();
        if self.gathered.capacity() == 0 {
            self.gathered = SPARE.take();
        }
        self.gathered.extend_from_slice(taken);
        taken.len()
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.gathered.get(self.written..)
            && !rest.is_empty()
        {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
            add(&self.counts.written, written);
        }
        self.written = 0;
        put_by(&mut self.gathered);
        Poll::Ready(Ok(()))
    }

    fn poll_all_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Makes room if there is none.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.room() > 0 {
            return Poll::Ready(Ok(()));
        }
        self.poll_drain(cx)
    }
}

impl<I: AsyncWrite + Unpin> Outlet<I> {
    /// Writes and flushes what was gathered. Pending: the stream takes no more for now, and wakes the task.
    pub(crate) fn poll_out(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathering = locked(&self.shared);
        if gathering.gathered.is_empty() {
            return Poll::Ready(Ok(()));
        }
        gathering.poll_all_out(cx)
    }

    pub(crate) fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Batched<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let gathering = &mut *locked(&self.0);
        let before = buffer.filled().len();
        ready!(Pin::new(&mut gathering.stream).poll_read(cx, buffer))?;
        add(&gathering.counts.heard, buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Batched<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut gathering = locked(&self.0);
        ready!(gathering.poll_room(cx))?;
        Poll::Ready(Ok(gathering.gather(bytes)))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut gathering = locked(&self.0);
        ready!(gathering.poll_room(cx))?;
        let mut taken = 0;
        for piece in pieces {
            let now = gathering.gather(piece);
            taken += now;
            if now < piece.len() {
                break;
            }
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Does nothing: the driver lets it out.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathering = locked(&self.0);
        ready!(gathering.poll_all_out(cx))?;
        Pin::new(&mut gathering.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn what_is_written_goes_out_when_it_is_let_out_or_is_too_much() {
        let (near, mut far) = duplex(1024 * 1024);
        let (mut batched, outlet) = batched(near);
        batched.write_all(b"one ").await.unwrap();
        batched.write_all(b"two").await.unwrap();
        batched.flush().await.unwrap();
        let mut seen = vec![0; 7];
        assert!(futures_util::FutureExt::now_or_never(far.read(&mut seen)).is_none());
        std::future::poll_fn(|cx| outlet.poll_out(cx))
            .await
            .unwrap();
        far.read_exact(&mut seen).await.unwrap();
        assert_eq!(seen, b"one two");

        let long = vec![7; 3 * GATHERED_BYTES_MAX + 5];
        batched.write_all(&long).await.unwrap();
        let mut seen = vec![0; 3 * GATHERED_BYTES_MAX];
        far.read_exact(&mut seen).await.unwrap();
        batched.shutdown().await.unwrap();
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, [7; 5]);
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_stops_the_writer() {
        let (near, mut far) = duplex(1000);
        let (mut batched, outlet) = batched(near);
        let long = vec![7; 2 * GATHERED_BYTES_MAX];
        let mut writing = Box::pin(batched.write_all(&long));
        assert!(futures_util::poll!(writing.as_mut()).is_pending());
        let read = async {
            let mut seen = vec![0; long.len()];
            far.read_exact(&mut seen).await.unwrap();
        };
        let write = async {
            writing.await.unwrap();
            std::future::poll_fn(|cx| outlet.poll_out(cx))
                .await
                .unwrap();
        };
        tokio::join!(read, write);
    }
}
