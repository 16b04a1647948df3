//! Bodies in pieces, held against a plain slice.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use crate::cache::{config::Config, content::FillingId};
use http_body_util::BodyExt as _;
use proptest::prelude::*;

async fn tiers() -> Arc<Tiers> {
    Arc::new(Tiers::open(&Config::default(), 1, false).await.unwrap())
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 251) as u8).collect()
}

/// A body in pieces of so many bytes.
fn laid(tiers: &Tiers, body: &[u8], piece_bytes: usize) -> Arc<Pieces> {
    let id: FillingId = Tiers::new_filling(&"t".parse().unwrap());
    let pieces = Pieces::new(id, body.len(), piece_bytes).unwrap();
    for n in 0..pieces.count() {
        let piece = Bytes::copy_from_slice(&body[pieces.covers(n)]);
        assert!(tiers.put_piece_now(&Key(pieces.key(n)), piece));
    }
    Arc::new(pieces)
}

async fn read(tiers: &Arc<Tiers>, pieces: &Arc<Pieces>, range: Range<usize>) -> Vec<u8> {
    let first = first(tiers, pieces, &range).await;
    assert_eq!(first.is_none(), range.is_empty());
    let reader = PiecesReader::new(tiers.clone(), pieces.clone(), range.clone(), first, None);
    assert_eq!(reader.size_hint().exact(), Some(range.len() as u64));
    reader.collect().await.unwrap().to_bytes().to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_range_is_the_slice(length in 1usize..5_000, piece in 1usize..700, from in 0usize..5_000, to in 0usize..5_000) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let tiers = tiers().await;
            let body = bytes(length);
            let pieces = laid(&tiers, &body, piece);
            let (from, to) = (from.min(length), to.min(length));
            let boundary = from / piece * piece;
            for range in [from..to.max(from), boundary..(boundary + piece).min(length), 0..length] {
                prop_assert_eq!(read(&tiers, &pieces, range.clone()).await, &body[range]);
            }
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn a_missing_piece_is_a_miss_before_and_an_error_behind_the_first_byte() {
    let tiers = tiers().await;
    let body = bytes(100);
    let pieces = laid(&tiers, &body, 10);
    tiers.remove(&Key(pieces.key(5)));
    assert!(first(&tiers, &pieces, &(50..51)).await.is_none());
    assert!(pieces.is_gone() && tiers.missing_pieces() == 1);

    let pieces = laid(&tiers, &body, 10);
    let begun = first(&tiers, &pieces, &(0..100)).await;
    tiers.remove(&Key(pieces.key(5)));
    let mut reader = PiecesReader::new(tiers.clone(), pieces.clone(), 0..100, begun, None);
    for n in 0..5 {
        let frame = reader.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), body[n * 10..n * 10 + 10]);
    }
    assert!(reader.frame().await.unwrap().is_err());
    assert!(reader.frame().await.is_none());
    assert!(pieces.is_gone() && tiers.missing_pieces() == 2);
    assert!(
        first(&tiers, &pieces, &(0..10)).await.is_none(),
        "it is known to be gone"
    );
}

#[tokio::test]
async fn a_piece_of_another_length_is_none() {
    let tiers = tiers().await;
    let pieces = laid(&tiers, &bytes(25), 10);
    tiers.put_piece_now(&Key(pieces.key(2)), Bytes::from_static(b"1234"));
    let first = first(&tiers, &pieces, &(0..25)).await;
    let reader = PiecesReader::new(tiers.clone(), pieces, 0..25, first, None);
    assert!(reader.collect().await.is_err());
}

#[tokio::test]
async fn trailers_come_last() {
    let tiers = tiers().await;
    let pieces = laid(&tiers, &bytes(25), 10);
    let section = HeaderMap::from_iter([(http::header::ETAG, "x".parse().unwrap())]);
    let reader = PiecesReader::new(tiers, pieces, 5..25, None, Some(section.clone()));
    let read = reader.collect().await.unwrap();
    assert_eq!(read.trailers(), Some(&section));
    assert_eq!(read.to_bytes(), bytes(25)[5..]);
}
