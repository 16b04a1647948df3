//! What a core writes by itself while a partition moves, and once it has moved.

use super::{CqlStore, Reading, anchor, fresh, one_record, partition_of};
use crate::store::{Action, NewAudit, PlacementStore as _, Store as _};
use brink_protocol::{
    TenantName,
    placement::{Collection, Pending, Placement, PlacementTable, Step},
};
use std::time::Duration;

fn tenant() -> TenantName {
    "default".parse().unwrap()
}

/// Another core changes the table.
async fn change(store: &CqlStore, edit: impl FnOnce(&mut PlacementTable)) {
    let mut table = store.placements(true).await.unwrap();
    edit(&mut table);
    let audit = NewAudit {
        by: "t".into(),
        tenant: tenant(),
        action: "t",
        subject: String::new(),
        at_ms: 1,
    };
    let revision = table.revision;
    let changed = store.change_placements(revision, table, audit);
    assert!(changed.await.unwrap());
}

fn at_home(region: &str) -> Step {
    Step::Collection {
        tenant: tenant(),
        name: "c".into(),
        to: Some(Collection {
            tenant: tenant(),
            name: "c".into(),
            placement: Placement::Hash {},
            home: Some(region.parse().unwrap()),
            audit_ms: None,
            archive: false,
        }),
    }
}

/// Records that have ended stay, and no fence is raised, while it is not certain that this core writes the partition.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_swept_or_fenced_while_a_partition_moves() {
    let mut options = fresh("core-1").await;
    options.region = Some("eu".parse().unwrap());
    let store = CqlStore::open(&options).await.unwrap();
    let mut ending = one_record("p", "v");
    for write in &mut ending.writes {
        if let Action::Put { expires_at_ms, .. } = &mut write.action {
            *expires_at_ms = Some(10);
        }
    }
    store.commit(ending).await.unwrap();
    let engine = &store.engine;
    let partition = partition_of("p");
    let state = async || {
        let state = anchor(&engine.session, &partition, Reading::Serial);
        state.await.unwrap()
    };
    let before = state().await;
    let moving = at_home("us");
    change(&store, |table| {
        table.begin(Pending {
            id: "1".into(),
            at_ms: 1,
            by: "t".into(),
            step: moving.clone(),
        });
    })
    .await;
    assert_eq!(store.sweep(1000, 100).await.unwrap().records, 0);
    let fencing = engine.fence(&partition, Vec::new());
    let waits = tokio::time::timeout(Duration::from_millis(300), fencing).await;
    assert!(waits.is_err(), "it waits for the end of the change");
    change(&store, |table| {
        moving.make(table);
        table.end(&moving);
    })
    .await;
    assert_eq!(store.sweep(1000, 100).await.unwrap().records, 0);
    engine.fence(&partition, Vec::new()).await;
    assert_eq!(state().await, before, "the partition is another region's");
    change(&store, |table| at_home("eu").make(table)).await;
    engine.fence(&partition, Vec::new()).await;
    assert_ne!(state().await, before);
    assert_eq!(store.sweep(1000, 100).await.unwrap().records, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_waits_for_the_longest_write_and_names_have_room() {
    let options = fresh("core-1").await;
    let store = CqlStore::open(&options).await.unwrap();
    assert!(store.write_max() > options.write_timeout + options.request_timeout);
    for (length, fits) in [(1, true), (20, true), (63, false)] {
        let region = "r".repeat(length).parse().unwrap();
        assert_eq!(store.check_region(&region).is_ok(), fits, "{length}");
    }
    assert_eq!(store.own_center(), None, "one data centre orders all");
}
