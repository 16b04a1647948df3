//! PoPs with a shield between them and an origin.

use crate::{
    deployments::{change, deployment, route},
    harness::{Answer, Edge, start, within},
    scripted::{Asked, Core, Offers},
};
use brink_edge::shield::Settings as ShieldSettings;
use brink_listener::{
    Body, Config, Connection, Listener, Service, TlsConfig,
    authority::{DevAuthority, Leaf},
    client::ClientTls,
};
use brink_protocol::{
    change::ChangeKind,
    deployment::{DeploymentTable, Route, Target, World as ModuleWorld, default_tenant},
    link::FeedMessage,
    purge::{Purge, Selector},
};
use bytes::Bytes;
use http::{Request, Response};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Answers with the number of the request, when it may.
struct Numbers {
    asked: AtomicU32,
    may: Semaphore,
}

impl Service for Numbers {
    async fn call(&self, request: Request<Body>, _: Arc<Connection>) -> Response<Body> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        if request.uri().path() == "/slow" {
            self.may.acquire().await.unwrap().forget();
        }
        Response::builder()
            .header("cache-control", "max-age=600")
            .header("surrogate-key", "numbers")
            .header("x-via", format!("{:?}", request.headers().get("via")))
            .body(Body::full(number.to_string()))
            .unwrap()
    }
}

pub(crate) struct World {
    pub(crate) core: Core,
    numbers: Arc<Numbers>,
    table: DeploymentTable,
    pub(crate) shield: Option<(Edge, Asked)>,
    asks: ShieldSettings,
    _dirs: Vec<TempDir>,
}

/// The URL of an origin that does not end before the test does.
pub(crate) async fn origin<S: Service>(service: Arc<S>) -> String {
    let config = Config {
        tcp: Some("127.0.0.1:0".parse().unwrap()),
        ..Config::default()
    };
    let listener = Listener::bind(config).await.unwrap();
    let url = format!("http://{}", listener.tcp_addr().unwrap());
    tokio::spawn(listener.serve(service, CancellationToken::new()));
    url
}

impl World {
    async fn new() -> Self {
        let numbers = Arc::new(Numbers {
            asked: AtomicU32::new(0),
            may: Semaphore::new(0),
        });
        let url = origin(Arc::clone(&numbers)).await;
        let mut world = Self::before(&url).await;
        world.numbers = numbers;
        world
    }

    /// With an origin.
    pub(crate) async fn before(url: &str) -> Self {
        let route = Route {
            target: Target::Origin(url.to_owned()),
            ..route("/", "m", &[])
        };
        Self::with(vec![route], &[]).await
    }

    /// With these routes and modules.
    pub(crate) async fn with(routes: Vec<Route>, modules: &[(&str, Bytes)]) -> Self {
        let core = Core::start(Offers::Both).await;
        let dir = core.identity().to_owned();
        let leaf = Leaf {
            names: vec!["localhost".into()],
            client: false,
            server: true,
        };
        let authority = DevAuthority::open_or_create(&dir).unwrap();
        let (certificate, key) = (dir.join("shield.pem"), dir.join("shield.key"));
        authority.issue(&leaf, &certificate, &key).unwrap();
        let deployments = modules.iter();
        let deployments =
            deployments.map(|(name, code)| deployment(name, code, ModuleWorld::Module));
        let table = DeploymentTable {
            revision: 1,
            deployments: deployments.collect(),
            routes,
        };
        let components: Vec<&Bytes> = modules.iter().map(|(_, code)| code).collect();
        core.deploy(&table, &components);
        let numbers = Arc::new(Numbers {
            asked: AtomicU32::new(0),
            may: Semaphore::new(0),
        });
        let mut world = Self {
            core,
            numbers,
            table,
            shield: None,
            asks: ShieldSettings::default(),
            _dirs: Vec::new(),
        };
        let tls = TlsConfig {
            certificate,
            key,
            client_ca: Some(dir.join("ca.pem")),
        };
        let listen = ShieldSettings {
            ask: None,
            listen: Some(("127.0.0.1:0".parse().unwrap(), tls)),
        };
        let shield = world.edge("fra", listen).await;
        let port = shield.0.shield.unwrap().port();
        let tls = ClientTls::new(dir.join("ca.pem"))
            .with_identity(dir.join("pop.pem"), dir.join("pop.key"));
        world.asks.ask = Some((vec![format!("localhost:{port}")], tls));
        world.shield = Some(shield);
        world
    }

    async fn edge(&mut self, name: &str, shield: ShieldSettings) -> (Edge, Asked) {
        let data = tempfile::tempdir().unwrap();
        let mut settings = self.core.settings(data.path());
        settings.pop = name.parse().unwrap();
        settings.shield = shield;
        self._dirs.push(data);
        let edge = start(settings, async |_| {}).await;
        let feed = self.core.feed().await;
        feed.start("core.1=1", false, self.table.revision);
        feed.keep_alive();
        edge.until(|status| status["revision"]["active"] == 1).await;
        (edge, feed)
    }

    pub(crate) async fn pop(&mut self, name: &str) -> (Edge, Asked) {
        let asks = self.asks.clone();
        self.edge(name, asks).await
    }

    fn asked(&self) -> u32 {
        self.numbers.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn shield_hears(&self, message: &FeedMessage) {
        self.shield.as_ref().unwrap().1.say(message);
    }
}

async fn get(edge: &Edge, path: &str) -> Answer {
    edge.send("GET", path, &[("host", "www.example")]).await
}

/// Waits until an edge has applied as much.
pub(crate) async fn applied(edge: &Edge, position: &str) {
    edge.until(|status| status["position"] == position).await;
}

/// What a shield has stored counts for a PoP if it was asked for after that PoP began: ages are whole seconds.
pub(crate) async fn a_second_passes() {
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
}

fn purge(sequence: u64) -> FeedMessage {
    let purge = Purge {
        id: format!("01PURGE{sequence}"),
        tenant: default_tenant(),
        selectors: vec![Selector::Key("numbers".parse().unwrap())],
        soft: false,
    };
    change(sequence, ChangeKind::Purge(purge))
}

#[tokio::test]
async fn many_pops_cost_the_origin_one_fetch() {
    let mut world = World::new().await;
    let mut pops = Vec::new();
    for name in ["ams", "sfo", "syd"] {
        pops.push(world.pop(name).await);
    }
    a_second_passes().await;
    for (at, (edge, _)) in pops.iter().enumerate() {
        let answer = get(edge, "/a").await;
        assert_eq!(answer.body, "1", "{answer:?}");
        let status = answer.field("cache-status");
        let of_shield = if at == 0 {
            "brink-fra; fwd=uri-miss"
        } else {
            "brink-fra; hit"
        };
        assert!(status.starts_with(of_shield), "{status}");
        assert!(status.contains("fwd=uri-miss; stored"), "{status}");
        assert!(
            answer.field("brink-shield").is_empty() && answer.field("surrogate-key").is_empty()
        );
        assert!(get(edge, "/a").await.is_hit());
    }
    assert_eq!(world.asked(), 1);
    // Tags came along: a purge by name ends it at each place that has applied it.
    let (edge, feed) = &pops[0];
    feed.say(&purge(2));
    applied(edge, "core.1=2").await;
    // The shield is behind: what it has stored counts for nothing, and nobody waits for long.
    let answer = get(edge, "/a").await;
    assert_eq!(answer.body, "2", "{answer:?}");
    world.shield_hears(&purge(2));
    applied(&world.shield.as_ref().unwrap().0, "core.1=2").await;
    for (edge, feed) in &pops[1..] {
        feed.say(&purge(2));
        applied(edge, "core.1=2").await;
        assert_eq!(get(edge, "/a").await.body, "3");
    }
    assert_eq!(world.asked(), 3);
    for (edge, _) in pops {
        edge.stop().await;
    }
}

#[tokio::test]
async fn a_purge_during_a_fill_by_way_of_a_shield_is_not_outrun() {
    let mut world = World::new().await;
    let (ams, feed) = world.pop("ams").await;
    let (slow, ()) = tokio::join!(get(&ams, "/slow"), async {
        while world.asked() == 0 {
            tokio::task::yield_now().await;
        }
        feed.say(&purge(2));
        applied(&ams, "core.1=2").await;
        world.numbers.may.add_permits(1);
    });
    assert_eq!(slow.body, "1");
    // Neither place has kept it for those who come after the purge; the shield hears of it late.
    world.numbers.may.add_permits(2);
    let after = get(&ams, "/slow").await;
    assert_ne!(after.body, "1", "{after:?}");
    world.shield_hears(&purge(2));
    applied(&world.shield.as_ref().unwrap().0, "core.1=2").await;
    let (sfo, feed) = world.pop("sfo").await;
    feed.say(&purge(2));
    applied(&sfo, "core.1=2").await;
    let other = get(&sfo, "/slow").await;
    assert_ne!(other.body, "1", "{other:?}");
    ams.stop().await;
    sfo.stop().await;
}

#[tokio::test]
async fn what_a_client_has_changed_is_not_read_from_a_shield() {
    let mut world = World::new().await;
    let (ams, _ams_feed) = world.pop("ams").await;
    let (sfo, _sfo_feed) = world.pop("sfo").await;
    a_second_passes().await;
    assert_eq!(get(&ams, "/a").await.body, "1");
    assert_eq!(get(&sfo, "/a").await.body, "1");
    let posted = ams.send("POST", "/a", &[("host", "www.example")]).await;
    assert_eq!(posted.body, "2");
    let after = get(&ams, "/a").await;
    assert_eq!(after.body, "3", "{after:?}");
    ams.stop().await;
    sfo.stop().await;
}

#[tokio::test]
async fn what_a_client_changed_before_a_restart_is_not_read_from_a_shield() {
    let mut world = World::new().await;
    let (ams, _feed) = world.pop("ams").await;
    a_second_passes().await;
    assert_eq!(get(&ams, "/a").await.body, "1");
    let posted = ams.send("POST", "/a", &[("host", "www.example")]).await;
    assert_eq!(posted.body, "2");
    ams.stop().await;
    let (ams, _feed) = world.pop("ams").await;
    let after = get(&ams, "/a").await;
    assert_eq!(after.body, "3", "{after:?}");
    ams.stop().await;
}

/// Many that have begun after it was stored ask the origin once between them.
#[tokio::test]
async fn what_is_too_old_for_many_is_asked_for_once() {
    let mut world = World::new().await;
    let (ams, _feed) = world.pop("ams").await;
    a_second_passes().await;
    assert_eq!(get(&ams, "/a").await.body, "1");
    let mut pops = Vec::new();
    for name in ["sfo", "syd", "cdg"] {
        pops.push(world.pop(name).await);
    }
    a_second_passes().await;
    for (edge, _) in &pops {
        assert_eq!(get(edge, "/a").await.body, "2");
    }
    for (edge, _) in pops.into_iter().chain([(ams, _feed)]) {
        edge.stop().await;
    }
}

#[tokio::test]
async fn a_shield_that_is_gone_is_passed() {
    let mut world = World::new().await;
    let (ams, _feed) = world.pop("ams").await;
    assert_eq!(get(&ams, "/a").await.body, "1");
    let (shield, _) = world.shield.take().unwrap();
    shield.stop().await;
    for number in 2..8 {
        let path = format!("/{number}");
        let answer = within(get(&ams, &path)).await;
        assert_eq!(answer.body, number.to_string(), "{answer:?}");
        assert!(!answer.field("cache-status").contains("fra"));
    }
    ams.stop().await;
}

#[tokio::test]
async fn a_request_that_was_here_before_goes_no_further() {
    let mut world = World::new().await;
    let (ams, _feed) = world.pop("ams").await;
    let fields = [
        ("host", "www.example"),
        ("cdn-loop", "other, brink-ams; x=1"),
    ];
    let answer = ams.send("GET", "/a", &fields).await;
    assert_eq!(answer.status, 508, "{answer:?}");
    assert_eq!(world.asked(), 0);
    ams.stop().await;
}
