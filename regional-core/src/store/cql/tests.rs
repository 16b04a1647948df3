//! The store on a real engine: the contract, and what is its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
mod backups;
mod centres;
mod claiming;
mod contention;
mod engines;
mod figures;
mod holes;
mod known;
mod moving;
mod registry;
mod stalls;
mod takeover;

use super::{
    partition::{CommitId, Outcome, RECORD, Reading, RowState, RowWrite, anchor, batch, find_out},
    session::Applied,
    *,
};
use crate::store::contract::{self, one_record};
use brink_protocol::{
    address::PartitionAddress,
    change::{ChangeKind, Phase, RecordChange},
    log::Log,
};
use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use tokio::time::Instant;

/// Options for a fresh keyspace on the engine that the tests of this binary share.
pub(crate) async fn fresh(node: &str) -> Options {
    static KEYSPACES: AtomicU32 = AtomicU32::new(0);
    let engine = tokio::task::spawn_blocking(brink_engines::shared)
        .await
        .unwrap()
        .unwrap();
    let number = KEYSPACES.fetch_add(1, Ordering::Relaxed);
    let keyspace = format!("t{}_{number}", std::process::id());
    let center = brink_engines::DATA_CENTRE;
    let mut options = Options::new(
        vec![engine.to_string()],
        keyspace,
        center,
        node.parse().unwrap(),
    );
    options.replication = [(center.to_owned(), 1)].into();
    // A test machine may be busy; nothing here is about time.
    options.request_timeout = Duration::from_secs(20);
    options.write_timeout = Duration::from_secs(60);
    options.poll_interval = Duration::from_millis(20);
    options
}

/// The same for another core.
fn of(options: &Options, node: &str) -> Options {
    Options {
        node: node.parse().unwrap(),
        ..options.clone()
    }
}

/// Two cores that share an engine.
async fn two() -> [CqlStore; 2] {
    let options = fresh("core-1").await;
    [
        CqlStore::open(&options).await.unwrap(),
        CqlStore::open(&of(&options, "core-2")).await.unwrap(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    contract::all(async || CqlStore::open(&fresh("core-1").await).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cores_share_an_engine() {
    contract::shared(async || {
        let [a, b] = two().await;
        (a, b)
    })
    .await;
}

fn partition_of(name: &str) -> PartitionAddress {
    PartitionAddress {
        tenant: "default".parse().unwrap(),
        collection: "c".into(),
        partition: name.into(),
    }
}

fn row(before: Option<RowState>) -> RowWrite {
    RowWrite {
        kind: RECORD,
        sort: "s".into(),
        before,
        after: RowState::new(before.map_or(0, |row| row.version) + 1, None),
        value: Some(Bytes::from_static(b"late")),
    }
}

fn intended(name: &str) -> ChangeKind {
    ChangeKind::Records {
        partition: partition_of(name),
        records: vec![RecordChange {
            sort: "s".into(),
            version: None,
        }],
        phase: Phase::Intended,
    }
}

async fn own_log(store: &CqlStore) -> Vec<Change> {
    store.changes(store.origin(), 0, 100_000).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_opens_shuts_the_former_one_out() {
    let options = fresh("core-1").await;
    let former = CqlStore::open(&options).await.unwrap();
    former.commit(one_record("p", "1")).await.unwrap();
    let head = former.span().head;
    let store = CqlStore::open(&options).await.unwrap();
    assert_eq!(store.origin().to_string(), "core-1.1");
    assert_eq!(store.span().head, head);
    let refused = former.commit(one_record("p", "2")).await;
    assert!(matches!(refused, Err(Error::Store { .. })), "{refused:?}");
    former.failed().cancelled().await;
    assert!(former.commit(one_record("p", "3")).await.is_err());
    let done = store.commit(one_record("p", "4")).await.unwrap();
    assert!(matches!(done, Commit::Done { versions, .. } if versions == [Some(2)]));
    let log = own_log(&store).await;
    let recovered = Log::recover(store.origin().clone(), &log).unwrap();
    assert_eq!(recovered.kept(), store.engine.logs.own());
    assert_eq!(recovered.open().count(), 0);
}

/// A process is stopped between its intent and its write, another takes over, and the first wakes up.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_comes_after_its_settlement_does_not_happen() {
    let options = fresh("core-1").await;
    let former = CqlStore::open(&options).await.unwrap();
    former.commit(one_record("p", "1")).await.unwrap();
    let session = &former.engine.session;
    let of_written = partition_of("p");
    let before = anchor(session, &of_written, Reading::Quorum).await.unwrap();
    let of_new = partition_of("new");
    let before_new = anchor(session, &of_new, Reading::Quorum).await.unwrap();
    for name in ["p", "new"] {
        former.engine.log.append(1, intended(name)).await.unwrap();
    }
    let store = CqlStore::open(&options).await.unwrap();
    let log = own_log(&store).await;
    let recovered = Log::recover(store.origin().clone(), &log).unwrap();
    assert_eq!((log.len(), recovered.open().count()), (6, 0), "{log:?}");
    // The process has no reason to know: its own session goes on working.
    let deadline = Instant::now() + Duration::from_secs(60);
    for (partition, before, row) in [
        (&of_written, &before, row(Some(RowState::new(1, None)))),
        (&of_new, &before_new, row(None)),
    ] {
        let late = partition::commit(session, partition, before, &[row], deadline).await;
        assert!(matches!(late, Ok(Outcome::Refused)), "{late:?}");
    }
    // If it read anew, it would ask who writes the log first.
    assert!(origins::check(session, &former.engine.claim).await.is_err());
    let key = Key {
        collection: "c".into(),
        partition: "p".into(),
        sort: "s".into(),
    };
    let tenant = "default".parse().unwrap();
    let found = store.get(&tenant, &key, 1).await.unwrap().unwrap();
    assert_eq!((found.version, &found.value[..]), (1, &b"1"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_of_a_lost_answer_is_found_out() {
    let store = CqlStore::open(&fresh("core-1").await).await.unwrap();
    let session = &store.engine.session;
    let deadline = || Instant::now() + Duration::from_secs(60);
    let lost = || Error::store("test", "lost");
    for (name, happens, others, expected) in [
        ("happened", true, 0, "Applied"),
        ("happened long ago", true, 5, "Applied"),
        ("happened too long ago", true, 20, "Unknown"),
        ("did not happen", false, 0, "Refused"),
        ("others were quicker", false, 3, "Refused"),
    ] {
        let partition = partition_of(name);
        let before = anchor(session, &partition, Reading::Quorum).await.unwrap();
        let id = CommitId::new().unwrap();
        let request = batch(&partition, &before, &[row(None)], id);
        if happens {
            let applied = session.conditional_batch(request.clone()).await;
            assert_eq!(applied.unwrap(), Applied::Yes);
        }
        for _ in 0..others {
            store.commit(one_record(name, "other")).await.unwrap();
        }
        let found = find_out(session, &partition, &before, id, deadline(), lost()).await;
        assert!(
            format!("{found:?}").starts_with(expected),
            "{name}: {found:?}"
        );
        // However late the request arrives, nothing comes of it any more.
        let late = session.conditional_batch(request).await;
        assert_eq!(late.unwrap(), Applied::No, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_cut_at_its_old_end() {
    const ENTRIES: u64 = 2 * group::BUCKET_ENTRIES + 10;
    let mut options = fresh("core-1").await;
    options.log_changes_max = 100;
    let store = CqlStore::open(&options).await.unwrap();
    let appended: Vec<_> = (0..ENTRIES)
        .map(|revision| {
            let log = store.engine.log.clone();
            let kind = ChangeKind::Deployments {
                revision,
                tenant: "default".parse().unwrap(),
                modules: Vec::new(),
            };
            async move { log.append(1, kind).await.unwrap() }
        })
        .collect();
    let mut sequences = futures_util::future::join_all(appended).await;
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=ENTRIES).collect::<Vec<u64>>());
    // The old end follows group by group.
    let mut held = store.held();
    let oldest = group::BUCKET_ENTRIES + 1;
    let own = store.origin().clone();
    for _ in 0..3 {
        store.commit(one_record("p", "x")).await.unwrap();
    }
    held.wait_for(|held| held.kept[&own].oldest >= oldest)
        .await
        .unwrap();
    let kept = store.engine.logs.own();
    let changes = own_log(&store).await;
    assert_eq!(changes.first().unwrap().sequence, kept.oldest);
    assert_eq!(changes.last().unwrap().sequence, kept.head);
    assert!(changes.len() >= 100);
    drop(store);
    let other = CqlStore::open(&of(&options, "core-2")).await.unwrap();
    assert_eq!(
        other.held().borrow().kept[&own],
        kept,
        "as another core sees it"
    );
    let store = CqlStore::open(&options).await.unwrap();
    assert_eq!(store.engine.logs.own(), kept, "as it is found again");
    store.commit(one_record("p", "y")).await.unwrap();
    assert_eq!(store.span().head, kept.head + 2);
}

/// An entry that nobody waits for any more is not left open.
#[tokio::test(flavor = "multi_thread")]
async fn intents_of_those_who_went_away_are_settled() {
    let store = CqlStore::open(&fresh("core-1").await).await.unwrap();
    let waiting = store.engine.log.append(1, intended("p"));
    assert!(futures_util::FutureExt::now_or_never(waiting).is_none());
    let mut held = store.held();
    let own = store.origin().clone();
    held.wait_for(|held| held.heads.get(&own) == 2)
        .await
        .unwrap();
    let log = own_log(&store).await;
    let recovered = Log::recover(own, &log).unwrap();
    assert_eq!(recovered.open().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_open_at_once() {
    let options = fresh("core-1").await;
    let opened = (1..=4).map(|n| {
        let node = format!("core-{n}").parse().unwrap();
        let options = Options {
            node,
            ..options.clone()
        };
        async move { CqlStore::open(&options).await.unwrap() }
    });
    let stores = futures_util::future::join_all(opened).await;
    for store in &stores {
        store.commit(one_record("p", "x")).await.unwrap();
    }
    let last = &stores[3];
    last.engine.looks.look().await.unwrap();
    assert_eq!(last.held().borrow().heads.iter().count(), 4);
}

#[tokio::test]
async fn names_that_would_become_statements_are_refused() {
    let good = Options::new(Vec::new(), "brink", "dc1", "core-1".parse().unwrap());
    for (keyspace, center) in [
        ("brink; DROP KEYSPACE x", "dc1"),
        ("Brink", "dc1"),
        ("", "dc1"),
        ("1a", "dc1"),
        ("brink", "dc1': 1, 'x"),
        ("brink", ""),
    ] {
        let options = Options {
            keyspace: keyspace.into(),
            replication: [(center.to_owned(), 1)].into(),
            ..good.clone()
        };
        let refused = CqlStore::open(&options).await.err().unwrap().to_string();
        assert!(refused.contains("named by"), "{refused}");
    }
}
