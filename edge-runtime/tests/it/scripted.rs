//! A server that speaks the core link and does what it is told, wrong things included. (The real core is tested with
//! real edges elsewhere.)

use brink_edge::config::{File, Flags, Settings};
use brink_listener::{
    Body, BoxError, Config, Connection, Listener, Service, TlsConfig,
    authority::{DevAuthority, Leaf},
};
use brink_protocol::{
    Position, StoreId, codec,
    deployment::DeploymentTable,
    link::{
        FeedMessage, FeedRequest, HEARTBEAT_MS, ProbeAnswer, Report, ReportAnswer, TIME_LEFT_MS,
        path,
    },
};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde::Serialize;
use std::{
    collections::HashMap,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What the core answers at a path.
#[derive(Clone)]
pub(crate) enum Reply {
    Bytes(Bytes),
    /// What is made of the question.
    To(Arc<dyn Fn(&Bytes) -> Bytes + Send + Sync>),
    Status(u16, &'static str),
    /// The head, then nothing, for ever.
    Silent,
    /// Some bytes, then a reset.
    Broken,
    /// More bytes than any message has.
    Endless,
}

impl Reply {
    pub(crate) fn message<T: Serialize>(message: &T) -> Self {
        Self::Bytes(codec::encode(message).unwrap())
    }
}

/// What the core answers to reports.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    /// Where its log ends, as its feed has said it; and how old its knowledge of other cores' logs is, in milliseconds.
    Head { age_ms: u64 },
    /// A problem.
    Problem,
}

/// What the core says of its store.
#[derive(Clone, Copy, Default)]
pub(crate) struct Health {
    /// Which.
    pub(crate) store: u8,
    /// For how long it has not answered, in milliseconds.
    pub(crate) silence_ms: u64,
}

/// Where the core's log ends.
type Head = Arc<Mutex<Position>>;

/// A feed that an edge asked for.
pub(crate) struct Asked {
    pub(crate) position: Option<Position>,
    frames: mpsc::UnboundedSender<Bytes>,
    head: Head,
    /// Where the log ends as far as this feed has said it.
    said: Head,
}

impl Asked {
    /// Sends heartbeats from now on, as cores do: an edge leaves a feed that is silent for two seconds, which a test may take.
    pub(crate) fn keep_alive(&self) {
        let (frames, said) = (self.frames.downgrade(), Arc::clone(&self.said));
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(HEARTBEAT_MS)).await;
                let Some(frames) = frames.upgrade() else {
                    return;
                };
                let head = said.lock().unwrap().clone();
                let frame = codec::encode_frame(&FeedMessage::Heartbeat { head }).unwrap();
                if frames.send(frame).is_err() {
                    return;
                }
            }
        });
    }

    pub(crate) fn say(&self, message: &FeedMessage) {
        for head in [&self.head, &self.said] {
            Self::note(message, &mut head.lock().unwrap());
        }
        let _ = self.frames.send(codec::encode_frame(message).unwrap());
    }

    fn note(message: &FeedMessage, end: &mut Position) {
        match message {
            FeedMessage::Start { head, .. } | FeedMessage::Heartbeat { head } => {
                *end = head.clone();
            }
            FeedMessage::Change(change) => {
                end.advance(&change.origin, change.sequence);
            }
            FeedMessage::SessionKeys(_) | FeedMessage::Count(_) => {}
        }
    }

    pub(crate) fn say_bytes(&self, bytes: &'static [u8]) {
        let _ = self.frames.send(Bytes::from_static(bytes));
    }

    pub(crate) fn start(&self, position: &str, resumed: bool, revision: u64) {
        self.start_behind(position, position, resumed, revision);
    }

    /// Resumes with a short lease.
    pub(crate) fn start_with_lease(&self, position: &str, lease_ms: u64, revision: u64) {
        self.say(&FeedMessage::Start {
            position: position.parse().unwrap(),
            head: position.parse().unwrap(),
            resumed: true,
            revision,
            region: "eu".into(),
            lease_ms,
            age_ms: 0,
        });
    }

    pub(crate) fn start_behind(&self, position: &str, head: &str, resumed: bool, revision: u64) {
        self.say(&FeedMessage::Start {
            position: position.parse().unwrap(),
            head: head.parse().unwrap(),
            resumed,
            revision,
            region: "eu".into(),
            lease_ms: 60_000,
            age_ms: 0,
        });
    }
}

struct Scripted {
    replies: Mutex<HashMap<String, Reply>>,
    questions: mpsc::UnboundedSender<(String, Bytes)>,
    feeds: mpsc::UnboundedSender<Asked>,
    reports: mpsc::UnboundedSender<Report>,
    head: Head,
    answers: Mutex<Answers>,
    health: Mutex<Health>,
    times_left: Mutex<Vec<u64>>,
    stands_still: AtomicBool,
}

impl Service for Scripted {
    async fn call(&self, request: Request<Body>, connection: Arc<Connection>) -> Response<Body> {
        let names = &connection.tls.as_ref().unwrap().client_names;
        assert_eq!(names, &["ams.pop.brink.internal"]);
        let path = request.uri().path().to_owned();
        if self.stands_still.load(Ordering::Relaxed) {
            let _ = self.questions.send((path, Bytes::new()));
            std::future::pending::<()>().await;
            unreachable!();
        }
        let left = request.headers().get(TIME_LEFT_MS);
        if let Some(left) = left.filter(|_| path == path::PURGES) {
            let left = left.to_str().unwrap().parse().unwrap();
            self.times_left.lock().unwrap().push(left);
        }
        let body = request.into_body().collect().await.unwrap().to_bytes();
        if path == path::FEED {
            let (frames, mut waiting) = mpsc::unbounded_channel();
            let position = codec::decode::<FeedRequest>(&body).unwrap().position;
            let head = Arc::clone(&self.head);
            let _ = self.feeds.send(Asked {
                position,
                frames,
                head,
                said: Head::default(),
            });
            let stream = futures_util::stream::poll_fn(move |cx| waiting.poll_recv(cx));
            let frames =
                futures_util::StreamExt::map(stream, |b| Ok::<_, BoxError>(Frame::data(b)));
            return Response::new(Body::stream(StreamBody::new(frames)));
        }
        if path == path::REPORTS {
            let _ = self.reports.send(codec::decode(&body).unwrap());
            let head = self.head.lock().unwrap().clone();
            return match *self.answers.lock().unwrap() {
                Answers::Head { age_ms } => {
                    let answer = ReportAnswer { head, age_ms };
                    Response::new(Body::full(codec::encode(&answer).unwrap()))
                }
                Answers::Problem => answer(Reply::Status(500, "{}")),
            };
        }
        if path == path::PROBE {
            let health = *self.health.lock().unwrap();
            let answer = ProbeAnswer {
                node: "core".parse().unwrap(),
                region: "eu".to_owned(),
                store: StoreId::new([health.store; 16]),
                store_silence_ms: health.silence_ms,
            };
            return Response::new(Body::full(codec::encode(&answer).unwrap()));
        }
        let reply = self.replies.lock().unwrap().get(&path).cloned();
        let reply = match reply.unwrap_or(Reply::Status(404, "{}")) {
            Reply::To(make) => Reply::Bytes(make(&body)),
            reply => reply,
        };
        let _ = self.questions.send((path, body));
        answer(reply)
    }
}

fn answer(reply: Reply) -> Response<Body> {
    type Frames = futures_util::stream::BoxStream<'static, Result<Frame<Bytes>, BoxError>>;
    let piece = |bytes: &'static [u8]| Ok(Frame::data(Bytes::from_static(bytes)));
    let frames: Frames = match reply {
        Reply::Bytes(bytes) => return Response::new(Body::full(bytes)),
        Reply::To(_) => unreachable!("it was made above"),
        Reply::Status(status, body) => {
            let mut response = Response::new(Body::full(body));
            *response.status_mut() = status.try_into().unwrap();
            return response;
        }
        Reply::Silent => Box::pin(futures_util::stream::pending()),
        Reply::Broken => {
            let broken = Err(BoxError::from("as told"));
            Box::pin(futures_util::stream::iter([piece(b"half"), broken]))
        }
        Reply::Endless => {
            let chunk = Bytes::from(vec![0; 1 << 20]);
            let endless = std::iter::repeat_with(move || Ok(Frame::data(chunk.clone())));
            Box::pin(futures_util::stream::iter(endless.take(20)))
        }
    };
    Response::new(Body::stream(StreamBody::new(frames)))
}

/// A running core of this kind.
pub(crate) struct Core {
    pub(crate) address: SocketAddr,
    pub(crate) feeds: mpsc::UnboundedReceiver<Asked>,
    pub(crate) reports: mpsc::UnboundedReceiver<Report>,
    pub(crate) questions: mpsc::UnboundedReceiver<(String, Bytes)>,
    scripted: Arc<Scripted>,
    identity: Arc<TempDir>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

/// Which transports the core offers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offers {
    Both,
    TcpOnly,
}

impl Core {
    pub(crate) async fn start(offers: Offers) -> Self {
        let identity = tempfile::tempdir().unwrap();
        let dir = identity.path();
        let authority = DevAuthority::open_or_create(dir).unwrap();
        let issue = |name: &str, is_client: bool, file: &str| {
            let leaf = Leaf {
                names: vec![name.to_owned()],
                client: is_client,
                server: !is_client,
            };
            let (certificate, key) = (
                dir.join(format!("{file}.pem")),
                dir.join(format!("{file}.key")),
            );
            authority.issue(&leaf, &certificate, &key).unwrap();
        };
        issue("core.brink.internal", false, "link");
        issue("ams.pop.brink.internal", true, "pop");
        Self::bind(Arc::new(identity), offers, "127.0.0.1:0".parse().unwrap()).await
    }

    /// Another core of the same authority.
    pub(crate) async fn another(&self) -> Self {
        let identity = Arc::clone(&self.identity);
        Self::bind(identity, Offers::Both, "127.0.0.1:0".parse().unwrap()).await
    }

    /// From now on nothing is answered, and no connection breaks.
    pub(crate) fn stand_still(&self) {
        self.scripted.stands_still.store(true, Ordering::Relaxed);
    }

    /// For how long those that purged have said that they wait, in milliseconds.
    pub(crate) fn times_left(&self) -> Vec<u64> {
        self.scripted.times_left.lock().unwrap().clone()
    }

    /// What is said of the store from now on.
    pub(crate) fn set_health(&self, health: Health) {
        *self.scripted.health.lock().unwrap() = health;
    }

    async fn bind(identity: Arc<TempDir>, offers: Offers, address: SocketAddr) -> Self {
        let dir = identity.path();
        let config = Config {
            tcp: Some(address),
            quic: (offers == Offers::Both).then_some(address),
            tls: Some(TlsConfig {
                certificate: dir.join("link.pem"),
                key: dir.join("link.key"),
                client_ca: Some(dir.join("ca.pem")),
            }),
            ..Config::default()
        };
        let mut config = config;
        config.limits.drain_ms_max = 100;
        let listener = Listener::bind(config).await.unwrap();
        let address = listener.tcp_addr().unwrap();
        if offers == Offers::Both {
            assert_eq!(listener.quic_addr(), Some(address), "one port for both");
        }
        let (questions_in, questions) = mpsc::unbounded_channel();
        let (feeds_in, feeds) = mpsc::unbounded_channel();
        let (reports_in, reports) = mpsc::unbounded_channel();
        let scripted = Arc::new(Scripted {
            replies: Mutex::default(),
            questions: questions_in,
            feeds: feeds_in,
            reports: reports_in,
            head: Head::default(),
            answers: Mutex::new(Answers::Head { age_ms: 0 }),
            health: Mutex::default(),
            times_left: Mutex::default(),
            stands_still: AtomicBool::new(false),
        });
        let stop = CancellationToken::new();
        let running = tokio::spawn(listener.serve(Arc::clone(&scripted), stop.clone()));
        Self {
            address,
            feeds,
            reports,
            questions,
            scripted,
            identity,
            stop,
            running,
        }
    }

    pub(crate) fn set(&self, path: impl Into<String>, reply: Reply) {
        self.scripted
            .replies
            .lock()
            .unwrap()
            .insert(path.into(), reply);
    }

    pub(crate) fn answer_reports(&self, answers: Answers) {
        *self.scripted.answers.lock().unwrap() = answers;
    }

    /// The log goes on, and the feed does not say so.
    pub(crate) fn set_head(&self, head: &str) {
        *self.scripted.head.lock().unwrap() = head.parse().unwrap();
    }

    pub(crate) fn deploy(&self, table: &DeploymentTable, components: &[&Bytes]) {
        self.set(path::DEPLOYMENTS, Reply::message(table));
        for component in components {
            let digest = brink_protocol::Digest::of(component);
            let reply = Reply::Bytes((*component).clone());
            self.set(format!("{}/{digest}", path::COMPONENTS), reply);
        }
    }

    pub(crate) fn identity(&self) -> &Path {
        self.identity.path()
    }

    /// What a PoP of this core is told.
    pub(crate) fn settings(&self, data: &Path) -> Settings {
        self.settings_with(data, &[])
    }

    /// What a PoP of this core and others is told.
    pub(crate) fn settings_with(&self, data: &Path, others: &[&Self]) -> Settings {
        let cores = std::iter::once(self).chain(others.iter().copied());
        let flags = Flags {
            pop: Some("ams".into()),
            core: cores.map(|core| core.address.to_string()).collect(),
            identity: Some(self.identity.path().to_owned()),
            data: Some(data.to_owned()),
            ..Flags::default()
        };
        let mut file = File::default().with(flags);
        file.core.request_ms_max = 3_000;
        file.cache.disk_bytes_max = 64 << 20;
        file.sandbox.instances_max = 20;
        file.settings().unwrap()
    }

    pub(crate) async fn feed(&mut self) -> Asked {
        crate::harness::within(self.feeds.recv()).await.unwrap()
    }

    /// The first report that is so.
    pub(crate) async fn report(&mut self, is_so: impl Fn(&Report) -> bool) -> Report {
        crate::harness::within(async {
            loop {
                let report = self.reports.recv().await.unwrap();
                if is_so(&report) {
                    return report;
                }
            }
        })
        .await
    }

    /// Ends, with its address free for another.
    pub(crate) async fn stop(self) -> Arc<TempDir> {
        self.stop.cancel();
        crate::harness::within(self.running).await.unwrap();
        self.identity
    }
}
