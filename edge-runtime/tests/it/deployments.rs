//! What is deployed reaches a PoP, runs there, reads and writes records, and outlives the core.

use crate::{
    guest,
    harness::{Edge, eventually, start, within},
    scripted::{Asked, Core, Offers, Reply},
};
use brink_protocol::{
    Digest,
    change::{Change, ChangeKind, Phase, RecordChange},
    codec,
    deployment::{
        Deployment, DeploymentTable, Grants, Limits, Route, Target, WhenDisconnected, World,
        default_tenant,
    },
    link::{FeedMessage, RecordOperation, RecordOutcome, RecordsAnswer, RecordsRequest, path},
    record::Entry,
};
use bytes::Bytes;

pub(crate) fn text(answer: &str) -> Bytes {
    guest::module(&format!(
        r#"(call $cache_lifetime (i32.const 60)) (call $answer (local.get $out) (i32.const 200) @"{answer}")"#
    ))
}

/// Answers with the record stock/ams/sku-1, or 503.
pub(crate) fn reader() -> Bytes {
    guest::module(
        r#"(call $cache_lifetime (i32.const 60))
        (call $records_get @"stock" @"ams" @"sku-1" (i32.const 256))
        (if (i32.load8_u (i32.const 256))
            (then (call $answer (local.get $out) (i32.const 503) @"away"))
            (else (call $answer (local.get $out) (i32.const 200) (i32.load (i32.const 280)) (i32.load (i32.const 284)))))"#,
    )
}

pub(crate) fn writer() -> Bytes {
    guest::module(
        r#"(call $records_put @"stock" @"ams" @"sku-1" @"7" (i32.const 0) (i64.const 0) (i32.const 256))
        (call $answer (local.get $out) (i32.const 201) @"written")"#,
    )
}

pub(crate) fn deployment(name: &str, component: &Bytes, world: World) -> Deployment {
    Deployment {
        tenant: default_tenant(),
        name: name.parse().unwrap(),
        version: 1,
        digest: Digest::of(component),
        world,
        config: Default::default(),
        limits: Limits::default(),
        grants: Grants::default(),
    }
}

pub(crate) fn route(path: &str, module: &str, plugins: &[&str]) -> Route {
    Route {
        tenant: default_tenant(),
        host: None,
        path: path.into(),
        target: Target::Module(module.parse().unwrap()),
        plugins: plugins.iter().map(|p| p.parse().unwrap()).collect(),
        when_disconnected: WhenDisconnected::ServeStale,
        show_coherence: false,
        session_cookie: false,
        cache: Default::default(),
    }
}

pub(crate) fn deployed(sequence: u64, revision: u64, module: &str) -> FeedMessage {
    change(
        sequence,
        ChangeKind::Deployments {
            revision,
            tenant: default_tenant(),
            modules: vec![module.parse().unwrap()],
        },
    )
}

pub(crate) fn change(sequence: u64, kind: ChangeKind) -> FeedMessage {
    FeedMessage::Change(Change {
        origin: "core.1".parse().unwrap(),
        sequence,
        at_ms: 0,
        kind,
    })
}

/// An edge that runs `table`, and its feed.
pub(crate) async fn running(
    core: &mut Core,
    data: &std::path::Path,
    table: &DeploymentTable,
) -> (Edge, Asked) {
    let edge = start(core.settings(data), async |_| {}).await;
    let feed = core.feed().await;
    feed.start("core.1=1", false, table.revision);
    let revision = table.revision;
    edge.until(|status| status["revision"]["active"] == revision)
        .await;
    (edge, feed)
}

#[tokio::test]
async fn a_new_version_takes_over_and_a_broken_one_does_not() {
    let mut core = Core::start(Offers::Both).await;
    let data = tempfile::tempdir().unwrap();
    let (one, two) = (text("one"), text("two"));
    let mut table = DeploymentTable {
        revision: 1,
        deployments: vec![deployment("shop", &one, World::Module)],
        routes: vec![route("/shop", "shop", &[])],
    };
    core.deploy(&table, &[&one]);
    let (edge, feed) = running(&mut core, data.path(), &table).await;
    assert_eq!(edge.get("/shop").await.body, "one");
    assert!(edge.get("/shop").await.is_hit());
    assert_eq!(edge.get("/other").await.status, 404);

    table.revision = 2;
    table.deployments = vec![deployment("shop", &two, World::Module)];
    core.deploy(&table, &[&two]);
    feed.say(&deployed(2, 2, "shop"));
    edge.until(|status| status["revision"]["active"] == 2).await;
    assert_eq!(edge.get("/shop").await.body, "two");
    core.report(|report| report.revision == 2).await;

    // No component, as far as anyone can tell: what runs goes on running, and the author is told.
    table.revision = 3;
    let broken = Bytes::from_static(b"\0asm broken");
    table.deployments = vec![deployment("shop", &broken, World::Module)];
    core.deploy(&table, &[&broken]);
    feed.say(&deployed(3, 3, "shop"));
    let report = core.report(|report| !report.log_lines.is_empty()).await;
    let line = report.log_lines.first().unwrap();
    assert_eq!(
        (line.module.as_str(), line.level.as_str()),
        ("shop", "error")
    );
    assert!(
        line.message.contains("could not be loaded"),
        "{}",
        line.message
    );
    assert_eq!(report.revision, 2);
    let answer = edge.get("/shop").await;
    assert_eq!(answer.body, "two");
    assert_eq!(edge.status().await["deployments"][0]["superseded"], true);

    // A route that comes later leads there at once, whatever was answered before.
    table.revision = 4;
    table.deployments = vec![
        deployment("shop", &two, World::Module),
        deployment("other", &one, World::Module),
    ];
    table.routes = vec![route("/shop", "other", &[])];
    core.deploy(&table, &[&two, &one]);
    feed.say(&deployed(4, 4, "other"));
    edge.until(|status| status["revision"]["active"] == 4).await;
    assert_eq!(edge.get("/shop").await.body, "one");
    edge.stop().await;
    core.stop().await;
}

#[tokio::test]
async fn an_edge_that_restarts_without_a_core_serves_on() {
    let mut core = Core::start(Offers::Both).await;
    let data = tempfile::tempdir().unwrap();
    let (hello, reader) = (text("hello"), reader());
    let table = DeploymentTable {
        revision: 1,
        deployments: vec![
            deployment("hello", &hello, World::Module),
            deployment("reader", &reader, World::Module),
        ],
        routes: vec![
            route("/hello", "hello", &[]),
            route("/reader", "reader", &[]),
        ],
    };
    core.deploy(&table, &[&hello, &reader]);
    let (edge, _feed) = running(&mut core, data.path(), &table).await;
    assert_eq!(edge.get("/hello").await.body, "hello");
    edge.stop().await;
    let settings = core.settings(data.path());
    let identity = core.stop().await;
    let edge = start(settings, async |_| {}).await;
    assert_eq!(edge.get("/hello").await.body, "hello");
    // What needs records says that it has none, and the edge does not wait for good.
    let answer = edge.get("/reader").await;
    assert_eq!(
        (answer.status.as_u16(), answer.body.as_str()),
        (503, "away")
    );
    assert_eq!(edge.ask_admin("/ready").await.status, 503);
    edge.stop().await;
    drop(identity);
}

pub(crate) fn entry(value: &'static str) -> RecordsAnswer {
    RecordsAnswer {
        position: "core.1=1".parse().unwrap(),
        outcome: Ok(RecordOutcome::Entries(vec![Some(Entry {
            sort: "sku-1".into(),
            value: Bytes::from_static(value.as_bytes()),
            version: 1,
            lifetime_ms: None,
        })])),
    }
}

pub(crate) fn stock_changed(sequence: u64) -> FeedMessage {
    let kind = ChangeKind::Records {
        partition: brink_protocol::address::PartitionAddress {
            tenant: default_tenant(),
            collection: "stock".into(),
            partition: "ams".into(),
        },
        records: vec![RecordChange {
            sort: "sku-1".into(),
            version: Some(2),
        }],
        phase: Phase::Written,
    };
    change(sequence, kind)
}

#[tokio::test]
async fn a_write_is_seen_where_it_was_made_once_it_is_answered() {
    let mut core = Core::start(Offers::Both).await;
    let data = tempfile::tempdir().unwrap();
    let (reader, writer) = (reader(), writer());
    let table = DeploymentTable {
        revision: 1,
        deployments: vec![
            deployment("reader", &reader, World::Module),
            deployment("writer", &writer, World::Module),
        ],
        routes: vec![
            route("/reader", "reader", &[]),
            route("/writer", "writer", &[]),
        ],
    };
    core.deploy(&table, &[&reader, &writer]);
    core.set(path::RECORDS, Reply::message(&entry("9")));
    let (edge, feed) = running(&mut core, data.path(), &table).await;
    assert_eq!(edge.get("/reader").await.body, "9");
    let hit = edge.get("/reader").await;
    assert!(hit.is_hit() && hit.body == "9", "{hit:?}");

    let written = RecordsAnswer {
        position: "core.1=2".parse().unwrap(),
        outcome: Ok(RecordOutcome::Written(2)),
    };
    core.set(path::RECORDS, Reply::message(&written));
    // The change arrives while the answer waits for it.
    let applying = async {
        eventually(async || {
            let (path, body) = core.questions.recv().await.unwrap();
            let is_put = |body: &Bytes| {
                let request: RecordsRequest = codec::decode(body).unwrap();
                assert!(request.at_least.covers(&"core.1=1".parse().unwrap()));
                matches!(request.operation, RecordOperation::Put { .. })
            };
            (path == path::RECORDS && is_put(&body)).then_some(())
        })
        .await;
        feed.say(&stock_changed(2));
    };
    let (answer, ()) =
        within(async { tokio::join!(edge.send("POST", "/writer", &[]), applying) }).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.field("brink-position"), "");
    assert_eq!(answer.field("brink-session"), "", "no key has come");
    assert_eq!(edge.status().await["position"], "core.1=2");
    let mut newer = entry("7");
    newer.position = "core.1=2".parse().unwrap();
    core.set(path::RECORDS, Reply::message(&newer));
    let after = edge.get("/reader").await;
    assert!(!after.is_hit() && after.body == "7", "{after:?}");
    edge.stop().await;
    core.stop().await;
}

/// `answer` with 401 and the text; see `plugin-types` of the WIT.
pub(crate) const ANSWERS: &str = r#"(local $at i32) (local $size i32) @"no key" (local.set $size) (local.set $at)
    (i32.store8 (i32.const 256) (i32.const 2))
    (i32.store16 (i32.const 260) (i32.const 401))
    (i32.store (i32.const 272) (local.get $at)) (i32.store (i32.const 276) (local.get $size))"#;
/// `change` of a response to status 203 without fields.
const CHANGES: &str = "(i32.store8 (i32.const 256) (i32.const 1))
    (i32.store16 (i32.const 260) (i32.const 203))";

#[tokio::test]
async fn plugins_guard_hits_too_and_fail_closed() {
    let mut core = Core::start(Offers::Both).await;
    let data = tempfile::tempdir().unwrap();
    let hello = text("hello");
    let plugins = [
        ("passes", guest::plugin("", "")),
        ("answers", guest::plugin(ANSWERS, "")),
        ("changes", guest::plugin("", CHANGES)),
        ("traps", guest::plugin("(unreachable)", "")),
        ("traps-late", guest::plugin("", "(unreachable)")),
    ];
    let mut deployments = vec![deployment("hello", &hello, World::Module)];
    deployments.extend(
        plugins
            .iter()
            .map(|(name, component)| deployment(name, component, World::Plugin)),
    );
    let table = DeploymentTable {
        revision: 1,
        deployments,
        routes: vec![
            route("/passes", "hello", &["passes", "passes"]),
            route("/answers", "hello", &["changes", "answers", "traps"]),
            route("/changes", "hello", &["changes"]),
            route("/traps", "hello", &["traps"]),
            route("/traps-late", "hello", &["traps-late"]),
            route("/missing", "hello", &["absent"]),
        ],
    };
    let mut components: Vec<&Bytes> = plugins.iter().map(|(_, component)| component).collect();
    components.push(&hello);
    core.deploy(&table, &components);
    let (edge, _feed) = running(&mut core, data.path(), &table).await;
    for (path, status, body) in [
        ("/passes", 200, "hello"),
        // The plugin before the one that answers sees the answer.
        ("/answers", 203, "no key"),
        ("/changes", 203, "hello"),
        ("/traps", 500, "module-trapped"),
        ("/traps-late", 500, "module-trapped"),
        ("/missing", 503, "plugin absent is not deployed"),
    ] {
        for _ in 0..2 {
            let answer = edge.get(path).await;
            assert_eq!(answer.status.as_u16(), status, "{path}: {answer:?}");
            assert!(answer.body.contains(body), "{path}: {}", answer.body);
            assert!(!answer.field("x-request-id").is_empty());
        }
    }
    edge.stop().await;
    core.stop().await;
}

#[tokio::test]
async fn nothing_is_fresh_until_the_feed_has_brought_what_was_missed() {
    let mut core = Core::start(Offers::Both).await;
    let data = tempfile::tempdir().unwrap();
    let shop = text("shop");
    let table = DeploymentTable {
        revision: 1,
        deployments: vec![deployment("shop", &shop, World::Module)],
        routes: vec![Route {
            when_disconnected: WhenDisconnected::Fail,
            show_coherence: false,
            session_cookie: false,
            cache: Default::default(),
            ..route("/shop", "shop", &[])
        }],
    };
    core.deploy(&table, &[&shop]);
    let edge = start(core.settings(data.path()), async |_| {}).await;
    let feed = core.feed().await;
    feed.start_behind("core.1=1", "core.1=3", false, 1);
    edge.until(|status| status["revision"]["active"] == 1).await;
    assert_eq!(edge.get("/shop").await.status, 200);
    assert_eq!(
        edge.get("/shop").await.status,
        503,
        "two changes are missing"
    );
    feed.say(&deployed(2, 1, "other"));
    edge.until(|status| status["position"] == "core.1=2").await;
    assert_eq!(edge.get("/shop").await.status, 503, "one is missing");
    feed.say(&deployed(3, 1, "other"));
    edge.until(|status| status["position"] == "core.1=3").await;
    let answer = eventually(async || Some(edge.get("/shop").await).filter(|a| a.status == 200));
    assert!(answer.await.is_hit());
    edge.stop().await;
    core.stop().await;
}
