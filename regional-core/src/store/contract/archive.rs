//! Rows as they are kept: walking, putting back, forgetting.

use super::{NOW, audit, delete, partition, put, tenant, transaction, versions_of};
use crate::store::{
    ANSWER_LIFETIME_MS, Action, Answer, KeptRow, NewAnswer, REVISIONS_APART, Registry, RowKey,
    Store, TokenRow, Transaction, Write,
};
use brink_protocol::{
    Digest, TenantName,
    address::PartitionAddress,
    control::{AuditEntry, Role},
    deployment::DeploymentTable,
    link::Condition,
    record::Key,
};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

type All = BTreeMap<PartitionAddress, Vec<KeptRow>>;

/// Every row of a store, read in pages of two.
async fn everything(store: &dyn Store, of: Option<&TenantName>) -> All {
    let mut all = All::new();
    let mut after: Option<PartitionAddress> = None;
    loop {
        let page = store.partitions(of, after.as_ref(), 2).await.unwrap();
        let Some(last) = page.last() else {
            return all;
        };
        after = Some(last.clone());
        for partition in page {
            let mut rows: Vec<KeptRow> = Vec::new();
            loop {
                let last = rows.last().map(|row| &row.key);
                let more = store.kept(&partition, last, 2).await.unwrap();
                if more.is_empty() {
                    break;
                }
                rows.extend(more);
            }
            assert!(all.insert(partition, rows).is_none(), "given twice");
        }
    }
}

fn answered(name: &str, command: &str, key: &str) -> Transaction {
    Transaction {
        answer: Some(NewAnswer {
            command: command.parse().unwrap(),
            key: key.into(),
            input: Digest::of(b"in"),
            output: Bytes::from_static(b"out"),
            lifetime_ms: ANSWER_LIFETIME_MS,
        }),
        ..transaction(name, vec![put("counted", key, Condition::Always)])
    }
}

/// Records, some of them gone, and answers.
pub(crate) async fn fill(store: &dyn Store) {
    let writes = vec![
        put("", "", Condition::Always),
        put("a", "1", Condition::Always),
        put("b", "2", Condition::Always),
    ];
    versions_of(store, transaction("p", writes)).await;
    let gone = vec![
        delete("a", Condition::Always),
        put("b", "3", Condition::Always),
    ];
    versions_of(store, transaction("p", gone)).await;
    versions_of(
        store,
        transaction("gone", vec![put("x", "1", Condition::Always)]),
    )
    .await;
    versions_of(
        store,
        transaction("gone", vec![delete("x", Condition::Always)]),
    )
    .await;
    for (command, key) in [("pay", "1"), ("pay", "2"), ("pay-back", "1/2")] {
        versions_of(store, answered("q", command, key)).await;
    }
    let ending = Write {
        sort: "ends".into(),
        action: Action::Put {
            value: Bytes::from_static(b"x"),
            expires_at_ms: Some(NOW + 5),
        },
        condition: Condition::Always,
    };
    versions_of(store, transaction("r", vec![ending])).await;
    let other = PartitionAddress {
        tenant: "other".parse().unwrap(),
        ..partition("p")
    };
    let theirs = Transaction {
        partition: other,
        ..transaction("p", vec![put("a", "theirs", Condition::Always)])
    };
    versions_of(store, theirs).await;
}

fn row<'a>(all: &'a All, name: &str, sort: &str) -> Option<&'a KeptRow> {
    let rows = all.get(&partition(name))?;
    rows.iter()
        .find(|row| row.key == RowKey::Record(sort.into()))
}

pub(super) async fn rows_are_walked(store: &dyn Store) {
    assert!(everything(store, None).await.is_empty());
    let before = store.heads().await.unwrap();
    fill(store).await;
    let heads = store.heads().await.unwrap();
    assert!(heads.covers(&before) && heads.get(store.origin()) >= store.span().head);
    let all = everything(store, None).await;
    let names: BTreeSet<(&str, &str)> = all
        .keys()
        .map(|partition| (partition.tenant.as_str(), partition.partition.as_str()))
        .collect();
    let expected = [
        ("default", "gone"),
        ("default", "p"),
        ("default", "q"),
        ("default", "r"),
        ("other", "p"),
    ];
    assert_eq!(names, expected.into());
    let of_one = everything(store, Some(&tenant())).await;
    assert_eq!(of_one.len(), 4);
    assert!(of_one.keys().all(|partition| partition.tenant == tenant()));
    for (name, sort, version, value, end) in [
        ("p", "", 1, Some(""), None),
        ("p", "a", 1, None, None),
        ("p", "b", 2, Some("3"), None),
        ("gone", "x", 1, None, None),
        ("q", "counted", 3, Some("1/2"), None),
        ("r", "ends", 1, Some("x"), Some(NOW + 5)),
    ] {
        let expected = KeptRow {
            key: RowKey::Record(sort.into()),
            version,
            value: value.map(|value| Bytes::copy_from_slice(value.as_bytes())),
            expires_at_ms: end,
        };
        assert_eq!(row(&all, name, sort), Some(&expected), "{name} {sort}");
    }
    let answers: Vec<&KeptRow> = all[&partition("q")]
        .iter()
        .filter(|row| matches!(row.key, RowKey::Answer { .. }))
        .collect();
    assert_eq!(answers.len(), 3);
    for row in answers {
        let answer: Answer = postcard::from_bytes(row.value.as_ref().unwrap()).unwrap();
        assert_eq!(answer.output, "out");
        assert_eq!(row.expires_at_ms, Some(answer.expires_at_ms));
    }
    let sorts = ["b", "a", "never"].map(String::from);
    let some = store.kept_records(&partition("p"), &sorts).await.unwrap();
    let versions: BTreeSet<(RowKey, u64)> =
        some.into_iter().map(|row| (row.key, row.version)).collect();
    let record = |sort: &str| RowKey::Record(sort.into());
    assert_eq!(versions, [(record("a"), 1), (record("b"), 2)].into());
}

fn registry() -> Registry {
    let token = TokenRow {
        id: "01T".into(),
        hash: [7; 32],
        label: "l".into(),
        role: Role::Reader,
        tenant: tenant(),
        created_at_ms: 1,
        expires_at_ms: None,
    };
    Registry {
        table: DeploymentTable {
            revision: 3,
            ..DeploymentTable::default()
        },
        tokens: vec![token],
        audit: (1..=3).map(audit_entry).collect(),
        ..Registry::default()
    }
}

fn audit_entry(number: u64) -> AuditEntry {
    AuditEntry {
        number,
        at_ms: NOW,
        by: "t".into(),
        tenant: tenant(),
        action: "deploy".into(),
        subject: number.to_string(),
    }
}

pub(super) async fn rows_are_put_back(from: &dyn Store, to: &dyn Store) {
    fill(from).await;
    let all = everything(from, None).await;
    assert_eq!(to.restoring().await.unwrap(), None);
    to.begin_restore("b1").await.unwrap();
    assert_eq!(to.restoring().await.unwrap().as_deref(), Some("b1"));
    // Twice, as after one that was cut off; and first something older, which the later step is over.
    let old = KeptRow {
        key: RowKey::Record("a".into()),
        version: 9,
        value: Some(Bytes::from_static(b"old")),
        expires_at_ms: Some(NOW + 1),
    };
    let unknown = RowKey::Record("unknown".into());
    let olds = vec![
        old.clone(),
        KeptRow {
            key: unknown.clone(),
            ..old.clone()
        },
    ];
    to.put_back(&partition("p"), olds, 1).await.unwrap();
    let nothing = KeptRow {
        key: unknown,
        version: 0,
        value: None,
        expires_at_ms: None,
    };
    to.put_back(&partition("p"), vec![nothing], 2)
        .await
        .unwrap();
    for _ in 0..2 {
        to.begin_restore("b1").await.unwrap();
        for (partition, rows) in &all {
            to.put_back(partition, rows.clone(), 3).await.unwrap();
        }
        to.put_back_registry(registry()).await.unwrap();
    }
    assert!(to.begin_restore("b2").await.is_err(), "another one");
    let mut heads = from.heads().await.unwrap();
    heads.advance(&"core-9.4".parse().unwrap(), 7);
    to.end_restore(&heads, 1_000).await.unwrap();
    assert_eq!(to.restoring().await.unwrap(), None);
    assert!(to.begin_restore("b1").await.is_err(), "it is not empty");
    assert_eq!(everything(to, None).await, all);
    let token = to.token(&[7; 32]).await.unwrap();
    assert_eq!(token.unwrap().id, "01T");
    assert_eq!(to.tokens(None).await.unwrap().len(), 1);
    assert_eq!(to.table().await.unwrap().revision, 3 + REVISIONS_APART);
    let audit = to.audit(None, None, 10).await.unwrap();
    let numbers: Vec<u64> = audit.iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, [3, 2, 1]);
}

/// The first of the answers that [`fill`] leaves is given again.
pub(crate) async fn answers_again(store: &dyn Store) {
    let again = store.commit(answered("q", "pay", "1")).await.unwrap();
    assert!(
        matches!(again, crate::store::Commit::Answered(_)),
        "{again:?}"
    );
}

/// What was put back is as if it had always been there.
pub(super) async fn what_was_put_back_goes_on(from: &dyn Store, to: &dyn Store) {
    fill(from).await;
    to.begin_restore("b").await.unwrap();
    for (partition, rows) in everything(from, None).await {
        to.put_back(&partition, rows, 1).await.unwrap();
    }
    for (name, sort, condition, version) in [
        ("p", "b", Condition::Version(2), 3),
        ("p", "a", Condition::Absent, 2),
        ("gone", "x", Condition::Absent, 2),
    ] {
        let write = transaction(name, vec![put(sort, "new", condition)]);
        assert_eq!(
            versions_of(to, write).await,
            [Some(version)],
            "{name} {sort}"
        );
    }
    // A store that others share asks its log whether an answer's write has an end: it knows when the next life has begun.
    if !to.is_shared() {
        answers_again(to).await;
        let swept = to.sweep(NOW + 10, 100).await.unwrap();
        assert_eq!((swept.records, swept.answers), (1, 0));
    }
    let removed = transaction("p", vec![delete("b", Condition::Version(3))]);
    assert_eq!(versions_of(to, removed).await, [None]);
    to.add_audit(audit("x")).await.unwrap();
}

pub(super) async fn what_is_gone_is_forgotten(store: &dyn Store) {
    fill(store).await;
    assert_eq!(store.forget(&partition("p")).await.unwrap(), 1);
    assert_eq!(store.forget(&partition("q")).await.unwrap(), 3);
    assert_eq!(store.forget(&partition("gone")).await.unwrap(), 1);
    let all = everything(store, None).await;
    assert_eq!(row(&all, "p", "a"), None);
    assert_eq!(row(&all, "p", "b").unwrap().version, 2);
    assert_eq!(all[&partition("q")].len(), 1);
    assert!(all.get(&partition("gone")).is_none_or(Vec::is_empty));
    let key = Key {
        collection: "stock".into(),
        partition: "gone".into(),
        sort: "x".into(),
    };
    assert_eq!(store.last_version(&tenant(), &key).await.unwrap(), 0);
    let write = transaction("gone", vec![put("x", "1", Condition::Absent)]);
    assert_eq!(versions_of(store, write).await, [Some(1)]);
}
