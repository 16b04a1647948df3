//! Figures of one node on this machine, beside the bare requests that a commit cannot do without. They are printed, not
//! asserted: `cargo test -p brink-core --lib store_figures -- --ignored --nocapture`.

use super::{anchor, fresh, one_record, partition_of, row};
use crate::store::{
    Store as _,
    cql::{
        CqlStore,
        partition::{CommitId, Reading, batch},
    },
};
use brink_protocol::record::Key;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// A read and a conditional write.
async fn bare(store: &CqlStore, name: &str) {
    let session = &store.engine.session;
    let partition = partition_of(name);
    let before = anchor(session, &partition, Reading::Quorum).await.unwrap();
    let statements = batch(&partition, &before, &[row(None)], CommitId::new().unwrap());
    session.conditional_batch(statements).await.unwrap();
}

async fn committed(store: &CqlStore, name: &str) {
    store.commit(one_record(name, "x")).await.unwrap();
}

fn rate(count: usize, took: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap()) / took.as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints figures"]
async fn store_figures() {
    const EACH: usize = 20;
    let store = Arc::new(CqlStore::open(&fresh("core-1").await).await.unwrap());
    // The first round is for the engine to warm up.
    for round in 0..3 {
        let begun = Instant::now();
        for n in 0..100 {
            committed(&store, &format!("{round}-{n}")).await;
        }
        let commit = begun.elapsed() / 100;
        let begun = Instant::now();
        for n in 0..100 {
            bare(&store, &format!("bare-{round}-{n}")).await;
        }
        let bare_write = begun.elapsed() / 100;
        let begun = Instant::now();
        for n in 0..500 {
            let key = Key {
                collection: "c".into(),
                partition: format!("{round}-{}", n % 100),
                sort: "s".into(),
            };
            let tenant = "default".parse().unwrap();
            store.get(&tenant, &key, 1).await.unwrap();
        }
        let get = begun.elapsed() / 500;
        eprintln!("round {round}: commit {commit:?}, bare {bare_write:?}, get {get:?}");
        for at_once in [16, 64, 256] {
            let mut rates = Vec::new();
            for is_bare in [false, true] {
                let begun = Instant::now();
                let load = (0..at_once).map(|task| {
                    let store = Arc::clone(&store);
                    tokio::spawn(async move {
                        for n in 0..EACH {
                            let name = format!("{round}-{at_once}-{is_bare}-{task}-{n}");
                            if is_bare {
                                bare(&store, &name).await;
                            } else {
                                committed(&store, &name).await;
                            }
                        }
                    })
                });
                for task in load.collect::<Vec<_>>() {
                    task.await.unwrap();
                }
                rates.push(rate(at_once * EACH, begun.elapsed()));
            }
            eprintln!(
                "round {round}: {at_once} at once: commits {:.0}/s, bare {:.0}/s, ratio {:.2}",
                rates[0],
                rates[1],
                rates[0] / rates[1]
            );
        }
    }
}
