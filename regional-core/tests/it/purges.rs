//! What a purge can be asked for: only tried, within a budget, once under a key, in two halves; and its history.

use crate::{
    client::{Answer, Control, FeedReader, Link},
    server::Server,
};
use brink_protocol::{
    Position,
    change::ChangeKind,
    control::{PurgeEstimate, PurgePage, PurgeStatus},
    link::{Counted, FeedMessage, FeedRequest, Report, ReportAnswer, path},
};
use serde_json::{Value, json};

fn report(pop: &str, counts: Vec<Counted>) -> Report {
    Report {
        pop: pop.parse().unwrap(),
        position: Position::default(),
        revision: 0,
        purges: Vec::new(),
        counts,
        canary: None,
        log_lines: Vec::new(),
        log_lines_dropped: 0,
        figures: Default::default(),
    }
}

async fn follow(link: &Link, pop: &str) -> FeedReader {
    let pop = pop.parse().unwrap();
    let mut feed = link
        .feed(&FeedRequest {
            pop,
            position: None,
        })
        .await;
    assert!(matches!(feed.next().await, Some(FeedMessage::Start { .. })));
    feed
}

/// Answers each count with three objects, for as long as the feed goes on.
fn answer_counts(link: Link, mut feed: FeedReader, pop: &'static str) {
    tokio::spawn(async move {
        while let Some(message) = feed.next().await {
            if let FeedMessage::Count(asked) = message {
                let counted = Counted {
                    id: asked.id,
                    objects: 3,
                    bytes: 300,
                };
                let report = report(pop, vec![counted]);
                let answer: Option<ReportAnswer> = link.try_call(path::REPORTS, &report).await;
                if answer.is_none() {
                    return;
                }
            }
        }
    });
}

async fn head(control: &Control) -> Value {
    control.get("/v1/status").await.expect(200).json()["position"].clone()
}

async fn keyed(control: &Control, key: &str, body: &Value) -> Answer {
    let fields = [
        ("content-type", "application/json"),
        ("idempotency-key", key),
    ];
    let body = body.to_string();
    control.send_with("POST", "/v1/purges", &fields, body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_counts_and_a_budget_refuses() {
    let server = Server::start().await;
    let control = server.control();
    let (ams, sfo) = (server.link("ams").await, server.link("sfo").await);
    let feed = follow(&ams, "ams").await;
    answer_counts(ams, feed, "ams");
    let _: ReportAnswer = sfo.call(path::REPORTS, &report("sfo", Vec::new())).await;
    let before = head(&control).await;

    let asked = json!({"everything": true, "dry_run": true, "timeout": 10_000});
    let answer = control.json("POST", "/v1/purges", asked).await.expect(200);
    let estimate: PurgeEstimate = answer.parse();
    assert_eq!((estimate.objects, estimate.bytes), (3, 300));
    assert_eq!(estimate.pops[0].pop.as_str(), "ams");
    assert_eq!(estimate.silent[0].as_str(), "sfo", "it follows no feed");

    let over = json!({"everything": true, "objects_max": 2});
    let refused = control.json("POST", "/v1/purges", over).await;
    assert_eq!(refused.problem(409), "purge-budget");
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    for part in [
        "3 entries",
        "3 at ams",
        "It may end 2",
        "confirm",
        "stagger_ms",
    ] {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    assert_eq!(head(&control).await, before, "nothing was written");

    for body in [
        json!({"everything": true, "objects_max": 3}),
        json!({"everything": true, "objects_max": 2, "confirm": true}),
        json!({"everything": true, "objects_max": 2, "stagger_ms": 3_600_000}),
    ] {
        control.json("POST", "/v1/purges", body).await.expect(202);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_of_the_installation() {
    let configuration = "[prober]\ninterval_ms = 0\n[purges]\nobjects_max = 2\n";
    let server = Server::start_with(tempfile::tempdir().unwrap(), configuration).await;
    let control = server.control();
    let link = server.link("ams").await;
    let feed = follow(&link, "ams").await;
    answer_counts(link, feed, "ams");
    let all = json!({"everything": true});
    let refused = control.json("POST", "/v1/purges", all).await;
    assert_eq!(refused.problem(409), "purge-budget");
    let more = json!({"everything": true, "objects_max": 3});
    control.json("POST", "/v1/purges", more).await.expect(202);
    // The dialects have no word for it but ours.
    let token = control.token.clone().unwrap();
    let nobody = control.without_token();
    let key = [("fastly-key", token.as_str())];
    let path = "/service/default/purge_all";
    let refused = nobody.send_with("POST", path, &key, "").await.expect(409);
    let detail = refused.json()["detail"].to_string();
    assert!(
        detail.contains("Send `Brink-Purge-Confirm: ?1`") && !detail.contains("confirm: true"),
        "{detail}"
    );
    let sure = [key[0], ("brink-purge-confirm", "?1")];
    nobody.send_with("POST", path, &sure, "").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_purges_once() {
    let server = Server::start().await;
    let control = server.control();
    let body = json!({"keys": ["a"]});
    let (one, two) = tokio::join!(keyed(&control, "k-1", &body), keyed(&control, "k-1", &body));
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 202]);
    let (one, two): (PurgeStatus, PurgeStatus) = (one.parse(), two.parse());
    assert_eq!(one.id, two.id);
    assert_eq!(one.position, two.position);
    let page: PurgePage = control.get("/v1/purges").await.expect(200).parse();
    assert_eq!(page.purges.len(), 1);

    let server = server.restart().await;
    let control = server.control();
    let again = keyed(&control, "\"k-1\"", &body).await.expect(200);
    assert_eq!(again.header("location"), format!("/v1/purges/{}", one.id));
    let other = json!({"keys": ["a"], "soft": true});
    let refused = keyed(&control, "k-1", &other).await;
    assert_eq!(refused.problem(422), "idempotency-key");
    for wrong in [&"x".repeat(129), "a b", "\"\""] {
        keyed(&control, wrong, &body).await.problem(422);
    }
    // Another tenant's key is another key.
    let new = json!({"label": "t", "role": "operator", "tenant": "other"});
    let token = control.json("POST", "/v1/tokens", new).await.expect(201);
    let other = control.with_token(token.json()["secret"].as_str().unwrap());
    keyed(&other, "k-1", &body).await.expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_staggered_purge_has_a_hard_half_that_survives_a_restart() {
    let server = Server::start().await;
    let control = server.control();
    let asked = json!({"hosts": ["a.example"], "stagger_ms": 1500});
    let answer = control.json("POST", "/v1/purges", asked).await.expect(202);
    let soft: PurgeStatus = answer.parse();
    let later = soft.later.clone().unwrap();
    assert!(soft.soft);
    assert_eq!(later.at_ms, soft.at_ms + 1500);
    let hard_path = format!("/v1/purges/{}", later.id);
    control.get(&hard_path).await.problem(404);

    let server = server.restart().await;
    let link = server.link("ams").await;
    let mut feed = link
        .feed(&FeedRequest {
            pop: "ams".parse().unwrap(),
            position: Some(soft.position.clone()),
        })
        .await;
    let change = feed.change().await;
    let ChangeKind::Purge(purge) = &change.kind else {
        panic!("{change:?}")
    };
    assert_eq!((purge.id.as_str(), purge.soft), (later.id.as_str(), false));
    assert_eq!(purge.selectors, soft.selectors);
    assert!(change.at_ms >= later.at_ms);
    let hard: PurgeStatus = server.control().get(&hard_path).await.expect(200).parse();
    assert_eq!(hard.position.get(&change.origin), change.sequence);
    for wrong in [0, 3_600_001] {
        let body = json!({"everything": true, "stagger_ms": wrong});
        let refused = server.control().json("POST", "/v1/purges", body).await;
        refused.problem(422);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_is_searched() {
    let server = Server::start().await;
    let control = server.control();
    for body in [
        json!({"keys": ["k1"]}),
        json!({"urls": ["https://a.example/x/y"]}),
        json!({"prefixes": ["a.example/x"]}),
        json!({"hosts": ["a.example"], "soft": true}),
        json!({"everything": true}),
        json!({"hosts": ["b.example"]}),
    ] {
        control.json("POST", "/v1/purges", body).await.expect(202);
    }
    let count = async |query: &str| {
        let answer = control.get(&format!("/v1/purges{query}")).await;
        answer.expect(200).parse::<PurgePage>().purges.len()
    };
    for (query, expected) in [
        ("", 6),
        ("?selector=host", 2),
        ("?key=k1", 2),
        ("?url=http://A.example/x/y", 4),
        ("?url=a.example/z", 2),
        ("?host=b.example", 2),
        ("?by=root", 6),
        ("?by=module:x", 0),
        ("?to=1", 0),
        ("?from=1", 6),
        ("?from=99999999999999", 0),
        ("?limit=2", 2),
    ] {
        assert_eq!(count(query).await, expected, "{query}");
    }
    let mut seen = Vec::new();
    let mut path = "/v1/purges?limit=4".to_owned();
    loop {
        let page: PurgePage = control.get(&path).await.expect(200).parse();
        seen.extend(page.purges.into_iter().map(|purge| purge.id));
        let Some(next) = page.next else { break };
        path = format!("/v1/purges?limit=4&before={next}");
    }
    let mut sorted = seen.clone();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    sorted.dedup();
    assert_eq!((seen.len(), &seen), (6, &sorted), "each once, newest first");
    for wrong in ["?selector=keys", "?url=/x", "?host=a/b"] {
        control
            .get(&format!("/v1/purges{wrong}"))
            .await
            .problem(422);
    }
    for wrong in ["?limit=x", "?kind=host"] {
        control
            .get(&format!("/v1/purges{wrong}"))
            .await
            .problem(400);
    }
}
