//! Routes with several origins, which are killed, hang, break off, answer slowly and come back.

use crate::harness::{Answer, Edge, eventually, start, within};
use brink_edge::{
    config::File,
    routes::{DeployedMap, Table},
};
use brink_protocol::{
    deployment::{DeploymentTable, Route, Target, default_tenant},
    origins::{Choice, HealthCheck, Origin, OriginGroup, OriginProtocol},
};
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What an origin does with a request.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Act {
    Answer(u16),
    /// Says nothing, until it is to do something else.
    Hang,
    /// Closes the connection.
    Close,
    /// Closes it in the middle of the body.
    BreakOff,
    /// Says nothing after half of the body.
    StandStill,
}

/// What it does, by the request's path: `/up` is the health check.
#[derive(Debug, Clone, Copy)]
struct Acts {
    others: Act,
    up: Act,
}

/// An origin on loopback.
struct Site {
    name: &'static str,
    address: SocketAddr,
    acts: Arc<Mutex<Acts>>,
    asked: Arc<AtomicU32>,
    running: Option<JoinHandle<()>>,
}

impl Site {
    async fn begin(name: &'static str) -> Self {
        let mut site = Self {
            name,
            address: "127.0.0.1:0".parse().unwrap(),
            acts: Arc::new(Mutex::new(Acts {
                others: Act::Answer(200),
                up: Act::Answer(200),
            })),
            asked: Arc::default(),
            running: None,
        };
        site.revive().await;
        site
    }

    async fn revive(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        let (name, acts, asked) = (self.name, self.acts.clone(), self.asked.clone());
        self.running = Some(tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, name, acts.clone(), asked.clone()));
            }
        }));
    }

    /// Ends the listener and all connections.
    async fn kill(&mut self) {
        let running = self.running.take().unwrap();
        running.abort();
        let _ = running.await;
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn acts(&self, act: Act) {
        self.acts.lock().unwrap().others = act;
    }

    fn asked(&self) -> u32 {
        self.asked.load(SeqCst)
    }
}

async fn serve(mut stream: TcpStream, name: &str, all: Arc<Mutex<Acts>>, asked: Arc<AtomicU32>) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8(head).unwrap();
        let acts = *all.lock().unwrap();
        let act = match head.split(' ').nth(1).unwrap() {
            "/up" => acts.up,
            _ => {
                asked.fetch_add(1, SeqCst);
                acts.others
            }
        };
        let cached = match head.contains(" /kept ") {
            true => "max-age=0, stale-if-error=600",
            false => "no-store",
        };
        let answer = |status: u16, length: usize| {
            format!(
                "HTTP/1.1 {status} X\r\ncache-control: {cached}\r\ncontent-length: {length}\r\n\r\n{name}"
            )
        };
        let act = match act {
            Act::Hang => until_it_does_not_hang(&all).await,
            act => act,
        };
        let (text, stays) = match act {
            Act::Answer(status) => (answer(status, name.len()), true),
            Act::Hang | Act::Close => return,
            Act::BreakOff => (answer(200, name.len() + 1), false),
            Act::StandStill => (answer(200, name.len() + 1), true),
        };
        if stream.write_all(text.as_bytes()).await.is_err() || !stays {
            return;
        }
    }
}

async fn until_it_does_not_hang(acts: &Mutex<Acts>) -> Act {
    loop {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let act = acts.lock().unwrap().others;
        if act != Act::Hang {
            return act;
        }
    }
}

fn of(sites: &[&Site]) -> OriginGroup {
    OriginGroup::of(sites.iter().map(|site| site.url()))
}

async fn edge(groups: Vec<(&str, OriginGroup)>) -> Edge {
    let settings = File::default().standalone().unwrap();
    start(settings, async |assembled| {
        let route =
            |(path, group): (&str, OriginGroup)| Route::new(path, Target::Origins(group.clone()));
        let source = DeploymentTable {
            routes: groups.into_iter().map(route).collect(),
            ..DeploymentTable::default()
        };
        let table = Table::new(source, DeployedMap::new());
        assembled.table().store(Arc::new(table));
    })
    .await
}

/// How the origins stand, by URL.
async fn standings(edge: &Edge) -> Vec<(String, String)> {
    let views: serde_json::Value =
        serde_json::from_str(&edge.ask_admin("/origins").await.body).unwrap();
    let text = |view: &serde_json::Value, key: &str| view[key].as_str().unwrap().to_owned();
    let views = views.as_array().unwrap().iter();
    views
        .map(|view| (text(view, "url"), text(view, "standing")))
        .collect()
}

async fn until_it_stands(edge: &Edge, site: &Site, standing: &str) {
    let expected = (site.url(), standing.to_owned());
    eventually(async || standings(edge).await.contains(&expected).then_some(())).await;
}

fn problem(answer: &Answer) -> (u16, String) {
    let document: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let kind = document["type"].as_str().unwrap_or_default();
    let slug = kind.rsplit(['/', ':', '#']).next().unwrap_or_default();
    (answer.status.as_u16(), slug.to_owned())
}

#[tokio::test]
async fn a_killed_origin_is_passed_over_and_comes_back() {
    let (mut first, second) = (Site::begin("first").await, Site::begin("second").await);
    let edge = edge(vec![("/", of(&[&first, &second]))]).await;
    assert_eq!(edge.get("/").await.body, "first");
    first.kill().await;
    for _ in 0..20 {
        // Whatever its method: it was not sent.
        for method in ["GET", "POST"] {
            assert_eq!(edge.send(method, "/", &[]).await.body, "second");
        }
    }
    assert!(
        standings(&edge)
            .await
            .contains(&(first.url(), "resting".into()))
    );
    first.revive().await;
    eventually(async || (edge.get("/").await.body == "first").then_some(())).await;
    until_it_stands(&edge, &first, "well").await;
    let before = second.asked();
    for _ in 0..10 {
        assert_eq!(edge.get("/").await.body, "first");
    }
    assert_eq!(second.asked(), before);
    edge.stop().await;
}

#[tokio::test]
async fn what_hangs_breaks_or_is_unwell_is_asked_of_the_next_if_that_makes_no_difference() {
    let (first, second) = (Site::begin("first").await, Site::begin("second").await);
    let mut group = of(&[&first, &second]);
    group.members[0].first_byte_ms_max = Some(100);
    group.members[0].between_bytes_ms_max = Some(100);
    let edge = edge(vec![("/", group)]).await;
    for (act, method, expected) in [
        (Act::Hang, "GET", (200, "second")),
        (Act::Hang, "PUT", (200, "second")),
        (Act::Hang, "POST", (504, "origin-timeout")),
        (Act::Close, "GET", (200, "second")),
        (Act::Close, "POST", (502, "origin-failed")),
        (Act::Answer(503), "GET", (200, "second")),
        (Act::Answer(502), "HEAD", (200, "")),
        (Act::Answer(503), "PUT", (503, "first")),
        (Act::Answer(500), "GET", (500, "first")),
        (Act::Answer(404), "GET", (404, "first")),
    ] {
        first.acts(act);
        let answer = edge.send(method, "/", &[]).await;
        let (status, slug) = problem(&answer);
        let said = if slug.is_empty() { answer.body } else { slug };
        assert_eq!((status, said.as_str()), expected, "{act:?} {method}");
    }
    // Both are unwell: the client gets what was said, not that there was nobody.
    first.acts(Act::Answer(503));
    second.acts(Act::Close);
    let answer = edge.get("/").await;
    assert_eq!((answer.status.as_u16(), &*answer.body), (503, "first"));
    edge.stop().await;
}

#[tokio::test]
async fn what_a_client_asks_for_does_not_take_all_origins_away() {
    let (one, two) = (Site::begin("one").await, Site::begin("two").await);
    let edge = edge(vec![("/", of(&[&one, &two]))]).await;
    for _ in 0..40 {
        // Both break off at one path, and answer all others.
        one.acts(Act::Close);
        two.acts(Act::Close);
        assert_eq!(problem(&edge.get("/").await).0, 502);
        one.acts(Act::Answer(200));
        two.acts(Act::Answer(200));
        assert_eq!(edge.get("/").await.status, 200);
    }
    edge.stop().await;
}

#[tokio::test]
async fn half_a_body_is_never_stored() {
    let site = Site::begin("whole").await;
    let mut group = of(&[&site]);
    group.members[0].between_bytes_ms_max = Some(100);
    let edge = edge(vec![("/", group)]).await;
    for act in [Act::BreakOff, Act::StandStill] {
        site.acts(act);
        // What of it was on its way already breaks off at the client too.
        if let Ok(answer) = edge.try_get("/kept").await {
            assert_eq!(problem(&answer), (502, "origin-failed".into()), "{act:?}");
        }
    }
    site.acts(Act::Answer(200));
    assert_eq!(edge.get("/kept").await.body, "whole");
    for act in [Act::BreakOff, Act::StandStill, Act::Close, Act::Answer(503)] {
        site.acts(act);
        // Now there is something to fall back on, unless half of the new one was on its way.
        match edge.try_get("/kept").await {
            Ok(answer) => assert_eq!((answer.status.as_u16(), &*answer.body), (200, "whole")),
            Err(_) => assert!(matches!(act, Act::BreakOff | Act::StandStill), "{act:?}"),
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_slow_origin_keeps_its_places_and_no_more() {
    let (slow, quick) = (Site::begin("slow").await, Site::begin("quick").await);
    slow.acts(Act::Hang);
    let mut group = of(&[&slow]);
    group.members[0].in_flight_max = 2;
    group.members[0].queue_max = 1;
    group.members[0].queue_ms_max = 50;
    let edge = Arc::new(edge(vec![("/slow", group), ("/", of(&[&quick]))]).await);
    let waiting: Vec<_> = (0..2)
        .map(|n| {
            let edge = Arc::clone(&edge);
            tokio::spawn(async move { edge.get(&format!("/slow/{n}")).await })
        })
        .collect();
    eventually(async || (slow.asked() == 2).then_some(())).await;
    let refused = edge.get("/slow/2").await;
    assert_eq!(problem(&refused), (503, "origin-busy".into()));
    assert_eq!(refused.field("retry-after"), "1");
    assert_eq!(edge.get("/").await.body, "quick");
    assert_eq!(slow.asked(), 2);
    slow.acts(Act::Answer(200));
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap().body, "slow");
    }
    assert_eq!(edge.get("/slow/3").await.body, "slow");
    Arc::into_inner(edge).unwrap().stop().await;
}

#[tokio::test]
async fn with_all_down_what_is_stale_is_served_or_it_is_said() {
    let (one, two) = (Site::begin("one").await, Site::begin("two").await);
    let mut group = of(&[&one, &two]);
    for member in &mut group.members {
        let check = HealthCheck::of("/up");
        member.health = Some(HealthCheck {
            interval_ms: 100,
            timeout_ms: 200,
            unhealthy_after: 2,
            ..check
        });
    }
    let edge = edge(vec![("/", group)]).await;
    assert_eq!(edge.get("/kept").await.body, "one");
    one.acts.lock().unwrap().up = Act::Answer(500);
    until_it_stands(&edge, &one, "down").await;
    assert_eq!(edge.get("/").await.body, "two");
    two.acts.lock().unwrap().up = Act::Close;
    until_it_stands(&edge, &two, "down").await;
    let asked = (one.asked(), two.asked());
    let answer = edge.get("/").await;
    assert_eq!(problem(&answer), (503, "origins-away".into()));
    let stale = edge.get("/kept").await;
    assert_eq!((stale.status.as_u16(), &*stale.body), (200, "one"));
    assert_eq!((one.asked(), two.asked()), asked, "nobody was asked");
    two.acts.lock().unwrap().up = Act::Answer(204);
    until_it_stands(&edge, &two, "well").await;
    assert_eq!(edge.get("/").await.body, "two");
    let status = edge.status().await;
    assert_eq!(status["origins"].as_array().unwrap().len(), 2);
    edge.stop().await;
}

#[tokio::test]
async fn an_only_origin_that_is_away_is_left_alone_for_a_while() {
    let mut site = Site::begin("only").await;
    let edge = edge(vec![("/", of(&[&site]))]).await;
    // What one path does to it is not taken for its end.
    site.acts(Act::Close);
    for _ in 0..5 {
        assert_eq!(problem(&edge.get("/").await).1, "origin-failed");
    }
    site.acts(Act::Answer(200));
    assert_eq!(edge.get("/").await.body, "only");
    site.kill().await;
    let mut said = Vec::new();
    for _ in 0..8 {
        said.push(problem(&edge.get("/").await));
    }
    assert_eq!(said[0], (502, "origin-unreachable".into()));
    assert_eq!(said[7], (503, "origins-away".into()));
    site.revive().await;
    eventually(async || (edge.get("/").await.body == "only").then_some(())).await;
    edge.stop().await;
}

#[tokio::test]
async fn requests_are_spread_and_flapping_is_borne() {
    let (mut one, two, three) = (
        Site::begin("one").await,
        Site::begin("two").await,
        Site::begin("three").await,
    );
    let mut group = of(&[&one, &two, &three]);
    group.choice = Choice::Spread;
    group.members[2].weight = 2;
    let edge = edge(vec![("/", group)]).await;
    for _ in 0..100 {
        assert_eq!(edge.get("/").await.status, 200);
    }
    for (site, least) in [(&one, 8), (&two, 8), (&three, 25)] {
        assert!(site.asked() >= least, "{} {}", site.name, site.asked());
    }
    for _ in 0..5 {
        one.kill().await;
        for _ in 0..10 {
            assert_eq!(edge.get("/").await.status, 200);
        }
        one.revive().await;
        for _ in 0..10 {
            assert_eq!(edge.get("/").await.status, 200);
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn an_origin_is_told_the_host_and_spoken_to_as_declared() {
    let config = brink_listener::Config {
        tcp: Some("127.0.0.1:0".parse().unwrap()),
        ..brink_listener::Config::default()
    };
    let listener = brink_listener::Listener::bind(config).await.unwrap();
    let url = format!("http://{}", listener.tcp_addr().unwrap());
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(listener.serve(Arc::new(Told), stop.clone()));
    let member = |protocol, host: Option<&str>| OriginGroup {
        members: vec![Origin {
            protocol,
            host: host.map(Into::into),
            ..Origin::new(url.clone())
        }],
        ..OriginGroup::of(["http://a"])
    };
    let edge = edge(vec![
        ("/two", member(OriginProtocol::Http2, Some("told.example"))),
        (
            "/one",
            member(OriginProtocol::Auto, Some("told.example:81")),
        ),
        ("/own", member(OriginProtocol::Http2, None)),
    ])
    .await;
    for (path, told) in [
        ("/two", "h2 told.example"),
        ("/one", "http/1.1 told.example:81"),
        (
            "/own",
            &*format!("h2 {}", url.strip_prefix("http://").unwrap()),
        ),
    ] {
        assert_eq!(edge.get(path).await.body.to_lowercase(), told, "{path}");
    }
    // A request that has been here before, too often.
    let passed = [("cdn-loop", "brink, brink, brink, other, brink, brink")];
    let answer = edge.send("GET", "/one", &passed).await;
    assert_eq!(problem(&answer), (508, "loop-detected".into()));
    edge.stop().await;
    stop.cancel();
    within(running).await.unwrap();
}

/// Answers with what it was told.
struct Told;

impl brink_listener::Service for Told {
    async fn call(
        &self,
        request: http::Request<brink_listener::Body>,
        connection: Arc<brink_listener::Connection>,
    ) -> http::Response<brink_listener::Body> {
        let host = match request.uri().authority() {
            Some(authority) => authority.to_string(),
            None => request.headers()["host"].to_str().unwrap().to_owned(),
        };
        let text = format!("{} {host}", connection.protocol.as_str());
        http::Response::new(brink_listener::Body::from(text))
    }
}

#[tokio::test]
async fn tenants_do_not_reach_into_the_network_of_the_pop() {
    let site = Site::begin("inside").await;
    let settings = File::default().standalone().unwrap();
    let url = site.url();
    let edge = start(settings, async |assembled| {
        let source = DeploymentTable {
            routes: ["other", "default"]
                .map(|tenant| Route {
                    tenant: tenant.parse().unwrap(),
                    ..Route::new(&format!("/{tenant}"), Target::Origin(url.clone()))
                })
                .into(),
            ..DeploymentTable::default()
        };
        let table = Table::new(source, DeployedMap::new());
        assembled.table().store(Arc::new(table));
    })
    .await;
    let answer = edge.get("/other").await;
    assert_eq!(problem(&answer), (502, "origin-unreachable".into()));
    assert!(!answer.body.contains("127.0.0.1"), "{}", answer.body);
    assert_eq!(site.asked(), 0);
    assert_eq!(default_tenant().as_str(), "default");
    assert_eq!(edge.get("/default").await.body, "inside");
    edge.stop().await;
}
