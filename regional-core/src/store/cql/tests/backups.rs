//! Backups of a store on a real engine.

use super::{CqlStore, contract, fresh};
use crate::{backup::tests as cases, store::Store};
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
