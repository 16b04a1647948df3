//! What an answer depends on: records that are kept at the PoP, modules that call each other, credentials that a module
//! looks at, what plugins change.

use crate::{
    deployments::{
        change, deployed, deployment, entry, reader, route, running, stock_changed, text,
    },
    guest,
    harness::{Answer, Edge},
    scripted::{Asked, Core, Offers, Reply},
};
use brink_protocol::{
    change::ChangeKind,
    codec,
    deployment::{DeploymentTable, World, default_tenant},
    link::{CommandAnswer, RecordOutcome, RecordsAnswer, RecordsRequest, path},
    purge::{Purge, Selector},
    record::{Entry, RecordError},
};
use bytes::Bytes;
use tempfile::TempDir;

/// An edge with these modules, each at `/NAME`, and plugins, and its core.
struct Shop {
    core: Core,
    edge: Edge,
    feed: Asked,
    _data: TempDir,
}

impl Shop {
    async fn new(modules: &[(&str, Bytes)]) -> Self {
        Self::with(modules, &[]).await
    }

    /// The plugins stand before each of the modules, by the names `p0`, `p1`...
    async fn with(modules: &[(&str, Bytes)], plugins: &[Bytes]) -> Self {
        let mut core = Core::start(Offers::Both).await;
        let data = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..plugins.len()).map(|n| format!("p{n}")).collect();
        let before: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut table = DeploymentTable {
            revision: 1,
            deployments: Vec::new(),
            routes: Vec::new(),
        };
        for (name, component) in modules {
            table
                .deployments
                .push(deployment(name, component, World::Module));
            table.routes.push(route(&format!("/{name}"), name, &before));
        }
        for (name, plugin) in names.iter().zip(plugins) {
            table
                .deployments
                .push(deployment(name, plugin, World::Plugin));
        }
        let components: Vec<&Bytes> = modules.iter().map(|(_, c)| c).chain(plugins).collect();
        core.deploy(&table, &components);
        core.set(path::RECORDS, Reply::message(&entry("9")));
        let (edge, feed) = running(&mut core, data.path(), &table).await;
        Self {
            core,
            edge,
            feed,
            _data: data,
        }
    }

    /// The core answers reads with this from now on.
    fn holds(&self, position: &str, value: Option<&'static str>, lifetime_ms: Option<u64>) {
        let entry = value.map(|value| Entry {
            sort: "sku-1".into(),
            value: Bytes::from_static(value.as_bytes()),
            version: 1,
            lifetime_ms,
        });
        let answer = RecordsAnswer {
            position: position.parse().unwrap(),
            outcome: Ok(RecordOutcome::Entries(vec![entry])),
        };
        self.core.set(path::RECORDS, Reply::message(&answer));
    }

    /// Questions about records of the tenant since the last time.
    fn asked(&mut self) -> usize {
        let mut count = 0;
        while let Ok((path, body)) = self.core.questions.try_recv() {
            let is_own = |body: &Bytes| {
                let request: RecordsRequest = codec::decode(body).unwrap();
                request.tenant == default_tenant()
            };
            count += usize::from(path == path::RECORDS && is_own(&body));
        }
        count
    }

    async fn at(&self, position: &str) {
        self.edge
            .until(|status| status["position"] == position)
            .await;
    }

    async fn get(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.edge.send("GET", path, fields).await
    }

    async fn stop(self) {
        self.edge.stop().await;
        self.core.stop().await;
    }
}

/// Answers with the record stock/ams/sku-1; 404 if there is none, 503 if it cannot be read. Its answers are never stored.
fn peek() -> Bytes {
    guest::module(
        r#"(call $cache_no_store)
        (call $records_get @"stock" @"ams" @"sku-1" (i32.const 256))
        (if (i32.load8_u (i32.const 256))
            (then (call $answer (local.get $out) (i32.const 503) @"away"))
            (else (if (i32.load8_u (i32.const 264))
                (then (call $answer (local.get $out) (i32.const 200) (i32.load (i32.const 280)) (i32.load (i32.const 284))))
                (else (call $answer (local.get $out) (i32.const 404) @"none")))))"#,
    )
}

#[tokio::test]
async fn records_are_answered_at_the_edge_until_they_are_written() {
    let mut shop = Shop::new(&[("peek", peek())]).await;
    for _ in 0..3 {
        let answer = shop.edge.get("/peek").await;
        assert!(answer.body == "9" && !answer.is_hit(), "{answer:?}");
    }
    assert_eq!(shop.asked(), 1);

    shop.holds("core.1=2", None, None);
    shop.feed.say(&stock_changed(2));
    shop.at("core.1=2").await;
    for _ in 0..3 {
        assert_eq!(shop.edge.get("/peek").await.body, "none");
    }
    assert_eq!(shop.asked(), 1, "that there is none is kept too");

    // A core that has not got as far as this PoP: what it says is not kept.
    shop.holds("core.1=2", Some("8"), None);
    shop.feed.say(&stock_changed(3));
    shop.at("core.1=3").await;
    for _ in 0..2 {
        assert_eq!(shop.edge.get("/peek").await.body, "8");
    }
    assert_eq!(shop.asked(), 2);

    shop.holds("core.1=3", Some("7"), None);
    for _ in 0..2 {
        assert_eq!(shop.edge.get("/peek").await.body, "7");
    }
    assert_eq!(shop.asked(), 1);
    let purge = ChangeKind::Purge(Purge {
        id: "P".into(),
        tenant: default_tenant(),
        selectors: vec![Selector::Everything],
        soft: false,
    });
    shop.holds("core.1=4", Some("6"), None);
    shop.feed.say(&change(4, purge));
    shop.at("core.1=4").await;
    assert_eq!(shop.edge.get("/peek").await.body, "6");
    assert_eq!(shop.asked(), 1);
    shop.stop().await;
}

#[tokio::test]
async fn a_record_with_a_lifetime_bounds_what_is_made_of_it() {
    let mut shop = Shop::new(&[("peek", peek()), ("reader", reader())]).await;
    shop.holds("core.1=1", Some("9"), Some(0));
    for _ in 0..2 {
        assert_eq!(shop.edge.get("/peek").await.body, "9");
        let answer = shop.edge.get("/reader").await;
        assert!(answer.body == "9" && !answer.is_hit(), "{answer:?}");
    }
    assert_eq!(shop.asked(), 4);
    shop.holds("core.1=1", Some("9"), Some(30_500));
    shop.edge.get("/peek").await;
    let answer = shop.edge.get("/reader").await;
    let ttl = answer.field("cache-status").split("ttl=").nth(1).unwrap();
    let ttl: u64 = ttl.split(';').next().unwrap().parse().unwrap();
    assert!(ttl <= 30, "{answer:?}");
    assert!(shop.edge.get("/reader").await.is_hit());
    assert_eq!(shop.asked(), 1, "both read the same record");
    shop.stop().await;
}

#[tokio::test]
async fn an_answer_made_without_what_was_asked_for_is_not_stored() {
    // It answers 200 whatever it read.
    let brave = guest::module(
        r#"(call $cache_lifetime (i32.const 60))
        (call $records_get @"stock" @"ams" @"sku-1" (i32.const 256))
        (call $answer (local.get $out) (i32.const 200) @"brave")"#,
    );
    let shop = Shop::new(&[("brave", brave)]).await;
    let refused = RecordsAnswer {
        position: "core.1=1".parse().unwrap(),
        outcome: Err(RecordError::Unavailable("busy".into())),
    };
    for reply in [
        Reply::message(&refused),
        Reply::Status(503, "{}"),
        Reply::Broken,
    ] {
        shop.core.set(path::RECORDS, reply);
        for _ in 0..2 {
            let answer = shop.edge.get("/brave").await;
            assert!(answer.body == "brave" && !answer.is_hit(), "{answer:?}");
        }
    }
    shop.holds("core.1=1", Some("9"), None);
    shop.edge.get("/brave").await;
    assert!(shop.edge.get("/brave").await.is_hit());
    shop.stop().await;
}

/// Sends a request there, and answers with the status of the answer; where there is none with 500 and the number of the
/// error in `wasi:http`. Its answer is to be kept for a minute.
fn caller(authority: &str) -> Bytes {
    guest::module(&format!(
        r#"(local $sent i32) (local $future i32)
        {MINUTE}
        (local.set $sent (call $out_request_new (call $fields_new)))
        (drop (call $out_request_authority (local.get $sent) (i32.const 1) @"{authority}"))
        (drop (call $out_request_path (local.get $sent) (i32.const 1) @"/x?y"))
        (call $out_handle (local.get $sent) (i32.const 0) (i32.const 0) (i32.const 256))
        (if (i32.load8_u (i32.const 256)) (then (unreachable)))
        (local.set $future (i32.load (i32.const 264)))
        (call $poll_block (call $future_subscribe (local.get $future)))
        (call $future_get (local.get $future) (i32.const 320))
        (if (i32.load8_u (i32.const 336))
            (then (call $finish (call $respond (local.get $out) (i32.add (i32.const 500) (i32.load8_u (i32.const 344))))))
            (else (call $finish (call $respond (local.get $out) (call $incoming_status (i32.load (i32.const 344)))))))"#
    ))
}

const MINUTE: &str = "(call $cache_lifetime (i32.const 60))";

/// Calls the module; wants its own answer kept for a minute.
fn calls(name: &str) -> Bytes {
    caller(&format!("{name}.module.brink.internal"))
}

#[tokio::test]
async fn what_a_called_module_read_is_its_callers_too() {
    let mut shop = Shop::new(&[
        ("outer", calls("middle")),
        ("middle", calls("reader")),
        ("reader", reader()),
    ])
    .await;
    let first = shop.edge.get("/outer").await;
    assert!(first.status == 200 && !first.is_hit(), "{first:?}");
    assert_eq!(shop.asked(), 1);
    assert!(shop.edge.get("/outer").await.is_hit());

    shop.holds("core.1=2", None, None);
    shop.feed.say(&stock_changed(2));
    shop.at("core.1=2").await;
    let second = shop.edge.get("/outer").await;
    assert!(!second.is_hit(), "{second:?}");
    assert!(shop.edge.get("/outer").await.is_hit());

    // A new version of what was called.
    shop.feed.say(&deployed(3, 1, "reader"));
    shop.at("core.1=3").await;
    shop.holds("core.1=3", Some("9"), None);
    assert!(!shop.edge.get("/outer").await.is_hit());
    shop.stop().await;
}

#[tokio::test]
async fn what_a_called_module_says_of_its_answer_holds_for_its_callers_too() {
    let answer = r#"(call $answer (local.get $out) (i32.const 200) @"inner")"#;
    let inner = |before: &str| guest::module(&format!("{before} {answer}"));
    let modules = [
        ("short", inner("(call $cache_lifetime (i32.const 5))")),
        ("never", inner("(call $cache_no_store)")),
        ("own", inner("(call $subject (i32.const 256))")),
        ("plain", inner("")),
    ];
    let tagged = guest::component(
        "module",
        r#"(func (export "wasi:http/incoming-handler@0.2.10#handle") (param $request i32) (param $out i32)
            (call $write_name @"blue")
            (call $cache_tag (i32.const 512) (i32.const 1) (i32.const 256))
            (call $answer (local.get $out) (i32.const 200) @"inner"))
        (func $write_name (param $at i32) (param $length i32)
            (i32.store (i32.const 512) (local.get $at)) (i32.store (i32.const 516) (local.get $length)))"#,
    );
    let mut all: Vec<(&str, Bytes)> = modules.into_iter().collect();
    all.push(("tagged", tagged));
    let outer: Vec<(String, Bytes)> = all
        .iter()
        .map(|(name, _)| (format!("to-{name}"), calls(name)))
        .collect();
    all.extend(outer.iter().map(|(name, c)| (name.as_str(), c.clone())));
    let shop = Shop::new(&all).await;
    for (path, ttl, detail) in [
        ("/to-short", "ttl=5", ""),
        ("/to-never", "", "detail=handler-no-store"),
        ("/to-own", "", "detail=private"),
        ("/to-plain", "ttl=60", ""),
        ("/to-tagged", "ttl=60", ""),
    ] {
        let answer = shop.edge.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let status = answer.field("cache-status").to_owned();
        assert!(
            status.contains(ttl) && status.contains(detail),
            "{path}: {status}"
        );
        assert_eq!(
            shop.edge.get(path).await.is_hit(),
            detail.is_empty(),
            "{path}"
        );
    }
    let purge = ChangeKind::Purge(Purge {
        id: "P".into(),
        tenant: default_tenant(),
        selectors: vec![Selector::Key("blue".parse().unwrap())],
        soft: false,
    });
    shop.feed.say(&change(2, purge));
    shop.at("core.1=2").await;
    assert!(!shop.edge.get("/to-tagged").await.is_hit());
    assert!(shop.edge.get("/to-plain").await.is_hit());
    shop.stop().await;
}

#[tokio::test]
async fn what_a_command_makes_of_its_caller_is_the_callers_own() {
    let calls = guest::module(&format!(
        r#"{MINUTE} (call $commands_execute @"greet" @"people" @"p" @"" (i32.const 0) (i32.const 0) (i32.const 0)
            (i32.const 256))
        (call $answer (local.get $out) (i32.const 200) @"hello")"#
    ));
    let shop = Shop::new(&[("calls", calls)]).await;
    for asked_for_caller in [true, false] {
        let answer = CommandAnswer {
            position: "core.1=1".parse().unwrap(),
            asked_for_caller,
            outcome: Ok(Bytes::from_static(b"hello ann")),
        };
        shop.core.set(path::COMMANDS, Reply::message(&answer));
        let first = shop.edge.get("/calls").await;
        let status = first.field("cache-status").to_owned();
        assert_eq!(
            status.contains("detail=private"),
            asked_for_caller,
            "{status}"
        );
        assert_eq!(shop.edge.get("/calls").await.is_hit(), !asked_for_caller);
    }
    shop.stop().await;
}

/// Numbers of `error-code` in wasi:http, as the caller answers them.
const NOT_FOUND: u16 = 500 + 2;
const LOOP: u16 = 500 + 36;

#[tokio::test]
async fn calls_that_lead_nowhere_end() {
    let traps = guest::module("(unreachable)");
    let plugin = guest::plugin("", "");
    let modules = [
        ("to-none", calls("none")),
        ("to-plugin", calls("p0")),
        ("to-itself", calls("to-itself")),
        ("to-bad", calls("not_a_name")),
        ("to-traps", calls("traps")),
        ("to-private", caller("10.0.0.1")),
        ("traps", traps),
    ];
    let shop = Shop::with(&modules, &[plugin]).await;
    for (path, status) in [
        ("/to-none", NOT_FOUND),
        ("/to-plugin", NOT_FOUND),
        ("/to-bad", NOT_FOUND),
        ("/to-itself", LOOP),
        ("/to-traps", 500),
    ] {
        for _ in 0..2 {
            let answer = shop.edge.get(path).await;
            assert_eq!(answer.status.as_u16(), status, "{path}: {answer:?}");
            assert!(!answer.is_hit(), "{path}: {answer:?}");
        }
    }
    // `HTTP-request-denied`: there is no grant for other hosts.
    assert_eq!(shop.edge.get("/to-private").await.status.as_u16(), 515);
    shop.stop().await;
}

/// Does this with the fields of its request, and answers for a minute.
fn looks(body: &str) -> Bytes {
    guest::module(&format!(
        r#"(local $fields i32) {MINUTE}
        (local.set $fields (call $request_headers (local.get $request)))
        {body}
        (call $answer (local.get $out) (i32.const 200) @"hello")"#
    ))
}

const GETS_COOKIE: &str = r#"(call $fields_get (local.get $fields) @"cookie" (i32.const 256))"#;

#[tokio::test]
async fn only_what_a_module_looks_at_makes_its_answer_the_callers_own() {
    let modules = [
        ("blind", looks("")),
        (
            "other",
            looks(r#"(call $fields_get (local.get $fields) @"accept" (i32.const 256))"#),
        ),
        ("cookie", looks(GETS_COOKIE)),
        (
            "all",
            looks("(call $fields_entries (local.get $fields) (i32.const 256))"),
        ),
    ];
    let shop = Shop::new(&modules).await;
    let mine = [("cookie", "session=me")];
    let yours = [("cookie", "session=you")];
    for path in ["/blind", "/other"] {
        assert!(!shop.get(path, &mine).await.is_hit(), "{path}");
        // The analytics cookie of another caller, or none, changes nothing.
        for fields in [&mine[..], &yours, &[]] {
            let answer = shop.get(path, fields).await;
            assert!(answer.is_hit(), "{path} {fields:?}: {answer:?}");
            assert_eq!(answer.field("vary"), "", "{path}");
        }
    }
    for path in ["/cookie", "/all"] {
        for fields in [&mine, &yours, &mine] {
            let answer = shop.get(path, fields).await;
            let status = answer.field("cache-status");
            assert!(status.contains("detail=private"), "{path}: {status}");
        }
        // Those who have none share an answer among themselves, and with nobody else.
        assert!(!shop.get(path, &[]).await.is_hit(), "{path}");
        let answer = shop.get(path, &[]).await;
        assert!(answer.is_hit(), "{path}: {answer:?}");
        let vary: Vec<_> = answer.headers.get_all("vary").iter().collect();
        let expected = if path == "/all" {
            vec!["authorization", "cookie"]
        } else {
            vec!["cookie"]
        };
        assert_eq!(vary, expected, "{path}");
        assert!(!shop.get(path, &mine).await.is_hit(), "{path}");
        assert!(shop.get(path, &[]).await.is_hit(), "{path}");
    }
    let token = [("authorization", "Bearer x")];
    assert!(!shop.get("/all", &token).await.is_hit());
    assert!(!shop.get("/all", &token).await.is_hit());
    shop.stop().await;
}

#[tokio::test]
async fn credentials_that_are_handed_on_were_looked_at() {
    // The whole of the client's fields go to the module that is called, which looks; its caller does not.
    let hands_on = guest::module(&format!(
        r#"(local $sent i32) (local $future i32) {MINUTE}
        (local.set $sent (call $out_request_new (call $request_headers (local.get $request))))
        (drop (call $out_request_authority (local.get $sent) (i32.const 1) @"looks.module.brink.internal"))
        (drop (call $out_request_path (local.get $sent) (i32.const 1) @"/"))
        (call $out_handle (local.get $sent) (i32.const 0) (i32.const 0) (i32.const 256))
        (local.set $future (i32.load (i32.const 264)))
        (call $poll_block (call $future_subscribe (local.get $future)))
        (call $answer (local.get $out) (i32.const 200) @"hello")"#
    ));
    // None of them goes on: what the called module looks for is its caller's own matter.
    let keeps = caller("looks.module.brink.internal");
    let shop = Shop::new(&[
        ("on", hands_on),
        ("keeps", keeps),
        ("looks", looks(GETS_COOKIE)),
    ])
    .await;
    let mine = [("cookie", "session=me")];
    for _ in 0..2 {
        let answer = shop.get("/on", &mine).await;
        let status = answer.field("cache-status");
        assert!(status.contains("detail=private"), "{answer:?}");
    }
    assert!(!shop.get("/on", &[]).await.is_hit());
    assert!(shop.get("/on", &[]).await.is_hit());
    assert!(!shop.get("/keeps", &mine).await.is_hit());
    assert!(shop.get("/keeps", &mine).await.is_hit());
    shop.stop().await;
}

/// A plugin that reads stock/ams/sku-1 and answers 401 itself while it is there.
const GUARDS: &str = r#"(call $records_get @"stock" @"ams" @"sku-1" (i32.const 512))
    (if (i32.load8_u (i32.const 520)) (then
        (i32.store8 (i32.const 256) (i32.const 2))
        (i32.store16 (i32.const 260) (i32.const 401))))"#;

#[tokio::test]
async fn what_plugins_read_decides_anew_for_each_request() {
    let hello = text("hello");
    let mut shop = Shop::with(&[("hello", hello)], &[guest::plugin(GUARDS, "")]).await;
    for _ in 0..3 {
        assert_eq!(shop.edge.get("/hello").await.status, 401);
    }
    assert_eq!(shop.asked(), 1, "the record is kept here");
    shop.holds("core.1=2", None, None);
    shop.feed.say(&stock_changed(2));
    shop.at("core.1=2").await;
    // The 401 was never stored.
    let answer = shop.edge.get("/hello").await;
    assert!(answer.status == 200 && !answer.is_hit(), "{answer:?}");
    assert!(shop.edge.get("/hello").await.is_hit());
    shop.holds("core.1=3", Some("9"), None);
    shop.feed.say(&stock_changed(3));
    shop.at("core.1=3").await;
    // What is stored is guarded still.
    assert_eq!(shop.edge.get("/hello").await.status, 401);
    shop.stop().await;
}
