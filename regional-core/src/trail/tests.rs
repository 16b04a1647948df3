//! The audit trail over both stores, with others that write meanwhile.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
use super::*;
use crate::store::{Archive, CqlStore, NewAnswer, Options, RedbStore, fresh_cql};
use brink_protocol::{TenantName, address::PartitionAddress};
use std::sync::Arc;

const NOW: u64 = 1_700_000_000_000;
const KEPT_MS: u64 = 90 * 24 * 3600 * 1000;

fn tenant() -> TenantName {
    "default".parse().unwrap()
}

fn key(sort: &str) -> Key {
    Key {
        collection: "accounts".into(),
        partition: "p".into(),
        sort: sort.into(),
    }
}

fn put(sort: &str, value: &str) -> Write {
    Write {
        sort: sort.into(),
        action: Action::Put {
            value: Bytes::copy_from_slice(value.as_bytes()),
            expires_at_ms: None,
        },
        condition: Condition::Always,
    }
}

fn delete(sort: &str) -> Write {
    Write {
        sort: sort.into(),
        action: Action::Delete,
        condition: Condition::Always,
    }
}

fn of(writes: Vec<Write>, now_ms: u64) -> Transaction {
    Transaction {
        partition: PartitionAddress {
            tenant: tenant(),
            collection: "accounts".into(),
            partition: "p".into(),
        },
        seen: Vec::new(),
        writes,
        answer: None,
        now_ms,
    }
}

fn by(name: &str) -> Author {
    Author::new(AuthorKind::Command, name).version(2)
}

async fn trail_of(store: &dyn Store, sort: &str, now_ms: u64) -> Vec<TrailEntry> {
    let (tenant, key) = (tenant(), key(sort));
    let page = page(store, &tenant, &key, None, 1000, now_ms);
    page.await.unwrap().entries
}

/// From which version to which, oldest first.
async fn steps(store: &dyn Store, sort: &str) -> Vec<(Option<u64>, Option<u64>)> {
    let all = trail_of(store, sort, NOW).await;
    let steps = all.iter().rev().map(|entry| (entry.from, entry.to));
    steps.collect()
}

async fn done(store: &dyn Store, turns: &Turns, transaction: Transaction) -> Vec<Option<u64>> {
    match commit(store, turns, transaction, KEPT_MS, &by("pay")).await {
        Ok(Commit::Done { versions, .. }) => versions,
        other => panic!("not done: {other:?}"),
    }
}

async fn says_what_happened(store: &dyn Store) {
    let turns = Turns::default();
    let both = of(vec![put("a", "1"), put("b", "22"), delete("none")], NOW);
    assert_eq!(done(store, &turns, both).await, [Some(1), Some(1), None]);
    done(store, &turns, of(vec![put("a", "333")], NOW + 1)).await;
    done(store, &turns, of(vec![delete("a")], NOW + 2)).await;
    done(store, &turns, of(vec![delete("a")], NOW + 3)).await;
    let ends = Write {
        action: Action::Put {
            value: Bytes::from_static(b"4"),
            expires_at_ms: Some(NOW + 5),
        },
        ..put("a", "")
    };
    done(store, &turns, of(vec![ends], NOW + 4)).await;
    // Its lifetime has ended: it comes after nothing.
    done(store, &turns, of(vec![put("a", "5")], NOW + 6)).await;
    let expected = [
        (None, Some(1)),
        (Some(1), Some(2)),
        (Some(2), None),
        (None, Some(3)),
        (None, Some(4)),
    ];
    assert_eq!(steps(store, "a").await, expected);
    assert_eq!(steps(store, "b").await, [(None, Some(1))]);
    assert_eq!(steps(store, "none").await, []);
    let all = trail_of(store, "a", NOW).await;
    let of_second = &all[3];
    assert_eq!((of_second.at_ms, of_second.bytes), (NOW + 1, Some(3)));
    assert_eq!(of_second.sha256, Some(Digest::of(b"333")));
    assert_eq!(of_second.by, by("pay"));
    assert_eq!((all[2].bytes, all[2].sha256), (None, None), "deleted");
    assert_eq!(all[1].expires_at_ms, Some(NOW + 5));
    // Guests see none of it, and its own lifetime ends it.
    let everything = brink_protocol::record::Range {
        collection: "accounts".into(),
        partition: "p".into(),
        lower: brink_protocol::record::Bound::Unbounded,
        upper: brink_protocol::record::Bound::Unbounded,
        limit: 100,
        descending: false,
    };
    let seen = store.scan(&tenant(), &everything, NOW + 7).await.unwrap();
    assert_eq!(seen.entries.len(), 2);
    assert_eq!(trail_of(store, "a", NOW + 6 + KEPT_MS).await, []);
}

async fn pages(store: &dyn Store) {
    let turns = Turns::default();
    for n in 0..7 {
        done(store, &turns, of(vec![put("long", "x")], NOW + n)).await;
    }
    let (mut before, mut found) = (None::<String>, Vec::new());
    loop {
        let (tenant, key) = (tenant(), key("long"));
        let next = page(store, &tenant, &key, before.as_deref(), 3, NOW);
        let next = next.await.unwrap();
        found.extend(next.entries.iter().map(|entry| entry.to.unwrap()));
        before = next.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(found, [7, 6, 5, 4, 3, 2, 1]);
}

async fn conditions_and_keys_are_the_callers(store: &dyn Store) {
    let turns = Turns::default();
    done(store, &turns, of(vec![put("c", "1")], NOW)).await;
    let mut refused = of(vec![put("c", "2")], NOW);
    refused.writes[0].condition = Condition::Absent;
    let conflict = commit(store, &turns, refused, KEPT_MS, &by("x")).await;
    assert_eq!(conflict.unwrap(), Commit::Conflict { present: Some(1) });
    let with_key = |value| Transaction {
        answer: Some(NewAnswer {
            command: "pay".parse().unwrap(),
            key: "k-1".into(),
            input: Digest::of(b""),
            output: Bytes::new(),
            lifetime_ms: 1000,
        }),
        ..of(vec![put("c", value)], NOW)
    };
    assert_eq!(done(store, &turns, with_key("3")).await, [Some(2)]);
    let again = commit(store, &turns, with_key("4"), KEPT_MS, &by("x")).await;
    assert!(matches!(again, Ok(Commit::Answered(_))), "{again:?}");
    assert_eq!(
        steps(store, "c").await,
        [(None, Some(1)), (Some(1), Some(2))]
    );
    let newest = trail_of(store, "c", NOW).await.remove(0);
    assert_eq!(newest.key.as_deref(), Some("k-1"));
    // A row that is in the way, whatever put it there, keeps nobody from writing.
    let in_the_way = of(vec![put(&trail::sort_of("c", 3, false), "?")], NOW);
    store.commit(in_the_way).await.unwrap();
    assert_eq!(
        done(store, &turns, of(vec![put("c", "5")], NOW)).await,
        [Some(3)]
    );
    assert_eq!(steps(store, "c").await.len(), 3);
    let (gone, eraser) = (
        of(vec![delete("c")], NOW),
        Author::new(AuthorKind::Erasure, ""),
    );
    commit(store, &turns, gone, KEPT_MS, &eraser).await.unwrap();
    assert_eq!(steps(store, "c").await.len(), 3, "an erasure leaves none");
    let many = (0..=RECORDS_MAX).map(|n| put(&n.to_string(), "")).collect();
    let refused = commit(store, &turns, of(many, NOW), KEPT_MS, &by("x")).await;
    assert!(matches!(refused, Err(Error::Limit(_))), "{refused:?}");
}

/// Writers that know nothing of each other's turns: each step of the trail follows the one before.
async fn no_change_is_missing(store: Arc<dyn Store>, writers: u64, writes: u64) {
    let writer = |writer: u64| {
        let store = Arc::clone(&store);
        async move {
            let turns = Turns::default();
            for n in 0..writes {
                let write = if (writer + n).is_multiple_of(3) {
                    delete("hot")
                } else {
                    put("hot", &format!("{writer}-{n}"))
                };
                loop {
                    let transaction = of(vec![write.clone()], NOW);
                    match commit(&*store, &turns, transaction, KEPT_MS, &by("w")).await {
                        Ok(Commit::Done { .. }) => break,
                        Err(Error::Busy) => {}
                        other => panic!("{other:?}"),
                    }
                }
            }
        }
    };
    let all = (0..writers).map(|number| tokio::spawn(writer(number)));
    for ended in futures_util::future::join_all(all).await {
        ended.unwrap();
    }
    let steps = steps(&*store, "hot").await;
    let (mut present, mut last) = (None, 0);
    for (from, to) in &steps {
        assert_eq!(*from, present, "{steps:?}");
        if let Some(to) = to {
            assert_eq!(*to, last + 1, "{steps:?}");
            last = *to;
        }
        present = *to;
    }
    let puts = (0..writers).flat_map(|w| (0..writes).map(move |n| (w + n) % 3 != 0));
    assert_eq!(last, puts.filter(|is_put| *is_put).count() as u64);
    let record = store.get(&tenant(), &key("hot"), NOW).await.unwrap();
    assert_eq!(record.map(|entry| entry.version), present);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_embedded_store() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::new(folder.path(), "core-1".parse().unwrap());
    let store: Arc<dyn Store> = Arc::new(RedbStore::open(&options).unwrap());
    says_what_happened(&*store).await;
    pages(&*store).await;
    conditions_and_keys_are_the_callers(&*store).await;
    no_change_is_missing(store, 8, 30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_an_engine_of_several_cores() {
    let options = fresh_cql("core-1").await;
    let store: Arc<dyn Store> = Arc::new(CqlStore::open(&options).await.unwrap());
    says_what_happened(&*store).await;
    pages(&*store).await;
    conditions_and_keys_are_the_callers(&*store).await;
    no_change_is_missing(store, 3, 8).await;
}

/// What an ended row leaves behind would be there for good.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_ended_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::new(folder.path(), "core-1".parse().unwrap());
    let store = RedbStore::open(&options).unwrap();
    done(&store, &Turns::default(), of(vec![put("a", "1")], NOW)).await;
    let swept = store.sweep(NOW + KEPT_MS, 100).await.unwrap();
    assert_eq!(swept.records, 1);
    let partition = of(Vec::new(), NOW).partition;
    let kept = store.kept(&partition, None, 100).await.unwrap();
    let kept: Vec<RowKey> = kept.into_iter().map(|row| row.key).collect();
    assert_eq!(kept, [RowKey::Record("a".into())]);
}
