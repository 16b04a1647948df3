//! An engine that stops answering, and one that loses its power: what was told, and what is left.

use super::{one_record, own_log};
use crate::{
    Error,
    store::{
        Commit, Store as _,
        cql::{CqlStore, Options},
    },
};
use brink_engines::{Cluster, DATA_CENTRE};
use brink_protocol::{log::Log, record::Key};
use std::{sync::Arc, time::Duration};

fn cluster() -> Cluster {
    let options = brink_engines::Options::default();
    Cluster::start(&[(DATA_CENTRE, 1)], &options).unwrap()
}

fn options(cluster: &Cluster) -> Options {
    let node = "core-1".parse().unwrap();
    let points = cluster.contact_points();
    let points = points.iter().map(ToString::to_string).collect();
    let mut options = Options::new(points, "stalls", DATA_CENTRE, node);
    options.replication = [(DATA_CENTRE.to_owned(), 1)].into();
    options
}

async fn version(store: &CqlStore, partition: &str) -> u64 {
    let key = Key {
        collection: "c".into(),
        partition: partition.into(),
        sort: "s".into(),
    };
    let tenant = "default".parse().unwrap();
    store.last_version(&tenant, &key).await.unwrap()
}

/// Nothing is open, nothing is missing.
async fn check_log(store: &CqlStore) {
    let log = own_log(store).await;
    let found = Log::recover(store.origin().clone(), &log).unwrap();
    assert_eq!(
        (found.kept().head, found.open().count()),
        (store.span().head, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_engine_does_not_answer_is_settled_when_it_is_back() {
    let mut cluster = tokio::task::spawn_blocking(cluster).await.unwrap();
    drop(CqlStore::open(&options(&cluster)).await.unwrap());
    let mut options = options(&cluster);
    options.request_timeout = Duration::from_secs(1);
    options.write_timeout = Duration::from_secs(3);
    let store = Arc::new(CqlStore::open(&options).await.unwrap());
    let mut writers = Vec::new();
    for writer in 0..8 {
        let store = Arc::clone(&store);
        writers.push(tokio::spawn(async move {
            let partition = format!("p{writer}");
            let (mut tried, mut done, mut highest) = (0, 0, 0);
            // Until the engine has stood still, and some more.
            while tried < 500 && tried - done < 2 {
                tried += 1;
                match store.commit(one_record(&partition, "x")).await {
                    Ok(Commit::Done { versions, .. }) => {
                        done += 1;
                        highest = versions[0].unwrap();
                    }
                    Ok(other) => panic!("{other:?}"),
                    Err(Error::Store { .. } | Error::Busy) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            (partition, tried, done, highest)
        }));
    }
    let mut held = store.held();
    held.wait_for(|held| held.heads.iter().any(|(_, head)| head > 50))
        .await
        .unwrap();
    cluster.pause(0);
    let mut ended = Vec::new();
    for writer in writers {
        ended.push(writer.await.unwrap());
    }
    assert!(ended.iter().any(|(_, tried, done, _)| tried > done));
    // A store that hears nothing does not vouch for what others do meanwhile.
    let looked_at = store.held().borrow().looked_at.unwrap();
    assert!(looked_at.elapsed() > options.request_timeout);
    cluster.resume(0);
    // One that is answered again comes after all that stood still.
    while store.commit(one_record("after", "x")).await.is_err() {}
    let own = store.origin().clone();
    let all_settled = store
        .engine
        .logs
        .wait_settled(&own, 1, Duration::from_secs(60));
    all_settled.await.unwrap();
    loop {
        let head = store.span().head;
        let settled = store
            .engine
            .logs
            .wait_settled(&own, head, Duration::from_secs(60));
        settled.await.unwrap();
        if store.span().head == head {
            break;
        }
    }
    check_log(&store).await;
    for (partition, tried, done, highest) in &ended {
        let found = version(&store, partition).await;
        assert!(
            *highest <= found && *done <= found && found <= *tried,
            "{partition}"
        );
    }
    // The power fails under load; what was acknowledged is there when it is back.
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let (partition, mut highest) = (format!("k{writer}"), 0);
                while let Ok(Commit::Done { versions, .. }) =
                    store.commit(one_record(&partition, "x")).await
                {
                    highest = versions[0].unwrap();
                }
                (partition, highest)
            })
        })
        .collect();
    let begun = store.span().head;
    held.wait_for(|held| held.heads.get(&own) > begun + 50)
        .await
        .unwrap();
    cluster.kill(0);
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.push(writer.await.unwrap());
    }
    drop(store);
    let _cluster = tokio::task::spawn_blocking(move || {
        cluster.restart(0).unwrap();
        cluster
    })
    .await
    .unwrap();
    let store = CqlStore::open(&options).await.unwrap();
    check_log(&store).await;
    for (partition, highest) in acknowledged {
        assert!(version(&store, &partition).await >= highest, "{partition}");
    }
}
