//! Many requests for one slow answer, over real connections.

use crate::harness::{Edge, common, eventually, start, within};
use brink_edge::{
    config::{File, Settings},
    standalone::Proxy,
};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};

/// Reads up to the end of a request's head.
async fn read_head(connection: &mut TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await?);
    }
    Ok(())
}

/// An origin that writes an answer in three pieces, each when it is told to: head, beginning, end.
struct Slow {
    url: String,
    asked: AtomicUsize,
    steps: Semaphore,
}

const BEGINNING: &str = "beginning ";
const END: &str = "end";

async fn slow() -> Arc<Slow> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = Arc::new(Slow {
        url: format!("http://{}", listener.local_addr().unwrap()),
        asked: AtomicUsize::new(0),
        steps: Semaphore::new(0),
    });
    let accepting = origin.clone();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(accepting.clone().answer(connection));
        }
    });
    origin
}

impl Slow {
    async fn answer(self: Arc<Self>, mut connection: TcpStream) -> std::io::Result<()> {
        read_head(&mut connection).await?;
        self.asked.fetch_add(1, Ordering::SeqCst);
        let length = BEGINNING.len() + END.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        );
        for piece in [head.as_str(), BEGINNING, END] {
            let Ok(step) = self.steps.acquire().await else {
                return Ok(());
            };
            step.forget();
            connection.write_all(piece.as_bytes()).await?;
        }
        Ok(())
    }

    async fn is_asked(&self) {
        eventually(async || (self.asked.load(Ordering::SeqCst) > 0).then_some(())).await;
    }
}

async fn before(origin: &Slow, requests: usize) -> Edge {
    let proxy = Proxy {
        origins: vec![origin.url.clone()],
        common: common(),
    };
    let file: File = proxy.common.file();
    let mut settings: Settings = file.standalone().unwrap();
    let room = u32::try_from(requests + 100).unwrap();
    settings.exchanges_max = settings.exchanges_max.max(room);
    // All come from one address here.
    settings.listener.limits.connections_max = room;
    settings.listener.limits.connections_per_address_max = room;
    settings.cache.followers_max = requests;
    // Compiled without optimisation, so many take their time to be sent.
    settings.cache.follower_wait_ms_max = 600_000;
    settings.origin.response_ms_max = 600_000;
    start(settings, async |assembled| proxy.deploy(assembled)).await
}

/// What came of many requests.
#[derive(Default)]
struct Came {
    beginnings: AtomicUsize,
    whole: AtomicUsize,
}

/// Sends `count` requests on one connection of HTTP/2 and reads the answers.
async fn ask(address: String, count: usize, came: Arc<Came>) {
    let stream = TcpStream::connect(&address).await.unwrap();
    let (sender, driver) = http2::Builder::new(TokioExecutor::new())
        .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(driver);
    let mut requests = JoinSet::new();
    for _ in 0..count {
        let (mut sender, came, address) = (sender.clone(), came.clone(), address.clone());
        requests.spawn(async move {
            let request = Request::builder().uri(format!("http://{address}/slow"));
            sender.ready().await.unwrap();
            let request = request.body(Empty::new()).unwrap();
            let response = sender.send_request(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            let mut body = response.into_body();
            let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(first, BEGINNING);
            came.beginnings.fetch_add(1, Ordering::SeqCst);
            assert_eq!(body.collect().await.unwrap().to_bytes(), END);
            came.whole.fetch_add(1, Ordering::SeqCst);
        });
    }
    while let Some(done) = requests.join_next().await {
        done.unwrap();
    }
}

async fn reaches(counter: &AtomicUsize, count: usize) {
    while counter.load(Ordering::SeqCst) < count {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// All are sent, then the origin answers: head and beginning reach all before it has sent the end.
async fn collapse(requests: usize, streams: usize) {
    let began = Instant::now();
    let origin = slow().await;
    let edge = before(&origin, requests).await;
    let address = edge.url.trim_start_matches("http://").to_owned();
    let came = Arc::new(Came::default());
    let mut connections = JoinSet::new();
    let mut left = requests;
    while left > 0 {
        let count = left.min(streams);
        left -= count;
        connections.spawn(ask(address.clone(), count, came.clone()));
    }
    let in_flight = async || edge.status().await["in_flight"].as_u64().unwrap();
    while in_flight().await < requests as u64 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    origin.is_asked().await;
    println!("{requests} wait after {:?}", began.elapsed());
    println!("resident: {} MiB", resident_mib());
    origin.steps.add_permits(2);
    reaches(&came.beginnings, requests).await;
    assert_eq!(came.whole.load(Ordering::SeqCst), 0);
    println!("all have the beginning after {:?}", began.elapsed());
    origin.steps.add_permits(1);
    while let Some(done) = connections.join_next().await {
        done.unwrap();
    }
    println!("all have the end after {:?}", began.elapsed());
    assert_eq!(came.whole.load(Ordering::SeqCst), requests);
    assert_eq!(origin.asked.load(Ordering::SeqCst), 1);
    edge.stop().await;
}

fn resident_mib() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    (pages * 4096) >> 20
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_requests_are_one_to_the_origin() {
    within(collapse(2_000, 100)).await;
}

/// `cargo test --release -p brink-edge --test it a_hundred_thousand -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and gigabytes"]
async fn a_hundred_thousand_requests_are_one_to_the_origin() {
    collapse(100_000, 100).await;
}

#[tokio::test]
async fn a_fill_goes_on_when_its_client_goes_away() {
    let origin = slow().await;
    let edge = before(&origin, 10).await;
    let address = edge.url.trim_start_matches("http://").to_owned();
    let mut leader = TcpStream::connect(&address).await.unwrap();
    let request = format!("GET /slow HTTP/1.1\r\nhost: {address}\r\n\r\n");
    leader.write_all(request.as_bytes()).await.unwrap();
    within(origin.is_asked()).await;
    let came = Arc::new(Came::default());
    let follower = tokio::spawn(ask(address, 1, came.clone()));
    let in_flight = async || edge.status().await["in_flight"].as_u64().unwrap();
    eventually(async || (in_flight().await == 2).then_some(())).await;
    drop(leader);
    origin.steps.add_permits(2);
    within(reaches(&came.beginnings, 1)).await;
    origin.steps.add_permits(1);
    within(follower).await.unwrap();
    let stored = edge.get("/slow").await;
    assert!(stored.is_hit(), "{stored:?}");
    assert_eq!(stored.body, format!("{BEGINNING}{END}"));
    assert_eq!(origin.asked.load(Ordering::SeqCst), 1);
    edge.stop().await;
}

/// An origin that holds back what it is asked until it may go on, and then does the same with each request.
struct Held {
    url: String,
    asked: AtomicUsize,
    inside: AtomicUsize,
    gate: Semaphore,
    answer: &'static str,
}

async fn held(answer: &'static str) -> Arc<Held> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = Arc::new(Held {
        url: format!("http://{}", listener.local_addr().unwrap()),
        asked: AtomicUsize::new(0),
        inside: AtomicUsize::new(0),
        gate: Semaphore::new(0),
        answer,
    });
    let accepting = origin.clone();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(accepting.clone().answer(connection));
        }
    });
    origin
}

impl Held {
    async fn answer(self: Arc<Self>, mut connection: TcpStream) -> std::io::Result<()> {
        read_head(&mut connection).await?;
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.inside.fetch_add(1, Ordering::SeqCst);
        self.gate.acquire().await.unwrap().forget();
        self.inside.fetch_sub(1, Ordering::SeqCst);
        connection.write_all(self.answer.as_bytes()).await
    }
}

/// Sends `count` requests over connections of HTTP/2 and gives the statuses and bodies of their answers.
fn sent(address: &str, path: &'static str, count: usize) -> JoinSet<Vec<(u16, String)>> {
    let mut connections = JoinSet::new();
    for _ in 0..count.div_ceil(100) {
        let address = address.to_owned();
        connections.spawn(async move {
            let stream = TcpStream::connect(&address).await.unwrap();
            let (sender, driver) = http2::Builder::new(TokioExecutor::new())
                .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
                .await
                .unwrap();
            tokio::spawn(driver);
            let mut requests = JoinSet::new();
            for _ in 0..count.min(100) {
                let request = Request::builder().uri(format!("http://{address}{path}"));
                let request = request.body(Empty::new()).unwrap();
                let mut sender = sender.clone();
                requests.spawn(async move {
                    sender.ready().await.unwrap();
                    let response = sender.send_request(request).await.unwrap();
                    let status = response.status().as_u16();
                    let body = response.into_body().collect().await.unwrap().to_bytes();
                    (status, String::from_utf8(body.to_vec()).unwrap())
                });
            }
            requests.join_all().await
        });
    }
    connections
}

/// The edge has so many requests under way.
async fn wait_inside(edge: &Edge, count: usize) {
    edge.until(|status| status["in_flight"].as_u64() == Some(count as u64))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_that_wait_for_a_failure_share_it() {
    const UNAVAILABLE: &str = "HTTP/1.1 503 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    // One that closes new connections is not asked once more by each fetch.
    for (answer, status, asked_max) in [(UNAVAILABLE, 503, 2), ("", 502, 2)] {
        let origin = held(answer).await;
        let proxy = Proxy {
            origins: vec![origin.url.clone()],
            common: common(),
        };
        let mut settings = proxy.common.file().standalone().unwrap();
        settings.exchanges_max = 5_000;
        settings.cache.followers_max = 5_000;
        settings.cache.follower_wait_ms_max = 60_000;
        let edge = start(settings, async |assembled| proxy.deploy(assembled)).await;
        let address = edge.url.trim_start_matches("http://");
        let waiting = sent(address, "/failing", 1_000);
        within(wait_inside(&edge, 1_000)).await;
        assert_eq!(origin.asked.load(Ordering::SeqCst), 1);
        origin.gate.add_permits(100_000);
        let came = within(waiting.join_all()).await.concat();
        assert_eq!(came.len(), 1_000);
        assert!(came.iter().all(|(is, _)| *is == status), "{:?}", came[0]);
        let asked = origin.asked.load(Ordering::SeqCst);
        assert!(asked <= asked_max, "asked {asked} times");
        // Who comes later has it tried anew.
        assert_eq!(edge.get("/failing").await.status.as_u16(), status);
        assert!(origin.asked.load(Ordering::SeqCst) > asked);
        edge.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_answer_lets_all_go_at_once() {
    let private = "HTTP/1.1 200 X\r\ncache-control: private\r\ncontent-length: 4\r\nconnection: close\r\n\r\nmine";
    let origin = held(private).await;
    let edge = before(&slow_at(&origin.url), 100).await;
    let address = edge.url.trim_start_matches("http://");
    let waiting = sent(address, "/private", 100);
    within(wait_inside(&edge, 100)).await;
    assert_eq!(origin.inside.load(Ordering::SeqCst), 1);
    origin.gate.add_permits(1);
    // The first one's answer is its own: all the others are asked for side by side.
    let all = || origin.inside.load(Ordering::SeqCst) == 99;
    eventually(async || all().then_some(())).await;
    origin.gate.add_permits(99);
    let came = within(waiting.join_all()).await.concat();
    assert!(
        came.iter()
            .all(|(status, body)| *status == 200 && body == "mine")
    );
    // And it is remembered: those that come now do not wait for each other at all.
    let more = sent(address, "/private", 10);
    eventually(async || (origin.inside.load(Ordering::SeqCst) == 10).then_some(())).await;
    origin.gate.add_permits(10);
    within(more.join_all()).await;
    assert_eq!(origin.asked.load(Ordering::SeqCst), 110);
    edge.stop().await;
}

fn slow_at(url: &str) -> Slow {
    Slow {
        url: url.to_owned(),
        asked: AtomicUsize::new(0),
        steps: Semaphore::new(0),
    }
}
