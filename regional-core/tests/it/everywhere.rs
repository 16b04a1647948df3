//! Two cores: a purge is for the PoPs of both, and either says how far all of them are.

use crate::{
    client::{Control, FeedReader, Link},
    exchange::Pair,
    server::Server,
};
use brink_protocol::{
    PopName, Position,
    control::{Pop, PopAdmin, PurgeEstimate, PurgePage, PurgeStatus},
    link::{
        AppliedPurge, Counted, FeedMessage, FeedRequest, POP_ADMIN, Report, ReportAnswer, path,
    },
};
use serde_json::json;

/// A PoP's report that it has come as far as a position, and applied a purge.
async fn report(link: &Link, pop: &str, position: &Position, purge: Option<&str>) {
    let report = report_of(pop, position, purge);
    let _: ReportAnswer = link.call(path::REPORTS, &report).await;
}

fn report_of(pop: &str, position: &Position, purge: Option<&str>) -> Report {
    let applied = |id: &str| AppliedPurge {
        id: id.to_owned(),
        at_ms: 7,
        objects: 3,
    };
    Report {
        pop: pop.parse().unwrap(),
        position: position.clone(),
        revision: 0,
        purges: purge.map(applied).into_iter().collect(),
        counts: Vec::new(),
        canary: None,
        log_lines: Vec::new(),
        log_lines_dropped: 0,
        figures: Default::default(),
    }
}

async fn follow(link: &Link, pop: &str) -> FeedReader {
    let request = FeedRequest {
        pop: pop.parse().unwrap(),
        position: None,
    };
    let mut feed = link.feed(&request).await;
    assert!(matches!(feed.next().await, Some(FeedMessage::Start { .. })));
    feed
}

async fn purge(control: &Control) -> PurgeStatus {
    let body = json!({"keys": ["a"]});
    let answer = control.json("POST", "/v1/purges", body).await;
    answer.expect(202).parse()
}

/// Purges until the answer names as many PoPs that have to apply it: then the cores know each other's.
async fn purge_at(control: &Control, pops: usize) -> PurgeStatus {
    loop {
        let accepted = purge(control).await;
        if accepted.waiting.len() == pops && accepted.unreached.is_empty() {
            return accepted;
        }
    }
}

async fn waits(control: &Control, id: &str, until: &str, timeout: u64) -> PurgeStatus {
    let path = format!("/v1/purges/{id}?wait={until}&timeout={timeout}");
    control.get(&path).await.expect(200).parse()
}

/// Asks until the purge is known there.
async fn known(control: &Control, id: &str) -> PurgeStatus {
    loop {
        let answer = control.get(&format!("/v1/purges/{id}")).await;
        if answer.status == 200 {
            return answer.parse();
        }
    }
}

/// The PoPs of which a core tells, with their cores and whether they follow.
async fn told(control: &Control) -> Vec<String> {
    let pops: Vec<Pop> = control.get("/v1/pops").await.expect(200).parse();
    let told = |pop: &Pop| {
        let core = pop.core.as_ref().unwrap();
        format!("{} {core} {}", pop.name, pop.connected)
    };
    pops.iter().map(told).collect()
}

fn names(pops: &[PopName]) -> Vec<&str> {
    pops.iter().map(PopName::as_str).collect()
}

fn applied(status: &PurgeStatus) -> Vec<&str> {
    let mut names: Vec<_> = status.applied.iter().map(|at| at.pop.as_str()).collect();
    names.sort_unstable();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn either_core_proves_a_purge_at_the_pops_of_both() {
    let pair = Pair::start(5).await;
    let (here, there) = (pair.one.control(), pair.two.control());
    let ams = pair.link(1, &pair.pop("ams")).await;
    let sfo = pair.link(2, &pair.pop("sfo")).await;
    report(&ams, "ams", &Position::default(), None).await;
    report(&sfo, "sfo", &Position::default(), None).await;
    let accepted = purge_at(&here, 2).await;
    let (id, position) = (&accepted.id, &accepted.position);
    report(&ams, "ams", position, Some(id)).await;
    // What this core's own PoPs say is not all.
    let status = waits(&here, id, "all", 200).await;
    assert_eq!(
        (applied(&status), names(&status.waiting)),
        (vec!["ams"], vec!["sfo"])
    );
    assert_eq!(status.unreached, []);
    assert_eq!(status.unanswered[0].unreached_core, None);
    // The other core knows the purge, and waits for what only this one hears.
    let status = known(&there, id).await;
    assert_eq!(status.by, "core:core-1");
    assert_eq!(
        (applied(&status), names(&status.waiting)),
        (vec!["ams"], vec!["sfo"])
    );
    let quorum = waits(&there, id, "quorum", 200).await;
    assert_eq!(quorum.waiting.len(), 1, "one of two is no quorum");
    // Both hear of it at once, long before their time is over.
    let (one, two, named, ()) = tokio::join!(
        waits(&here, id, "all", 60_000),
        waits(&there, id, "all", 60_000),
        waits(&here, id, "pop:sfo", 60_000),
        report(&sfo, "sfo", position, Some(id)),
    );
    for status in [one, two, named] {
        assert_eq!(status.waiting, []);
        for at in &status.applied {
            assert_eq!((at.objects, at.applied_at_ms), (3, 7), "{at:?}");
        }
        assert_eq!(applied(&status), ["ams", "sfo"]);
    }
    // In its history, too; others are not asked for that.
    let page: PurgePage = there.get("/v1/purges").await.expect(200).parse();
    let listed = page.purges.iter().find(|purge| purge.id == *id).unwrap();
    assert_eq!(applied(listed), ["sfo"]);
    assert_eq!(listed.unreached[0].core.as_str(), "core-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pop_that_moved_counts_once() {
    let pair = Pair::start(6).await;
    let (here, there) = (pair.one.control(), pair.two.control());
    let lax = pair.pop("lax");
    report(&pair.link(2, &lax).await, "lax", &Position::default(), None).await;
    let accepted = purge_at(&here, 1).await;
    let link = pair.link(1, &lax).await;
    report(&link, "lax", &Position::default(), None).await;
    let status = waits(&here, &accepted.id, "all", 20).await;
    assert_eq!(names(&status.waiting), ["lax"]);
    report(&link, "lax", &accepted.position, None).await;
    known(&there, &accepted.id).await;
    for control in [&here, &there] {
        let status = waits(control, &accepted.id, "all", 60_000).await;
        assert_eq!(
            (applied(&status), status.waiting.len()),
            (vec!["lax"], 0),
            "{status:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_core_that_is_cut_off_knows_is_not_claimed() {
    let pair = Pair::start(7).await;
    let control = pair.one.control();
    let sfo = pair.pop("sfo");
    let ams = pair.link(1, &pair.pop("ams")).await;
    let link = pair.link(2, &sfo).await;
    report(&ams, "ams", &Position::default(), None).await;
    report(&link, "sfo", &Position::default(), None).await;
    purge_at(&control, 2).await;
    let Pair { one, two, links } = pair;
    let (directory, text) = two.stop().await;
    let accepted = loop {
        let accepted = purge(&control).await;
        if !accepted.unreached.is_empty() {
            break accepted;
        }
    };
    let id = &accepted.id;
    report(&ams, "ams", &accepted.position, Some(id)).await;
    // Its PoPs are known, and stand as waiting until nothing that they hold is fresh any more, and beyond.
    let status = loop {
        let status = waits(&control, id, "all", 100).await;
        assert_eq!(
            (applied(&status), names(&status.waiting)),
            (vec!["ams"], vec!["sfo"])
        );
        let silent = &status.unanswered[0];
        assert_eq!(silent.unreached_core.as_ref().unwrap().as_str(), "core-2");
        assert!(!silent.connected);
        if silent.quarantined_since_ms.is_some() {
            break status;
        }
    };
    let core = &status.unreached[0];
    assert_eq!(core.core.as_str(), "core-2");
    assert!(core.known_at_ms.unwrap() <= accepted.at_ms);
    let since = core.quarantined_since_ms.unwrap();
    assert!(since >= accepted.at_ms + 2000, "the lease is two seconds");
    let quorum = waits(&control, id, "quorum", 20).await;
    assert_eq!(quorum.waiting.len(), 1, "one of two is no quorum");
    // Who starts meanwhile knows which PoPs there were, and claims nothing more.
    let known_at_ms = core.known_at_ms;
    let one = one.restart().await;
    let control = one.control();
    let status = waits(&control, id, "all", 20).await;
    assert_eq!(
        (applied(&status), names(&status.waiting)),
        (vec!["ams"], vec!["sfo"])
    );
    let core = &status.unreached[0];
    assert_eq!(core.core.as_str(), "core-2");
    assert!(core.known_at_ms.is_some() && core.known_at_ms <= known_at_ms);
    // Once it is back, it is as if nothing had been.
    let two = Server::start_with(directory, &text).await;
    let pair = Pair { one, two, links };
    let link = pair.link(2, &sfo).await;
    let (status, ()) = tokio::join!(
        waits(&control, id, "all", 60_000),
        report(&link, "sfo", &accepted.position, None),
    );
    assert_eq!(applied(&status), ["ams", "sfo"]);
    assert_eq!((status.waiting.len(), status.unreached.len()), (0, 0));
}

/// Answers each count with so many objects, for as long as the feed goes on.
fn answer_counts(link: Link, mut feed: FeedReader, pop: &'static str, objects: u64) {
    tokio::spawn(async move {
        while let Some(message) = feed.next().await {
            let FeedMessage::Count(asked) = message else {
                continue;
            };
            let counted = Counted {
                id: asked.id,
                objects,
                bytes: 100,
            };
            let report = Report {
                pop: pop.parse().unwrap(),
                position: Position::default(),
                revision: 0,
                purges: Vec::new(),
                counts: vec![counted],
                canary: None,
                log_lines: Vec::new(),
                log_lines_dropped: 0,
                figures: Default::default(),
            };
            let answer: Option<ReportAnswer> = link.try_call(path::REPORTS, &report).await;
            if answer.is_none() {
                return;
            }
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_counts_at_the_pops_of_both() {
    let pair = Pair::start(8).await;
    let control = pair.one.control();
    for (core, pop, objects) in [(1, "ams", 2), (2, "sfo", 3)] {
        let link = pair.link(core, &pair.pop(pop)).await;
        let feed = follow(&link, pop).await;
        answer_counts(link, feed, pop, objects);
    }
    purge_at(&control, 2).await;
    // Either core tells of the PoPs of both.
    for control in [&control, &pair.two.control()] {
        let told = told(control).await;
        assert_eq!(told, ["ams core-1 true", "sfo core-2 true"]);
    }
    let asked = json!({"everything": true, "dry_run": true, "timeout": 10_000});
    let counted = async || -> PurgeEstimate {
        let answer = control.json("POST", "/v1/purges", asked.clone()).await;
        answer.expect(200).parse()
    };
    let estimate = counted().await;
    assert_eq!((estimate.objects, estimate.bytes), (5, 200));
    assert_eq!((estimate.pops.len(), estimate.unreached.len()), (2, 0));
    let over = json!({"everything": true, "objects_max": 4});
    let refused = control.json("POST", "/v1/purges", over).await;
    assert_eq!(refused.problem(409), "purge-budget");
    pair.two.stop().await;
    let estimate = counted().await;
    assert_eq!(estimate.objects, 2);
    assert_eq!(names(&estimate.silent), ["sfo"]);
    assert_eq!(
        told(&control).await,
        ["ams core-1 true", "sfo core-2 false"]
    );
    assert_eq!(estimate.unreached[0].as_str(), "core-2");
}

#[tokio::test]
async fn operators_are_told_where_the_admin_interface_of_a_pop_is() {
    let server = Server::start().await;
    let link = server.link("ams").await;
    let _feed = follow(&link, "ams").await;
    let control = server.control();
    report(&link, "ams", &Position::default(), None).await;
    let answer = control.get("/v1/pops/ams/admin").await;
    assert_eq!(answer.problem(404), "not-found");
    let reported = report_of("ams", &Position::default(), None);
    for (said, admin) in [
        ("127.0.0.1:9901", Some("http://127.0.0.1:9901")),
        // Of no host: where the core sees it.
        ("0.0.0.0:9902", Some("http://127.0.0.1:9902")),
        ("[::]:9903", Some("http://127.0.0.1:9903")),
        ("elsewhere:1", None),
    ] {
        link.call_with(path::REPORTS, &reported, (POP_ADMIN, said))
            .await
            .expect(200);
        let answer = control.get("/v1/pops/ams/admin").await;
        match admin {
            Some(admin) => assert_eq!(answer.expect(200).parse::<PopAdmin>().admin, admin),
            None => assert_eq!(answer.problem(404), "not-found"),
        }
    }
    let answer = control.get("/v1/pops/nowhere/admin").await;
    assert_eq!(answer.problem(404), "not-found");
    // It is not for everybody.
    for token in [
        json!({"label": "r", "role": "reader"}),
        json!({"label": "p", "role": "publisher"}),
        json!({"label": "o", "role": "operator", "tenant": "other"}),
    ] {
        let made = control
            .json("POST", "/v1/tokens", token)
            .await
            .expect(201)
            .json();
        let other = control.with_token(made["secret"].as_str().unwrap());
        other.get("/v1/pops/ams/admin").await.expect(403);
    }
}
