//! The store on a real engine: the contract, and what is its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
use super::*;
use crate::store::contract;
use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// Options for a fresh keyspace on the engine that the tests of this binary share.
async fn fresh(node: &str) -> Options {
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

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    contract::all(async || CqlStore::open(&fresh("core-1").await).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cores_share_an_engine() {
    contract::shared(async || {
        let options = fresh("core-1").await;
        let other = Options {
            node: "core-2".parse().unwrap(),
            ..options.clone()
        };
        let a = CqlStore::open(&options).await.unwrap();
        let b = CqlStore::open(&other).await.unwrap();
        (a, b)
    })
    .await;
}
