//! A listener with a service that can be told to misbehave, and clients for it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use brink_listener::authority::{DevAuthority, Leaf};
use brink_listener::client::ClientTls;
use brink_listener::{
    Body, BodyTooLarge, BodyTooSlow, BoxError, Config, Connection, Interim, Limits, Listener,
    PlainRequest, Service, TlsConfig,
};
use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than any test takes; a test that hangs fails.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("hangs")
}

/// What the service tells of itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Began,
    Dropped,
}

pub(crate) struct Sample {
    /// `/wait` answers when there is a permit.
    pub(crate) release: Semaphore,
    events: mpsc::UnboundedSender<Event>,
}

/// Tells when a request's future is dropped before its end.
struct Watch(Option<mpsc::UnboundedSender<Event>>);

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(events) = self.0.take() {
            let _ = events.send(Event::Dropped);
        }
    }
}

impl Service for Sample {
    async fn call(&self, request: Request<Body>, connection: Arc<Connection>) -> Response<Body> {
        match request.uri().path() {
            "/echo" => echo(request).await,
            "/seen" => seen(&request, &connection),
            "/panic" => panic!("as asked"),
            "/wait" => {
                let mut watch = Watch(Some(self.events.clone()));
                let _ = self.events.send(Event::Began);
                self.release.acquire().await.unwrap().forget();
                watch.0 = None;
                Response::new(Body::from("waited"))
            }
            "/stream" => {
                let mut trailers = HeaderMap::new();
                trailers.insert("x-check", HeaderValue::from_static("sum"));
                let frames = (0..10)
                    .map(|_| Ok::<_, BoxError>(Frame::data(Bytes::from(vec![b'x'; 10_000]))))
                    .chain([Ok(Frame::trailers(trailers))]);
                let frames = futures_util::stream::iter(frames).then(|frame| async {
                    tokio::task::yield_now().await;
                    frame
                });
                Response::new(Body::stream(StreamBody::new(frames)))
            }
            "/broken/panic" => {
                let frames = futures_util::stream::iter([0]);
                let frames =
                    frames.map(|_| -> Result<Frame<Bytes>, BoxError> { panic!("as asked") });
                Response::new(Body::stream(StreamBody::new(frames)))
            }
            "/connection" => {
                let mut response = Response::new(Body::from("of one connection"));
                for (name, value) in [("connection", "x-hop"), ("x-hop", "1"), ("keep-alive", "1")]
                {
                    let value = HeaderValue::from_static(value);
                    response.headers_mut().insert(name, value);
                }
                response
            }
            "/broken" => {
                let frames = [Ok(Frame::data(Bytes::from("part"))), Err("broken")];
                Response::new(Body::stream(StreamBody::new(futures_util::stream::iter(
                    frames,
                ))))
            }
            "/hints" => {
                let interim = request.extensions().get::<Interim>().cloned();
                let hint = |interim: &Interim, value| {
                    let value = HeaderValue::from_static(value);
                    let fields = HeaderMap::from_iter([(http::header::LINK, value)]);
                    interim.send(StatusCode::from_u16(103).unwrap(), fields)
                };
                let taken = interim
                    .as_ref()
                    .is_some_and(|interim| hint(interim, "</a>") && hint(interim, "</b>"));
                if request.uri().query() == Some("wait") {
                    self.release.acquire().await.unwrap().forget();
                    interim.as_ref().map(|interim| hint(interim, "</c>"));
                }
                Response::new(Body::from(format!("taken {taken}")))
            }
            "/large" => Response::new(Body::from(vec![b'y'; 3_000_000])),
            "/empty" => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::NO_CONTENT;
                response
            }
            _ => Response::new(Body::from("hello")),
        }
    }

    fn at_once(
        &self,
        request: &PlainRequest<'_>,
        connection: &Connection,
        head: &mut Vec<u8>,
    ) -> Option<Bytes> {
        head.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        let body = match request.target {
            "/at-once" => Bytes::from(format!("{} {}", request.host, connection.scheme())),
            "/at-once/large" => Bytes::from(vec![b'z'; LARGE]),
            "/at-once/panic" => panic!("as asked"),
            _ => return None,
        };
        head.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
        Some(body)
    }
}

/// Length of `/at-once/large`.
pub(crate) const LARGE: usize = 3_000_000;

async fn echo(request: Request<Body>) -> Response<Body> {
    let declared = http_body::Body::size_hint(request.body()).exact();
    let (status, body) = match request.into_body().collect().await {
        Ok(collected) => {
            let trailers = collected.trailers().cloned().unwrap_or_default();
            let body = collected.to_bytes();
            let length = u64::try_from(body.len()).unwrap();
            assert!(declared.is_none_or(|declared| declared == length));
            let mut response = Response::new(Body::from(body));
            response.headers_mut().extend(trailers);
            return response;
        }
        Err(error) if error.is::<BodyTooLarge>() => (StatusCode::PAYLOAD_TOO_LARGE, error),
        Err(error) if error.is::<BodyTooSlow>() => (StatusCode::REQUEST_TIMEOUT, error),
        Err(error) => (StatusCode::BAD_REQUEST, error),
    };
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response
}

fn seen(request: &Request<Body>, connection: &Connection) -> Response<Body> {
    let tls = connection.tls.as_ref();
    let text = [
        request.method().to_string(),
        request.uri().to_string(),
        connection.protocol.as_str().to_owned(),
        tls.and_then(|tls| tls.server_name.clone())
            .unwrap_or_default(),
        tls.map(|tls| tls.client_names.join(","))
            .unwrap_or_default(),
    ];
    assert!(!connection.early_data());
    Response::new(Body::from(text.join(" ")))
}

/// A running listener.
pub(crate) struct Server {
    pub(crate) tcp: SocketAddr,
    pub(crate) quic: Option<SocketAddr>,
    pub(crate) sample: Arc<Sample>,
    pub(crate) events: mpsc::UnboundedReceiver<Event>,
    pub(crate) dir: TempDir,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Security {
    Plain,
    Tls,
    MutualTls,
}

impl Server {
    pub(crate) async fn start(security: Security, limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let any = Some("127.0.0.1:0".parse().unwrap());
        let encrypted = security != Security::Plain;
        let tls = encrypted.then(|| {
            issue(dir.path(), "server", &["localhost", "127.0.0.1"], false);
            TlsConfig {
                certificate: dir.path().join("server.pem"),
                key: dir.path().join("server.key"),
                client_ca: (security == Security::MutualTls).then(|| dir.path().join("ca.pem")),
            }
        });
        let quic = if encrypted { any } else { None };
        let config = Config {
            tcp: any,
            quic,
            tls,
            limits,
            alt_svc: true,
        };
        let listener = Listener::bind(config).await.unwrap();
        let (events, receiver) = mpsc::unbounded_channel();
        let sample = Arc::new(Sample {
            release: Semaphore::new(0),
            events,
        });
        let stop = CancellationToken::new();
        let (tcp, quic) = (listener.tcp_addr().unwrap(), listener.quic_addr());
        let task = tokio::spawn(listener.serve(Arc::clone(&sample), stop.clone()));
        Self {
            tcp,
            quic,
            sample,
            events: receiver,
            dir,
            stop,
            task,
        }
    }

    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until it has drained.
    pub(crate) async fn ended(self) {
        within(self.task).await.unwrap();
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    pub(crate) fn client(&self) -> ClientTls {
        ClientTls::new(self.ca())
    }

    /// Sends bytes over plain TCP, then closes our side if told to, and returns all that comes back.
    pub(crate) async fn raw(&self, bytes: &[u8], half_close: bool) -> String {
        let mut stream = TcpStream::connect(self.tcp).await.unwrap();
        // The server may have answered and closed before it read all.
        let _ = stream.write_all(bytes).await;
        if half_close {
            let _ = stream.shutdown().await;
        }
        let mut answer = Vec::new();
        let _ = within(stream.read_to_end(&mut answer)).await;
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// Issues a certificate into `dir` by the authority there.
pub(crate) fn issue(dir: &Path, file: &str, names: &[&str], client: bool) {
    let authority = DevAuthority::open_or_create(dir).unwrap();
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let leaf = Leaf {
        names,
        client,
        server: !client,
    };
    let path = dir.join(file);
    authority
        .issue(
            &leaf,
            &path.with_extension("pem"),
            &path.with_extension("key"),
        )
        .unwrap();
}

/// The status of a raw HTTP/1.1 answer; 0 for none.
pub(crate) fn status(answer: &str) -> u16 {
    let mut words = answer.split(' ');
    assert!(
        matches!(words.next(), Some("" | "HTTP/1.1" | "HTTP/1.0")),
        "{answer}"
    );
    words.next().map_or(0, |status| status.parse().unwrap())
}
