//! The lease is made of answered reports, and of nothing else.

use crate::{
    deployments::{deployed, deployment, entry, reader, route, running, text},
    harness::{Edge, eventually, start},
    scripted::{Answers, Asked, Core, Offers, Reply},
};
use brink_protocol::{
    deployment::{DeploymentTable, Route, WhenDisconnected, World},
    link::{FeedMessage, path},
};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const LEASE_MS: u64 = 400;

/// A PoP whose `/shop` is stored, and fails when nothing may be called fresh.
async fn shop(core: &mut Core, data: &std::path::Path) -> (Edge, Asked) {
    let shop = text("shop");
    let table = DeploymentTable {
        revision: 1,
        deployments: vec![deployment("shop", &shop, World::Module)],
        routes: vec![Route {
            when_disconnected: WhenDisconnected::Fail,
            ..route("/shop", "shop", &[])
        }],
    };
    core.deploy(&table, &[&shop]);
    let (edge, feed) = running(core, data, &table).await;
    assert_eq!(edge.get("/shop").await.status, 200);
    assert!(edge.get("/shop").await.is_hit());
    drop(feed);
    let feed = core.feed().await;
    feed.start_with_lease("core.1=1", LEASE_MS, 1);
    edge.until(|status| status["lease"]["length_ms"] == LEASE_MS)
        .await;
    (edge, feed)
}

async fn until_status(edge: &Edge, status: u16) {
    eventually(async || (edge.get("/shop").await.status == status).then_some(())).await;
}

/// Changes that come one after the other, until `stop`.
async fn trickle(feed: Asked, stop: CancellationToken) -> Asked {
    for sequence in 2.. {
        if stop.is_cancelled() {
            break;
        }
        feed.say(&deployed(sequence, 1, "other"));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    feed
}

#[tokio::test]
async fn a_feed_that_trickles_what_is_old_keeps_nothing_fresh() {
    let mut core = Core::start(Offers::Both).await;
    let data = tempfile::tempdir().unwrap();
    let (edge, feed) = shop(&mut core, data.path()).await;
    until_status(&edge, 200).await;
    let before = edge.status().await["lease"]["expiries"].as_u64().unwrap();
    let stop = CancellationToken::new();
    let trickling = tokio::spawn(trickle(feed, stop.clone()));
    // The log is far ahead of what the feed brings: each answer to a report says so.
    let ahead = CancellationToken::new();
    let (core, token) = (std::sync::Arc::new(core), ahead.clone());
    let setting = std::sync::Arc::clone(&core);
    let setting = tokio::spawn(async move {
        while !token.is_cancelled() {
            setting.set_head("core.1=1000000");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    until_status(&edge, 503).await;
    let status = edge
        .until(|status| status["lease"]["expiries"].as_u64().unwrap() > before)
        .await;
    assert_eq!(status["lease"]["holds"], false, "{status}");
    assert_eq!(status["core"]["feed_is_live"], true, "{status}");
    // The feed catches up.
    ahead.cancel();
    setting.await.unwrap();
    stop.cancel();
    let feed = trickling.await.unwrap();
    let head = edge.status().await["position"].as_str().unwrap().parse();
    feed.say(&FeedMessage::Heartbeat {
        head: head.unwrap(),
    });
    until_status(&edge, 200).await;
    edge.stop().await;
    std::sync::Arc::into_inner(core).unwrap().stop().await;
}

#[tokio::test]
async fn heartbeats_and_old_knowledge_vouch_for_nothing() {
    let mut core = Core::start(Offers::Both).await;
    let data = tempfile::tempdir().unwrap();
    let (edge, feed) = shop(&mut core, data.path()).await;
    for answers in [
        Answers::Problem,
        // The core has not heard of another core for longer than the lease.
        Answers::Head {
            age_ms: LEASE_MS + 1,
        },
    ] {
        core.answer_reports(Answers::Head { age_ms: 0 });
        until_status(&edge, 200).await;
        core.answer_reports(answers);
        let beating = async {
            loop {
                feed.say(&FeedMessage::Heartbeat {
                    head: "core.1=1".parse().unwrap(),
                });
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            () = until_status(&edge, 503) => {}
            () = beating => {}
        }
    }
    // A silent feed with answered reports is as good as a talking one: nothing has happened.
    core.answer_reports(Answers::Head { age_ms: 0 });
    until_status(&edge, 200).await;
    let report = core
        .report(|report| report.figures.lease_expiries >= 2)
        .await;
    assert!(report.figures.round_trip_us > 0);
    edge.stop().await;
    core.stop().await;
}

#[tokio::test]
async fn slow_questions_do_not_hold_reports_up() {
    let mut core = Core::start(Offers::Both).await;
    let data = tempfile::tempdir().unwrap();
    let reader = reader();
    let table = DeploymentTable {
        revision: 1,
        deployments: vec![deployment("reader", &reader, World::Module)],
        routes: vec![route("/reader", "reader", &[])],
    };
    core.deploy(&table, &[&reader]);
    core.set(path::RECORDS, Reply::message(&entry("9")));
    let mut settings = core.settings(data.path());
    settings.core.as_mut().unwrap().requests_max = 1;
    let edge = start(settings, async |_| {}).await;
    let feed = core.feed().await;
    feed.start("core.1=1", false, 1);
    edge.until(|status| status["revision"]["active"] == 1).await;
    core.set(path::RECORDS, Reply::Silent);
    let answered = {
        let reporting = async {
            // The question has taken the only place at the link, when the second pair comes.
            for _ in 0..2 {
                core.report(|_| true).await;
            }
            while core.reports.try_recv().is_ok() {}
            for _ in 0..2 {
                core.report(|_| true).await;
            }
        };
        let mut waiting = std::pin::pin!(edge.get("/reader"));
        tokio::select! {
            answer = &mut waiting => panic!("no report came before {answer:?}"),
            () = reporting => {}
        }
        waiting.await
    };
    assert_eq!(answered.status, 503);
    edge.stop().await;
    core.stop().await;
}

#[tokio::test]
async fn a_feed_that_does_not_resume_is_told() {
    let mut core = Core::start(Offers::Both).await;
    let data = tempfile::tempdir().unwrap();
    let (edge, feed) = shop(&mut core, data.path()).await;
    drop(feed);
    let feed = core.feed().await;
    feed.start("core.2=5", false, 1);
    edge.until(|status| status["position"] == "core.2=5").await;
    let report = core.report(|report| report.figures.feed_resets > 0).await;
    assert_eq!(report.position.to_string(), "core.2=5");
    let answer = edge.get("/shop").await;
    assert!(answer.status == 200 && !answer.is_hit(), "{answer:?}");
    edge.stop().await;
    core.stop().await;
}
