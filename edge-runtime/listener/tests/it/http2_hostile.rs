//! What no client of HTTP/2 would do, in frames written by hand (RFC 9113 §6).

use brink_listener::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Event, Security, Server, within};
use crate::http2;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// RFC 9113 §7.
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    /// The reason of a reset or of the end.
    fn reason(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

struct Frames(TcpStream);

impl Frames {
    /// With a window for each stream; the connection's is RFC 9113's.
    async fn connect(server: &Server, window: u32) -> Self {
        let mut stream = TcpStream::connect(server.tcp).await.unwrap();
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        stream.write_all(preface).await.unwrap();
        let mut setting = vec![0, 4];
        setting.extend_from_slice(&window.to_be_bytes());
        let mut frames = Self(stream);
        frames.send(&frame(SETTINGS, 0, 0, &setting)).await;
        frames
    }

    /// Who is closed upon may not be able to send all.
    async fn send(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes).await;
    }

    /// None: the server has closed.
    async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        within(self.0.read_exact(&mut head)).await.ok()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap();
        let mut payload = vec![0; length];
        within(self.0.read_exact(&mut payload)).await.ok()?;
        Some(Frame {
            kind,
            flags,
            stream: u32::from_be_bytes(stream),
            payload,
        })
    }

    /// The first of a kind; None: the server has closed before.
    async fn until(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A `GET`'s fields: of RFC 7541 Appendix A, the path and the authority literally.
fn head(path: &str) -> Vec<u8> {
    let mut fields = vec![0x82, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
    fields.extend_from_slice(path.as_bytes());
    fields.extend_from_slice(&[0x01, 1, b'a']);
    fields
}

fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &head(path))
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

async fn still_serves(server: &Server) {
    let mut sender = http2::library(server).await;
    let request = http::Request::get("http://a.example/").body(()).unwrap();
    let (response, _) = sender.send_request(request, true).unwrap();
    assert_eq!(within(response).await.unwrap().status(), 200);
}

#[tokio::test]
async fn requests_that_are_reset_at_once_end_the_connection() {
    let server = Server::start(Security::Plain, Limits::default()).await;
    let mut frames = Frames::connect(&server, 65_535).await;
    // More than may be reset, and no more than is read at a time: what was not read takes the last word with it.
    let flood = (0..100_u32).flat_map(|at| {
        let stream = 2 * at + 1;
        [get(stream, "/wait"), reset(stream)].concat()
    });
    frames.send(&flood.collect::<Vec<u8>>()).await;
    let end = frames.until(GOAWAY).await.unwrap();
    assert_eq!(end.reason(), ENHANCE_YOUR_CALM);
    assert!(frames.next().await.is_none());
    still_serves(&server).await;
    server.stop();
    server.ended().await;
}

#[tokio::test]
async fn requests_that_are_reset_while_they_are_answered_leave_nothing() {
    let mut server = Server::start(Security::Plain, Limits::default()).await;
    let mut frames = Frames::connect(&server, 65_535).await;
    // Each is under way before it is reset: no flood, but none of them may stay.
    for stream in (0..100_u32).map(|at| 2 * at + 1) {
        frames.send(&get(stream, "/wait")).await;
        assert_eq!(within(server.events.recv()).await, Some(Event::Began));
        frames.send(&reset(stream)).await;
        assert_eq!(within(server.events.recv()).await, Some(Event::Dropped));
    }
    // Interim answers meet resets in any order.
    for stream in (100..600_u32).map(|at| 2 * at + 1) {
        frames.send(&get(stream, "/hints")).await;
        if stream % 3 == 0 {
            frames.send(&reset(stream)).await;
            continue;
        }
        loop {
            let frame = frames.next().await.unwrap();
            if frame.stream == stream && frame.flags & END_STREAM != 0 {
                break;
            }
        }
    }
    drop(frames);
    still_serves(&server).await;
    server.stop();
    server.ended().await;
}

#[tokio::test]
async fn header_sections_without_end_end_the_connection() {
    let server = Server::start(Security::Plain, Limits::default()).await;
    for (size, count) in [(0, 100_000), (16_000, 1000)] {
        let mut frames = Frames::connect(&server, 65_535).await;
        frames.send(&frame(HEADERS, 0, 1, &head("/"))).await;
        // A literal field that never ends, in pieces.
        let mut piece = [0x00, 1, b'a', 1, b'b'].repeat(size / 5);
        piece.truncate(size);
        let more = frame(CONTINUATION, 0, 1, &piece);
        let (mut reading, mut writing) = frames.0.split();
        let flood = async {
            for _ in 0..count {
                if writing.write_all(&more).await.is_err() {
                    return;
                }
            }
            panic!("all was taken");
        };
        let mut answer = Vec::new();
        let end = async {
            let _ = within(reading.read_to_end(&mut answer)).await;
        };
        tokio::select! {
            () = flood => {}
            () = end => {}
        }
    }
    still_serves(&server).await;
    server.stop();
    server.ended().await;
}

#[tokio::test]
async fn a_client_that_opens_no_window_is_cut_off() {
    let mut limits = Limits::default();
    limits.stall_ms_max = 200;
    let server = Server::start(Security::Plain, limits).await;
    let mut frames = Frames::connect(&server, 0).await;
    frames.send(&get(1, "/stream")).await;
    let reset = frames.until(RST_STREAM).await.unwrap();
    assert_eq!((reset.stream, reset.reason()), (1, CANCEL));
    drop(frames);
    server.stop();
    server.ended().await;
}

#[tokio::test]
async fn a_client_that_reads_slowly_gets_all_of_it() {
    let mut limits = Limits::default();
    // Nothing is asked any more: it is told to go away while its answer is under way.
    limits.idle_ms_max = 200;
    limits.header_ms_max = 200;
    let server = Server::start(Security::Plain, limits).await;
    let mut frames = Frames::connect(&server, 1000).await;
    frames.send(&get(1, "/large")).await;
    let mut read = 0;
    let mut is_told = false;
    while read < 3_000_000 {
        let frame = frames.next().await.unwrap();
        match frame.kind {
            DATA => read += frame.payload.len(),
            GOAWAY => {
                is_told = true;
                let more = 3_000_000_u32.to_be_bytes();
                for stream in [0, 1] {
                    let update = self::frame(WINDOW_UPDATE, 0, stream, &more);
                    frames.send(&update).await;
                }
            }
            _ => {}
        }
    }
    assert!(is_told);
    drop(frames);
    server.stop();
    server.ended().await;
}

#[tokio::test]
async fn a_client_that_is_silent_is_asked_and_given_up() {
    let mut limits = Limits::default();
    limits.idle_ms_max = 200;
    limits.stall_ms_max = 1000;
    let mut server = Server::start(Security::Plain, limits).await;
    let mut frames = Frames::connect(&server, 65_535).await;
    frames.send(&get(1, "/wait")).await;
    assert_eq!(within(server.events.recv()).await, Some(Event::Began));
    let asked = frames.until(PING).await.unwrap();
    assert_eq!(asked.flags, 0);
    frames.send(&frame(PING, ACK, 0, &asked.payload)).await;
    // Asked anew, so the answer has counted.
    frames.until(PING).await.unwrap();
    assert!(server.events.try_recv().is_err());
    while frames.next().await.is_some() {}
    assert_eq!(within(server.events.recv()).await, Some(Event::Dropped));
    server.stop();
    server.ended().await;
}

#[tokio::test]
async fn what_is_no_http2_ends() {
    let server = Server::start(Security::Plain, Limits::default()).await;
    for bytes in [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET / HTTP/1.1\r\n\r\n".to_vec(),
    ] {
        let mut stream = TcpStream::connect(server.tcp).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        within(stream.read_to_end(&mut Vec::new())).await.ok();
    }
    still_serves(&server).await;
    server.stop();
    server.ended().await;
}
