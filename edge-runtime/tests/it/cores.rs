//! An edge that knows two cores, of which one breaks off, fails or stands still.

use crate::{
    harness::{eventually, start, within},
    scripted::{Asked, Core, Offers, Reply},
};
use brink_edge::link::{Config, CoreStatus, Link, LinkError, Transport};
use brink_listener::client::ClientTls;
use brink_protocol::{
    Position, codec,
    link::{
        CommandRequest, FeedMessage, PurgeAnswer, PurgeRequest, RecordOperation, RecordOutcome,
        RecordsAnswer, RecordsRequest, Report, ReportAnswer, path,
    },
    record::RecordError,
};
use bytes::Bytes;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Two cores and a link to both, that uses the first.
struct Two {
    used: Core,
    other: Core,
    link: Link,
    stop: CancellationToken,
}

impl Two {
    async fn start(transport: Transport) -> Self {
        let one = Core::start(Offers::Both).await;
        let two = one.another().await;
        let dir = one.identity();
        let config = Config {
            addresses: vec![one.address.to_string(), two.address.to_string()],
            tls: ClientTls::new(dir.join("ca.pem"))
                .with_identity(dir.join("pop.pem"), dir.join("pop.key")),
            transport,
            request_time_max: Duration::from_secs(5),
            requests_max: 50,
            hedge_percent: 100,
        };
        let link = Link::new(config).unwrap();
        let stop = CancellationToken::new();
        let (maintained, token) = (link.clone(), stop.clone());
        tokio::spawn(async move { maintained.maintain(token).await });
        let all = eventually(async || {
            let all = link.cores();
            all.iter()
                .all(|core| core.standing == "usable" && core.node.is_some())
                .then_some(all)
        })
        .await;
        // Whichever was there first.
        let (used, other) = if all[0].used { (one, two) } else { (two, one) };
        Self {
            used,
            other,
            link,
            stop,
        }
    }

    fn status(&self, core: &Core) -> CoreStatus {
        let address = core.address.to_string();
        let all = self.link.cores().into_iter();
        all.into_iter()
            .find(|status| status.address == address)
            .unwrap()
    }

    fn both(&self, path: &'static str, reply: &Reply) {
        self.used.set(path, reply.clone());
        self.other.set(path, reply.clone());
    }

    async fn stop(self) {
        self.stop.cancel();
        self.used.stop().await;
        self.other.stop().await;
    }
}

fn read() -> RecordsRequest {
    RecordsRequest {
        tenant: "default".parse().unwrap(),
        module: "shop".parse().unwrap(),
        at_least: Position::default(),
        operation: RecordOperation::Get(Vec::new()),
    }
}

fn entries(position: &str) -> RecordsAnswer {
    RecordsAnswer {
        position: position.parse().unwrap(),
        outcome: Ok(RecordOutcome::Entries(Vec::new())),
    }
}

fn purge() -> PurgeRequest {
    PurgeRequest {
        tenant: "default".parse().unwrap(),
        module: "shop".parse().unwrap(),
        selectors: Vec::new(),
        soft: false,
    }
}

/// Reads, which may be asked again.
async fn read_at(link: &Link) -> Result<RecordsAnswer, LinkError> {
    within(link.call_again(path::RECORDS, &read(), None)).await
}

/// Purges as if it could be asked again.
async fn purge_again(link: &Link) -> Result<PurgeAnswer, LinkError> {
    within(link.call_again(path::PURGES, &purge(), None)).await
}

/// Purges, which is not asked again.
async fn purge_once(link: &Link) -> Result<PurgeAnswer, LinkError> {
    within(link.call(path::PURGES, &purge(), None)).await
}

fn purged(id: &str) -> PurgeAnswer {
    PurgeAnswer {
        position: Position::default(),
        id: id.into(),
    }
}

/// Which questions a core has been asked so far, beside probes.
fn asked(core: &mut Core) -> Vec<String> {
    let mut paths = Vec::new();
    while let Ok((path, _)) = core.questions.try_recv() {
        paths.push(path);
    }
    paths.retain(|path| path != path::PROBE);
    paths
}

const TRANSPORTS: [Transport; 2] = [Transport::Quic, Transport::Tcp];

#[tokio::test]
async fn what_may_be_repeated_is_asked_elsewhere_and_nothing_else() {
    for transport in TRANSPORTS {
        let mut two = Two::start(transport).await;
        let answer = entries("core.1=1");
        two.other.set(path::RECORDS, Reply::message(&answer));
        two.other.set(path::PURGES, Reply::message(&purged("p")));
        let none: [&str; 0] = [];
        // The core's own word stands.
        two.used.set(path::RECORDS, Reply::Status(409, "{}"));
        assert!(matches!(
            read_at(&two.link).await,
            Err(LinkError::Refused { status: 409, .. })
        ));
        assert_eq!(asked(&mut two.other), none, "{transport:?}");
        for reply in [Reply::Broken, Reply::Status(503, "{}")] {
            two.used.set(path::RECORDS, reply.clone());
            two.used.set(path::PURGES, reply);
            assert_eq!(read_at(&two.link).await.unwrap(), answer, "{transport:?}");
            assert_eq!(asked(&mut two.other), [path::RECORDS]);
            assert_eq!(purge_again(&two.link).await.unwrap(), purged("p"));
            assert_eq!(asked(&mut two.other), [path::PURGES]);
        }
        two.used.set(path::PURGES, Reply::Broken);
        let error = purge_once(&two.link).await.unwrap_err();
        assert!(error.may_have_happened(), "{error}");
        assert_eq!(asked(&mut two.other), none, "{transport:?}");
        // That were five failures, and nothing that went well.
        assert!(two.status(&two.other).used, "{transport:?}");
        two.stop().await;
    }
}

#[tokio::test]
async fn a_core_that_stands_still_is_left_and_who_waits_for_it_is_answered() {
    for transport in TRANSPORTS {
        let mut two = Two::start(transport).await;
        let answer = entries("core.1=1");
        two.other.set(path::RECORDS, Reply::message(&answer));
        two.other.set(path::COMMANDS, Reply::message(&answer));
        two.other.set(path::PURGES, Reply::message(&purged("p")));
        two.used.stand_still();
        let command = CommandRequest {
            tenant: "default".parse().unwrap(),
            caller: "shop".parse().unwrap(),
            subject: None,
            command: "c".parse().unwrap(),
            collection: "c".into(),
            partition: "p".into(),
            input: Bytes::new(),
            idempotency_key: Some("k".into()),
        };
        let write = {
            let link = two.link.clone();
            tokio::spawn(async move { purge_once(&link).await })
        };
        let began = std::time::Instant::now();
        let command = two.link.call_again(path::COMMANDS, &command, None);
        // A write to records has a key too.
        let records = read();
        let written = two.link.write(&records, None);
        let (read, command, written): (_, Result<RecordsAnswer, _>, Result<RecordsAnswer, _>) =
            within(async { tokio::join!(read_at(&two.link), command, written) }).await;
        assert_eq!(written.unwrap(), answer, "{transport:?}");
        println!("{transport:?}: answered after {:?}", began.elapsed());
        assert_eq!((read.unwrap(), command.unwrap()), (answer.clone(), answer));
        assert!(two.status(&two.other).used, "{transport:?}");
        assert!(!two.status(&two.used).used);
        // It may have arrived: it is nowhere asked again, and is over when the connection is.
        let error = within(write).await.unwrap().unwrap_err();
        assert!(error.may_have_happened(), "{error}");
        let mut paths = asked(&mut two.other);
        paths.sort_unstable();
        let expected = [path::COMMANDS, path::RECORDS, path::RECORDS];
        assert_eq!(paths, expected, "{transport:?}");
        // What comes now goes to the one that answers, writes too.
        assert_eq!(purge_once(&two.link).await.unwrap(), purged("p"));
        two.stop.cancel();
        two.other.stop().await;
    }
}

#[tokio::test]
async fn an_answer_that_is_not_good_is_asked_for_elsewhere() {
    let two = Two::start(Transport::Tcp).await;
    let is_good = |answer: &RecordsAnswer| answer.outcome.is_ok();
    let behind = |position: &str| RecordsAnswer {
        position: position.parse().unwrap(),
        outcome: Err(RecordError::Unavailable("behind".into())),
    };
    for (used, other, expected) in [
        (entries("a.1=1"), entries("b.1=1"), entries("a.1=1")),
        (behind("a.1=1"), entries("b.1=1"), entries("b.1=1")),
        (behind("a.1=1"), behind("b.1=1"), behind("a.1=1")),
    ] {
        two.used.set(path::RECORDS, Reply::message(&used));
        two.other.set(path::RECORDS, Reply::message(&other));
        let read = read();
        let asking = two.link.call_until(path::RECORDS, &read, None, is_good);
        assert_eq!(within(asking).await.unwrap(), expected);
    }
    two.stop().await;
}

#[tokio::test]
async fn without_the_used_core_all_goes_on_at_the_other() {
    for transport in TRANSPORTS {
        let two = Two::start(transport).await;
        two.both(path::PURGES, &Reply::message(&purged("p")));
        let Two {
            used,
            other,
            link,
            stop,
        } = two;
        let identity = used.stop().await;
        for _ in 0..20 {
            // Questions that surely were not sent are asked elsewhere too.
            match purge_once(&link).await {
                Ok(answer) => assert_eq!(answer, purged("p")),
                Err(error) => assert!(error.may_have_happened(), "{error}"),
            }
        }
        eventually(async || link.cores().iter().find(|core| core.used).cloned()).await;
        let address = other.address.to_string();
        assert!(link.cores().iter().any(|c| c.used && c.address == address));
        stop.cancel();
        other.stop().await;
        drop(identity);
    }
}

#[tokio::test]
async fn a_report_is_given_up_at_a_core_that_stands_still() {
    let two = Two::start(Transport::Quic).await;
    two.used.stand_still();
    let report = Report {
        pop: "ams".parse().unwrap(),
        position: Position::default(),
        revision: 0,
        purges: Vec::new(),
        counts: Vec::new(),
        canary: None,
        log_lines: Vec::new(),
        log_lines_dropped: 0,
        figures: Default::default(),
    };
    let told = two.link.tell::<_, ReportAnswer>(path::REPORTS, &report);
    let error = within(told).await.unwrap_err();
    assert_eq!(error.outcome(), "disconnected", "{error}");
    let told = two.link.tell::<_, ReportAnswer>(path::REPORTS, &report);
    assert_eq!(within(told).await.unwrap().head, Position::default());
    two.stop.cancel();
    two.other.stop().await;
}

/// The feed that is asked for next, at either.
async fn feed(one: &mut Core, two: &mut Core) -> (Asked, bool) {
    within(async {
        tokio::select! {
            asked = one.feeds.recv() => (asked.unwrap(), true),
            asked = two.feeds.recv() => (asked.unwrap(), false),
        }
    })
    .await
}

#[tokio::test]
async fn the_feed_goes_on_at_the_other_core_where_it_was() {
    for stands_still in [false, true] {
        let mut one = Core::start(Offers::Both).await;
        let mut two = one.another().await;
        let data = tempfile::tempdir().unwrap();
        let edge = start(one.settings_with(data.path(), &[&two]), async |_| {}).await;
        let (asked, is_first) = feed(&mut one, &mut two).await;
        asked.start("one.1=4,two.1=7", false, 0);
        let at = "one.1=4,two.1=7";
        edge.until(|status| status["position"] == at && status["ready"] == true)
            .await;
        edge.until(|status| {
            let cores = status["core"]["cores"].as_array().unwrap();
            cores.iter().all(|core| core["standing"] == "usable")
        })
        .await;
        let (used, mut other) = if is_first { (one, two) } else { (two, one) };
        if stands_still {
            used.stand_still();
        } else {
            used.stop().await;
        }
        let resumed = other.feed().await;
        assert_eq!(
            resumed.position,
            Some(at.parse().unwrap()),
            "{stands_still}"
        );
        resumed.start(at, true, 0);
        resumed.say(&FeedMessage::Heartbeat {
            head: at.parse().unwrap(),
        });
        let status = edge
            .until(|status| {
                status["lease"]["holds"] == true && status["core"]["feed_is_live"] == true
            })
            .await;
        assert_eq!(status["position"], at);
        let cores = edge.ask_admin("/cores").await;
        let cores: serde_json::Value = serde_json::from_str(&cores.body).unwrap();
        let address = other.address.to_string();
        let listed = cores.as_array().unwrap().iter();
        let mut listed = listed.filter(|core| core["used"] == true);
        assert_eq!(listed.next().unwrap()["address"], address, "{cores}");
        // Reports come there, with what the first core was told of last.
        let report = other.report(|report| !report.position.is_empty()).await;
        assert_eq!(report.figures.feed_resets, 0, "nothing was dropped");
        assert!(codec::encode(&report).is_ok());
        edge.stop().await;
    }
}
