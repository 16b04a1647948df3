//! Backups of a store on a real engine.

use super::{super::session::Cql, CqlStore, Options, contract, fresh, of};
use crate::{
    backup::{begin, restore, tests as cases},
    store::{NewAudit, Store, Transaction, contract::one_record},
};
use brink_protocol::{
    address::PartitionAddress,
    placement::{Collection, Placement, PlacementTable},
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
    let every = std::time::Duration::from_secs(1);
    begin(&*from, root.path(), every, clock).await.unwrap();
    let mut lives = vec![1];
    let mut last = None;
    for _ in 0..2 {
        let options = fresh("core-1").await;
        let to: Arc<dyn Store> = Arc::new(CqlStore::open(&options).await.unwrap());
        restore(&to, root.path(), None).await.unwrap();
        drop(to);
        // One that the backup does not name may have begun after it.
        for node in ["core-1", "core-9"] {
            let to = CqlStore::open(&of(&options, node)).await.unwrap();
            lives.push(to.origin().incarnation);
            assert_eq!(to.span().head, 1);
        }
        last = Some(options);
    }
    assert_eq!(lives[1], lives[2]);
    assert!(lives[0] < lives[1] && lives[1] < lives[3], "{lives:?}");
    let to = CqlStore::open(&last.unwrap()).await.unwrap();
    contract::answers_again(&to).await;
}

/// What lies in one region alone is captured there and comes back there; another region's is left to its own backups.
#[tokio::test(flavor = "multi_thread")]
async fn what_lies_in_a_region_alone_comes_back_there() {
    let root = tempfile::tempdir().unwrap();
    let of = async |region: &str| Options {
        region: Some(region.parse().unwrap()),
        ..fresh("core-1").await
    };
    let options = of("eu").await;
    let from: Arc<dyn Store> = Arc::new(CqlStore::open(&options).await.unwrap());
    let partition = |name: &str| PartitionAddress {
        collection: "people".into(),
        ..super::partition_of(name)
    };
    let commit = async |name: &str| {
        let transaction = Transaction {
            partition: partition(name),
            ..one_record(name, "1")
        };
        from.commit(transaction).await.unwrap();
    };
    // Before anything is declared it lies where all do.
    commit("us/bob").await;
    declare(&*from).await;
    commit("eu/ann").await;
    let now = std::sync::atomic::AtomicU64::new(1);
    let clock = || now.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let every = std::time::Duration::from_secs(1);
    let (mut follower, _) = begin(&*from, root.path(), every, clock).await.unwrap();
    commit("eu/zoe").await;
    follower.mark(&*from, clock).await.unwrap().unwrap();
    let all = |store: Arc<dyn Store>| async move {
        let mut found = Vec::new();
        for name in ["eu/ann", "eu/zoe"] {
            found.push(store.kept(&partition(name), None, 10).await.unwrap());
        }
        found
    };
    let before = all(Arc::clone(&from)).await;
    assert!(before.iter().all(|rows| rows.len() == 1), "{before:?}");

    let options = of("eu").await;
    let to: Arc<dyn Store> = Arc::new(CqlStore::open(&options).await.unwrap());
    restore(&to, root.path(), None).await.unwrap();
    assert_eq!(all(Arc::clone(&to)).await, before);
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
