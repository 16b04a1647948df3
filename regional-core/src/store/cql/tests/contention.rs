//! Cores in each other's way on three replicas of which one is lost: nothing is lost, and nothing happens twice.

use super::{CqlStore, one_record};
use crate::{
    Error,
    store::{Action, Commit, Seen, Store as _, cql::Options},
};
use brink_engines::{Cluster, DATA_CENTRE};
use brink_protocol::record::{Bound, Key, Range};
use bytes::Bytes;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// Adds one to a record; what was read is named in the transaction, in one of two ways.
async fn add(store: &CqlStore, by_range: bool) -> Result<bool, Error> {
    let key = Key {
        collection: "c".into(),
        partition: "hot".into(),
        sort: "s".into(),
    };
    let tenant = "default".parse().unwrap();
    let present = store.get(&tenant, &key, 1).await?;
    let count = present.as_ref().map_or(0, |entry| number(&entry.value));
    let version = present.map(|entry| entry.version);
    let mut add = one_record("hot", "");
    add.writes[0].action = Action::Put {
        value: Bytes::copy_from_slice(&(count + 1).to_le_bytes()),
        expires_at_ms: None,
    };
    let seen = if by_range {
        let range = Range {
            collection: String::new(),
            partition: String::new(),
            lower: Bound::Unbounded,
            upper: Bound::Unbounded,
            limit: 10,
            descending: false,
        };
        let entries = version.map(|version| ("s".to_owned(), version));
        Seen::Range {
            range,
            entries: entries.into_iter().collect(),
            more: false,
        }
    } else {
        let sort = "s".into();
        Seen::Record { sort, version }
    };
    add.seen = vec![seen];
    let done = store.commit(add).await?;
    Ok(matches!(done, Commit::Done { .. }))
}

fn number(value: &[u8]) -> u32 {
    u32::from_le_bytes(value.try_into().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn increments_survive_the_loss_of_a_replica() {
    const EACH: u32 = 15;
    let mut cluster = tokio::task::spawn_blocking(|| {
        let options = brink_engines::Options::default();
        Cluster::start(&[(DATA_CENTRE, 3)], &options).unwrap()
    })
    .await
    .unwrap();
    let points = cluster.contact_points();
    let points: Vec<String> = points.iter().map(ToString::to_string).collect();
    let mut stores = Vec::new();
    for node in ["core-1", "core-2"] {
        let node = node.parse().unwrap();
        let mut options = Options::new(points.clone(), "contention", DATA_CENTRE, node);
        options.request_timeout = Duration::from_secs(5);
        options.write_timeout = Duration::from_secs(60);
        stores.push(Arc::new(CqlStore::open(&options).await.unwrap()));
    }
    let (done, unknown) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let load: Vec<_> = (0..4)
        .map(|task| {
            let store = Arc::clone(&stores[task % 2]);
            let (done, unknown) = (Arc::clone(&done), Arc::clone(&unknown));
            tokio::spawn(async move {
                let mut left = EACH;
                while left > 0 {
                    match add(&store, task < 2).await {
                        Ok(true) => {
                            done.fetch_add(1, Ordering::SeqCst);
                            left -= 1;
                        }
                        Ok(false) | Err(Error::Busy) => {}
                        Err(_) => {
                            unknown.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                }
            })
        })
        .collect();
    let mut held = stores[0].held();
    held.wait_for(|held| held.heads.get(stores[0].origin()) > 20)
        .await
        .unwrap();
    cluster.kill(2);
    for task in load {
        task.await.unwrap();
    }
    let tenant = "default".parse().unwrap();
    let key = Key {
        collection: "c".into(),
        partition: "hot".into(),
        sort: "s".into(),
    };
    let found = stores[1].get(&tenant, &key, 1).await.unwrap().unwrap();
    let (found, done) = (number(&found.value), done.load(Ordering::SeqCst));
    let unknown = unknown.load(Ordering::SeqCst);
    assert!(
        done <= found && found <= done + unknown,
        "{done} {unknown} {found}"
    );
}
