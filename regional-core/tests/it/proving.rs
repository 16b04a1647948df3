//! Who has applied a purge, who stays silent, and what is known of PoPs: quorum, leases, the canary record; purges that edges
//! hand on.

use crate::{
    client::{Control, Link},
    server::Server,
};
use brink_protocol::{
    Position,
    control::{Pop, PurgeStatus},
    link::{
        Canary, FeedRequest, ForwardedPurge, ForwardedPurgeAnswer, PurgeRefusal, Report,
        ReportAnswer, path,
    },
    purge::Selector,
};
use serde_json::json;

async fn report(link: &Link, pop: &str, position: &Position, canary: Option<Canary>) {
    let report = Report {
        pop: pop.parse().unwrap(),
        position: position.clone(),
        revision: 0,
        purges: Vec::new(),
        counts: Vec::new(),
        canary,
        log_lines: Vec::new(),
        log_lines_dropped: 0,
        figures: Default::default(),
    };
    let _: ReportAnswer = link.call(path::REPORTS, &report).await;
}

async fn purge(control: &Control) -> PurgeStatus {
    let body = json!({"everything": true});
    let answer = control.json("POST", "/v1/purges", body).await;
    answer.expect(202).parse()
}

async fn token(control: &Control, role: &str, tenant: &str) -> String {
    let new = json!({"label": "t", "role": role, "tenant": tenant});
    let token = control.json("POST", "/v1/tokens", new).await.expect(201);
    token.json()["secret"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_and_named_pops_are_waited_for() {
    let server = Server::start().await;
    let control = server.control();
    let names = ["ams", "fra", "sfo"];
    let mut links = Vec::new();
    for name in names {
        let link = server.link(name).await;
        report(&link, name, &Position::default(), None).await;
        links.push(link);
    }
    let accepted = purge(&control).await;
    let waits = async |who: &str, timeout: u32| {
        let path = format!("/v1/purges/{}?wait={who}&timeout={timeout}", accepted.id);
        control.get(&path).await.expect(200).parse::<PurgeStatus>()
    };
    assert_eq!(waits("quorum", 20).await.applied.len(), 0);
    report(&links[0], "ams", &accepted.position, None).await;
    assert_eq!(waits("pop:ams", 60_000).await.applied.len(), 1);
    assert_eq!(waits("quorum", 20).await.applied.len(), 1);
    let (status, ()) = tokio::join!(
        waits("quorum", 60_000),
        report(&links[1], "fra", &accepted.position, None)
    );
    assert_eq!(status.applied.len(), 2);
    assert_eq!(waits("pop:ams,pop:fra", 60_000).await.applied.len(), 2);
    let status = waits("all", 20).await;
    assert_eq!(status.unanswered[0].pop.as_str(), "sfo");
    assert_eq!(status.waiting.len(), 1);
    for wrong in ["some", "pop:", "ams"] {
        let path = format!("/v1/purges/{}?wait={wrong}", accepted.id);
        assert_eq!(control.get(&path).await.problem(400), "query");
    }
    // One that is not known yet is waited for, too, and woken for: long before another wait is over.
    let late = server.link("lax").await;
    let (is_woken, ()) = tokio::join!(
        async {
            tokio::select! {
                status = waits("pop:lax", 60_000) => status.applied.len() == 3,
                _ = waits("pop:nobody", 10_000) => false,
            }
        },
        async {
            waits("pop:nobody", 200).await;
            report(&late, "lax", &accepted.position, None).await;
        }
    );
    assert!(is_woken);
    // Reports may overtake each other: what was applied stays so.
    report(&links[0], "ams", &Position::default(), None).await;
    assert_eq!(waits("all", 20).await.waiting.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_pop_is_quarantined_by_its_lease() {
    let server = Server::start().await;
    let control = server.control();
    let link = server.link("ams").await;
    report(&link, "ams", &Position::default(), None).await;
    let accepted = purge(&control).await;
    assert_eq!(accepted.unanswered[0].quarantined_since_ms, None);
    let path = format!("/v1/purges/{}?wait=all&timeout=200", accepted.id);
    let since = loop {
        let status: PurgeStatus = control.get(&path).await.expect(200).parse();
        let silent = &status.unanswered[0];
        if let Some(since) = silent.quarantined_since_ms {
            break since;
        }
        // It reports, and still has not applied it: its lease does not get longer by that.
        report(&link, "ams", &Position::default(), None).await;
    };
    assert!(since >= accepted.at_ms + 2000, "the lease is two seconds");
    let pops: Vec<Pop> = control.get("/v1/pops").await.expect(200).parse();
    assert_eq!(pops[0].quarantined_since_ms, None, "it did report");
    // After a restart nobody knows when it last reported: it may have been just before.
    let server = server.restart().await;
    let pops: Vec<Pop> = server.control().get("/v1/pops").await.expect(200).parse();
    assert_eq!(pops[0].quarantined_since_ms, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_who_wait_are_refused() {
    let server = Server::start().await;
    let control = server.control();
    let link = server.link("ams").await;
    report(&link, "ams", &Position::default(), None).await;
    let accepted = purge(&control).await;
    let waiters: Vec<_> = (0..brink_core::purges::TENANT_WAITERS_MAX)
        .map(|_| {
            let (control, id) = (control.clone(), accepted.id.clone());
            tokio::spawn(async move {
                let path = format!("/v1/purges/{id}?wait=all&timeout=60000");
                // One that finds the last place taken by the question below asks again.
                loop {
                    let status = control.get(&path).await.status.as_u16();
                    if status != 429 {
                        break status;
                    }
                }
            })
        })
        .collect();
    let path = format!("/v1/purges/{}?wait=all&timeout=20", accepted.id);
    loop {
        let answer = control.get(&path).await;
        if answer.status == 429 {
            assert_eq!(answer.problem(429), "too-many");
            break;
        }
    }
    // Who asks without waiting is answered, and so are others who wait.
    let plain = format!("/v1/purges/{}", accepted.id);
    control.get(&plain).await.expect(200);
    let other = control.with_token(&token(&control, "operator", "other").await);
    let others = purge(&other).await;
    let path = format!("/v1/purges/{}?wait=all&timeout=20", others.id);
    other.get(&path).await.expect(200);
    report(&link, "ams", &accepted.position, None).await;
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap(), 200);
    }
    let path = format!("/v1/purges/{}?wait=all", accepted.id);
    control.get(&path).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_canary_measures_staleness() {
    let configuration = "[prober]\ninterval_ms = 100\n";
    let server = Server::start_with(tempfile::tempdir().unwrap(), configuration).await;
    let control = server.control();
    let link = server.link("ams").await;
    let staleness = async || {
        let pops: Vec<Pop> = control.get("/v1/pops").await.expect(200).parse();
        pops[0].staleness_ms
    };
    let pop = "ams".parse().unwrap();
    let mut feed = link
        .feed(&FeedRequest {
            pop,
            position: None,
        })
        .await;
    for _ in 0..3 {
        feed.change().await;
    }
    let seen = |version| {
        Some(Canary {
            version,
            is_hit: true,
        })
    };
    report(&link, "ams", &Position::default(), seen(1)).await;
    assert!(
        staleness().await.unwrap() > 0,
        "version 2 was written since"
    );
    report(&link, "ams", &Position::default(), seen(u64::MAX)).await;
    assert_eq!(staleness().await, Some(0));
    report(&link, "ams", &Position::default(), None).await;
    assert_eq!(staleness().await, Some(0), "the last reading stays");
    // Who falls silent is not taken to have what is written from then on.
    report(&link, "ams", &Position::default(), seen(1)).await;
    let before = staleness().await;
    let accepted = purge(&control).await;
    let path = format!("/v1/purges/{}?wait=all&timeout=200", accepted.id);
    for _ in 0..100 {
        if staleness().await > before {
            break;
        }
        control.get(&path).await.expect(200);
    }
    assert!(staleness().await > before);
    // The tenant is nobody's.
    let new = json!({"label": "t", "role": "admin", "tenant": "brink-prober"});
    control.json("POST", "/v1/tokens", new).await.problem(422);
}

#[tokio::test(flavor = "multi_thread")]
async fn edges_hand_on_purges_that_the_core_authenticates() {
    let server = Server::start().await;
    let control = server.control();
    let link = server.link("ams").await;
    let route = json!({"host": "theirs.example", "path": "/", "target": {"static": {"status": 200, "content_type": "a/b", "body": ""}},
        "tenant": "theirs", "plugins": []});
    let theirs = control.with_token(&token(&control, "operator", "theirs").await);
    theirs.json("PUT", "/v1/routes", route).await.expect(200);
    let asked = |token: &str, host: &str, target: &str| ForwardedPurge {
        token: token.into(),
        host: host.into(),
        path_and_query: target.into(),
        soft: true,
        idempotency_key: Some("k".into()),
    };
    let send = async |asked: ForwardedPurge| -> ForwardedPurgeAnswer {
        link.call(path::FORWARDED_PURGES, &asked).await
    };
    let operator = token(&control, "operator", "default").await;
    let reader = token(&control, "reader", "default").await;
    let host = "Free.example:443";
    assert_eq!(
        send(asked("none", host, "/a")).await,
        Err(PurgeRefusal::Unauthenticated)
    );
    let denied = send(asked(&reader, host, "/a")).await;
    assert!(matches!(denied, Err(PurgeRefusal::Denied(_))), "{denied:?}");
    let denied = send(asked(&operator, "Theirs.example:8443", "/a")).await;
    assert!(matches!(denied, Err(PurgeRefusal::Denied(_))), "{denied:?}");
    for (host, target) in [("", "/a"), ("a b", "/a"), (host, "/a/../b")] {
        let wrong = send(asked(&operator, host, target)).await;
        assert!(matches!(wrong, Err(PurgeRefusal::Invalid(_))), "{wrong:?}");
    }
    let done = send(asked(&operator, host, "/a?b")).await.unwrap();
    let again = send(asked(&operator, host, "/a?b")).await.unwrap();
    assert_eq!(done, again, "one key, one purge");
    let status: PurgeStatus = control
        .get(&format!("/v1/purges/{}", done.id))
        .await
        .expect(200)
        .parse();
    assert_eq!(status.selectors, [Selector::Url("free.example/a?b".into())]);
    assert!(status.soft);
    let own = theirs.token.clone().unwrap();
    send(asked(&own, "theirs.example", "/a")).await.unwrap();
}
