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
    let to = CqlStore::open(&options).await.unwrap();
    assert_eq!(to.origin().to_string(), "core-1.2");
    assert_eq!(to.span().head, 1);
    contract::answers_again(&to).await;
}
