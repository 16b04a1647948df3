//! What every store must do, whatever engine is behind it. Each function takes a fresh, empty store.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod archive;
mod logs;
mod platform;
mod shared;

pub(crate) use archive::{answers_again, fill};
pub(crate) use shared::two as shared;

use super::{
    ANSWER_LIFETIME_MS, Action, AnswerKey, Commit, LATER_PURGES_MAX, NewAnswer, NewAudit, NewPurge,
    NewVersion, PopRow, PurgeAdded, Seen, Store, TableChange, TokenRow, Transaction, Write,
};
use brink_protocol::{
    Digest, ModuleName, TenantName,
    address::PartitionAddress,
    change::{Change, ChangeKind},
    control::{self, Role},
    deployment::{Deployment, DeploymentTable, World},
    link::{AppliedPurge, Condition, PopFigures},
    purge::{Purge, Selector},
    record::{Bound, Entry, Key, Range},
};
use bytes::Bytes;
use std::sync::Arc;

const NOW: u64 = 1_700_000_000_000;

fn tenant() -> TenantName {
    "default".parse().unwrap()
}

fn partition(name: &str) -> PartitionAddress {
    PartitionAddress {
        tenant: tenant(),
        collection: "stock".into(),
        partition: name.into(),
    }
}

fn key(partition: &str, sort: &str) -> Key {
    Key {
        collection: "stock".into(),
        partition: partition.into(),
        sort: sort.into(),
    }
}

fn put(sort: &str, value: &str, condition: Condition) -> Write {
    let value = Bytes::copy_from_slice(value.as_bytes());
    Write {
        sort: sort.into(),
        action: Action::Put {
            value,
            expires_at_ms: None,
        },
        condition,
    }
}

fn delete(sort: &str, condition: Condition) -> Write {
    Write {
        sort: sort.into(),
        action: Action::Delete,
        condition,
    }
}

/// The tests' own transaction of a store: one record of a small partition.
pub(super) fn one_record(partition: &str, value: &str) -> Transaction {
    let partition = PartitionAddress {
        collection: "c".into(),
        ..self::partition(partition)
    };
    Transaction {
        partition,
        seen: Vec::new(),
        writes: vec![put("s", value, Condition::Always)],
        answer: None,
        now_ms: 1,
    }
}

fn transaction(name: &str, writes: Vec<Write>) -> Transaction {
    Transaction {
        partition: partition(name),
        seen: Vec::new(),
        writes,
        answer: None,
        now_ms: NOW,
    }
}

fn audit(action: &'static str) -> NewAudit {
    NewAudit {
        by: "t1".into(),
        tenant: tenant(),
        action,
        subject: "x".into(),
        at_ms: NOW,
    }
}

fn whole(name: &str, limit: u32) -> Range {
    Range {
        collection: "stock".into(),
        partition: name.into(),
        lower: Bound::Unbounded,
        upper: Bound::Unbounded,
        limit,
        descending: false,
    }
}

async fn versions_of(store: &dyn Store, transaction: Transaction) -> Vec<Option<u64>> {
    match store.commit(transaction).await.unwrap() {
        Commit::Done { versions, .. } => versions,
        other => panic!("not done: {other:?}"),
    }
}

async fn get(store: &dyn Store, name: &str, sort: &str, now_ms: u64) -> Option<Entry> {
    store
        .get(&tenant(), &key(name, sort), now_ms)
        .await
        .unwrap()
}

async fn log(store: &dyn Store) -> Vec<Change> {
    store.changes(store.origin(), 0, 10_000).await.unwrap()
}

/// Runs every case, each on its own store.
pub(crate) async fn all<S: Store>(make: impl AsyncFn() -> S) {
    writes_and_versions(&make().await).await;
    conditions(&make().await).await;
    scans(&make().await).await;
    what_was_seen_must_still_be_so(&make().await).await;
    lifetimes(&make().await).await;
    answers(&make().await).await;
    limits(&make().await).await;
    platform::scans_pass_over_the_platforms_rows(&make().await).await;
    platform::keys_are_checked(&make().await).await;
    platform::ended_events_leave_nothing(&make().await).await;
    the_log_is_gapless_under_concurrency(Arc::new(make().await)).await;
    logs::nothing_stays_open(&make().await).await;
    logs::readings_of_the_own_log_are_bounded(&make().await).await;
    let store = make().await;
    if store.is_shared() {
        // The cases of logs that others write to the engine take two stores: see `shared`.
        logs::strangers_are_refused(&store).await;
    } else {
        logs::foreign_logs_are_gapless(&store).await;
        logs::foreign_logs_begin_anew(&make().await).await;
        logs::origins_are_bounded(&make().await).await;
        logs::readings_are_bounded(&make().await).await;
    }
    logs::session_keys(&make().await).await;
    concurrent_increments_are_not_lost(Arc::new(make().await)).await;
    versions_are_published_once(&make().await).await;
    tables_have_revisions(&make().await).await;
    purges(&make().await).await;
    tokens_audit_and_pops(&make().await).await;
    kept(make).await;
}

/// The cases of rows as they are kept.
pub(crate) async fn kept<S: Store>(make: impl AsyncFn() -> S) {
    archive::rows_are_walked(&make().await).await;
    archive::rows_are_put_back(&make().await, &make().await).await;
    archive::what_was_put_back_goes_on(&make().await, &make().await).await;
    archive::what_is_gone_is_forgotten(&make().await).await;
}

async fn writes_and_versions(store: &dyn Store) {
    assert_eq!(get(store, "a", "1", NOW).await, None);
    let one = transaction("a", vec![put("1", "x", Condition::Always)]);
    assert_eq!(versions_of(store, one.clone()).await, [Some(1)]);
    assert_eq!(versions_of(store, one.clone()).await, [Some(2)]);
    assert_eq!(get(store, "a", "1", NOW).await.unwrap().version, 2);
    assert_eq!(get(store, "b", "1", NOW).await, None, "another partition");
    let removal = transaction("a", vec![delete("1", Condition::Always)]);
    assert_eq!(versions_of(store, removal.clone()).await, [None]);
    assert_eq!(get(store, "a", "1", NOW).await, None);
    // A version is never used twice, not even after a delete.
    assert_eq!(versions_of(store, one).await, [Some(3)]);
    assert_eq!(versions_of(store, removal.clone()).await, [None]);
    for (sort, last) in [("1", 3), ("never", 0)] {
        let version = store.last_version(&tenant(), &key("a", sort)).await;
        assert_eq!(version.unwrap(), last, "{sort}");
    }
    let before = log(store).await.len();
    assert_eq!(
        versions_of(store, removal).await,
        [None],
        "nothing to delete"
    );
    // Where another core may have deleted it, and not said so yet, it is said again.
    let logged = log(store).await.len() - before;
    assert_eq!(
        logged,
        usize::from(store.is_shared()),
        "what changes nothing is not logged"
    );
    let several = ["1", "2", "missing"].map(|sort| key("a", sort));
    versions_of(
        store,
        transaction("a", vec![put("2", "y", Condition::Always)]),
    )
    .await;
    let found = store.get_many(&tenant(), &several, NOW).await.unwrap();
    assert_eq!(
        found.iter().map(Option::is_some).collect::<Vec<_>>(),
        [false, true, false]
    );
}

async fn conditions(store: &dyn Store) {
    versions_of(
        store,
        transaction("a", vec![put("1", "x", Condition::Absent)]),
    )
    .await;
    for (condition, holds) in [
        (Condition::Absent, false),
        (Condition::Version(2), false),
        (Condition::Version(1), true),
        (Condition::Version(1), false),
        (Condition::Always, true),
    ] {
        let outcome = store
            .commit(transaction("a", vec![put("1", "y", condition)]))
            .await
            .unwrap();
        assert_eq!(
            matches!(outcome, Commit::Done { .. }),
            holds,
            "{condition:?}"
        );
    }
    // One condition that does not hold keeps all writes from happening.
    let before = log(store).await.len();
    let both = vec![
        put("2", "x", Condition::Always),
        put("1", "x", Condition::Absent),
    ];
    let outcome = store.commit(transaction("a", both)).await.unwrap();
    assert_eq!(outcome, Commit::Conflict { present: Some(3) });
    assert_eq!(get(store, "a", "2", NOW).await, None);
    assert_eq!(log(store).await.len(), before);
    let gone = store
        .commit(transaction("a", vec![delete("9", Condition::Version(1))]))
        .await
        .unwrap();
    assert_eq!(gone, Commit::Conflict { present: None });
}

async fn scans(store: &dyn Store) {
    let sorts = ["", "a", "a/1", "b", "é"];
    let writes = sorts
        .iter()
        .map(|sort| put(sort, sort, Condition::Always))
        .collect();
    versions_of(store, transaction("p", writes)).await;
    // Neighbours in every direction that a scan must not reach.
    for neighbour in ["o", "p ", "p1", "q"] {
        versions_of(
            store,
            transaction(neighbour, vec![put("a", "", Condition::Always)]),
        )
        .await;
    }
    let bounds = |lower, upper, limit, descending| Range {
        lower,
        upper,
        limit,
        descending,
        ..whole("p", 1)
    };
    let (inc, exc) = (
        |s: &str| Bound::Inclusive(s.into()),
        |s: &str| Bound::Exclusive(s.into()),
    );
    let cases: [(Range, &[&str], bool); 11] = [
        (whole("p", 10), &sorts, false),
        (whole("p", 5), &sorts, false),
        (whole("p", 4), &sorts[..4], true),
        (bounds(inc("a"), exc("b"), 10, false), &["a", "a/1"], false),
        (bounds(exc("a"), inc("b"), 10, false), &["a/1", "b"], false),
        (
            bounds(Bound::Unbounded, Bound::Unbounded, 2, true),
            &["é", "b"],
            true,
        ),
        (
            bounds(exc("a"), Bound::Unbounded, 2, true),
            &["é", "b"],
            true,
        ),
        (bounds(inc("a"), inc("a"), 10, false), &["a"], false),
        (bounds(exc("a"), exc("a"), 10, false), &[], false),
        (bounds(inc("b"), inc("a"), 10, false), &[], false),
        (whole("none", 10), &[], false),
    ];
    for (range, expected, more) in cases {
        let page = store.scan(&tenant(), &range, NOW).await.unwrap();
        let found: Vec<_> = page
            .entries
            .iter()
            .map(|entry| entry.sort.as_str())
            .collect();
        assert_eq!((found.as_slice(), page.more), (expected, more), "{range:?}");
    }
    let other: TenantName = "other".parse().unwrap();
    assert_eq!(
        store
            .scan(&other, &whole("p", 10), NOW)
            .await
            .unwrap()
            .entries,
        []
    );
}

async fn what_was_seen_must_still_be_so(store: &dyn Store) {
    let first = vec![
        put("a", "1", Condition::Always),
        put("c", "1", Condition::Always),
    ];
    versions_of(store, transaction("p", first)).await;
    let seen_range = |entries: &[(&str, u64)], more| Seen::Range {
        range: whole("p", 2),
        entries: entries
            .iter()
            .map(|(sort, version)| ((*sort).to_owned(), *version))
            .collect(),
        more,
    };
    let record = |sort: &str, version| Seen::Record {
        sort: sort.into(),
        version,
    };
    for (seen, holds) in [
        (record("a", Some(1)), true),
        (record("a", Some(2)), false),
        (record("a", None), false),
        (record("b", None), true),
        (seen_range(&[("a", 1), ("c", 1)], false), true),
        (seen_range(&[("a", 1), ("c", 1)], true), false),
        (seen_range(&[("a", 1), ("c", 2)], false), false),
        (seen_range(&[("a", 1)], false), false),
        (seen_range(&[("a", 1), ("b", 1), ("c", 1)], false), false),
    ] {
        let text = format!("{seen:?}");
        let mut with = transaction("p", vec![put("other", "", Condition::Always)]);
        with.seen = vec![seen];
        // Written behind the range's limit, so that it does not disturb the next case.
        with.writes = vec![delete("zz", Condition::Always)];
        let outcome = store.commit(with).await.unwrap();
        assert_eq!(matches!(outcome, Commit::Done { .. }), holds, "{text}");
    }
    // A phantom: a record that came into a range that was read.
    versions_of(
        store,
        transaction("p", vec![put("b", "1", Condition::Always)]),
    )
    .await;
    let mut late = transaction("p", vec![put("a", "2", Condition::Always)]);
    late.seen = vec![seen_range(&[("a", 1), ("c", 1)], false)];
    assert!(matches!(
        store.commit(late).await.unwrap(),
        Commit::Conflict { .. }
    ));
}

async fn lifetimes(store: &dyn Store) {
    let ends = |at| Write {
        sort: "s".into(),
        action: Action::Put {
            value: Bytes::from_static(b"x"),
            expires_at_ms: Some(at),
        },
        condition: Condition::Absent,
    };
    versions_of(store, transaction("p", vec![ends(NOW + 100)])).await;
    assert!(get(store, "p", "s", NOW + 99).await.is_some());
    assert!(
        get(store, "p", "s", NOW + 100).await.is_none(),
        "absent at once"
    );
    assert_eq!(
        store
            .scan(&tenant(), &whole("p", 10), NOW + 100)
            .await
            .unwrap()
            .entries,
        []
    );
    // It can be written as if it were absent; its versions go on.
    let mut again = transaction("p", vec![ends(NOW + 300)]);
    again.now_ms = NOW + 150;
    assert_eq!(versions_of(store, again).await, [Some(2)]);
    assert_eq!(
        store.sweep(NOW + 200, 100).await.unwrap().records,
        0,
        "the older end counts no more"
    );
    assert!(get(store, "p", "s", NOW + 299).await.is_some());
    let before = log(store).await.len();
    assert_eq!(store.sweep(NOW + 300, 100).await.unwrap().records, 1);
    let changes = log(store).await;
    let last = &changes[before];
    let ChangeKind::Records { records, .. } = &last.kind else {
        panic!("{last:?}")
    };
    assert_eq!((records[0].sort.as_str(), records[0].version), ("s", None));
    assert_eq!(store.sweep(NOW + 300, 100).await.unwrap().records, 0);
    let mut later = transaction("p", vec![put("s", "y", Condition::Absent)]);
    later.now_ms = NOW + 400;
    assert_eq!(versions_of(store, later).await, [Some(3)]);
}

async fn answers(store: &dyn Store) {
    let answer_key = AnswerKey {
        partition: partition("p"),
        command: "place".parse().unwrap(),
        key: "k1".into(),
    };
    let with_answer = |output: &str, now_ms| Transaction {
        answer: Some(NewAnswer {
            command: "place".parse().unwrap(),
            key: "k1".into(),
            input: Digest::of(b"in"),
            output: Bytes::copy_from_slice(output.as_bytes()),
            lifetime_ms: ANSWER_LIFETIME_MS,
        }),
        now_ms,
        ..transaction("p", vec![put("1", output, Condition::Always)])
    };
    let done = store.commit(with_answer("first", NOW)).await.unwrap();
    assert!(matches!(done, Commit::Done { .. }), "{done:?}");
    let Commit::Answered(kept) = store.commit(with_answer("second", NOW)).await.unwrap() else {
        panic!()
    };
    assert_eq!(
        (kept.output.as_ref(), kept.input),
        (b"first".as_slice(), Digest::of(b"in"))
    );
    assert_eq!(
        get(store, "p", "1", NOW).await.unwrap().version,
        1,
        "the second did not happen"
    );
    assert_eq!(store.answer(&answer_key, NOW).await.unwrap(), Some(kept));
    let end = NOW + ANSWER_LIFETIME_MS;
    assert_eq!(store.answer(&answer_key, end).await.unwrap(), None);
    assert!(matches!(
        store.commit(with_answer("third", end)).await.unwrap(),
        Commit::Done { .. }
    ));
    // The first answer's end has passed; the answer of the third call stays.
    // A store that keeps it in the same row has nothing to remove.
    assert!(store.sweep(end, 100).await.unwrap().answers <= 1);
    assert_eq!(
        store
            .answer(&answer_key, end)
            .await
            .unwrap()
            .unwrap()
            .output
            .as_ref(),
        b"third"
    );
    let others = AnswerKey {
        key: "k2".into(),
        ..answer_key
    };
    assert_eq!(store.answer(&others, NOW).await.unwrap(), None);
}

async fn limits(store: &dyn Store) {
    let large = "x".repeat(1 << 20);
    let mut too_large = put("1", &large, Condition::Always);
    assert!(
        store
            .commit(transaction("p", vec![too_large.clone()]))
            .await
            .is_ok()
    );
    too_large.action = Action::Put {
        value: Bytes::from(vec![0; (1 << 20) + 1]),
        expires_at_ms: None,
    };
    assert!(
        store
            .commit(transaction("p", vec![too_large]))
            .await
            .is_err()
    );
    let many = (0..1001)
        .map(|n| put(&n.to_string(), "", Condition::Always))
        .collect();
    assert!(store.commit(transaction("p", many)).await.is_err());
    assert!(store.commit(transaction("a\nb", vec![])).await.is_err());
    assert!(store.get(&tenant(), &key("p", "\0"), NOW).await.is_err());
    assert!(store.scan(&tenant(), &whole("p", 0), NOW).await.is_err());
    // A page ends before it is too large for a message, and says that there is more.
    let writes = (0..6)
        .map(|n| put(&n.to_string(), &large, Condition::Always))
        .collect();
    versions_of(store, transaction("large", writes)).await;
    let page = store
        .scan(&tenant(), &whole("large", 100), NOW)
        .await
        .unwrap();
    assert_eq!((page.entries.len(), page.more), (4, true));
}

async fn the_log_is_gapless_under_concurrency(store: Arc<dyn Store>) {
    let mut held = store.held();
    let tasks: Vec<_> = (0..50)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let write = put("s", "v", Condition::Always);
                let done = store
                    .commit(transaction(&format!("p{n}"), vec![write]))
                    .await
                    .unwrap();
                let Commit::Done { position, .. } = done else {
                    panic!("{done:?}")
                };
                let sequence = position.get(store.origin());
                assert!(
                    store.span().head >= sequence,
                    "an answered write is in the log"
                );
                sequence
            })
        })
        .collect();
    let mut sequences = Vec::new();
    for task in tasks {
        sequences.push(task.await.unwrap());
    }
    sequences.sort_unstable();
    sequences.dedup();
    assert_eq!(sequences.len(), 50, "each its own");
    let own = store.origin();
    // An engine without transactions over log and records takes two entries for a write.
    let head = store.span().head;
    assert!(
        (50..=100).contains(&head) && sequences[49] <= head,
        "{head}"
    );
    held.wait_for(|held| held.heads.get(own) == head)
        .await
        .unwrap();
    let changes = log(&*store).await;
    assert_eq!(changes.len() as u64, head);
    assert!(
        changes
            .iter()
            .zip(1..)
            .all(|(change, n)| change.sequence == n && change.origin == *store.origin())
    );
    let part = store.changes(store.origin(), 47, 2).await.unwrap();
    assert_eq!(
        part.iter()
            .map(|change| change.sequence)
            .collect::<Vec<_>>(),
        [48, 49]
    );
    assert_eq!(store.changes(store.origin(), head, 2).await.unwrap(), []);
    let stranger = "elsewhere.1".parse().unwrap();
    assert_eq!(store.changes(&stranger, 0, 2).await.unwrap(), []);
}

/// Adds one to a record that others add to, too; tries again when they were quicker.
async fn increment(store: &dyn Store) {
    loop {
        let present = get(store, "p", "n", NOW).await;
        let count = present.as_ref().map_or(0, |entry| entry.value[0]);
        let mut add = transaction("p", vec![put("n", "", Condition::Always)]);
        add.writes[0].action = Action::Put {
            value: Bytes::from(vec![count + 1]),
            expires_at_ms: None,
        };
        add.seen = vec![Seen::Record {
            sort: "n".into(),
            version: present.map(|entry| entry.version),
        }];
        if matches!(store.commit(add).await.unwrap(), Commit::Done { .. }) {
            return;
        }
    }
}

/// Each adds five times, all at once; gives what the record is then.
async fn increments(stores: Vec<Arc<dyn Store>>) -> u8 {
    let tasks: Vec<_> = stores
        .iter()
        .map(|store| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                for _ in 0..5 {
                    increment(&*store).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    get(&*stores[0], "p", "n", NOW).await.unwrap().value[0]
}

async fn concurrent_increments_are_not_lost(store: Arc<dyn Store>) {
    assert_eq!(increments(vec![store; 8]).await, 40);
}

async fn versions_are_published_once(store: &dyn Store) {
    let publish = |module: &str, bytes: &'static [u8]| NewVersion {
        tenant: tenant(),
        module: module.parse().unwrap(),
        digest: Digest::of(bytes),
        world: World::Module,
        imports: vec!["i".into()],
        at_ms: NOW,
        by: "t1".into(),
    };
    for (module, bytes, version, is_new) in [
        ("hello", b"one".as_slice(), 1, true),
        ("hello", b"two", 2, true),
        ("hello", b"one", 1, false),
        ("hello2", b"one", 1, true),
    ] {
        let new = publish(module, bytes);
        let published = store
            .publish(new, Bytes::from_static(bytes), audit("publish"))
            .await
            .unwrap();
        assert_eq!(
            (published.version.version, published.is_new),
            (version, is_new),
            "{module}"
        );
    }
    let hello = "hello".parse().unwrap();
    assert_eq!(
        store.versions(&tenant(), Some(&hello)).await.unwrap().len(),
        2
    );
    assert_eq!(store.versions(&tenant(), None).await.unwrap().len(), 3);
    let bytes = store.component(&Digest::of(b"two")).await.unwrap();
    assert_eq!(bytes.as_deref(), Some(b"two".as_slice()));
    assert_eq!(store.component(&Digest::of(b"none")).await.unwrap(), None);
    assert_eq!(
        store.audit(None, None, 100).await.unwrap().len(),
        3,
        "a repeat is not audited"
    );
}

async fn tables_have_revisions(store: &dyn Store) {
    assert_eq!(store.table().await.unwrap(), DeploymentTable::default());
    let deployment = Deployment {
        tenant: tenant(),
        name: "hello".parse().unwrap(),
        version: 1,
        digest: Digest::of(b"one"),
        world: World::Module,
        config: [("k".to_owned(), "v".to_owned())].into(),
        limits: Default::default(),
        grants: Default::default(),
    };
    let change = |expected_revision| TableChange {
        expected_revision,
        table: DeploymentTable {
            deployments: vec![deployment.clone()],
            ..Default::default()
        },
        tenant: tenant(),
        modules: vec![deployment.name.clone()],
        history: Some((deployment.name.clone(), vec![deployment.clone(); 60])),
        purge: None,
        at_ms: NOW,
    };
    assert!(
        store
            .change_table(change(0), audit("deploy"))
            .await
            .unwrap()
            .is_some()
    );
    assert!(
        store
            .change_table(change(0), audit("deploy"))
            .await
            .unwrap()
            .is_none(),
        "of an old revision"
    );
    let table = store.table().await.unwrap();
    assert_eq!((table.revision, table.deployments.len()), (1, 1));
    let history = store.history(&tenant(), &deployment.name).await.unwrap();
    assert_eq!(history.len(), super::HISTORY_MAX);
    let position = store
        .change_table(change(1), audit("deploy"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(position.get(store.origin()), 2);
    let changes = log(store).await;
    assert!(
        matches!(&changes[1].kind, ChangeKind::Deployments { revision: 2, modules, .. } if modules.len() == 1)
    );
}

async fn purges(store: &dyn Store) {
    let purge = |id: &str| NewPurge {
        purge: Purge {
            id: id.into(),
            tenant: tenant(),
            selectors: vec![Selector::Everything],
            soft: false,
        },
        by: "t1".into(),
        at_ms: NOW,
        answer: None,
        later: None,
        behind: Default::default(),
    };
    let PurgeAdded::Done(position) = store
        .add_purge(purge("01A"), Some(audit("purge")))
        .await
        .unwrap()
    else {
        panic!("it is new")
    };
    assert_eq!(position.get(store.origin()), 1);
    store.add_purge(purge("01B"), None).await.unwrap();
    let changes = log(store).await;
    assert!(matches!(&changes[0].kind, ChangeKind::Purge(purge) if purge.id == "01A"));
    let listed = store.purges(&tenant(), None, 10).await.unwrap();
    assert_eq!(
        listed
            .iter()
            .map(|row| row.purge.id.as_str())
            .collect::<Vec<_>>(),
        ["01B", "01A"]
    );
    let note = |id: &str, objects| AppliedPurge {
        id: id.into(),
        at_ms: NOW,
        objects,
    };
    let ams = "ams".parse().unwrap();
    let noted = store
        .note_applied(&ams, &[note("01A", 7), note("unknown", 1)], NOW + 9)
        .await;
    assert_eq!(noted.unwrap(), [9]);
    let again = store
        .note_applied(&ams, &[note("01A", 0)], NOW + 99)
        .await
        .unwrap();
    assert_eq!(again, Vec::<u64>::new());
    let row = store.purge(&tenant(), "01A").await.unwrap().unwrap();
    assert_eq!(
        (row.applied.len(), row.applied[0].objects),
        (1, 7),
        "the first note stays"
    );
    assert_eq!(row.position, position);
    assert_eq!(
        store.purge(&"other".parse().unwrap(), "01A").await.unwrap(),
        None
    );
    let older = store.purges(&tenant(), Some("01B"), 10).await.unwrap();
    assert_eq!(older.len(), 1);
    later_purges(store, purge).await;
}

async fn later_purges(store: &dyn Store, purge: impl Fn(&str) -> NewPurge) {
    let command: ModuleName = "purge".parse().unwrap();
    let with_key = |id: &str| NewPurge {
        answer: Some(NewAnswer {
            command: command.clone(),
            key: "k".into(),
            input: Digest::of(b"body"),
            output: id.to_owned().into(),
            lifetime_ms: ANSWER_LIFETIME_MS,
        }),
        later: Some(control::Later {
            id: format!("{id}-hard"),
            at_ms: NOW + 1000,
        }),
        ..purge(id)
    };
    let added = store.add_purge(with_key("01C"), None).await.unwrap();
    assert!(matches!(added, PurgeAdded::Done(_)));
    let PurgeAdded::Answered(answer) = store.add_purge(with_key("01D"), None).await.unwrap() else {
        panic!("the key is known")
    };
    assert_eq!(
        (answer.input, &answer.output[..]),
        (Digest::of(b"body"), &b"01C"[..])
    );
    let key = NewPurge::answer_key(&tenant(), &command, "k");
    assert!(store.answer(&key, NOW).await.unwrap().is_some());
    assert_eq!(
        store.answer(&key, NOW + ANSWER_LIFETIME_MS).await.unwrap(),
        None
    );
    assert_eq!(store.release_purges(NOW + 999, 10).await.unwrap(), 0);
    assert_eq!(store.release_purges(NOW + 1000, 10).await.unwrap(), 1);
    assert_eq!(store.release_purges(NOW + 1000, 10).await.unwrap(), 0);
    let row = store.purge(&tenant(), "01C-hard").await.unwrap().unwrap();
    assert!(!row.purge.soft);
    for number in 0..LATER_PURGES_MAX {
        let new = NewPurge {
            answer: None,
            ..with_key(&format!("02{number:03}"))
        };
        let added = store.add_purge(new, None).await.unwrap();
        assert!(matches!(added, PurgeAdded::Done(_)));
    }
    let one_more = NewPurge {
        answer: None,
        ..with_key("03")
    };
    assert_eq!(
        store.add_purge(one_more, None).await.unwrap(),
        PurgeAdded::TooManyLater
    );
    assert_eq!(
        store.purge(&tenant(), "03").await.unwrap(),
        None,
        "nothing was written"
    );
}

async fn tokens_audit_and_pops(store: &dyn Store) {
    let token = TokenRow {
        id: "01T".into(),
        hash: [7; 32],
        label: "ci".into(),
        role: Role::Publisher,
        tenant: tenant(),
        created_at_ms: NOW,
        expires_at_ms: None,
    };
    store
        .add_token(token.clone(), audit("token.create"))
        .await
        .unwrap();
    assert_eq!(store.token(&[7; 32]).await.unwrap(), Some(token.clone()));
    assert_eq!(store.token(&[8; 32]).await.unwrap(), None);
    assert_eq!(store.tokens(Some(&tenant())).await.unwrap(), [token]);
    assert_eq!(
        store.tokens(Some(&"other".parse().unwrap())).await.unwrap(),
        []
    );
    assert!(
        store
            .remove_token("01T", audit("token.delete"))
            .await
            .unwrap()
    );
    assert!(
        !store
            .remove_token("01T", audit("token.delete"))
            .await
            .unwrap()
    );
    assert_eq!(store.token(&[7; 32]).await.unwrap(), None);
    store.add_audit(audit("records.import")).await.unwrap();
    let entries = store.audit(Some(&tenant()), None, 2).await.unwrap();
    let actions: Vec<_> = entries
        .iter()
        .map(|entry| (entry.number, entry.action.as_str()))
        .collect();
    assert_eq!(actions, [(3, "records.import"), (2, "token.delete")]);
    let earlier = store.audit(None, Some(2), 10).await.unwrap();
    assert_eq!(earlier[0].action, "token.create");
    let pop = PopRow {
        name: "ams".parse().unwrap(),
        position: "core-1.1=4".parse().unwrap(),
        revision: 2,
        seen_at_ms: NOW,
        figures: PopFigures::default(),
    };
    store.put_pops(vec![pop.clone()]).await.unwrap();
    assert_eq!(store.pops().await.unwrap(), [pop]);
}
