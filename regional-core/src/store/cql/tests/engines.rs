//! Engines of their own: with TLS and a login, and with a node that is lost.

use super::{CqlStore, one_record};
use crate::{
    config::StoreConfig,
    store::{Commit, Store},
};
use brink_engines::{Cluster, Options, PASSWORD, USER};
use brink_protocol::record::Key;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

async fn cluster(shape: &'static [(&'static str, usize)], options: Options) -> Cluster {
    tokio::task::spawn_blocking(move || Cluster::start(shape, &options))
        .await
        .unwrap()
        .unwrap()
}

/// `[store]` for a cluster.
fn config(cluster: &Cluster, more: &str) -> StoreConfig {
    let points = cluster.contact_points();
    let points: Vec<String> = points.iter().map(|point| format!("'{point}'")).collect();
    let text = format!(
        "kind = 'cql'\n[cql]\ncontact_points = [{}]\ndata_center = 'ams'\nrequest_timeout_ms = 20000\n\
         write_timeout_ms = 60000\n{more}\n",
        points.join(", ")
    );
    toml::from_str(&text).unwrap()
}

async fn open(config: &StoreConfig) -> Result<CqlStore, crate::Error> {
    let options = config.cql.options("core-1".parse().unwrap(), 1000)?;
    CqlStore::open(&options).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_with_tls_and_a_login_lets_in_who_has_both() {
    let options = Options {
        tls: true,
        authentication: true,
        ..Options::default()
    };
    let cluster = cluster(&[("ams", 1)], options).await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (right, wrong) = (file("right", PASSWORD), file("wrong", "guess"));
    let ca = cluster.authority().unwrap().display().to_string();
    let base = "replication = { ams = 1 }\nconnect_timeout_ms = 2000";
    let login = |file: &str| format!("user = '{USER}'\npassword_file = '{file}'");
    for (more, is_let_in) in [
        (format!("{base}\n{}", login(&right)), false),
        (format!("{base}\nca = '{ca}'"), false),
        (format!("{base}\nca = '{ca}'\n{}", login(&wrong)), false),
        (format!("{base}\nca = '{ca}'\n{}", login(&right)), true),
    ] {
        let opened = open(&config(&cluster, &more)).await;
        assert_eq!(opened.is_ok(), is_let_in, "{more}: {:?}", opened.err());
    }
}

/// Reads and writes go on while one node of three is killed and comes back: at a quorum nobody notices.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_node_fails_no_request() {
    let mut cluster = cluster(&[("ams", 3)], Options::default()).await;
    let store = Arc::new(open(&config(&cluster, "")).await.unwrap());
    let is_over = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..8)
        .map(|n| {
            let (store, is_over) = (Arc::clone(&store), Arc::clone(&is_over));
            tokio::spawn(async move {
                let name = format!("p{n}");
                let key = Key {
                    collection: "c".into(),
                    partition: name.clone(),
                    sort: "s".into(),
                };
                let tenant = "default".parse().unwrap();
                let mut written = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let done = store.commit(one_record(&name, "v")).await.unwrap();
                    assert!(matches!(done, Commit::Done { .. }), "{done:?}");
                    written += 1;
                    let found = store.get(&tenant, &key, 1).await.unwrap();
                    assert_eq!(found.unwrap().version, written);
                }
                written
            })
        })
        .collect();
    let head = store.span().head;
    let mut held = store.held();
    let grows = async |by: u64| {
        let from = store.span().head;
        let own = store.origin().clone();
        held.wait_for(|held| held.heads.get(&own) >= from + by)
            .await
            .unwrap();
    };
    let mut grows = grows;
    grows(40).await;
    cluster.kill(2);
    grows(200).await;
    let cluster = tokio::task::spawn_blocking(move || {
        cluster.restart(2).unwrap();
        cluster
    })
    .await
    .unwrap();
    grows(40).await;
    is_over.store(true, Ordering::Relaxed);
    let mut written = 0;
    for task in load {
        written += task.await.unwrap();
    }
    assert!(store.span().head >= head + 2 * written);
    drop(cluster);
}
