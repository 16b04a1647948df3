//! Versions, audit log and purges where several cores share an engine, and where one died half-way.

use super::{super::purges, CqlStore, fresh, two};
use crate::{
    deployments::Tables,
    store::{NewAudit, NewPurge, NewVersion, Store, TableChange},
};
use brink_protocol::{
    Digest, TenantName,
    change::ChangeKind,
    control::Later,
    deployment::{DeploymentTable, World},
    position::Position,
    purge::{Purge, Selector},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, future::join_all, stream};
use std::{sync::Arc, time::Duration};

const NOW: u64 = 1_700_000_000_000;

fn tenant() -> TenantName {
    "default".parse().unwrap()
}

pub(super) fn audit(subject: &str) -> NewAudit {
    NewAudit {
        by: "t1".into(),
        tenant: tenant(),
        action: "publish",
        subject: subject.into(),
        at_ms: NOW,
    }
}

fn version(bytes: &[u8]) -> NewVersion {
    NewVersion {
        tenant: tenant(),
        module: "hello".parse().unwrap(),
        digest: Digest::of(bytes),
        world: World::Module,
        imports: Vec::new(),
        at_ms: NOW,
        by: "t1".into(),
    }
}

fn purge(id: &str, later: Option<Later>) -> NewPurge {
    NewPurge {
        purge: Purge {
            id: id.into(),
            tenant: tenant(),
            selectors: vec![Selector::Everything],
            soft: later.is_some(),
        },
        by: "t1".into(),
        at_ms: NOW,
        answer: None,
        later,
        behind: Position::default(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_cores_publish_without_losing_or_doubling_a_version() {
    let stores = two().await;
    let contents: Vec<Vec<u8>> = (0..4_u8).map(|n| vec![n; 10]).collect();
    let publishing = stores.iter().flat_map(|store| {
        contents.iter().map(move |bytes| {
            let component = Bytes::copy_from_slice(bytes);
            store.publish(version(bytes), component, audit("x"))
        })
    });
    let published: Vec<_> = join_all(publishing)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(published.iter().filter(|one| one.is_new).count(), 4);
    for (one, other) in published[..4].iter().zip(&published[4..]) {
        assert_eq!(one.version, other.version, "one digest, one version");
    }
    let [first, second] = &stores;
    let versions = second.versions(&tenant(), None).await.unwrap();
    let numbers: Vec<u64> = versions.iter().map(|version| version.version).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    // Each new version once, numbered without gaps though both cores write.
    let more = stores
        .iter()
        .flat_map(|store| (0..5).map(move |_| store.add_audit(audit("y"))));
    for added in join_all(more).await {
        added.unwrap();
    }
    let entries = first.audit(None, None, 100).await.unwrap();
    let numbers: Vec<u64> = entries.iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, (1..=14).rev().collect::<Vec<u64>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_comes_back_whole_or_not_at_all() {
    let store = CqlStore::open(&fresh("core-1").await).await.unwrap();
    let bytes: Vec<u8> = (0..1_300_000_u32).map(|n| (n % 251) as u8).collect();
    let component = Bytes::from(bytes);
    let new = version(&component);
    let digest = new.digest;
    let published = store.publish(new, component.clone(), audit("x")).await;
    assert_eq!(published.unwrap().version.size_bytes, 1_300_000);
    let found = store.component(&digest).await.unwrap();
    assert_eq!(found.as_ref(), Some(&component));
    let session = &store.engine.session;
    let spoil = "UPDATE components SET bytes = 0x00 WHERE digest = ? AND part = 1";
    let key = || vec![digest.hex().as_str().into()];
    session.write(spoil, key()).await.unwrap();
    assert!(store.component(&digest).await.is_err(), "other content");
    let lose = "DELETE FROM components WHERE digest = ? AND part = 2";
    session.write(lose, key()).await.unwrap();
    assert!(store.component(&digest).await.is_err(), "a part is missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_core_appends_a_purge_whose_time_has_come() {
    let [a, b] = two().await;
    let later = |id: &str| {
        Some(Later {
            id: id.into(),
            at_ms: NOW + 1_000,
        })
    };
    for id in ["01A", "01B", "01C"] {
        let new = purge(id, later(&format!("{id}-hard")));
        a.add_purge(new, None).await.unwrap();
    }
    let due = NOW + 1_000;
    let (of_a, of_b) = tokio::join!(a.release_purges(due, 10), b.release_purges(due, 10));
    assert_eq!(of_a.unwrap() + of_b.unwrap(), 3);
    let kept = b.purges(&tenant(), None, 100).await.unwrap();
    assert_eq!(kept.len(), 6);
    // A core that claimed one and died: another goes on when the claim is over, not before.
    a.add_purge(purge("01D", later("01D-hard")), None)
        .await
        .unwrap();
    let claim = "UPDATE later_purges SET claimed_until = 1700000030000 \
        WHERE day = 19675 AND due_ms = 1700000001000 AND tenant = 'default' AND id = '01D-hard' IF EXISTS";
    let session = &a.engine.session;
    session.global(vec![(claim, vec![])]).await.unwrap();
    assert_eq!(b.release_purges(NOW + 29_999, 10).await.unwrap(), 0);
    assert_eq!(b.release_purges(NOW + 30_000, 10).await.unwrap(), 1);
    let hard = a.purge(&tenant(), "01D-hard").await.unwrap();
    assert!(!hard.unwrap().purge.soft);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_core_had_still_to_say_of_a_deployment_is_said_by_another() {
    let [a, b] = two().await;
    let unsaid = serde_json::json!({
        "id": "01X", "at_ms": NOW, "revision": 7, "tenant": "default", "modules": ["hello"],
        "purge": {
            "purge": purge("01P", None).purge, "by": "t1", "at_ms": NOW,
        },
        "audit": {
            "number": 0, "at_ms": NOW, "by": "t1", "tenant": "default", "action": "deploy",
            "subject": "hello@7",
        },
    });
    let put = "INSERT INTO deployments (every, kind, tenant, name, row) \
        VALUES (0, 'outbox', 'default', '01X', ?) IF NOT EXISTS";
    let values = vec![unsaid.to_string().as_str().into()];
    a.engine.session.global(vec![(put, values)]).await.unwrap();
    // Its writer may only be slow.
    b.release_purges(NOW + 19_999, 10).await.unwrap();
    assert_eq!(b.span().head, 0);
    for _ in 0..2 {
        b.release_purges(NOW + 20_000, 10).await.unwrap();
    }
    let said = b.changes(b.origin(), 0, 10).await.unwrap();
    let [of_purge, of_table] = &said[..] else {
        panic!("said once, and all of it: {said:?}");
    };
    assert!(matches!(&of_purge.kind, ChangeKind::Purge(purge) if purge.id == "01P"));
    assert!(matches!(
        &of_table.kind,
        ChangeKind::Deployments { revision: 7, .. }
    ));
    assert!(a.purge(&tenant(), "01P").await.unwrap().is_some());
    let entries = a.audit(None, None, 10).await.unwrap();
    assert_eq!((entries.len(), entries[0].subject.as_str()), (1, "hello@7"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_one_core_changed_is_read_by_the_other() {
    let [a, b] = two().await;
    let tables = Tables::load(Arc::new(b)).await.unwrap();
    let change = TableChange {
        expected_revision: 0,
        table: DeploymentTable::default(),
        tenant: tenant(),
        modules: Vec::new(),
        history: None,
        purge: None,
        at_ms: NOW,
    };
    let changed = a.change_table(change, audit("hello@1")).await.unwrap();
    assert!(changed.is_some());
    assert_eq!(a.table().await.unwrap().revision, 1);
    let seen = async {
        while tables.current().revision != 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), seen)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_is_cut_however_long_it_is() {
    let [store, _other] = two().await;
    let put = "INSERT INTO purge_ids (tenant, id) VALUES (?, ?)";
    let written = (0..2500).map(|n| {
        let values = vec![tenant().as_str().into(), format!("{n:04}").as_str().into()];
        store.engine.session.write(put, values)
    });
    let written = stream::iter(written).buffer_unordered(64);
    written.try_collect::<()>().await.unwrap();
    purges::cut(&store.engine, &tenant(), 3).await.unwrap();
    let left = "SELECT id FROM purge_ids WHERE tenant = ?";
    let left: Vec<(String,)> = store
        .engine
        .session
        .rows(left, vec![tenant().as_str().into()])
        .await
        .unwrap();
    assert_eq!(left, ["2499", "2498", "2497"].map(|id| (id.to_owned(),)));
}
