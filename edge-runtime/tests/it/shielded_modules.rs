//! Modules that run at a shield.

use crate::{
    deployments::{entry, reader, route, stock_changed, writer},
    harness::{Answer, Edge, within},
    scripted::Reply,
    sessions::{key, keys, token},
    shields::{World, a_second_passes, applied},
};
use brink_protocol::{
    caching::RouteCache,
    deployment::Route,
    link::{FeedMessage, RecordOutcome, RecordsAnswer, path},
    record::Entry,
};
use bytes::Bytes;

async fn world() -> World {
    let by_shield = |path: &str, module: &str| Route {
        cache: RouteCache {
            shield: true,
            ..RouteCache::default()
        },
        ..route(path, module, &[])
    };
    let routes = vec![
        by_shield("/reader", "reader"),
        by_shield("/writer", "writer"),
        route("/here", "reader", &[]),
    ];
    let world = World::with(routes, &[("reader", reader()), ("writer", writer())]).await;
    world.core.set(path::RECORDS, Reply::message(&entry("9")));
    world
}

fn holds(world: &World, position: &str, value: &'static str) {
    let entry = Entry {
        sort: "sku-1".into(),
        value: Bytes::from_static(value.as_bytes()),
        version: 1,
        lifetime_ms: None,
    };
    let answer = RecordsAnswer {
        position: position.parse().unwrap(),
        outcome: Ok(RecordOutcome::Entries(vec![Some(entry)])),
    };
    world.core.set(path::RECORDS, Reply::message(&answer));
}

async fn get(edge: &Edge, path: &str, fields: &[(&str, &str)]) -> Answer {
    let fields: Vec<_> = [("host", "www.example")]
        .iter()
        .chain(fields)
        .copied()
        .collect();
    within(edge.send("GET", path, &fields)).await
}

#[tokio::test]
async fn a_module_runs_once_for_many_pops_and_a_write_ends_what_all_of_them_keep() {
    let mut world = world().await;
    let (ams, ams_feed) = world.pop("ams").await;
    let (sfo, sfo_feed) = world.pop("sfo").await;
    a_second_passes().await;
    for (edge, of_shield) in [(&ams, "brink-fra; fwd=uri-miss"), (&sfo, "brink-fra; hit")] {
        let answer = get(edge, "/reader", &[]).await;
        assert_eq!(answer.body, "9", "{answer:?}");
        let status = answer.field("cache-status");
        assert!(
            status.starts_with(of_shield) && status.contains("stored"),
            "{status}"
        );
        assert!(get(edge, "/reader", &[]).await.is_hit());
        // Where the route does not say so, it runs here.
        let here = get(edge, "/here", &[]).await;
        assert!(!here.field("cache-status").contains("fra"), "{here:?}");
    }
    // One of the PoPs hears of a write first, then the other; the shield at last.
    holds(&world, "core.1=2", "8");
    for (edge, feed) in [(&ams, &ams_feed), (&sfo, &sfo_feed)] {
        feed.say(&stock_changed(2));
        applied(edge, "core.1=2").await;
        // The shield, which has not heard of it, reads for the one, and has it for the other.
        let answer = get(edge, "/reader", &[]).await;
        assert_eq!(answer.body, "8", "{answer:?}");
    }
    world.shield_hears(&stock_changed(2));
    applied(&world.shield.as_ref().unwrap().0, "core.1=2").await;
    for edge in [ams, sfo] {
        assert_eq!(get(&edge, "/reader", &[]).await.body, "8");
        edge.stop().await;
    }
}

#[tokio::test]
async fn sessions_go_along_and_what_was_written_comes_back() {
    let mut world = world().await;
    let (ams, feed) = world.pop("ams").await;
    feed.say(&FeedMessage::SessionKeys(vec![key(5), key(4)]));
    ams.until(|status| status["session_keys"] == 2).await;
    a_second_passes().await;
    assert_eq!(get(&ams, "/reader", &[]).await.body, "9");
    // Nobody has told this PoP or its shield of a write that the client knows of.
    holds(&world, "core.1=2", "8");
    let seen = token(5, "core.1=2");
    let answer = get(&ams, "/reader", &[("brink-session", &seen)]).await;
    assert_eq!(answer.body, "8", "{answer:?}");
    // A module that writes, for a GET even: its answer has the token of the write.
    let written = RecordsAnswer {
        position: "core.1=3".parse().unwrap(),
        outcome: Ok(RecordOutcome::Written(2)),
    };
    world.core.set(path::RECORDS, Reply::message(&written));
    let answer = get(&ams, "/writer", &[]).await;
    assert_eq!(answer.body, "written", "{answer:?}");
    let said = keys().verify(answer.field("brink-session"), crate::sessions::now_ms());
    assert_eq!(said.unwrap().to_string(), "core.1=3");
    ams.stop().await;
}

#[tokio::test]
async fn without_its_shield_a_pop_runs_modules_itself() {
    let mut world = world().await;
    let (ams, _feed) = world.pop("ams").await;
    let (shield, _) = world.shield.take().unwrap();
    shield.stop().await;
    let answer = get(&ams, "/reader", &[]).await;
    assert_eq!(answer.body, "9", "{answer:?}");
    assert!(!answer.field("cache-status").contains("fra"), "{answer:?}");
    assert!(get(&ams, "/reader", &[]).await.is_hit());
    ams.stop().await;
}
