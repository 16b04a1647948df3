//! The program with bodies that are far larger than what it may hold.

use crate::harness::{eventually, within};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use std::{
    ops::Range,
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    sync::Semaphore,
};

const MIB: usize = 1 << 20;
/// What the program may take more while bodies pass through it, in bytes.
const MEMORY_BYTES_MAX: usize = 48 * MIB;
/// Bodies repeat after so many bytes: no piece is like another.
const PERIOD: usize = 65_521;

fn pattern() -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    // A second time, so that any place has a whole period behind it.
    let once: Vec<u8> = (0..PERIOD).map(|_| next()).collect();
    [once.clone(), once].concat()
}

/// Whether these are the bytes of a body from there on.
fn is_right(pattern: &[u8], mut at: usize, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let (some, rest) = bytes.split_at(bytes.len().min(PERIOD));
        if pattern[at % PERIOD..][..some.len()] != *some {
            return false;
        }
        at += some.len();
        bytes = rest;
    }
    true
}

/// An origin: `/NAME/BYTES` has so many. Of what is called `half` it sends the second half when it is told to; of `torn` never.
struct Origin {
    url: String,
    asked: AtomicU32,
    goes_on: Semaphore,
    pattern: Vec<u8>,
}

impl Origin {
    async fn begin() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = Arc::new(Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            asked: AtomicU32::new(0),
            goes_on: Semaphore::new(0),
            pattern: pattern(),
        });
        let accepting = origin.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(accepting.clone().serve(stream));
            }
        });
        origin
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream) -> std::io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        self.asked.fetch_add(1, SeqCst);
        let head = String::from_utf8(head).unwrap();
        let mut path = head.split([' ', '/']).skip(2);
        let (name, length) = (path.next().unwrap(), path.next().unwrap());
        let length: usize = length.parse().unwrap();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        self.send(&mut stream, 0..length / 2).await?;
        match name {
            "torn" => return Ok(()),
            "half" => self.goes_on.acquire().await.unwrap().forget(),
            _ => {}
        }
        self.send(&mut stream, length / 2..length).await
    }

    async fn send(&self, stream: &mut TcpStream, mut range: Range<usize>) -> std::io::Result<()> {
        while !range.is_empty() {
            let some = range.len().min(PERIOD);
            let bytes = &self.pattern[range.start % PERIOD..][..some];
            stream.write_all(bytes).await?;
            range.start += some;
        }
        Ok(())
    }

    fn asked(&self) -> u32 {
        self.asked.load(SeqCst)
    }
}

/// The program, before an origin.
struct Program {
    child: Child,
    address: String,
}

impl Program {
    async fn start(data: &Path, origin: &Origin) -> Self {
        let ready = data.join("ready.json");
        let _ = std::fs::remove_file(&ready);
        let child = Command::new(env!("CARGO_BIN_EXE_brink-edge"))
            .args(["proxy", "--origin", &origin.url])
            .args(["--listen", "127.0.0.1:0", "--log", "off"])
            .args(["--data", data.to_str().unwrap()])
            .args(["--ready-file", ready.to_str().unwrap()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let told: serde_json::Value =
            eventually(async || serde_json::from_slice(&std::fs::read(&ready).ok()?).ok()).await;
        let url = told["url"].as_str().unwrap();
        let address = url.trim_start_matches("http://").trim_end_matches('/');
        Self {
            child,
            address: address.to_owned(),
        }
    }

    /// Bytes of memory that it has, or has had at most, by that line of its status.
    fn memory(&self, line: &str) -> usize {
        let file = format!("/proc/{}/status", self.child.id().unwrap());
        let status = std::fs::read_to_string(file).unwrap();
        let line = status.lines().find_map(|text| text.strip_prefix(line));
        let number = line.unwrap().trim().trim_end_matches(" kB");
        number.parse::<usize>().unwrap() << 10
    }

    /// In good order.
    async fn stop(mut self) {
        let id = self.child.id().unwrap().to_string();
        let told = std::process::Command::new("kill").arg(&id).status();
        assert!(told.unwrap().success());
        assert!(within(self.child.wait()).await.unwrap().success());
    }

    async fn kill(mut self) {
        within(self.child.kill()).await.unwrap();
    }
}

/// An answer over HTTP/1.1 whose body is read by and by.
struct Download {
    stream: TcpStream,
    head: String,
    /// What is missing, and where it begins in the whole.
    left: usize,
    at: usize,
    pattern: Vec<u8>,
}

impl Download {
    async fn begin(program: &Program, path: &str, fields: &str) -> Self {
        let mut stream = TcpStream::connect(&program.address).await.unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{fields}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(within(stream.read_u8()).await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let field = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(name));
            line.map(|value| value.trim().to_owned())
        };
        let first =
            field("content-range: bytes ").map(|range| range.split('-').next().unwrap().parse());
        Self {
            left: field("content-length: ").unwrap().parse().unwrap(),
            at: first.map_or(0, Result::unwrap),
            stream,
            head,
            pattern: pattern(),
        }
    }

    /// Reads so many bytes, or all, and holds them against what they should be. Gives whether they came.
    async fn read(&mut self, bytes: usize) -> bool {
        let mut buffer = vec![0; 256 << 10];
        let mut wanted = bytes.min(self.left);
        while wanted > 0 {
            let room = wanted.min(buffer.len());
            let read = within(self.stream.read(&mut buffer[..room])).await;
            let Ok(read @ 1..) = read else {
                return false;
            };
            assert!(
                is_right(&self.pattern, self.at, &buffer[..read]),
                "{}",
                self.at
            );
            self.at += read;
            self.left -= read;
            wanted -= read;
        }
        true
    }

    async fn comes_right(mut self) -> bool {
        self.read(usize::MAX).await
    }

    fn is_hit(&self) -> bool {
        self.head.contains("; hit")
    }
}

async fn over_http2(program: &Program, path: &str) -> usize {
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let request = Request::get(format!("http://{}{path}", program.address));
    let response = within(client.request(request.body(Empty::new()).unwrap())).await;
    let (mut body, mut at) = (response.unwrap().into_body(), 0);
    let pattern = pattern();
    while let Some(frame) = within(body.frame()).await {
        let bytes = frame.unwrap().into_data().unwrap();
        assert!(is_right(&pattern, at, &bytes), "{at}");
        at += bytes.len();
    }
    at
}

#[tokio::test]
async fn large_bodies_pass_and_are_kept_in_little_memory() {
    const LARGE: &str = "/large/209715200";
    let data = tempfile::tempdir().unwrap();
    let origin = Origin::begin().await;
    let program = Program::start(data.path(), &origin).await;
    assert!(
        Download::begin(&program, "/small/9", "")
            .await
            .comes_right()
            .await
    );
    let before = program.memory("VmRSS:");
    // One reads all of it before the other has read anything.
    let slow = Download::begin(&program, LARGE, "").await;
    let quick = Download::begin(&program, LARGE, "").await;
    assert!(quick.comes_right().await);
    assert!(slow.comes_right().await);
    let taken = program.memory("VmHWM:").saturating_sub(before);
    assert!(taken < MEMORY_BYTES_MAX, "{} MiB", taken / MIB);
    let hit = Download::begin(&program, LARGE, "").await;
    assert!(hit.is_hit() && hit.comes_right().await);
    assert_eq!(origin.asked(), 2);
    // Under another name: filled, and a hit.
    for _ in 0..2 {
        assert_eq!(over_http2(&program, "/large/52428800").await, 50 * MIB);
    }
    assert_eq!(origin.asked(), 3);
    program.stop().await;
    let program = Program::start(data.path(), &origin).await;
    let hit = Download::begin(&program, LARGE, "").await;
    assert!(hit.is_hit() && hit.comes_right().await);
    for piece in [1, 77, 199] {
        for (from, to) in [
            (piece * MIB - 1, piece * MIB),
            (piece * MIB, (piece + 1) * MIB - 1),
        ] {
            let range = format!("range: bytes={from}-{to}\r\n");
            let part = Download::begin(&program, LARGE, &range).await;
            assert!(
                part.is_hit() && part.head.starts_with("http/1.1 206"),
                "{}",
                part.head
            );
            assert_eq!((part.at, part.left), (from, to + 1 - from));
            assert!(part.comes_right().await);
        }
    }
    assert_eq!(origin.asked(), 3);
    program.kill().await;
}

#[tokio::test]
async fn clients_that_go_away_origins_that_break_off_and_kills() {
    let data = tempfile::tempdir().unwrap();
    let origin = Origin::begin().await;
    let program = Program::start(data.path(), &origin).await;
    // Its client goes away: the fill goes on, and what it stores is for the next.
    let mut gone = Download::begin(&program, "/half/20000000", "").await;
    assert!(gone.read(5_000_000).await);
    drop(gone);
    origin.goes_on.add_permits(1);
    eventually(async || {
        let known = "cache-control: only-if-cached\r\n";
        let hit = Download::begin(&program, "/half/20000000", known).await;
        if !hit.head.starts_with("http/1.1 200") {
            return None;
        }
        assert!(hit.comes_right().await);
        Some(())
    })
    .await;
    assert_eq!(origin.asked(), 1);
    // It breaks off, each time: nothing is kept.
    for asked in 2..4 {
        let torn = Download::begin(&program, "/torn/9000000", "").await;
        assert!(!torn.comes_right().await);
        assert_eq!(origin.asked(), asked);
    }
    // Killed in the middle; what was stored before has been written by then: no more than 8 MiB wait for the disk.
    let mut begun = Download::begin(&program, "/half/30000000", "").await;
    assert!(begun.read(14_000_000).await);
    program.kill().await;
    assert!(!begun.comes_right().await);
    let program = Program::start(data.path(), &origin).await;
    origin.goes_on.add_permits(2);
    let again = Download::begin(&program, "/half/30000000", "").await;
    assert!(!again.is_hit() && again.comes_right().await);
    assert_eq!(origin.asked(), 5);
    let kept = Download::begin(&program, "/half/20000000", "").await;
    assert!(kept.is_hit() && kept.comes_right().await);
    program.kill().await;
}
