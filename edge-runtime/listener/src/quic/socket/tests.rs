//! Batches over a socket that notes what it is given.

#![allow(clippy::unwrap_used)]

use std::task::Waker;

use super::*;

/// What a system call would have sent: to which port, datagrams of which lengths.
type Sent = (u16, Vec<usize>);

#[derive(Debug, Default)]
struct Noted {
    sent: Mutex<Vec<Sent>>,
    is_full: AtomicBool,
    writable: Mutex<Vec<Waker>>,
}

impl Noted {
    fn take(&self) -> Vec<Sent> {
        std::mem::take(&mut self.sent.lock().unwrap())
    }

    fn set_full(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::Release);
        let waiting = std::mem::take(&mut *self.writable.lock().unwrap());
        waiting.into_iter().for_each(Waker::wake);
    }
}

#[derive(Debug)]
struct Poller(Arc<Noted>);

impl UdpPoller for Poller {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.0.is_full.load(Ordering::Acquire) {
            self.0.writable.lock().unwrap().push(cx.waker().clone());
            Poll::Pending
        } else {
            Poll::Ready(Ok(()))
        }
    }
}

impl AsyncUdpSocket for Noted {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Poller(self))
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.is_full.load(Ordering::Acquire) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len());
        let lengths = transmit.contents.chunks(segment).map(<[u8]>::len).collect();
        let sent = (transmit.destination.port(), lengths);
        self.sent.lock().unwrap().push(sent);
        Ok(())
    }

    fn poll_recv(
        &self,
        _: &mut Context<'_>,
        _: &mut [IoSliceMut<'_>],
        _: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(peer(1))
    }

    fn max_transmit_segments(&self) -> usize {
        64
    }
}

fn peer(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Hands over `count` datagrams of `length` bytes, then one of `last` bytes if that is not 0.
fn send(
    socket: &BatchingSocket,
    port: u16,
    count: usize,
    length: usize,
    last: usize,
) -> io::Result<()> {
    let contents = vec![0; count * length + last];
    let is_one = contents.len() <= length;
    socket.try_send(&Transmit {
        destination: peer(port),
        ecn: None,
        contents: &contents,
        segment_size: (!is_one).then_some(length),
        src_ip: None,
    })
}

/// Lets the lanes run until they have nothing to do.
async fn settle() {
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_sent_in_one_turn_leaves_together() {
    let noted = Arc::new(Noted::default());
    let socket = BatchingSocket::new(Arc::<Noted>::clone(&noted));
    settle().await;
    for (given, expected) in [
        // A small one by itself goes at once.
        (vec![(1, 1, 40, 0)], vec![(1, vec![40])]),
        (
            vec![(1, 10, 1200, 0), (1, 2, 1200, 300)],
            vec![(1, [vec![1200; 12], vec![300]].concat())],
        ),
        // Nothing goes behind a shorter one, and a longer one not behind others.
        (
            vec![(1, 1, 1200, 300), (1, 1, 1200, 0), (1, 1, 1400, 0)],
            vec![(1, vec![1200, 300]), (1, vec![1200]), (1, vec![1400])],
        ),
        // A small one waits for what is before it.
        (
            vec![(1, 2, 1200, 0), (1, 1, 40, 0)],
            vec![(1, vec![1200, 1200, 40])],
        ),
        // Peers that meet in a lane, and peers that do not.
        (
            vec![(1, 1, 1200, 0), (1 + LANES, 1, 1200, 0), (2, 1, 1200, 0)],
            vec![(1, vec![1200]), (1 + LANES, vec![1200]), (2, vec![1200])],
        ),
        // No more than the kernel takes.
        (
            vec![(1, 40, 1000, 0), (1, 20, 1000, 0), (1, 10, 1000, 0)],
            vec![(1, vec![1000; 60]), (1, vec![1000; 10])],
        ),
        (
            vec![(1, 40, 1452, 0), (1, 4, 1452, 0), (1, 1, 1452, 0)],
            vec![(1, vec![1452; 44]), (1, vec![1452])],
        ),
    ] {
        for (port, count, length, last) in given {
            send(&socket, port, count, length, last).unwrap();
        }
        settle().await;
        assert_eq!(noted.take(), expected);
    }
}

#[tokio::test]
async fn a_full_socket_loses_nothing() {
    let noted = Arc::new(Noted::default());
    let socket = BatchingSocket::new(Arc::<Noted>::clone(&noted));
    settle().await;
    noted.set_full(true);
    send(&socket, 1, 40, 1400, 0).unwrap();
    let refused = send(&socket, 1, 10, 1400, 0).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    settle().await;
    let mut writable = Arc::<BatchingSocket>::clone(&socket).create_io_poller();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(writable.as_mut().poll_writable(&mut cx).is_pending());
    // What fits is still taken.
    send(&socket, 1, 6, 1400, 0).unwrap();
    assert_eq!(noted.take(), []);
    noted.set_full(false);
    assert!(writable.as_mut().poll_writable(&mut cx).is_ready());
    send(&socket, 1, 10, 1400, 0).unwrap();
    settle().await;
    assert_eq!(noted.take(), [(1, vec![1400; 46]), (1, vec![1400; 10])]);
}

#[tokio::test]
async fn what_waits_when_the_socket_is_closed_is_sent() {
    let noted = Arc::new(Noted::default());
    let socket = BatchingSocket::new(Arc::<Noted>::clone(&noted));
    settle().await;
    send(&socket, 1, 3, 1200, 0).unwrap();
    drop(socket);
    settle().await;
    assert_eq!(noted.take(), [(1, vec![1200; 3])]);
    // The lanes have let go of it.
    assert_eq!(Arc::strong_count(&noted), 1);
}
