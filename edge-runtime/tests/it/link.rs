//! The core link, over both transports, with a core that fails in every way it can.

use crate::{
    harness::{eventually, within},
    scripted::{Core, Offers, Reply},
};
use brink_edge::link::{Asker, Config, Link, LinkError, Transport};
use brink_listener::client::ClientTls;
use brink_protocol::{
    Position,
    link::{PurgeAnswer, PurgeRequest, path},
};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

fn link(core: &Core, transport: Transport) -> (Link, CancellationToken) {
    let dir = core.identity();
    let config = Config {
        addresses: vec![core.address.to_string()],
        tls: ClientTls::new(dir.join("ca.pem"))
            .with_identity(dir.join("pop.pem"), dir.join("pop.key")),
        transport,
        request_time_max: Duration::from_millis(2_000),
        requests_max: 2,
        hedge_percent: 5,
    };
    let link = Link::new(config).unwrap();
    let stop = CancellationToken::new();
    let (maintained, token) = (link.clone(), stop.clone());
    tokio::spawn(async move { maintained.maintain(token).await });
    (link, stop)
}

fn question() -> PurgeRequest {
    PurgeRequest {
        tenant: "default".parse().unwrap(),
        module: "shop".parse().unwrap(),
        selectors: Vec::new(),
        soft: false,
    }
}

async fn ask(link: &Link) -> Result<PurgeAnswer, LinkError> {
    within(link.call(path::PURGES, &question(), Asker::default())).await
}

fn purge_answer() -> PurgeAnswer {
    PurgeAnswer {
        position: Position::default(),
        id: "01J".into(),
    }
}

#[tokio::test]
async fn the_best_transport_that_connects_is_taken() {
    for (offers, transport, taken) in [
        (Offers::Both, Transport::Auto, "quic"),
        (Offers::TcpOnly, Transport::Auto, "tcp"),
        (Offers::Both, Transport::Tcp, "tcp"),
        (Offers::Both, Transport::Quic, "quic"),
    ] {
        let core = Core::start(offers).await;
        core.set(path::PURGES, Reply::message(&purge_answer()));
        let (link, stop) = link(&core, transport);
        within(link.connected()).await;
        assert_eq!(link.transport(), Some(taken));
        assert_eq!(ask(&link).await.unwrap(), purge_answer());
        stop.cancel();
        core.stop().await;
    }
}

#[tokio::test]
async fn what_a_core_gets_wrong_is_named_and_the_link_lives_on() {
    for transport in [Transport::Quic, Transport::Tcp] {
        let core = Core::start(Offers::Both).await;
        let (link, stop) = link(&core, transport);
        within(link.connected()).await;
        let problem = r#"{"title":"t","status":409,"detail":"not now"}"#;
        for (reply, outcome) in [
            (Reply::Status(409, problem), "refused"),
            (Reply::Status(503, "<html>"), "refused"),
            (Reply::Bytes("garbage".into()), "malformed"),
            (Reply::Bytes("".into()), "malformed"),
            (Reply::Endless, "malformed"),
            (Reply::Broken, "disconnected"),
            (Reply::Silent, "timeout"),
        ] {
            core.set(path::PURGES, reply);
            let error = ask(&link).await.unwrap_err();
            assert_eq!(error.outcome(), outcome, "{transport:?}: {error}");
            // The next question is answered.
            core.set(path::PURGES, Reply::message(&purge_answer()));
            assert_eq!(
                ask(&link).await.unwrap(),
                purge_answer(),
                "{transport:?} after {outcome}"
            );
        }
        stop.cancel();
        core.stop().await;
    }
}

#[tokio::test]
async fn questions_over_the_bound_wait_and_are_told() {
    let core = Core::start(Offers::Both).await;
    let (link, stop) = link(&core, Transport::Auto);
    within(link.connected()).await;
    core.set(path::PURGES, Reply::Silent);
    let asked: Vec<_> = (0..3)
        .map(|_| {
            let link = link.clone();
            tokio::spawn(async move { ask(&link).await.unwrap_err().outcome() })
        })
        .collect();
    let mut outcomes = Vec::new();
    for asked in asked {
        outcomes.push(within(asked).await.unwrap());
    }
    outcomes.sort_unstable();
    assert_eq!(outcomes[1..], ["timeout", "timeout"], "{outcomes:?}");
    core.set(path::PURGES, Reply::message(&purge_answer()));
    assert!(ask(&link).await.is_ok());
    stop.cancel();
    core.stop().await;
}

#[tokio::test]
async fn without_a_core_questions_fail_soon() {
    let core = Core::start(Offers::Both).await;
    let (link, stop) = link(&core, Transport::Tcp);
    within(link.connected()).await;
    let identity = core.stop().await;
    eventually(async || link.transport().is_none().then_some(())).await;
    let error = ask(&link).await.unwrap_err();
    assert!(matches!(error, LinkError::NotConnected), "{error}");
    stop.cancel();
    drop(identity);
}
