//! Reads over several partitions: order, limits, and what is told of parts that fail.

#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use crate::store::{Action, Options, RedbStore, Transaction, Write};
use brink_protocol::{address::PartitionAddress, link::Condition};

async fn filled(rows: &[(&str, &str, usize)]) -> (tempfile::TempDir, RedbStore) {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::new(folder.path(), "core-1".parse().unwrap());
    let store = RedbStore::open(&options).unwrap();
    for (partition, sort, bytes) in rows {
        let transaction = Transaction {
            partition: PartitionAddress {
                tenant: "default".parse().unwrap(),
                collection: "c".into(),
                partition: (*partition).to_owned(),
            },
            seen: Vec::new(),
            writes: vec![Write {
                sort: (*sort).to_owned(),
                action: Action::Put {
                    value: vec![b'x'; *bytes].into(),
                    expires_at_ms: None,
                },
                condition: Condition::Always,
            }],
            answer: None,
            now_ms: 1,
        };
        store.commit(transaction).await.unwrap();
    }
    (folder, store)
}

fn over(partitions: &[&str], limit: u32, descending: bool) -> Scatter {
    Scatter {
        collection: "c".into(),
        partitions: partitions.iter().map(|p| (*p).to_owned()).collect(),
        lower: Bound::Unbounded,
        upper: Bound::Unbounded,
        descending,
        after: None,
        limit,
    }
}

/// All pages one after the other, and how many there were.
async fn all(store: &RedbStore, mut read: Scatter) -> (Vec<String>, usize) {
    let (mut names, mut pages) = (Vec::new(), 0);
    loop {
        let page = scatter(store, &"default".parse().unwrap(), &read, 1).await;
        let page = page.unwrap();
        pages += 1;
        for found in &page.found {
            names.push(format!("{}/{}", found.partition, found.entry.sort));
        }
        if !page.more {
            return (names, pages);
        }
        let last = page.found.last().unwrap();
        read.after = Some((last.entry.sort.clone(), last.partition.clone()));
    }
}

#[tokio::test]
async fn every_page_size_gives_all_in_order() {
    let rows = [
        ("a", "1", 1),
        ("a", "3", 1),
        ("b", "1", 1),
        ("b", "2", 1),
        ("b", "4", 1),
        ("c", "1", 1),
    ];
    let (_folder, store) = filled(&rows).await;
    let upwards = ["a/1", "b/1", "c/1", "b/2", "a/3", "b/4"];
    let mut downwards = upwards;
    downwards.reverse();
    for limit in 1..8 {
        let (up, _) = all(&store, over(&["c", "b", "a", "none"], limit, false)).await;
        assert_eq!(up, upwards, "{limit}");
        let (down, _) = all(&store, over(&["c", "b", "a", "none"], limit, true)).await;
        assert_eq!(down, downwards, "{limit}");
    }
    let mut bounded = over(&["a", "b"], 10, false);
    bounded.lower = Bound::Exclusive("1".into());
    bounded.upper = Bound::Inclusive("3".into());
    assert_eq!(all(&store, bounded).await.0, ["b/2", "a/3"]);
}

#[tokio::test]
async fn bytes_are_bounded_and_nothing_is_left_out() {
    const LARGE: usize = 1 << 20;
    let names: Vec<(String, String)> = (0..4)
        .flat_map(|p| (0..5).map(move |s| (format!("p{p}"), format!("s{s}"))))
        .collect();
    let rows: Vec<_> = names
        .iter()
        .map(|(p, s)| (p.as_str(), s.as_str(), LARGE))
        .collect();
    let (_folder, store) = filled(&rows).await;
    let (found, pages) = all(&store, over(&["p0", "p1", "p2", "p3"], 1000, false)).await;
    assert_eq!(found.len(), 20);
    assert!(pages >= 5, "{pages}");
    assert!(found.is_sorted_by_key(|name| name.split('/').next_back().map(str::to_owned)));
}

#[tokio::test]
async fn what_is_not_allowed_is_refused() {
    let (_folder, store) = filled(&[]).await;
    let many: Vec<String> = (0..65).map(|n| n.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for read in [
        over(&[], 1, false),
        over(&["a", "a"], 1, false),
        over(&many, 1, false),
        over(&["a"], 0, false),
        over(&["a"], 1001, false),
        over(&["\n"], 1, false),
    ] {
        let refused = scatter(&store, &"default".parse().unwrap(), &read, 1).await;
        assert!(matches!(refused, Err(Refused::Invalid(_))), "{read:?}");
    }
}
