//! The contract on two data centres, each with a core of its own.

use super::{Confirm, CqlStore, Options, Serial};
use crate::store::{PlacementStore as _, contract};
use brink_engines::Cluster;
use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

const CENTERS: [&str; 2] = ["ams", "sfo"];

/// Two data centres with a node in each, in which keyspaces lie in both.
struct Centers {
    cluster: Cluster,
    keyspaces: AtomicU32,
}

impl Centers {
    async fn start() -> Self {
        let shape = CENTERS.map(|center| (center, 1));
        let start = move || Cluster::start(&shape, &brink_engines::Options::default());
        let cluster = tokio::task::spawn_blocking(start).await.unwrap().unwrap();
        Self {
            cluster,
            keyspaces: AtomicU32::new(0),
        }
    }

    /// Options for a core in a data centre.
    fn options(&self, keyspace: u32, center: usize) -> Options {
        let nodes = self.cluster.contact_points();
        let mut options = Options::new(
            vec![nodes[center].to_string()],
            format!("t{keyspace}"),
            CENTERS[center],
            format!("core-{center}").parse().unwrap(),
        );
        options.replication = CENTERS.map(|center| (center.to_owned(), 1)).into();
        options.request_timeout = Duration::from_secs(20);
        options.write_timeout = Duration::from_secs(60);
        options.poll_interval = Duration::from_millis(20);
        options
    }

    fn next(&self) -> u32 {
        self.keyspaces.fetch_add(1, Ordering::Relaxed)
    }
}

/// A core that is the home of all partitions, and whose writes both data centres confirm; and two cores, one in each,
/// whose writes both order.
#[tokio::test(flavor = "multi_thread")]
async fn two_data_centres_keep_the_contract() {
    let centers = Centers::start().await;
    contract::all(async || {
        let mut options = centers.options(centers.next(), 0);
        options.confirm = Confirm::Each;
        let store = CqlStore::open(&options).await.unwrap();
        assert_eq!(store.own_center(), Some(CENTERS[0]));
        store
    })
    .await;
    contract::shared(async || {
        let keyspace = centers.next();
        let open = async |center: usize| {
            let mut options = centers.options(keyspace, center);
            (options.confirm, options.serial) = (Confirm::Each, Serial::Global);
            CqlStore::open(&options).await.unwrap()
        };
        (open(0).await, open(1).await)
    })
    .await;
}
