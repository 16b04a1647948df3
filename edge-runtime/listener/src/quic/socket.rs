//! The UDP socket under QUIC, which sends datagrams to one peer together (generic segmentation offload).
//!
//! quinn hands over ten datagrams at most, and one as soon as a connection has one to send. A system call costs as much for one
//! as for forty. So what is sent is kept until the tasks that are ready now have had their turn, or a batch is full.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use futures_util::task::AtomicWaker;
use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

/// Peers whose datagrams are gathered at a time; two peers may meet in one place, which only sends earlier.
const LANES: u16 = 16;
/// Bytes of a batch: an IP packet's length has 16 bits, and the kernel takes a batch for one until it is segmented.
const BATCH_BYTES_MAX: usize = 65_000;
/// A datagram of fewer bytes that has nothing before it goes out at once: an acknowledgement waits for nothing.
const SMALL_BYTES: usize = 128;

/// A socket of quinn's with batches before it.
#[derive(Debug)]
pub(super) struct BatchingSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    lanes: Vec<Arc<Lane>>,
}

/// What one peer is sent, and the task that sends it.
#[derive(Debug, Default)]
struct Lane {
    batch: Mutex<Batch>,
    waker: AtomicWaker,
    is_closed: AtomicBool,
}

/// Datagrams of one length, the last of which may be shorter.
#[derive(Debug, Default)]
struct Batch {
    to: Option<Destination>,
    segment_bytes: usize,
    contents: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Destination {
    address: SocketAddr,
    source: Option<IpAddr>,
    ecn: Option<EcnCodepoint>,
}

impl Batch {
    /// Takes datagrams up, if they go with those that are there.
    fn push(&mut self, transmit: &Transmit<'_>, segments_max: usize) -> bool {
        let to = Destination {
            address: transmit.destination,
            source: transmit.src_ip,
            ecn: transmit.ecn,
        };
        let bytes = transmit.contents.len();
        let segment_bytes = transmit.segment_size.unwrap_or(bytes);
        if self.contents.is_empty() {
            self.to = Some(to);
            self.segment_bytes = segment_bytes;
        } else {
            let goes_with = self.to == Some(to)
                && self.contents.len().is_multiple_of(self.segment_bytes)
                && (segment_bytes == self.segment_bytes
                    || (transmit.segment_size.is_none() && bytes < self.segment_bytes));
            let whole = self.contents.len() + bytes;
            let fits = whole <= BATCH_BYTES_MAX
                && whole.div_ceil(self.segment_bytes.max(1)) <= segments_max;
            if !(goes_with && fits) {
                return false;
            }
        }
        self.contents.extend_from_slice(transmit.contents);
        true
    }

    fn send(&mut self, socket: &dyn AsyncUdpSocket) -> io::Result<()> {
        let Some(to) = self.to.filter(|_| !self.contents.is_empty()) else {
            return Ok(());
        };
        let is_one = self.contents.len() <= self.segment_bytes;
        let sent = socket.try_send(&Transmit {
            destination: to.address,
            ecn: to.ecn,
            contents: &self.contents,
            segment_size: (!is_one).then_some(self.segment_bytes),
            src_ip: to.source,
        });
        if !matches!(&sent, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            self.contents.clear();
        }
        sent
    }
}

impl Lane {
    fn batch(&self) -> MutexGuard<'_, Batch> {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what is there after one more turn of the run queue, until the socket is closed.
    async fn run(self: Arc<Self>, socket: Arc<dyn AsyncUdpSocket>) {
        let mut writable = Arc::clone(&socket).create_io_poller();
        let mut has_waited = false;
        let sending = std::future::poll_fn(|cx| {
            self.waker.register(cx.waker());
            loop {
                let is_closed = self.is_closed.load(Ordering::Acquire);
                let mut batch = self.batch();
                if batch.contents.is_empty() {
                    has_waited = false;
                    return if is_closed {
                        Poll::Ready(())
                    } else {
                        Poll::Pending
                    };
                }
                if !has_waited && !is_closed {
                    has_waited = true;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                match batch.send(&*socket) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        drop(batch);
                        if ready!(writable.as_mut().poll_writable(cx)).is_err() {
                            return Poll::Ready(());
                        }
                    }
                    // The kernel's other complaints are about these datagrams, and like loss in the network.
                    Ok(()) | Err(_) => {}
                }
            }
        });
        sending.await;
    }
}

impl BatchingSocket {
    /// Must be called within a tokio runtime.
    pub(super) fn new(inner: Arc<dyn AsyncUdpSocket>) -> Arc<Self> {
        let lane = |_| {
            let lane = Arc::new(Lane::default());
            tokio::spawn(Arc::clone(&lane).run(Arc::clone(&inner)));
            lane
        };
        let lanes = (0..LANES).map(lane).collect();
        Arc::new(Self { inner, lanes })
    }

    fn lane(&self, peer: SocketAddr) -> Option<&Lane> {
        let lane = self.lanes.get(usize::from(peer.port() % LANES));
        lane.map(Arc::as_ref)
    }
}

impl Drop for BatchingSocket {
    fn drop(&mut self) {
        for lane in &self.lanes {
            lane.is_closed.store(true, Ordering::Release);
            lane.waker.wake();
        }
    }
}

impl AsyncUdpSocket for BatchingSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let segments_max = self.inner.max_transmit_segments();
        let Some(lane) = self.lane(transmit.destination).filter(|_| segments_max > 1) else {
            return self.inner.try_send(transmit);
        };
        let mut batch = lane.batch();
        let was_empty = batch.contents.is_empty();
        if was_empty && transmit.contents.len() < SMALL_BYTES {
            return self.inner.try_send(transmit);
        }
        if batch.push(transmit, segments_max) {
            drop(batch);
            if was_empty {
                lane.waker.wake();
            }
            return Ok(());
        }
        batch.send(&*self.inner)?;
        // An empty batch takes anything.
        batch.push(transmit, segments_max);
        drop(batch);
        lane.waker.wake();
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

#[cfg(test)]
mod tests;
