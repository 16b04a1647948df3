//! Two cores: what one of them says reaches the PoPs of the other, over restarts of either.

use crate::{
    client::{Control, FeedReader, Link},
    link::{key, put, records},
    server::Server,
};
use brink_core::identity::{issue_core, issue_pop};
use brink_listener::client::ClientTls;
use brink_protocol::{
    Position, TenantName,
    change::{Change, ChangeKind},
    codec,
    link::{
        Condition, ExchangeRequest, FeedMessage, FeedRequest, HeadsRequest, RecordOperation,
        RecordsAnswer, RecordsRequest, Report, ReportAnswer, path,
    },
    peers::{CountsRequest, PopsRequest},
    purge::Selector,
    session::{SESSION_HEADER, SessionKeys},
};
use serde_json::json;
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::{Duration, SystemTime},
};

/// Both cores, each with its own data; the first has the authority.
pub struct Pair {
    pub one: Server,
    pub two: Server,
    pub links: [SocketAddr; 2],
}

/// Addresses that no other test of this machine takes: a core has to know its peer's before that has started.
fn addresses(test: u8) -> [SocketAddr; 2] {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    [1, 2].map(|n| (Ipv4Addr::new(127, 64 | test, high, low | 1), 20_000 + n).into())
}

fn config(node: &str, link: SocketAddr, peer: &str, theirs: SocketAddr) -> String {
    format!(
        "node = '{node}'\n[link]\nlisten = '{link}'\n[prober]\ninterval_ms = 0\n[[peers]]\nname = '{peer}'\nlink = '{theirs}'"
    )
}

impl Pair {
    pub async fn start(test: u8) -> Self {
        let [one, two] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let node = "core-2".parse().unwrap();
        issue_core(
            &one.path().join("core"),
            &node,
            &[],
            &two.path().join("core"),
        )
        .unwrap();
        let links = addresses(test);
        let texts = [
            config("core-1", links[0], "core-2", links[1]),
            config("core-2", links[1], "core-1", links[0]),
        ];
        Self {
            one: Server::start_with(one, &texts[0]).await,
            two: Server::start_with(two, &texts[1]).await,
            links,
        }
    }

    /// A PoP's certificate, good at both.
    pub fn pop(&self, name: &str) -> std::path::PathBuf {
        let out = self.one.directory.path().join(name);
        issue_pop(&self.one.data(), &name.parse().unwrap(), &[], &out).unwrap();
        out
    }

    pub async fn link(&self, core: usize, pop: &Path) -> Link {
        Link::connect(self.links[core - 1], pop).await.unwrap()
    }
}

fn core_tls(data: &Path, node: &str) -> ClientTls {
    ClientTls::new(data.join("ca/ca.pem")).with_identity(
        data.join(format!("{node}.core.pem")),
        data.join(format!("{node}.core.key")),
    )
}

async fn report(link: &Link, pop: &str) -> ReportAnswer {
    let report = Report {
        pop: pop.parse().unwrap(),
        position: Position::default(),
        revision: 0,
        purges: vec![],
        log_lines: vec![],
        counts: Vec::new(),
        canary: None,
        log_lines_dropped: 0,
        figures: Default::default(),
    };
    link.call(path::REPORTS, &report).await
}

/// Reports until the answer's age is as wanted.
async fn age(link: &Link, pop: &str, wanted: impl Fn(u64) -> bool) -> ReportAnswer {
    loop {
        let answer = report(link, pop).await;
        if wanted(answer.age_ms) {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn follow(
    link: &Link,
    pop: &str,
    position: Option<Position>,
) -> (FeedReader, Position, bool) {
    let request = FeedRequest {
        pop: pop.parse().unwrap(),
        position,
    };
    let mut feed = link.feed(&request).await;
    match feed.next().await {
        Some(FeedMessage::Start {
            position, resumed, ..
        }) => (feed, position, resumed),
        other => panic!("{other:?}"),
    }
}

async fn purge(control: &Control, key: &str) {
    let answer = control.json("POST", "/v1/purges", json!({"keys": [key]}));
    answer.await.expect(202);
}

fn key_of(change: &Change) -> String {
    match &change.kind {
        ChangeKind::Purge(purge) => format!("{} {:?}", change.sequence, purge.selectors),
        other => panic!("{other:?}"),
    }
}

fn at(position: &Position) -> RecordsRequest {
    RecordsRequest {
        at_least: position.clone(),
        ..records(RecordOperation::Get(vec![key("1")]))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn purges_reach_every_pop_over_restarts_of_either() {
    let pair = Pair::start(2).await;
    let sfo = pair.pop("sfo");
    let link = pair.link(2, &sfo).await;
    // From here on the second core knows the first.
    age(&link, "sfo", |age_ms| age_ms < 1_000).await;
    let (mut feed, mut seen, _) = follow(&link, "sfo", None).await;
    purge(&pair.one.control(), "a").await;
    let change = feed.change().await;
    assert_eq!(change.origin.to_string(), "core-1.1");
    assert!(key_of(&change).starts_with("1 [Key"), "{change:?}");
    seen.advance(&change.origin, change.sequence);
    let Pair { one, two, links } = pair;
    let one = one.restart().await;
    purge(&one.control(), "b").await;
    let change = feed.change().await;
    assert_eq!(
        change.sequence, 2,
        "nothing is left out, nothing comes twice"
    );
    seen.advance(&change.origin, change.sequence);
    // While the second core is away, the first goes on; and the other way round.
    let (directory, text) = two.stop().await;
    drop(feed);
    for key in ["c", "d"] {
        purge(&one.control(), key).await;
    }
    let two = Server::start_with(directory, &text).await;
    let pair = Pair { one, two, links };
    let link = pair.link(2, &sfo).await;
    let (mut feed, position, resumed) = follow(&link, "sfo", Some(seen.clone())).await;
    assert!(resumed);
    assert_eq!(position, seen);
    for sequence in [3, 4] {
        assert_eq!(feed.change().await.sequence, sequence);
    }
    purge(&pair.two.control(), "e").await;
    let own = feed.change().await;
    assert_eq!(
        (own.origin.to_string().as_str(), own.sequence),
        ("core-2.1", 1)
    );
    // And it reaches the first core's.
    let ams = pair.pop("ams");
    let link = pair.link(1, &ams).await;
    let empty = Some("core-1.1=4".parse().unwrap());
    let (mut feed, _, resumed) = follow(&link, "ams", empty).await;
    assert!(resumed);
    assert_eq!(feed.change().await.origin.to_string(), "core-2.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_one_core_is_good_at_the_other() {
    let pair = Pair::start(3).await;
    let (ams, sfo) = (pair.pop("ams"), pair.pop("sfo"));
    let (here, there) = (pair.link(1, &ams).await, pair.link(2, &sfo).await);
    age(&there, "sfo", |age_ms| age_ms < 1_000).await;
    // The second core waits for what it has not heard of yet.
    let next: Position = "core-1.1=1".parse().unwrap();
    let question = at(&next);
    let asked = there.call::<RecordsAnswer>(path::RECORDS, &question);
    let write = records(put("1", Condition::Always));
    let written = here.call::<RecordsAnswer>(path::RECORDS, &write);
    let (read, written) = tokio::join!(asked, written);
    assert_eq!(written.position, next);
    assert!(read.outcome.is_ok(), "{read:?}");
    assert!(read.position.covers(&next));
    // Its PoPs know the first core's keys.
    let answer = pair
        .one
        .control()
        .json("POST", "/v1/purges", json!({"keys": ["x"]}))
        .await
        .expect(202);
    let now_ms = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let (mut feed, ..) = follow(&there, "sfo", None).await;
    let keys = loop {
        // Those of the first core may come a moment after its own.
        match feed.next().await.unwrap() {
            FeedMessage::SessionKeys(keys) if keys.len() == 2 => break keys,
            _ => {}
        }
    };
    let verified = SessionKeys::new(keys)
        .unwrap()
        .verify(answer.header(SESSION_HEADER), now_ms.try_into().unwrap());
    assert_eq!(verified.unwrap().to_string(), "core-1.1=2");
    // Without the first core, what is known of it ages, and nothing beyond is waited for for ever.
    pair.one.stop().await;
    age(&there, "sfo", |age_ms| age_ms > 1_000).await;
    let beyond = at(&"core-1.1=99".parse().unwrap());
    let read: RecordsAnswer = there.call(path::RECORDS, &beyond).await;
    assert!(read.outcome.is_err());
    let known = at(&"core-1.1=2".parse().unwrap());
    let read: RecordsAnswer = there.call(path::RECORDS, &known).await;
    assert!(read.outcome.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn pops_and_cores_keep_to_their_own_paths() {
    let pair = Pair::start(4).await;
    let pop = pair.link(1, &pair.pop("ams")).await;
    let tls = core_tls(&pair.two.data(), "core-2");
    let core = Link::with_tls(pair.links[0], tls).await.unwrap();
    let node: brink_protocol::NodeName = "core-2".parse().unwrap();
    let exchange = |node: &str, position: Option<&str>| {
        let request = ExchangeRequest {
            node: node.parse().unwrap(),
            position: position.map(|text| text.parse().unwrap()),
        };
        codec::encode(&request).unwrap()
    };
    let pops = |node: &str| {
        let request = PopsRequest {
            node: node.parse().unwrap(),
            purge: None,
            seen: None,
            hold_ms: 0,
        };
        codec::encode(&request).unwrap()
    };
    let counts = |node: &str| {
        let request = CountsRequest {
            node: node.parse().unwrap(),
            tenant: "default".parse().unwrap(),
            selectors: vec![Selector::Everything],
            wait_ms: 0,
        };
        codec::encode(&request).unwrap()
    };
    let heads = codec::encode(&HeadsRequest { node: node.clone() }).unwrap();
    let feed = codec::encode(&FeedRequest {
        pop: "ams".parse().unwrap(),
        position: None,
    });
    let tenant: TenantName = "default".parse().unwrap();
    let records = codec::encode(&RecordsRequest {
        tenant,
        ..at(&Position::default())
    });
    for (link, path, body, status, slug) in [
        (
            &pop,
            path::EXCHANGE,
            exchange("core-2", None),
            403,
            "no-core",
        ),
        (&pop, path::HEADS, heads, 403, "no-core"),
        (&pop, path::POPS, pops("core-2"), 403, "no-core"),
        (&pop, path::COUNTS, counts("core-2"), 403, "no-core"),
        (&core, path::POPS, pops("core-3"), 403, "no-core"),
        (&core, path::COUNTS, counts("core-3"), 403, "no-core"),
        (
            &core,
            path::EXCHANGE,
            exchange("core-3", None),
            403,
            "no-core",
        ),
        // It has more of this core's log than there is.
        (
            &core,
            path::EXCHANGE,
            exchange("core-2", Some("core-1.1=9")),
            409,
            "set-back",
        ),
        (&core, path::FEED, feed.unwrap(), 403, "no-pop"),
        (&core, path::RECORDS, records.unwrap(), 403, "no-pop"),
    ] {
        let answer = link.raw("POST", path, codec::MEDIA_TYPE, body).await;
        assert_eq!(answer.problem(status), slug, "{path}");
    }
    // Itself, and one that it was not told of.
    let third = pair.one.directory.path().join("third");
    issue_core(&pair.one.data(), &"core-3".parse().unwrap(), &[], &third).unwrap();
    for (data, node) in [(pair.one.data(), "core-1"), (third, "core-3")] {
        let link = Link::with_tls(pair.links[0], core_tls(&data, node))
            .await
            .unwrap();
        let answer = link
            .raw(
                "POST",
                path::EXCHANGE,
                codec::MEDIA_TYPE,
                exchange(node, None),
            )
            .await;
        assert_eq!(answer.problem(403), "no-core", "{node}");
    }
}
