//! Bodies on their way to several readers.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::cache::{config::Config, content::Content, stored::Parts};
use brink_policy::http::Lifetime;
use http::StatusCode;
use http_body_util::BodyExt as _;
use std::time::SystemTime;

async fn tiers() -> Arc<Tiers> {
    Arc::new(Tiers::open(&Config::default(), 1, false).await.unwrap())
}

async fn growing() -> Arc<Growing> {
    let entry = Stored::new(Parts {
        generation: 1,
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        body: Content::default(),
        lifetime: Lifetime::fresh_for(60),
        initial_age: 0,
        received: SystemTime::UNIX_EPOCH,
        on: Box::default(),
        index: 0,
        position: Arc::default(),
        codings: None,
        described: "".into(),
    });
    let id = Tiers::new_filling(&"t".parse().unwrap());
    Growing::new(Arc::new(entry), HeaderMap::new(), None, tiers().await, id)
}

fn reader(growing: &Arc<Growing>) -> Reader {
    match growing.read() {
        Beginning::Reader(reader) => reader,
        other => panic!("{other:?}"),
    }
}

fn polled(reader: &mut Reader) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
    Pin::new(reader).poll_frame(&mut Context::from_waker(Waker::noop()))
}

fn data(reader: &mut Reader) -> Option<Bytes> {
    match polled(reader) {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().ok(),
        Poll::Ready(_) | Poll::Pending => None,
    }
}

#[tokio::test]
async fn each_reads_from_the_beginning_whenever_it_comes() {
    let growing = growing().await;
    let mut early = reader(&growing);
    assert!(polled(&mut early).is_pending());
    growing.push(Bytes::from_static(b"ab"));
    assert_eq!(data(&mut early).unwrap(), "ab");
    let late = reader(&growing);
    growing.push(Bytes::new());
    growing.push(Bytes::from_static(b"cd"));
    assert_eq!(growing.whole(), "abcd");
    let trailers = HeaderMap::from_iter([(http::header::ETAG, "x".parse().unwrap())]);
    growing.end(Some(trailers.clone()));
    assert_eq!(data(&mut early).unwrap(), "cd", "it goes on where it was");
    let rest = early.collect().await.unwrap();
    assert_eq!(rest.trailers(), Some(&trailers));
    let all = late.collect().await.unwrap();
    assert_eq!(all.trailers(), Some(&trailers));
    assert_eq!(all.to_bytes(), "abcd");
    let last = reader(&growing);
    assert_eq!(last.size_hint().exact(), Some(4));
    assert_eq!(last.collect().await.unwrap().to_bytes(), "abcd");
}

#[tokio::test]
async fn what_breaks_off_is_an_error_once_and_for_each() {
    let growing = growing().await;
    let mut reader = reader(&growing);
    growing.push(Bytes::from_static(b"ab"));
    growing.break_off("gone");
    assert!(matches!(growing.read(), Beginning::Gone));
    assert_eq!(data(&mut reader).unwrap(), "ab");
    assert!(matches!(polled(&mut reader), Poll::Ready(Some(Err(_)))));
    assert!(matches!(polled(&mut reader), Poll::Ready(None)));
}

#[tokio::test]
async fn what_is_not_stored_is_held_until_the_slowest_has_read_it() {
    let piece = Bytes::from(vec![b'x'; 600 << 10]);
    let growing = growing().await;
    let (mut quick, mut slow) = (reader(&growing), reader(&growing));
    growing.push(piece.clone());
    assert!(data(&mut quick).is_some());
    growing.pass();
    assert!(
        matches!(growing.read(), Beginning::Gone),
        "its beginning may leave"
    );
    assert!(growing.room().await);
    growing.push(piece.clone());
    assert!(data(&mut quick).is_some());
    assert!(data(&mut quick).is_none());
    assert!(futures_util::poll!(Box::pin(growing.room())).is_pending());
    let room = tokio::spawn({
        let growing = growing.clone();
        async move { growing.room().await }
    });
    tokio::task::yield_now().await;
    assert!(data(&mut slow).is_some());
    assert!(room.await.unwrap());
    growing.push(piece);
    assert_eq!(growing.state().blocks(), 2);
    drop(slow);
    assert_eq!(growing.state().blocks(), 1);
    drop(quick);
    assert_eq!(growing.state().held, 0);
    assert!(!growing.room().await, "nobody reads it");
}
