//! Answers that are sent, to all who wait for them, while they come.

use super::*;
use brink_listener::Body;
use brink_policy::cache_status::Outcome;
use brink_protocol::{problem::Problem, purge::Selector};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use std::{
    io,
    time::{Duration, SystemTime},
};
use tokio::sync::mpsc;

type Pieces = mpsc::UnboundedSender<Result<&'static str, io::Error>>;

/// A body whose pieces the test sends.
fn body() -> (Pieces, Body) {
    let (pieces, mut coming) = mpsc::unbounded_channel();
    let coming = stream::poll_fn(move |cx| coming.poll_recv(cx));
    let frames = coming.map(|piece: Result<&'static str, io::Error>| {
        piece.map(|piece| Frame::data(Bytes::from_static(piece.as_bytes())))
    });
    (pieces, Body::stream(StreamBody::new(frames)))
}

/// The answer to the request of `fill`, and the task that fills the cache.
fn streamed(fill: Fill, fields: Fields<'_>) -> (Answer, Pieces, tokio::task::JoinHandle<()>) {
    let (pieces, body) = body();
    let head = head(200, fields);
    assert!(fill.may_stream(&head) && fill.wants(&head, &none()).is_some());
    let (answer, filling) = fill.stream(head, none(), now()).unwrap();
    (answer, pieces, tokio::spawn(filling.run(Vec::new(), body)))
}

/// One that waits for another's fill by now.
async fn waiting(cache: &Cache, ask: &Ask) -> tokio::task::JoinHandle<Lookup> {
    let (cache, ask) = (cache.clone(), ask.clone());
    let waiting = tokio::spawn(async move { ask.lookup(&cache, now()).await });
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished());
    waiting
}

async fn text(answer: Answer) -> String {
    let body = answer.into_response().into_body().collect().await.unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

fn is_collapsed(answer: &Answer) -> bool {
    matches!(
        answer.status.outcome,
        Outcome::Forward {
            collapsed: true,
            ..
        }
    )
}

#[tokio::test]
async fn followers_read_while_the_leader_fills() {
    let cache = memory().await;
    let fill = get("/").forward(&cache, now()).await;
    let early = waiting(&cache, &get("/")).await;
    let (leader, pieces, filling) = streamed(fill, FRESH);
    let Lookup::Hit(early) = early.await.unwrap() else {
        panic!("it does not read along");
    };
    let late = get("/").hit(&cache, now()).await;
    assert!(is_collapsed(&early) && is_collapsed(&late));
    assert_eq!(
        status_line(&early),
        "brink-ams; fwd=miss; collapsed; ttl=60; detail=memory"
    );
    // The first bytes arrive before the rest is there.
    pieces.send(Ok("ab")).unwrap();
    let mut early = early.into_response().into_body();
    let first = early.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "ab");
    // The leader's client goes away: nobody else notices.
    drop(leader);
    pieces.send(Ok("cd")).unwrap();
    drop(pieces);
    filling.await.unwrap();
    assert_eq!(early.collect().await.unwrap().to_bytes(), "cd");
    assert_eq!(text(late).await, "abcd");
    // The task has stored it by its own clock.
    let stored = get("/").hit(&cache, SystemTime::now()).await;
    assert!(stored.status.is_hit() && field(&stored, "content-length") == Some("4"));
    assert_eq!(stored.body, "abcd");
    assert_eq!(cache.figures().forwards, 1);
}

#[tokio::test]
async fn a_change_while_it_streams_ends_it_for_those_who_come_later() {
    let cache = memory().await;
    let fill = get("/").forward(&cache, now()).await;
    let (leader, pieces, filling) = streamed(fill, FRESH);
    cache.apply(&purge(1, Selector::Everything, false));
    // Not the answer that was begun before, and only one asks anew.
    let again = get("/").forward(&cache, now()).await;
    let other = waiting(&cache, &get("/")).await;
    pieces.send(Ok("old")).unwrap();
    drop(pieces);
    filling.await.unwrap();
    assert_eq!(text(leader).await, "old");
    assert!(!other.is_finished(), "the fence refused it");
    drop(again.complete(head(200, FRESH), Bytes::from_static(b"new"), none(), now()));
    let Lookup::Hit(other) = other.await.unwrap() else {
        panic!("it does not get the new one");
    };
    assert_eq!(other.body, "new");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_kept_and_another_leads() {
    let cache = memory().await;
    let fill = get("/").forward(&cache, now()).await;
    let (leader, pieces, filling) = streamed(fill, FRESH);
    let follower = get("/").hit(&cache, now()).await;
    pieces.send(Ok("ab")).unwrap();
    pieces.send(Err(io::Error::other("gone"))).unwrap();
    filling.await.unwrap();
    for answer in [leader, follower] {
        assert!(answer.into_response().into_body().collect().await.is_err());
    }
    drop(get("/").forward(&cache, now()).await);
}

#[tokio::test]
async fn who_wants_another_variant_waits_for_that() {
    let cache = memory().await;
    let (de, en) = (
        get("/").with("accept-language", "de"),
        get("/").with("accept-language", "en"),
    );
    let fields = &[("cache-control", "max-age=60"), ("vary", "accept-language")];
    let fill = de.forward(&cache, now()).await;
    let (leader, pieces, filling) = streamed(fill, fields);
    let english = en.forward(&cache, now()).await;
    let second = waiting(&cache, &en).await;
    assert_eq!(text_of(de.hit(&cache, now()).await, &pieces).await, "ja");
    drop((leader, pieces));
    filling.await.unwrap();
    drop(english.complete(head(200, fields), Bytes::from_static(b"yes"), none(), now()));
    let Lookup::Hit(second) = second.await.unwrap() else {
        panic!("it does not wait for its own");
    };
    assert_eq!(second.body, "yes");
    assert_eq!(de.hit(&cache, SystemTime::now()).await.body, "ja");
}

/// What comes first of an answer that is fed "ja".
async fn text_of(answer: Answer, pieces: &Pieces) -> String {
    pieces.send(Ok("ja")).unwrap();
    let mut body = answer.into_response().into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    String::from_utf8(first.to_vec()).unwrap()
}

#[tokio::test]
async fn one_that_grows_too_long_goes_on_for_its_readers_alone() {
    let cache = open(Config {
        object_bytes_max: 3,
        ..small()
    })
    .await;
    let fill = get("/").forward(&cache, now()).await;
    let (leader, pieces, filling) = streamed(fill, FRESH);
    let follower = get("/").hit(&cache, now()).await;
    for piece in ["ab", "cd", "ef"] {
        pieces.send(Ok(piece)).unwrap();
    }
    let texts = tokio::join!(text(leader), text(follower), async {
        tokio::task::yield_now().await;
        drop(pieces);
        filling.await.unwrap();
    });
    assert_eq!((texts.0.as_str(), texts.1.as_str()), ("abcdef", "abcdef"));
    // Not waited for any more.
    let first = get("/").forward(&cache, now()).await;
    drop(get("/").forward(&cache, now()).await);
    drop(first);
}

#[tokio::test]
async fn a_slow_leader_is_not_stormed() {
    let cache = open(Config {
        follower_wait_ms_max: 50,
        ..small()
    })
    .await;
    let leader = get("/").forward(&cache, now()).await;
    let mut followers = Vec::new();
    for _ in 0..100 {
        let cache = cache.clone();
        followers.push(tokio::spawn(
            async move { get("/").lookup(&cache, now()).await },
        ));
    }
    let second = loop {
        let done = followers
            .iter()
            .position(tokio::task::JoinHandle::is_finished);
        if let Some(done) = done {
            break followers.remove(done).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    let Lookup::Forward(second) = second else {
        panic!("one takes its turn");
    };
    // What it brings serves all, though the leader is still at it.
    drop(second.complete(head(200, FRESH), Bytes::from_static(b"x"), none(), now()));
    let mut more = 0;
    for follower in followers {
        match follower.await.unwrap() {
            Lookup::Hit(answer) => assert_eq!(answer.body, "x"),
            Lookup::Forward(_) => more += 1,
            Lookup::Unavailable(problem) => panic!("{problem:?}"),
        }
    }
    assert!(more < 10, "{more} went forward as well");
    drop(leader);
}

#[tokio::test]
async fn failures_are_shared_after_the_second() {
    let cache = memory().await;
    let leader = get("/").forward(&cache, now()).await;
    let mut followers = Vec::new();
    for _ in 0..50 {
        let cache = cache.clone();
        followers.push(tokio::spawn(async move {
            match get("/").lookup(&cache, now()).await {
                Lookup::Forward(fill) => {
                    // The others find it under way; then the origin says the same.
                    for _ in 0..200 {
                        tokio::task::yield_now().await;
                    }
                    let answer = fill.complete(head(503, &[]), Bytes::new(), none(), now());
                    assert_eq!(answer.head.status, 503);
                    true
                }
                Lookup::Unavailable(problem) => {
                    assert_eq!(problem.status, 503);
                    false
                }
                Lookup::Hit(answer) => panic!("{answer:?}"),
            }
        }));
    }
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    leader.tell(&Problem::new(502, "origin-failed", "t", "d"));
    assert!(leader.failed(now()).is_none());
    let mut forwards = 0;
    for follower in followers {
        forwards += u32::from(follower.await.unwrap());
    }
    assert_eq!(forwards, 1);
}
