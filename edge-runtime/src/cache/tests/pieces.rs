//! Bodies longer than a piece.

use super::*;
use brink_listener::Body;
use brink_protocol::purge::Selector;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::Method;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use proptest::{prelude::*, strategy::ValueTree as _};
use std::{io, ops::Range, os::unix::fs::FileExt as _, path::Path, time::SystemTime};
use tokio::{sync::mpsc, task::JoinHandle};

const MIB: usize = 1 << 20;
/// Three pieces and some bytes.
const LONG: usize = 3 * MIB + 12_345;

type Pieces = mpsc::UnboundedSender<Result<Bytes, io::Error>>;

fn roomy() -> Config {
    Config {
        memory_bytes_max: 64 * MIB as u64,
        disk_bytes_max: 128 * MIB as u64,
        object_bytes_max: 16 * MIB as u64,
        ..Config::default()
    }
}

async fn disk(dir: &Path) -> Cache {
    open(Config {
        dir: Some(dir.to_owned()),
        ..roomy()
    })
    .await
}

/// Bytes of which no two pieces are alike.
fn long(length: usize) -> Bytes {
    let block: Vec<u8> = (0..65_521_u32)
        .map(|at| (at * 31 + at / 251) as u8)
        .collect();
    block
        .iter()
        .copied()
        .cycle()
        .take(length)
        .collect::<Vec<u8>>()
        .into()
}

/// The answer to the request of `fill`, and the task that fills the cache.
fn streamed(fill: Fill, fields: Fields<'_>) -> (Answer, Pieces, JoinHandle<()>) {
    let (pieces, mut coming) = mpsc::unbounded_channel();
    let coming = stream::poll_fn(move |cx| coming.poll_recv(cx));
    let frames = coming.map(|piece: Result<Bytes, io::Error>| piece.map(Frame::data));
    let head = head(200, fields);
    assert!(fill.may_stream(&head) && fill.wants(&head, &none()).is_some());
    let (answer, filling) = fill.stream(head, none(), now()).unwrap();
    let body = Body::stream(StreamBody::new(frames));
    (answer, pieces, tokio::spawn(filling.run(Vec::new(), body)))
}

/// Sends bytes as an origin does: not by pieces.
fn send(pieces: &Pieces, bytes: &Bytes) {
    for at in (0..bytes.len()).step_by(100_000) {
        let frame = bytes.slice(at..(at + 100_000).min(bytes.len()));
        pieces.send(Ok(frame)).unwrap();
    }
}

async fn fill(cache: &Cache, path: &str, body: &Bytes, fields: Fields<'_>) {
    let fill = get(path).forward(cache, now()).await;
    let (answer, pieces, filling) = streamed(fill, fields);
    send(&pieces, body);
    drop(pieces);
    filling.await.unwrap();
    assert!(all(answer).await.unwrap() == *body, "the first");
}

async fn all(answer: Answer) -> Result<Bytes, brink_listener::BoxError> {
    let body = answer.into_response().into_body().collect().await?;
    Ok(body.to_bytes())
}

async fn is_whole(cache: &Cache, path: &str, body: &Bytes) -> bool {
    let hit = get(path).hit(cache, SystemTime::now()).await;
    let length = body.len().to_string();
    assert_eq!(field(&hit, "content-length"), Some(length.as_str()));
    all(hit).await.unwrap() == *body
}

async fn range(cache: &Cache, path: &str, range: Range<usize>) -> Answer {
    let text = format!("bytes={}-{}", range.start, range.end - 1);
    get(path)
        .with("range", &text)
        .hit(cache, SystemTime::now())
        .await
}

/// Waits until what was removed is gone from disk.
async fn entries(cache: &Cache) -> u64 {
    cache.written().await;
    cache.figures().disk.entries
}

#[tokio::test]
async fn stored_in_pieces_and_found_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (body, tagged) = (
        long(LONG),
        &[("cache-control", "max-age=60"), ("etag", "\"a\"")],
    );
    let cache = disk(dir.path()).await;
    fill(&cache, "/long", &body, tagged).await;
    // Four pieces, and the head; none takes memory before it is used again.
    assert_eq!(entries(&cache).await, 5);
    assert!(cache.figures().bytes < MIB as u64);
    // Its own client may have read it from there already.
    for _ in 0..3 {
        assert!(is_whole(&cache, "/long", &body).await);
    }
    assert!(cache.figures().bytes > LONG as u64);
    let head = get("/long").method(Method::HEAD);
    let head = head.hit(&cache, SystemTime::now()).await;
    assert_eq!(field(&head, "content-length"), Some("3158073"));
    assert!(all(head).await.unwrap().is_empty());
    let known = get("/long").with("if-none-match", "\"a\"");
    let known = known.hit(&cache, SystemTime::now()).await;
    assert_eq!(known.head.status, 304);
    assert!(all(known).await.unwrap().is_empty());
    cache.close().await.unwrap();
    drop(cache);
    let cache = disk(dir.path()).await;
    assert!(is_whole(&cache, "/long", &body).await);
    assert_eq!(cache.figures().hits_disk, 1);
    let part = range(&cache, "/long", MIB - 1..2 * MIB + 1).await;
    assert_eq!(
        (part.head.status.as_u16(), field(&part, "content-range")),
        (206, Some("bytes 1048575-2097152/3158073"))
    );
    assert!(all(part).await.unwrap() == body.slice(MIB - 1..2 * MIB + 1));
    let other = get("/long")
        .with("range", "bytes=5-6")
        .with("if-range", "\"b\"");
    assert!(
        all(other.hit(&cache, SystemTime::now()).await)
            .await
            .unwrap()
            == body
    );
    let beyond = get("/long").with("range", "bytes=9999999-");
    let beyond = beyond.hit(&cache, SystemTime::now()).await;
    assert_eq!(field(&beyond, "content-range"), Some("bytes */3158073"));
    // What is exactly a piece is whole.
    let one = long(MIB);
    fill(&cache, "/one", &one, FRESH).await;
    assert_eq!(entries(&cache).await, 6);
    assert!(is_whole(&cache, "/one", &one).await);
}

#[tokio::test]
async fn any_range_of_what_lies_on_disk_and_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let body = long(LONG);
    let memory = open(roomy()).await;
    let disk = disk(dir.path()).await;
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(40));
    let near = |piece: usize, around: usize| (piece * MIB + around).saturating_sub(3).min(LONG - 1);
    let edges = (0..4_usize, 0..7_usize, 0..4_usize, 0..7_usize);
    for cache in [&memory, &disk] {
        fill(cache, "/long", &body, FRESH).await;
        for _ in 0..40 {
            let (a, b, c, d) = edges.new_tree(&mut runner).unwrap().current();
            let (from, to) = (near(a, b), near(c, d));
            let wanted = from.min(to)..from.max(to) + 1;
            let part = range(cache, "/long", wanted.clone()).await;
            assert_eq!(part.head.status, 206);
            assert!(
                all(part).await.unwrap() == body.slice(wanted.clone()),
                "{wanted:?}"
            );
        }
    }
}

#[tokio::test]
async fn each_reads_at_its_own_pace_and_whoever_comes_late_from_the_beginning() {
    let dir = tempfile::tempdir().unwrap();
    for cache in [open(roomy()).await, disk(dir.path()).await] {
        let body = long(12 * MIB + 1);
        let fill = get("/long").forward(&cache, now()).await;
        let (slow, pieces, filling) = streamed(fill, FRESH);
        let gone = get("/long").hit(&cache, now()).await;
        send(&pieces, &body.slice(..11 * MIB));
        cache.written().await;
        drop(gone);
        // The slow one has read nothing, and holds nobody up.
        let late = get("/long").hit(&cache, now()).await;
        let late = tokio::spawn(all(late));
        send(&pieces, &body.slice(11 * MIB..));
        drop(pieces);
        filling.await.unwrap();
        assert!(late.await.unwrap().unwrap() == body, "the late one");
        assert!(all(slow).await.unwrap() == body, "the slow one");
        assert!(is_whole(&cache, "/long", &body).await);
        assert_eq!(cache.figures().forwards, 1);
        assert_eq!(cache.figures().pieces_missing, 0);
    }
}

#[tokio::test]
async fn what_a_purge_ends_on_its_way_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cache = disk(dir.path()).await;
    let body = long(LONG);
    let fill = get("/long").forward(&cache, now()).await;
    let (answer, pieces, filling) = streamed(fill, FRESH);
    send(&pieces, &body.slice(..2 * MIB + 5));
    while entries(&cache).await < 2 {
        tokio::task::yield_now().await;
    }
    cache.apply(&purge(1, Selector::Everything, false));
    send(&pieces, &body.slice(2 * MIB + 5..));
    drop(pieces);
    filling.await.unwrap();
    assert!(all(answer).await.unwrap() == body, "its client gets it");
    drop(get("/long").forward(&cache, SystemTime::now()).await);
    assert_eq!(entries(&cache).await, 0);
}

#[tokio::test]
async fn what_breaks_off_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for cache in [open(roomy()).await, disk(dir.path()).await] {
        let fill = get("/long").forward(&cache, now()).await;
        let (answer, pieces, filling) = streamed(fill, FRESH);
        send(&pieces, &long(2 * MIB + 5));
        pieces.send(Err(io::Error::other("gone"))).unwrap();
        filling.await.unwrap();
        assert!(all(answer).await.is_err());
        drop(get("/long").forward(&cache, SystemTime::now()).await);
        assert_eq!((entries(&cache).await, cache.figures().entries), (0, 0));
    }
}

#[tokio::test]
async fn what_turns_out_too_long_goes_on_for_its_readers_alone() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(Config {
        dir: Some(dir.path().to_owned()),
        object_bytes_max: 3 * MIB as u64,
        ..roomy()
    })
    .await;
    let body = long(6 * MIB);
    let fill = get("/long").forward(&cache, now()).await;
    let (leader, pieces, filling) = streamed(fill, FRESH);
    let follower = get("/long").hit(&cache, now()).await;
    send(&pieces, &body);
    drop(pieces);
    let (leader, follower) = tokio::join!(all(leader), all(follower));
    assert!(leader.unwrap() == body && follower.unwrap() == body);
    filling.await.unwrap();
    drop(get("/long").forward(&cache, SystemTime::now()).await);
    assert_eq!(entries(&cache).await, 0);
}

#[tokio::test]
async fn without_room_nobody_notices() {
    // Memory for half of it, and no disk.
    let cache = open(Config {
        memory_bytes_max: 2 * MIB as u64,
        object_bytes_max: u64::from(u32::MAX),
        ..Config::default()
    })
    .await;
    let small = long(400_000);
    fill(&cache, "/small", &small, FRESH).await;
    let body = long(LONG);
    let asked = get("/long").forward(&cache, now()).await;
    let (leader, pieces, filling) = streamed(asked, FRESH);
    send(&pieces, &body);
    drop(pieces);
    assert!(all(leader).await.unwrap() == body);
    filling.await.unwrap();
    drop(get("/long").forward(&cache, SystemTime::now()).await);
    assert!(cache.figures().bytes <= 2 * MIB as u64);
}

#[tokio::test]
async fn what_came_whole_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    for cache in [open(roomy()).await, disk(dir.path()).await] {
        let (body, trailers) = (long(LONG), map(&[("etag", "\"t\"")]));
        let mut fill = get("/long").forward(&cache, now()).await;
        fill.set_trailers(trailers.clone());
        let answer = fill.complete(head(200, FRESH), body.clone(), none(), now());
        assert!(all(answer).await.unwrap() == body);
        let hit = get("/long").hit(&cache, now()).await;
        let got = hit.into_response().into_body().collect().await.unwrap();
        assert_eq!(got.trailers(), Some(&trailers));
        assert!(got.to_bytes() == body);
    }
}

#[tokio::test]
async fn a_validated_body_stays_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let cache = disk(dir.path()).await;
    let body = long(LONG);
    let fields = &[("cache-control", "max-age=60"), ("etag", "\"a\"")];
    fill(&cache, "/long", &body, fields).await;
    let asked = get("/long")
        .forward(
            &cache,
            SystemTime::now() + std::time::Duration::from_secs(100),
        )
        .await;
    assert_eq!(asked.request_headers()["if-none-match"], "\"a\"");
    let answer = asked.complete(head(304, FRESH), Bytes::new(), none(), SystemTime::now());
    assert!(all(answer).await.unwrap() == body);
    assert!(is_whole(&cache, "/long", &body).await);
    assert_eq!(entries(&cache).await, 5);
}

/// Changes a byte of the record on disk that has these bytes.
fn damage(dir: &Path, bytes: &[u8]) {
    for entry in std::fs::read_dir(dir.join("disk")).unwrap() {
        let path = entry.unwrap().path();
        let held = std::fs::read(&path).unwrap();
        if let Some(at) = held.windows(bytes.len()).position(|window| window == bytes) {
            let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.write_all_at(&[!bytes[0]], at as u64).unwrap();
            return;
        }
    }
    panic!("it is not there");
}

#[tokio::test]
async fn a_damaged_piece_is_a_miss_or_breaks_off_and_never_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let cache = disk(dir.path()).await;
    for damaged in [0, 2] {
        // Each piece has a mark of its own.
        let mut body = long(LONG).to_vec();
        let mark = format!("the only mark {damaged}");
        body[damaged * MIB + 77..][..mark.len()].copy_from_slice(mark.as_bytes());
        let body = Bytes::from(body);
        let path = format!("/{damaged}");
        fill(&cache, &path, &body, FRESH).await;
        cache.written().await;
        damage(dir.path(), mark.as_bytes());
        // What does not need it is right.
        let part = range(&cache, &path, MIB..MIB + 9).await;
        assert!(all(part).await.unwrap() == body.slice(MIB..MIB + 9));
        match get(&path).lookup(&cache, SystemTime::now()).await {
            Lookup::Hit(hit) => {
                assert_eq!(damaged, 2);
                let mut got = hit.into_response().into_body();
                for n in 0..2 {
                    let frame = got.frame().await.unwrap().unwrap().into_data().unwrap();
                    assert!(frame == body.slice(n * MIB..(n + 1) * MIB));
                }
                assert!(got.frame().await.unwrap().is_err());
            }
            Lookup::Forward(_) => assert_eq!(damaged, 0),
            other => panic!("{other:?}"),
        }
        drop(get(&path).forward(&cache, SystemTime::now()).await);
        fill(&cache, &path, &body, FRESH).await;
        assert!(is_whole(&cache, &path, &body).await);
    }
    assert_eq!(cache.figures().pieces_missing, 2);
    assert_eq!(cache.figures().disk.damaged, 2);
}
