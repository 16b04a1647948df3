//! Session tokens: who carries one back never sees an older state.

use crate::{
    deployments::{change, deployment, entry, reader, route, running, stock_changed, writer},
    harness::{Answer, Edge, eventually, within},
    scripted::{Asked, Core, Offers, Reply},
};
use brink_protocol::{
    Position,
    change::ChangeKind,
    codec,
    deployment::{DeploymentTable, Route, World, default_tenant},
    link::{FeedMessage, RecordOperation, RecordOutcome, RecordsAnswer, RecordsRequest, path},
    purge::{Purge, Selector},
    session::{SIGNING_MS, SessionKey, SessionKeys},
};
use std::time::SystemTime;
use tempfile::TempDir;

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap().as_millis()).unwrap()
}

pub(crate) fn key(id: u64) -> SessionKey {
    SessionKey {
        id,
        secret: [u8::try_from(id % 251).unwrap(); 32],
        from_ms: now_ms() - SIGNING_MS / 2,
    }
}

pub(crate) fn keys() -> SessionKeys {
    SessionKeys::new(vec![key(4), key(5)]).unwrap()
}

pub(crate) fn token(id: u64, position: &str) -> String {
    let keys = SessionKeys::new(vec![key(id)]).unwrap();
    keys.sign(&position.parse().unwrap(), now_ms()).unwrap()
}

fn said(answer: &Answer) -> Position {
    let token = answer.field("brink-session");
    keys().verify(token, now_ms()).unwrap()
}

fn written(position: &str) -> RecordsAnswer {
    RecordsAnswer {
        position: position.parse().unwrap(),
        outcome: Ok(RecordOutcome::Written(2)),
    }
}

struct Shop {
    core: Core,
    edge: Edge,
    feed: Asked,
    _data: TempDir,
}

impl Shop {
    /// A PoP at core.1=1 with a stored answer of `/reader`.
    async fn open(knows_keys: bool) -> Self {
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
                Route {
                    session_cookie: true,
                    ..route("/browser", "writer", &[])
                },
            ],
        };
        core.deploy(&table, &[&reader, &writer]);
        core.set(path::RECORDS, Reply::message(&entry("9")));
        let (edge, feed) = running(&mut core, data.path(), &table).await;
        if knows_keys {
            feed.say(&FeedMessage::SessionKeys(vec![key(5), key(4)]));
            let status = edge.until(|status| status["session_keys"] == 2).await;
            assert!(!status.to_string().contains("secret"));
        }
        let shop = Self {
            core,
            edge,
            feed,
            _data: data,
        };
        assert_eq!(shop.edge.get("/reader").await.body, "9");
        shop
    }

    async fn read(&self, fields: &[(&str, &str)]) -> Answer {
        self.edge.send("GET", "/reader", fields).await
    }

    async fn close(self) {
        self.edge.stop().await;
        self.core.stop().await;
    }
}

#[tokio::test]
async fn a_token_of_a_write_that_was_not_applied_here_is_never_answered_with_less() {
    let mut shop = Shop::open(true).await;
    shop.core
        .set(path::RECORDS, Reply::message(&written("core.1=2")));
    // Nobody tells this PoP of the change: the write is answered all the same.
    let answer = shop.edge.send("POST", "/writer", &[]).await;
    assert_eq!(answer.status, 201);
    assert_eq!(said(&answer).to_string(), "core.1=2");
    assert_eq!(answer.field("set-cookie"), "");
    let token = answer.field("brink-session").to_owned();
    let carried = [("brink-session", &*token)];
    let cookie = format!("a=1; brink-session={token}");

    // Without it the old state is served, and with it never, whatever happens to the core.
    assert!(shop.read(&[]).await.is_hit());
    shop.core.set(path::RECORDS, Reply::Status(503, "{}"));
    let away = shop.read(&carried).await;
    assert_eq!(
        (away.status.as_u16(), &*away.body),
        (503, "away"),
        "{away:?}"
    );
    while shop.core.questions.try_recv().is_ok() {}
    let mut newer = entry("7");
    newer.position = "core.1=2".parse().unwrap();
    shop.core.set(path::RECORDS, Reply::message(&newer));
    let after = shop.read(&carried).await;
    assert!(!after.is_hit() && after.body == "7", "{after:?}");
    let asked = eventually(async || {
        let (path, body) = shop.core.questions.recv().await.unwrap();
        let request =
            (path == path::RECORDS).then(|| codec::decode::<RecordsRequest>(&body).unwrap())?;
        (request.tenant == default_tenant()).then_some(request)
    });
    let asked = asked.await;
    assert!(matches!(asked.operation, RecordOperation::Get(_)));
    assert!(
        asked.at_least.covers(&"core.1=2".parse().unwrap()),
        "{:?}",
        asked.at_least
    );
    let after = shop.read(&[("cookie", &cookie)]).await;
    assert_eq!(after.body, "7", "{after:?}");

    // Once the change is applied, what is stored serves it too; the cookie makes no difference to what is stored.
    shop.feed.say(&stock_changed(2));
    shop.edge
        .until(|status| status["position"] == "core.1=2")
        .await;
    assert_eq!(shop.read(&[]).await.body, "7");
    assert!(shop.read(&carried).await.is_hit());
    let only = format!("brink-session={token}");
    let hit = shop.read(&[("cookie", &only)]).await;
    assert!(hit.is_hit() && hit.body == "7", "{hit:?}");
    shop.close().await;
}

#[tokio::test]
async fn tokens_that_cannot_be_used_do_what_they_should() {
    let shop = Shop::open(true).await;
    let good = token(5, "core.1=1");
    let mut forged = good.clone();
    forged.replace_range(20..21, if &good[20..21] == "A" { "B" } else { "A" });
    let (ended, ahead) = (token(3, "core.1=9"), token(6, "core.1=9"));
    for (fields, status, is_hit, ends_cookie) in [
        (vec![], 200, true, false),
        (vec![("brink-session", good.clone())], 200, true, false),
        (vec![("brink-session", forged.clone())], 400, false, false),
        (
            vec![("brink-session", "core.1=1".into())],
            400,
            false,
            false,
        ),
        (
            vec![
                ("brink-session", good.clone()),
                ("brink-session", good.clone()),
            ],
            400,
            false,
            false,
        ),
        (vec![("brink-session", ended.clone())], 200, true, false),
        (vec![("brink-session", ahead.clone())], 200, false, false),
        (
            vec![("cookie", format!("brink-session={good}"))],
            200,
            true,
            false,
        ),
        (
            vec![("cookie", format!("brink-session={forged}"))],
            200,
            true,
            true,
        ),
        (
            vec![("cookie", format!("brink-session={ended}"))],
            200,
            true,
            false,
        ),
        (
            vec![("cookie", format!("brink-session={ahead}"))],
            200,
            false,
            false,
        ),
        // Unsigned positions are not read from clients any more.
        (
            vec![("brink-position", "core.1=9".into())],
            200,
            true,
            false,
        ),
    ] {
        let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, &**v)).collect();
        let answer = shop.read(&fields).await;
        assert_eq!(answer.status.as_u16(), status, "{fields:?}: {answer:?}");
        assert_eq!(answer.is_hit(), is_hit, "{fields:?}: {answer:?}");
        let ended = answer.field("set-cookie").starts_with("brink-session=;");
        assert_eq!(ended, ends_cookie, "{fields:?}: {answer:?}");
        if status == 400 {
            assert!(answer.body.contains("session-invalid") && answer.body.contains("drop it"));
        }
    }
    shop.close().await;
}

#[tokio::test]
async fn a_new_token_says_what_the_old_one_said_too() {
    let shop = Shop::open(true).await;
    shop.core
        .set(path::RECORDS, Reply::message(&written("core.1=1")));
    let carried = token(4, "peer.3=8");
    let fields = [("cookie", &*format!("brink-session={carried}"))];
    let answer = shop.edge.send("POST", "/browser", &fields).await;
    assert_eq!(said(&answer).to_string(), "core.1=1,peer.3=8");
    let cookie = format!(
        "brink-session={}; Path=/; HttpOnly; SameSite=Lax; Max-Age=86400",
        answer.field("brink-session")
    );
    assert_eq!(answer.field("set-cookie"), cookie);
    // One that cannot be read is replaced by what this PoP knows: nothing of it is younger than the lease.
    let ahead = token(6, "core.1=9");
    let answer = shop
        .edge
        .send("POST", "/writer", &[("brink-session", &ahead)])
        .await;
    assert_eq!(said(&answer).to_string(), "core.1=1");
    // A made-up cookie is replaced, not ended.
    let fields = [("cookie", "brink-session=made-up")];
    let answer = shop.edge.send("POST", "/browser", &fields).await;
    assert!(
        answer.field("set-cookie").contains("Max-Age=86400"),
        "{answer:?}"
    );
    // Who only reads gets none.
    assert_eq!(shop.read(&[]).await.field("brink-session"), "");
    shop.close().await;
}

#[tokio::test]
async fn until_keys_come_tokens_are_taken_at_their_worst() {
    let shop = Shop::open(false).await;
    let good = token(5, "core.1=1");
    assert!(shop.read(&[]).await.is_hit());
    for _ in 0..2 {
        let answer = shop.read(&[("brink-session", &good)]).await;
        assert!(answer.status == 200 && !answer.is_hit(), "{answer:?}");
    }
    // An answer to a write waits for a key to sign its token with.
    shop.core
        .set(path::RECORDS, Reply::message(&written("core.1=1")));
    let keys_come = async {
        shop.feed
            .say(&FeedMessage::SessionKeys(vec![key(4), key(5)]));
    };
    let writing = shop.edge.send("POST", "/writer", &[]);
    let (answer, ()) = within(async { tokio::join!(writing, keys_come) }).await;
    assert_eq!(said(&answer).to_string(), "core.1=1");
    assert!(shop.read(&[("brink-session", &good)]).await.is_hit());
    shop.close().await;
}

#[tokio::test]
async fn answers_say_what_this_pop_knew_when_they_are_asked_to() {
    let shop = Shop::open(true).await;
    let asks = [("brink-coherence", "?1")];
    let hit = shop.read(&asks).await;
    let field = hit.field("brink-coherence");
    assert!(hit.is_hit(), "{hit:?}");
    let (position, rest) = field.split_once(", bound=").unwrap();
    assert_eq!(position, r#"position="core.1=1""#);
    let (bound, stored) = rest.split_once(", ").unwrap();
    assert!(bound.parse::<u64>().unwrap() < 60_000, "{field}");
    assert_eq!(stored, r#"stored="core.1=1""#);
    assert_eq!(shop.read(&[]).await.field("brink-coherence"), "");
    // What was stored before a change that does not touch it is as good after it.
    let purge = Purge {
        id: "01P".into(),
        tenant: default_tenant(),
        selectors: vec![Selector::Host("other.example".into())],
        soft: false,
    };
    shop.feed.say(&change(2, ChangeKind::Purge(purge)));
    shop.edge
        .until(|status| status["position"] == "core.1=2")
        .await;
    let hit = shop.read(&asks).await;
    let field = hit.field("brink-coherence");
    assert!(
        field.starts_with(r#"position="core.1=2", bound="#),
        "{field}"
    );
    assert!(field.ends_with(r#", stored="core.1=1""#), "{field}");
    shop.close().await;
}
