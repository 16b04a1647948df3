//! `PURGE` at an edge: handed to the core, never done here.

use crate::{
    deployments::{ANSWERS, deployment, route, running, text},
    guest,
    scripted::{Core, Offers, Reply},
};
use brink_protocol::{
    codec,
    deployment::{DeploymentTable, World},
    link::{FeedMessage, ForwardedPurge, ForwardedPurgeAnswer, PurgeAnswer, PurgeRefusal, path},
    session::{SessionKey, SessionKeys},
};

fn done() -> ForwardedPurgeAnswer {
    Ok(PurgeAnswer {
        position: "core.1=1".parse().unwrap(),
        id: "01PURGE".into(),
    })
}

fn key() -> SessionKey {
    SessionKey {
        id: 1,
        secret: [3; 32],
        from_ms: 0,
    }
}

#[tokio::test]
async fn a_purge_is_handed_on_and_answered_as_the_core_says() {
    let mut core = Core::start(Offers::Both).await;
    let data = tempfile::tempdir().unwrap();
    let (shop, guard) = (text("shop"), guest::plugin(ANSWERS, ""));
    let table = DeploymentTable {
        revision: 1,
        deployments: vec![
            deployment("shop", &shop, World::Module),
            deployment("guard", &guard, World::Plugin),
        ],
        routes: vec![
            route("/shop", "shop", &[]),
            route("/guarded", "shop", &["guard"]),
        ],
    };
    core.deploy(&table, &[&shop, &guard]);
    let (edge, feed) = running(&mut core, data.path(), &table).await;
    feed.say(&FeedMessage::SessionKeys(vec![key()]));
    edge.until(|status| status["session_keys"] == 1).await;
    assert_eq!(edge.get("/shop").await.status, 200);
    core.set(path::FORWARDED_PURGES, Reply::message(&done()));
    let host = edge.url.strip_prefix("http://").unwrap().to_owned();

    let bearer = ("authorization", "Bearer s3cret");
    let soft = [
        ("fastly-key", "s3cret"),
        ("fastly-soft-purge", "1"),
        ("idempotency-key", "k"),
    ];
    for (path, fields, purge) in [
        ("/shop?a=%7e", &[bearer][..], ("/shop?a=%7e", false, None)),
        ("/no/route", &soft, ("/no/route", true, Some("k"))),
        // No plugin stands in its way, and none sees it.
        ("/guarded", &[bearer], ("/guarded", false, None)),
    ] {
        while core.questions.try_recv().is_ok() {}
        let answer = edge.send("PURGE", path, fields).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert_eq!(answer.body, r#"{"id":"01PURGE","status":"ok"}"#);
        assert_eq!(answer.field("content-type"), "application/json");
        assert!(!answer.field("x-request-id").is_empty());
        let keys = SessionKeys::new(vec![key()]).unwrap();
        let said = keys.verify(answer.field("brink-session"), 1).unwrap();
        assert_eq!(said.to_string(), "core.1=1");
        let asked = loop {
            let (path, body) = core.questions.recv().await.unwrap();
            if path == path::FORWARDED_PURGES {
                break codec::decode::<ForwardedPurge>(&body).unwrap();
            }
        };
        let ForwardedPurge {
            token,
            host: asked_host,
            path_and_query,
            soft,
            idempotency_key,
        } = asked;
        assert_eq!((&*token, &*asked_host), ("s3cret", &*host));
        assert_eq!((&*path_and_query, soft, idempotency_key.as_deref()), purge);
    }
    // Nothing was purged here: the core has not said so.
    assert!(edge.get("/shop").await.is_hit());

    let refused = |refusal| Reply::message(&ForwardedPurgeAnswer::Err(refusal));
    for (reply, fields, status) in [
        (Reply::message(&done()), &[][..], 401),
        (
            Reply::message(&done()),
            &[("authorization", "Basic eDp5")],
            401,
        ),
        (refused(PurgeRefusal::Unauthenticated), &[bearer], 401),
        (
            refused(PurgeRefusal::Denied("not yours".into())),
            &[bearer],
            403,
        ),
        (refused(PurgeRefusal::Invalid("no".into())), &[bearer], 400),
        (
            refused(PurgeRefusal::Limited("later".into())),
            &[bearer],
            429,
        ),
        (Reply::Status(500, "{}"), &[bearer], 503),
        (Reply::Bytes("garbage".into()), &[bearer], 503),
        (Reply::Silent, &[bearer], 503),
    ] {
        core.set(path::FORWARDED_PURGES, reply);
        let answer = edge.send("PURGE", "/shop", fields).await;
        assert_eq!(answer.status.as_u16(), status, "{answer:?}");
        let challenge = answer.field("www-authenticate");
        assert_eq!(challenge, if status == 401 { "Bearer" } else { "" });
        assert_eq!(answer.field("content-type"), "application/problem+json");
        assert_eq!(answer.field("brink-session"), "");
        assert!(!answer.body.contains("s3cret"), "{}", answer.body);
    }
    let invalid = [bearer, ("brink-session", "made up")];
    assert_eq!(edge.send("PURGE", "/shop", &invalid).await.status, 400);
    core.stop().await;
    let answer = edge.send("PURGE", "/shop", &[bearer]).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.field("retry-after"), "1");
    edge.stop().await;
}
