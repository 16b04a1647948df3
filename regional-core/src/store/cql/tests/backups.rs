//! Backups of a store on a real engine.

use super::{CqlStore, contract, fresh};
use crate::{
    backup::{begin, restore, tests as cases},
    store::Store,
};
use std::sync::Arc;

async fn store() -> Arc<dyn Store> {
    Arc::new(CqlStore::open(&fresh("core-1").await).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_walked_and_put_back() {
    contract::kept(async || CqlStore::open(&fresh("core-1").await).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_moment_comes_back() {
    cases::each_moment_comes_back(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_mark_holds_half_of_a_transaction() {
    cases::no_mark_holds_half_of_a_transaction(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_goes_on() {
    cases::a_restore_goes_on(store).await;
}

/// Every node that the backup names begins a later life; answers of the earlier one are given at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_put_back_begins_later_lives() {
    let root = tempfile::tempdir().unwrap();
    let from = store().await;
    contract::fill(&*from).await;
    let now = std::sync::atomic::AtomicU64::new(1);
    let clock = || now.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    begin(&*from, root.path(), clock).await.unwrap();
    let options = fresh("core-1").await;
    let to: Arc<dyn Store> = Arc::new(CqlStore::open(&options).await.unwrap());
    restore(&to, root.path(), None).await.unwrap();
    drop(to);
    let apart = Options {
        keyspace: format!("{}_eu", options.keyspace),
        ..options.clone()
    };
    let session = Cql::connect(&apart, Some(&apart.keyspace)).await.unwrap();
    let text = "SELECT DISTINCT tenant, collection, partition FROM records";
    let rows: Vec<(String, String, String)> = session.rows(text, vec![]).await.unwrap();
    assert_eq!(rows.len(), 2, "{rows:?}");

    // A region's keyspace that was left from before is not written over.
    let outside = Cql::connect(&options, None).await.unwrap();
    let text = format!("DROP KEYSPACE {}", options.keyspace);
    outside.define(&text).await.unwrap();
    let to: Arc<dyn Store> = Arc::new(CqlStore::open(&options).await.unwrap());
    let refused = restore(&to, root.path(), None).await.unwrap_err();
    assert!(refused.to_string().contains("region's own"), "{refused}");
    let text = format!("DROP KEYSPACE {}", apart.keyspace);
    outside.define(&text).await.unwrap();
}

async fn declare(store: &dyn Store) {
    let regions = [("eu", "eu"), ("us", "us")];
    let regions = regions.map(|(prefix, region)| (prefix.to_owned(), region.parse().unwrap()));
    let collection = Collection {
        tenant: "default".parse().unwrap(),
        name: "people".into(),
        placement: Placement::Geo {
            regions: regions.into(),
            pinned: true,
        },
        home: None,
        audit_ms: None,
        archive: false,
    };
    let of_tenant = [("people".to_owned(), collection)].into();
    let table = PlacementTable {
        collections: [("default".parse().unwrap(), of_tenant)].into(),
        ..PlacementTable::default()
    };
    let audit = NewAudit {
        by: "t".into(),
        tenant: "default".parse().unwrap(),
        action: "placement",
        subject: String::new(),
        at_ms: 1,
    };
    assert!(store.change_placements(0, table, audit).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_leave_what_was_marked() {
    let make = async |_: u64| store().await;
    cases::faults::faults_leave_what_was_marked(make, 1, 12, 3).await;
}
