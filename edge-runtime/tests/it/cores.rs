//! An edge that knows two cores, of which one breaks off, fails or stands still.

use crate::{
    harness::{eventually, start, within},
    scripted::{Asked, Core, Health, Offers, Reply},
};
use brink_edge::link::{Asker, Config, CoreStatus, Link, LinkError, Transport};
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

fn link_to(cores: &[&Core], transport: Transport) -> (Link, CancellationToken) {
    let dir = cores[0].identity();
    let config = Config {
        addresses: cores.iter().map(|core| core.address.to_string()).collect(),
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
    (link, stop)
}

impl Two {
    async fn start(transport: Transport) -> Self {
        let one = Core::start(Offers::Both).await;
        let two = one.another().await;
        let (link, stop) = link_to(&[&one, &two], transport);
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
    within(link.call_again(path::RECORDS, &read(), Asker::default())).await
}

/// Purges as if it could be asked again.
async fn purge_again(link: &Link) -> Result<PurgeAnswer, LinkError> {
    within(link.call_again(path::PURGES, &purge(), Asker::default())).await
}

/// Purges, which is not asked again.
async fn purge_once(link: &Link) -> Result<PurgeAnswer, LinkError> {
    within(link.call(path::PURGES, &purge(), Asker::default())).await
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
        let command = two
            .link
            .call_again(path::COMMANDS, &command, Asker::default());
        // A write to records has a key too.
        let records = read();
        let written = two.link.write(&records, Asker::default());
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

fn refused(position: &str, error: RecordError) -> RecordsAnswer {
    RecordsAnswer {
        position: position.parse().unwrap(),
        outcome: Err(error),
    }
}

fn behind(position: &str) -> RecordsAnswer {
    refused(position, RecordError::Unavailable("behind".into()))
}

#[tokio::test]
async fn what_a_core_does_not_do_for_now_is_asked_for_elsewhere() {
    let two = Two::start(Transport::Tcp).await;
    let conflict = || refused("b.1=1", RecordError::Conflict(None));
    // (at the used core, at the other, a read's answer, a write's)
    for (used, other, read_as, written_as) in [
        (
            entries("a.1=1"),
            entries("b.1=1"),
            entries("a.1=1"),
            entries("a.1=1"),
        ),
        (
            behind("a.1=1"),
            entries("b.1=1"),
            entries("b.1=1"),
            entries("b.1=1"),
        ),
        (
            behind("a.1=1"),
            behind("b.1=1"),
            behind("a.1=1"),
            behind("a.1=1"),
        ),
        // The first core may have done it: that it was not done is not believed of the second.
        (behind("a.1=1"), conflict(), conflict(), behind("a.1=1")),
        (conflict(), entries("b.1=1"), conflict(), conflict()),
    ] {
        two.used.set(path::RECORDS, Reply::message(&used));
        two.other.set(path::RECORDS, Reply::message(&other));
        let question = read();
        let asker = Asker::default();
        let asking = two.link.read(path::RECORDS, &question, asker);
        let answer: RecordsAnswer = within(asking).await.unwrap();
        assert_eq!(answer, read_as, "{used:?}");
        let answer: RecordsAnswer = within(two.link.write(&question, asker)).await.unwrap();
        assert_eq!(answer, written_as, "{used:?}");
    }
    two.stop().await;
}

#[tokio::test]
async fn what_may_have_happened_stays_so_unless_a_core_says_that_it_was_done() {
    let two = Two::start(Transport::Quic).await;
    let conflict = refused("b.1=1", RecordError::Conflict(None));
    for (used, other, is_done) in [
        (Reply::Broken, Reply::message(&entries("b.1=1")), true),
        (Reply::Broken, Reply::message(&conflict), false),
        (Reply::Broken, Reply::message(&behind("b.1=1")), false),
        (Reply::Broken, Reply::Status(400, "{}"), false),
        (Reply::Status(503, "{}"), Reply::Status(403, "{}"), false),
        (Reply::message(&behind("a.1=1")), Reply::Broken, false),
    ] {
        // As many go well as fail: the first core stays in use.
        two.both(path::PURGES, &Reply::message(&purged("p")));
        for _ in 0..9 {
            purge_once(&two.link).await.unwrap();
        }
        let replies = format!("{is_done}");
        two.used.set(path::RECORDS, used);
        two.other.set(path::RECORDS, other);
        let question = read();
        let written = two
            .link
            .write::<_, RecordsAnswer>(&question, Asker::default());
        match within(written).await {
            Ok(answer) => assert!(is_done, "{answer:?}"),
            Err(error) => assert!(!is_done && error.may_have_happened(), "{replies}: {error}"),
        }
    }
    two.stop().await;
}

#[tokio::test]
async fn a_core_without_its_store_is_left_and_who_waits_for_it_is_answered() {
    for transport in TRANSPORTS {
        let mut two = Two::start(transport).await;
        let answer = entries("b.1=1");
        two.used.set(path::RECORDS, Reply::Silent);
        two.other.set(path::RECORDS, Reply::message(&answer));
        let write = {
            let link = two.link.clone();
            tokio::spawn(async move { link.write(&read(), Asker::default()).await })
        };
        while asked(&mut two.used).is_empty() {
            tokio::task::yield_now().await;
        }
        two.used.set_health(Health {
            silence_ms: 60_000,
            ..Health::default()
        });
        let written: RecordsAnswer = within(write).await.unwrap().unwrap();
        assert_eq!(written, answer, "{transport:?}");
        assert_eq!(two.status(&two.used).standing, "storeless");
        assert!(two.status(&two.other).used, "{transport:?}");
        // It is well again when its store is.
        two.used.set_health(Health::default());
        eventually(async || (two.status(&two.used).standing == "usable").then_some(())).await;
        two.stop().await;
    }
}

#[tokio::test]
async fn a_core_that_has_another_store_is_not_used() {
    let two = Two::start(Transport::Quic).await;
    two.both(path::PURGES, &Reply::message(&purged("p")));
    two.other.set_health(Health {
        store: 7,
        ..Health::default()
    });
    eventually(async || (two.status(&two.other).standing == "foreign").then_some(())).await;
    let Two {
        used,
        other,
        link,
        stop,
    } = two;
    assert_eq!(purge_once(&link).await.unwrap(), purged("p"));
    let identity = used.stop().await;
    eventually(async || link.transport().is_none().then_some(())).await;
    let error = purge_once(&link).await.unwrap_err();
    assert!(matches!(error, LinkError::NotConnected), "{error}");
    stop.cancel();
    other.stop().await;
    drop(identity);
}

#[tokio::test]
async fn a_core_is_told_how_long_is_waited() {
    let core = Core::start(Offers::Both).await;
    let link = link_to(&[&core], Transport::Tcp);
    within(link.0.connected()).await;
    core.set(path::PURGES, Reply::Silent);
    let now = std::time::Instant::now();
    for (until, is_sent) in [(now + Duration::from_millis(200), true), (now, false)] {
        let asker = Asker {
            until: Some(until),
            ..Asker::default()
        };
        let question = purge();
        let asked = link
            .0
            .call::<_, PurgeAnswer>(path::PURGES, &question, asker);
        let error = within(asked).await.unwrap_err();
        assert_eq!(error.may_have_happened(), is_sent, "{error}");
    }
    // One that nobody waits for is not sent; the other said for how long, which is less than the link would wait.
    let told = core.times_left();
    assert!(
        matches!(told[..], [left_ms] if (1..=200).contains(&left_ms)),
        "{told:?}"
    );
    link.1.cancel();
    core.stop().await;
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
