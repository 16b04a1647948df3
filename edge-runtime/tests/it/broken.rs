//! Answers that break off on their way, in every version of HTTP.

use crate::harness::{Edge, eventually, start, within};
use brink_edge::{
    config::File,
    routes::{DeployedMap, Table},
};
use brink_listener::{
    BoxError, TlsConfig,
    authority::{DevAuthority, Leaf},
    client::ClientTls,
};
use brink_protocol::{
    deployment::{DeploymentTable, Route, Target},
    origins::OriginGroup,
};
use bytes::{Buf as _, Bytes};
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

/// What an origin does with a request.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Act {
    Whole,
    /// Closes the connection in the middle of the body.
    Half,
    /// The same, when it is told to.
    HalfLater,
}

/// How a body's end is told.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Framing {
    Length,
    Chunks,
}

const FRAMINGS: [Framing; 2] = [Framing::Length, Framing::Chunks];

/// An origin whose answers are kept, but those under `/passed`.
struct Origin {
    name: &'static str,
    url: String,
    does: Mutex<(Act, Framing)>,
    asked: AtomicU32,
    goes_on: Semaphore,
}

impl Origin {
    async fn begin(name: &'static str) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = Arc::new(Self {
            name,
            url: format!("http://{}", listener.local_addr().unwrap()),
            does: Mutex::new((Act::Whole, Framing::Length)),
            asked: AtomicU32::new(0),
            goes_on: Semaphore::new(0),
        });
        let accepting = origin.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(accepting.clone().serve(stream));
            }
        });
        origin
    }

    fn does(&self, act: Act, framing: Framing) {
        *self.does.lock().unwrap() = (act, framing);
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream) -> std::io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        self.asked.fetch_add(1, SeqCst);
        let (act, framing) = *self.does.lock().unwrap();
        let cached = match head.windows(8).any(|bytes| bytes == b" /passed") {
            true => "no-store",
            false => "max-age=600",
        };
        let [first, second] = [self.name, " and whole"];
        let (field, first, second) = match framing {
            Framing::Length => {
                let length = first.len() + second.len();
                let field = format!("content-length: {length}");
                (field, first.to_owned(), second.to_owned())
            }
            Framing::Chunks => {
                let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
                let last = format!("{}0\r\n\r\n", chunk(second));
                ("transfer-encoding: chunked".to_owned(), chunk(first), last)
            }
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\ncache-control: {cached}\r\nconnection: close\r\n{field}\r\n\r\n{first}"
        );
        stream.write_all(head.as_bytes()).await?;
        match act {
            Act::Whole => stream.write_all(second.as_bytes()).await,
            Act::Half => Ok(()),
            Act::HalfLater => {
                self.goes_on.acquire().await.unwrap().forget();
                Ok(())
            }
        }
    }
}

async fn edge(origins: &[&Arc<Origin>], tls: Option<TlsConfig>) -> Edge {
    let mut settings = File::default().standalone().unwrap();
    settings.listener.quic = tls.is_some().then(|| "127.0.0.1:0".parse().unwrap());
    settings.listener.tls = tls;
    let group = OriginGroup::of(origins.iter().map(|origin| origin.url.clone()));
    start(settings, async |assembled| {
        let source = DeploymentTable {
            routes: vec![Route::new("/", Target::Origins(group))],
            ..DeploymentTable::default()
        };
        let table = Table::new(source, DeployedMap::new());
        assembled.table().store(Arc::new(table));
    })
    .await
}

#[tokio::test]
async fn what_broke_off_unseen_is_asked_of_the_next_origin() {
    let (one, two) = (Origin::begin("one").await, Origin::begin("two").await);
    let edge = edge(&[&one, &two], None).await;
    for framing in FRAMINGS {
        one.does(Act::Half, framing);
        let path = format!("/{framing:?}");
        let before = (one.asked.load(SeqCst), two.asked.load(SeqCst));
        let answer = edge.get(&path).await;
        assert_eq!(answer.body, "two and whole", "{framing:?} {answer:?}");
        let asked = (one.asked.load(SeqCst), two.asked.load(SeqCst));
        assert_eq!(asked, (before.0 + 1, before.1 + 1));
        let stored = edge.get(&path).await;
        assert!(
            stored.is_hit() && stored.body == "two and whole",
            "{stored:?}"
        );
        // With nobody left it is said; each was asked once.
        two.does(Act::Half, framing);
        let before = (one.asked.load(SeqCst), two.asked.load(SeqCst));
        let path = format!("/both/{framing:?}");
        assert_eq!(edge.get(&path).await.status, 502);
        let asked = (one.asked.load(SeqCst), two.asked.load(SeqCst));
        assert_eq!(asked, (before.0 + 1, before.1 + 1));
        two.does(Act::Whole, Framing::Length);
        assert!(!edge.get(&path).await.is_hit());
    }
    edge.stop().await;
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Version {
    Http1,
    Http2,
    Http3,
}

/// One that reads an answer to its end, and tells when it has begun; none if it broke off.
async fn read(
    version: Version,
    edge: &Edge,
    ca: &Path,
    path: &str,
    begun: &Semaphore,
) -> Result<Vec<u8>, BoxError> {
    match version {
        Version::Http1 => over_http1(edge, path, begun).await,
        Version::Http2 => over_http2(edge, path, begun).await,
        Version::Http3 => over_http3(edge, ca, path, begun).await,
    }
}

fn address(edge: &Edge) -> &str {
    edge.url.split("://").nth(1).unwrap()
}

/// Frames are looked at by hand: no client is to be more careful than the standard asks.
async fn over_http1(edge: &Edge, path: &str, begun: &Semaphore) -> Result<Vec<u8>, BoxError> {
    let mut stream = TcpStream::connect(address(edge)).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut came = Vec::new();
    while !came.ends_with(b"one") && !came.ends_with(b"one\r\n") {
        came.push(stream.read_u8().await?);
    }
    begun.add_permits(1);
    stream.read_to_end(&mut came).await?;
    let text = String::from_utf8(came)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("no head")?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let is_whole = match length {
        Some(length) => body.len() == length.parse::<usize>()?,
        None => head.contains("transfer-encoding: chunked") && body.ends_with("0\r\n\r\n"),
    };
    if !is_whole {
        return Err("it broke off".into());
    }
    Ok(body.into())
}

async fn over_http2(edge: &Edge, path: &str, begun: &Semaphore) -> Result<Vec<u8>, BoxError> {
    let stream = TcpStream::connect(address(edge)).await?;
    let (mut sender, driver) = http2::Builder::new(TokioExecutor::new())
        .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await?;
    tokio::spawn(driver);
    let request = Request::builder().uri(format!("http://a.example{path}"));
    let response = sender.send_request(request.body(Empty::new())?).await?;
    let mut body = response.into_body();
    let mut came = Vec::new();
    while let Some(frame) = body.frame().await {
        came.extend_from_slice(&frame?.into_data().unwrap());
        begun.add_permits(1);
    }
    Ok(came)
}

async fn over_http3(
    edge: &Edge,
    ca: &Path,
    path: &str,
    begun: &Semaphore,
) -> Result<Vec<u8>, BoxError> {
    let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse()?)?;
    endpoint.set_default_client_config(ClientTls::new(ca.to_owned()).quic_config()?);
    let quic = endpoint.connect(edge.h3.unwrap(), "localhost")?.await?;
    let (mut driver, mut sender) = h3::client::new(h3_quinn::Connection::new(quic)).await?;
    tokio::spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await });
    let request = Request::builder().uri(format!("https://localhost{path}"));
    let mut stream = sender.send_request(request.body(())?).await?;
    stream.finish().await?;
    stream.recv_response().await?;
    let mut came = Vec::new();
    while let Some(mut data) = stream.recv_data().await? {
        came.extend_from_slice(&data.copy_to_bytes(data.remaining()));
        begun.add_permits(1);
    }
    Ok(came)
}

fn certified(dir: &Path) -> TlsConfig {
    let leaf = Leaf {
        names: vec!["localhost".into()],
        client: false,
        server: true,
    };
    let (certificate, key) = (dir.join("edge.pem"), dir.join("edge.key"));
    let authority = DevAuthority::open_or_create(dir).unwrap();
    authority.issue(&leaf, &certificate, &key).unwrap();
    TlsConfig {
        certificate,
        key,
        client_ca: None,
    }
}

#[tokio::test]
async fn what_was_sent_breaks_off_at_the_client_and_is_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (Origin::begin("one").await, Origin::begin("two").await);
    let plain = edge(&[&one, &two], None).await;
    let secure = edge(&[&one, &two], Some(certified(dir.path()))).await;
    let ca = dir.path().join("ca.pem");
    for (version, edge) in [
        (Version::Http1, &plain),
        (Version::Http2, &plain),
        (Version::Http3, &secure),
    ] {
        for (framing, kind) in FRAMINGS
            .into_iter()
            .zip(["kept", "passed"])
            .chain([(Framing::Length, "passed"), (Framing::Chunks, "kept")])
        {
            let path = format!("/{kind}/{version:?}/{framing:?}");
            one.does(Act::HalfLater, framing);
            let begun = Semaphore::new(0);
            let (came, ()) = within(async {
                tokio::join!(read(version, edge, &ca, &path, &begun), async {
                    begun.acquire().await.unwrap().forget();
                    one.goes_on.add_permits(1);
                })
            })
            .await;
            assert!(came.is_err(), "{path}: {came:?}");
            one.does(Act::Whole, framing);
            let before = one.asked.load(SeqCst);
            let whole = within(read(version, edge, &ca, &path, &begun))
                .await
                .unwrap();
            let text = String::from_utf8(whole).unwrap();
            assert!(text.contains(" and whole"), "{path}: {text}");
            assert_eq!(one.asked.load(SeqCst), before + 1, "{path}");
        }
    }
    assert_eq!(two.asked.load(SeqCst), 0);
    for edge in [plain, secure] {
        edge.stop().await;
    }
}

/// Those who read along are told as well, and one that comes later gets another answer.
#[tokio::test]
async fn followers_of_a_broken_answer_are_told() {
    let one = Origin::begin("one").await;
    let edge = edge(&[&one], None).await;
    one.does(Act::HalfLater, Framing::Chunks);
    let begun = Semaphore::new(0);
    let path = "/kept";
    let followers = async {
        eventually(async || (one.asked.load(SeqCst) == 1).then_some(())).await;
        let (a, b, ()) = tokio::join!(
            over_http2(&edge, path, &begun),
            over_http1(&edge, path, &begun),
            async {
                begun.acquire_many(3).await.unwrap().forget();
                one.does(Act::Whole, Framing::Chunks);
                one.goes_on.add_permits(1);
            }
        );
        (a, b)
    };
    let (first, (second, third)) =
        within(async { tokio::join!(over_http1(&edge, path, &begun), followers) }).await;
    assert!(first.is_err() && second.is_err() && third.is_err());
    assert_eq!(one.asked.load(SeqCst), 1);
    assert_eq!(edge.get(path).await.body, "one and whole");
    edge.stop().await;
}
