//! What every store must do with logs: its own, and those of other origins.

use super::{NOW, log, put, transaction, versions_of};
use crate::store::{Appended, CHANGES_BYTES_MAX, Held, Store};
use brink_protocol::{
    OriginId, Position,
    change::{Change, ChangeKind, Phase, RecordChange},
    link::Condition,
    log::{Kept, Log, reaches},
    position::ORIGINS_MAX,
    session::SessionKey,
};
use std::{ops::RangeInclusive, sync::Arc};

fn origin(text: &str) -> OriginId {
    text.parse().unwrap()
}

fn change(of: &str, sequence: u64) -> Change {
    Change {
        origin: origin(of),
        sequence,
        at_ms: NOW,
        kind: ChangeKind::Records {
            partition: super::partition("p"),
            records: vec![RecordChange {
                sort: "s".into(),
                version: None,
            }],
            phase: Phase::Intended,
        },
    }
}

async fn append(store: &dyn Store, of: &str, sequences: RangeInclusive<u64>) -> Appended {
    let changes = sequences.map(|sequence| change(of, sequence)).collect();
    store.append_foreign(changes).await.unwrap()
}

fn gap(of: &str, head: u64) -> Appended {
    Appended::Gap {
        origin: origin(of),
        head,
    }
}

fn kept(store: &dyn Store, of: &str) -> Option<Kept> {
    store.held().borrow().kept.get(&origin(of)).copied()
}

async fn sequences(store: &dyn Store, of: &str, after: u64, limit: usize) -> Vec<u64> {
    let changes = store.changes(&origin(of), after, limit).await.unwrap();
    assert!(changes.iter().all(|change| change.origin == origin(of)));
    changes.iter().map(|change| change.sequence).collect()
}

/// What an answered write intended has an end in the log.
pub(super) async fn nothing_stays_open(store: &dyn Store) {
    for n in 0..5 {
        let write = put(&n.to_string(), "v", Condition::Always);
        versions_of(store, transaction("p", vec![write])).await;
        let entries = log(store).await;
        let found = Log::recover(store.origin().clone(), &entries).unwrap();
        assert_eq!(found.open().count(), 0);
        assert_eq!(found.kept().head, store.span().head);
    }
    assert_eq!(store.held().borrow().kept.len(), 1, "its own");
}

/// Transactions as large as they may be, read back in pieces.
pub(super) async fn readings_of_the_own_log_are_bounded(store: &dyn Store) {
    for _ in 0..3 {
        let sort = |n: usize| format!("{n:03}{}", "x".repeat(500));
        let writes = (0..1000).map(|n| put(&sort(n), "", Condition::Always));
        versions_of(store, transaction("p", writes.collect())).await;
    }
    let (own, head) = (store.origin().to_string(), store.span().head);
    let first = log(store).await;
    let bytes = brink_protocol::codec::encode(&first[0]).unwrap().len();
    assert!(bytes > 500_000 && (first.len() - 1) * bytes <= CHANGES_BYTES_MAX);
    let mut seen = 0;
    while seen < head {
        let read = sequences(store, &own, seen, 100).await;
        assert_eq!(read.first(), Some(&(seen + 1)));
        seen = *read.last().unwrap();
    }
}

/// An engine with the logs of all who write to it knows nothing of others.
pub(super) async fn strangers_are_refused(store: &dyn Store) {
    assert_eq!(append(store, "b.1", 1..=1).await, gap("b.1", 0));
    assert!(store.restart_foreign(origin("b.1"), 1).await.is_err());
    assert_eq!(kept(store, "b.1"), None);
    let own = store.origin().clone();
    let mut forged = change("b.1", 1);
    forged.origin = own.clone();
    assert!(store.append_foreign(vec![forged]).await.is_err());
    assert!(store.restart_foreign(own, 1).await.is_err());
}

pub(super) async fn foreign_logs_are_gapless(store: &dyn Store) {
    let mut held = store.held();
    assert_eq!(append(store, "b.1", 2..=3).await, gap("b.1", 0));
    assert!(!held.has_changed().unwrap());
    assert_eq!(append(store, "b.1", 1..=3).await, Appended::Held);
    assert!(held.has_changed().unwrap(), "it wakes");
    assert_eq!(held.borrow_and_update().heads.get(&origin("b.1")), 3);
    // Repeats are skipped, whole or in part.
    assert_eq!(append(store, "b.1", 2..=3).await, Appended::Held);
    assert!(!held.has_changed().unwrap());
    assert_eq!(append(store, "b.1", 2..=5).await, Appended::Held);
    assert_eq!(append(store, "b.1", 7..=7).await, gap("b.1", 5));
    // Several origins at once: all of it or nothing.
    let both = |last| vec![change("b.1", 6), change("c.1", 1), change("b.1", last)];
    let refused = store.append_foreign(both(8)).await.unwrap();
    assert_eq!(refused, gap("b.1", 6));
    assert_eq!(kept(store, "c.1"), None);
    let taken = store.append_foreign(both(7)).await.unwrap();
    assert_eq!(taken, Appended::Held);
    assert_eq!(sequences(store, "b.1", 0, 100).await, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(sequences(store, "b.1", 3, 2).await, [4, 5]);
    assert_eq!(sequences(store, "c.1", 0, 100).await, [1]);
    assert_eq!(sequences(store, "c.1", 1, 100).await, [0; 0]);
    assert_eq!(kept(store, "b.1"), Some(Kept { oldest: 1, head: 7 }));
    // The own log goes on beside them, and nobody else may write it.
    let write = put("1", "v", Condition::Always);
    versions_of(store, transaction("p", vec![write])).await;
    assert_eq!(log(store).await.len(), 1);
    let own = store.origin().clone();
    for incarnation in [own.incarnation, own.incarnation + 1] {
        let mut forged = change("b.1", own.incarnation.into());
        forged.origin = OriginId {
            incarnation,
            ..own.clone()
        };
        assert!(store.append_foreign(vec![forged]).await.is_err());
    }
    let held: Arc<Held> = Arc::clone(&held.borrow());
    let expected: Position = format!("b.1=7,c.1=1,{own}=1").parse().unwrap();
    assert_eq!(held.heads, expected);
}

pub(super) async fn foreign_logs_begin_anew(store: &dyn Store) {
    let position = |text: &str| text.parse::<Position>().unwrap();
    let misses = |text: &str| !reaches(&store.held().borrow().kept, &position(text));
    append(store, "b.1", 1..=4).await;
    assert!(!misses("b.1=2"));
    store.restart_foreign(origin("b.1"), 9).await.unwrap();
    assert_eq!(
        kept(store, "b.1"),
        Some(Kept {
            oldest: 10,
            head: 9
        })
    );
    assert_eq!(sequences(store, "b.1", 0, 100).await, [0; 0]);
    assert!(misses("b.1=4") && misses("") && !misses("b.1=9"));
    assert_eq!(append(store, "b.1", 9..=11).await, Appended::Held);
    assert_eq!(sequences(store, "b.1", 9, 100).await, [10, 11]);
    // A later life drops the earlier one, and those who know that alone start anew.
    assert_eq!(append(store, "b.2", 1..=2).await, Appended::Held);
    assert_eq!(kept(store, "b.1"), None);
    assert_eq!(sequences(store, "b.1", 0, 100).await, [0; 0]);
    assert!(misses("b.1=11") && !misses("b.2=1"));
    // What comes late of the earlier one is over.
    assert_eq!(append(store, "b.1", 12..=12).await, Appended::Held);
    store.restart_foreign(origin("b.1"), 50).await.unwrap();
    assert_eq!(kept(store, "b.1"), None);
    store.restart_foreign(origin("b.3"), 7).await.unwrap();
    assert_eq!(kept(store, "b.2"), None);
    assert_eq!(kept(store, "b.3"), Some(Kept { oldest: 8, head: 7 }));
    // It may begin behind nothing.
    store.restart_foreign(origin("c.1"), 0).await.unwrap();
    assert_eq!(append(store, "c.1", 1..=1).await, Appended::Held);
    assert!(
        store
            .restart_foreign(store.origin().clone(), 1)
            .await
            .is_err()
    );
}

pub(super) async fn origins_are_bounded(store: &dyn Store) {
    for n in 1..ORIGINS_MAX {
        assert_eq!(
            append(store, &format!("n{n}.1"), 1..=1).await,
            Appended::Held
        );
    }
    let one_more = vec![change("more.1", 1)];
    assert!(store.append_foreign(one_more).await.is_err());
    assert!(store.restart_foreign(origin("more.1"), 1).await.is_err());
    // Later lives of those that are there take their places.
    assert_eq!(append(store, "n1.2", 1..=1).await, Appended::Held);
    assert_eq!(append(store, "n1.2", 2..=2).await, Appended::Held);
    assert_eq!(store.held().borrow().kept.len(), ORIGINS_MAX);
}

pub(super) async fn readings_are_bounded(store: &dyn Store) {
    let mut large = change("b.1", 1);
    let ChangeKind::Records { records, .. } = &mut large.kind else {
        panic!()
    };
    *records = vec![
        RecordChange {
            sort: "x".repeat(1000),
            version: Some(1),
        };
        1000
    ];
    let changes = (1..=5).map(|sequence| Change {
        sequence,
        ..large.clone()
    });
    store.append_foreign(changes.collect()).await.unwrap();
    let bytes = brink_protocol::codec::encode(&large).unwrap().len();
    let read = sequences(store, "b.1", 0, 100).await;
    assert!(!read.is_empty() && (read.len() - 1) * bytes <= CHANGES_BYTES_MAX);
    let mut seen = 0;
    while seen < 5 {
        let read = sequences(store, "b.1", seen, 100).await;
        assert_eq!(read.first(), Some(&(seen + 1)));
        seen = *read.last().unwrap();
    }
}

pub(super) async fn session_keys(store: &dyn Store) {
    let key = |id| SessionKey {
        id,
        secret: [7; 32],
        from_ms: NOW,
    };
    assert!(store.session_keys().await.unwrap().is_empty());
    let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
    for (node, keys) in [
        (&a, vec![key(1)]),
        (&b, vec![key(2)]),
        (&a, vec![key(1), key(3)]),
    ] {
        store
            .put_session_keys(Clone::clone(node), keys)
            .await
            .unwrap();
    }
    let found = store.session_keys().await.unwrap();
    assert_eq!(
        (&found[&a], &found[&b]),
        (&vec![key(1), key(3)], &vec![key(2)])
    );
}
