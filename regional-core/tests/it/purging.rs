//! Purges with proof: accepted, waited for, applied.

use crate::{client::Link, server::Server};
use brink_protocol::{
    Position,
    change::ChangeKind,
    control::{PurgePage, PurgeStatus},
    link::{AppliedPurge, FeedRequest, PurgeAnswer, PurgeRequest, Report, ReportAnswer, path},
    purge::Selector,
};
use serde_json::json;

async fn report(link: &Link, pop: &str, position: &Position, purges: Vec<AppliedPurge>) {
    let report = Report {
        pop: pop.parse().unwrap(),
        position: position.clone(),
        revision: 0,
        purges,
        log_lines: vec![],
        counts: Vec::new(),
        canary: None,
        log_lines_dropped: 0,
        figures: Default::default(),
    };
    let _: ReportAnswer = link.call(path::REPORTS, &report).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_is_proved_by_every_pop() {
    let server = Server::start().await;
    let control = server.control();
    let (ams, sfo) = (server.link("ams").await, server.link("sfo").await);
    let mut feed = ams
        .feed(&FeedRequest {
            pop: "ams".parse().unwrap(),
            position: None,
        })
        .await;
    report(&sfo, "sfo", &Position::default(), vec![]).await;
    let asked = json!({"keys": ["sku:1"], "urls": ["https://Shop.example:443/a#b"], "prefixes": ["shop.example/x/"]});
    let answer = control.json("POST", "/v1/purges", asked).await.expect(202);
    let accepted: PurgeStatus = answer.parse();
    assert_eq!(
        answer.header("brink-position"),
        accepted.position.to_string()
    );
    assert_eq!(
        accepted.waiting.len() + accepted.applied.len(),
        2,
        "{accepted:?}"
    );
    let change = feed.change().await;
    let ChangeKind::Purge(purge) = &change.kind else {
        panic!("{change:?}")
    };
    assert_eq!(purge.id, accepted.id);
    assert_eq!(purge.selectors[1], Selector::Url("shop.example/a".into()));
    assert_eq!(
        purge.selectors[2],
        Selector::Prefix("shop.example/x".into())
    );

    // Nobody has answered: waiting ends by its timeout, and names those who have not.
    let path = format!("/v1/purges/{}", accepted.id);
    let status: PurgeStatus = control
        .get(&format!("{path}?wait=all&timeout=50"))
        .await
        .expect(200)
        .parse();
    assert_eq!(
        status
            .waiting
            .iter()
            .map(|pop| pop.as_str())
            .collect::<Vec<_>>(),
        ["ams", "sfo"]
    );

    // One answers with counts, the other has passed the purge's position: the one who waits is woken.
    let url = format!("{path}?wait=all&timeout=60000");
    let answers = async {
        let applied = AppliedPurge {
            id: accepted.id.clone(),
            at_ms: 7,
            objects: 3,
        };
        report(&ams, "ams", &accepted.position, vec![applied]).await;
        report(&sfo, "sfo", &accepted.position, vec![]).await;
    };
    let (status, ()) = tokio::join!(control.get(&url), answers);
    let status: PurgeStatus = status.expect(200).parse();
    assert_eq!(status.waiting, []);
    let ams_applied = status
        .applied
        .iter()
        .find(|at| at.pop.as_str() == "ams")
        .unwrap();
    assert_eq!((ams_applied.objects, ams_applied.applied_at_ms), (3, 7));
    // It is still known after a restart.
    let server = server.restart().await;
    let status: PurgeStatus = server.control().get(&path).await.expect(200).parse();
    assert!(
        status
            .applied
            .iter()
            .any(|at| at.pop.as_str() == "ams" && at.objects == 3),
        "{status:?}"
    );
    let list: PurgePage = server.control().get("/v1/purges").await.expect(200).parse();
    assert_eq!(list.purges[0].id, accepted.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn beginning_to_follow_is_no_proof() {
    let server = Server::start().await;
    let control = server.control();
    let link = server.link("ams").await;
    report(&link, "ams", &Position::default(), vec![]).await;
    let asked = json!({"everything": true});
    let accepted: PurgeStatus = control
        .json("POST", "/v1/purges", asked)
        .await
        .expect(202)
        .parse();
    // The log does not reach back to where the PoP is: it is told to begin at the head, with nothing kept. Whether it has
    // done so, only its report says.
    let unknown = "core-1.9=1".parse().unwrap();
    let mut feed = link
        .feed(&FeedRequest {
            pop: "ams".parse().unwrap(),
            position: Some(unknown),
        })
        .await;
    let path = format!("/v1/purges/{}", accepted.id);
    let status: PurgeStatus = control.get(&path).await.expect(200).parse();
    assert_eq!((status.waiting.len(), status.applied.len()), (1, 0));
    let _start = feed.next().await;
    report(&link, "ams", &accepted.position, vec![]).await;
    let status: PurgeStatus = control.get(&path).await.expect(200).parse();
    assert_eq!((status.waiting.len(), status.applied.len()), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn modules_purge_over_the_link() {
    let server = Server::start().await;
    let link = server.link("ams").await;
    let request = |selectors| PurgeRequest {
        tenant: "default".parse().unwrap(),
        module: "shop".parse().unwrap(),
        selectors,
        soft: true,
    };
    let answer: PurgeAnswer = link
        .call(
            path::PURGES,
            &request(vec![Selector::Key("a".parse().unwrap())]),
        )
        .await;
    let status: PurgeStatus = server
        .control()
        .get(&format!("/v1/purges/{}", answer.id))
        .await
        .expect(200)
        .parse();
    assert_eq!((status.by.as_str(), status.soft), ("module:shop", true));
    let audit = server.control().get("/v1/audit").await.expect(200).json();
    let is_purge = |entry: &serde_json::Value| entry["action"] == "purge";
    assert!(
        !audit.as_array().unwrap().iter().any(is_purge),
        "modules do not push people out of the audit log: {audit}"
    );
    let none = brink_protocol::codec::encode(&request(vec![])).unwrap();
    let refused = link
        .raw(
            "POST",
            path::PURGES,
            brink_protocol::codec::MEDIA_TYPE,
            none,
        )
        .await;
    assert_eq!(refused.problem(400), "malformed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_purged_is_refused() {
    let server = Server::start().await;
    let control = server.control();
    for body in [
        json!({}),
        json!({"keys": ["a b"]}),
        json!({"urls": ["/relative"]}),
        json!({"hosts": [""]}),
        json!({"keys": vec!["k"; 257]}),
        json!({"key": "a"}),
        json!({"soft": "yes"}),
    ] {
        control.json("POST", "/v1/purges", body).await.problem(422);
    }
    assert_eq!(
        control.get("/v1/purges/none").await.problem(404),
        "not-found"
    );
    assert_eq!(
        control.get("/v1/purges/none?wait=some").await.problem(400),
        "query"
    );
}
