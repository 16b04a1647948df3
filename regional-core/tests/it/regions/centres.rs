//! Two regions on one database with a data centre in each: what is pinned is nowhere else, and a lost centre is given up.

use super::{Regions, count, deploy_counter, geo, origins, put, read, unavailable};
use brink_core::{
    config::{Config, Flags},
    core::Core,
};
use brink_engines::{Cluster, Durability, Options};
use brink_protocol::{Position, link::RecordOutcome};
use scylla::{
    client::{
        execution_profile::ExecutionProfile, session::Session, session_builder::SessionBuilder,
    },
    policies::load_balancing::{NodeIdentifier, SingleTargetLoadBalancingPolicy},
    statement::{Consistency, Statement},
    value::{CqlValue, Row},
};
use serde_json::json;
use std::{net::SocketAddr, path::Path, time::Duration};

const CENTERS: [&str; 2] = ["dc_eu", "dc_us"];

fn store(nodes: &[SocketAddr], center: usize) -> String {
    format!(
        "[store]\nkind = 'cql'\n[store.cql]\ncontact_points = ['{}']\ndata_center = '{}'\nconfirm = 'all'\n\
         replication = {{ {} = 1, {} = 1 }}\nrequest_timeout_ms = 15000\nwrite_timeout_ms = 15000\n\
         speculative_delay_ms = 0\npoll_ms = 20\n",
        nodes[center], CENTERS[center], CENTERS[0], CENTERS[1]
    )
}

async fn start(cluster: &Cluster, test: u8) -> Regions {
    let nodes = cluster.contact_points();
    let stores = [store(&nodes, 0), store(&nodes, 1)];
    Regions::start(test, [&stores[0], &stores[1]]).await
}

async fn cluster(options: Options) -> Cluster {
    let start = move || Cluster::start(&[(CENTERS[0], 1), (CENTERS[1], 1)], &options).unwrap();
    tokio::task::spawn_blocking(start).await.unwrap()
}

async fn main_region(regions: &Regions) {
    let main = regions.eu.control();
    let set = main.json("PUT", "/v1/regions/main", json!({"region": "eu"}));
    set.await.expect(200);
}

/// One node's answers alone.
async fn session(node: SocketAddr) -> Session {
    let only = SingleTargetLoadBalancingPolicy::new(NodeIdentifier::NodeAddress(node), None);
    let profile = ExecutionProfile::builder()
        .consistency(Consistency::LocalOne)
        .load_balancing_policy(only)
        .request_timeout(Some(Duration::from_secs(30)))
        .build();
    SessionBuilder::new()
        .known_node(node.to_string())
        .default_execution_profile_handle(profile.into_handle())
        .build()
        .await
        .unwrap()
}

async fn rows(session: &Session, text: String) -> Option<Vec<Row>> {
    let found = session.query_unpaged(Statement::new(text), ()).await.ok()?;
    let rows = found.into_rows_result().ok()?;
    Some(rows.rows::<Row>().unwrap().map(Result::unwrap).collect())
}

fn bytes_of(value: &CqlValue) -> Vec<u8> {
    match value {
        CqlValue::Blob(bytes) => bytes.clone(),
        CqlValue::Text(text) | CqlValue::Ascii(text) => text.clone().into_bytes(),
        other => format!("{other:?}").into_bytes(),
    }
}

fn contains(bytes: &[u8], marker: &str) -> bool {
    bytes
        .windows(marker.len())
        .any(|part| part == marker.as_bytes())
}

/// In which tables a node itself has a row with some bytes. A table without replicas at the node's data centre is one
/// that it cannot answer for.
async fn tables_with(node: SocketAddr, marker: &str) -> Vec<String> {
    let session = session(node).await;
    let tables = "SELECT keyspace_name, table_name FROM system_schema.tables";
    let tables = rows(&session, tables.into()).await.unwrap();
    let mut found = Vec::new();
    let mut read = 0;
    for table in tables {
        let names: Vec<String> = table
            .columns
            .iter()
            .map(|name| name.as_ref().unwrap().as_text().unwrap().clone())
            .collect();
        let name = names.join(".");
        let Some(rows) = rows(&session, format!("SELECT * FROM {name}")).await else {
            continue;
        };
        read += 1;
        let values = rows.iter().flat_map(|row| row.columns.iter().flatten());
        if values.map(bytes_of).any(|bytes| contains(&bytes, marker)) {
            found.push(name);
        }
    }
    assert!(read > 20, "it answers for its tables: {read}");
    found
}

/// Files below a folder that contain some bytes.
fn files_with(folder: &Path, marker: &str) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            count += files_with(&path, marker);
        } else if std::fs::read(&path).is_ok_and(|bytes| contains(&bytes, marker)) {
            count += 1;
        }
    }
    count
}

/// Data of customers of one region, written and read from both, is at no node of the other: not in a row that any of its
/// tables has, not in a file.
#[tokio::test(flavor = "multi_thread")]
async fn pinned_data_never_leaves_its_region() {
    let kept = tempfile::tempdir().unwrap();
    let options = Options {
        durability: Durability::EachWrite,
        data: Some(kept.path().to_owned()),
        ..Options::default()
    };
    let cluster = cluster(options).await;
    let nodes = cluster.contact_points();
    let mut regions = start(&cluster, 2).await;
    main_region(&regions).await;
    geo(&regions.eu.control(), "orders").await;
    regions.connect().await;
    let markers = ["eu", "us"].map(|region| format!("{region}-secret-{:032x}", rand(region)));
    let nowhere = Position::default();
    let mut position = Position::default();
    for (number, link) in regions.links.iter().enumerate() {
        for (region, marker) in ["eu", "us"].into_iter().zip(&markers) {
            let partition = format!("{region}/C{number}");
            let written = put(link, "orders", &partition, marker).await;
            assert_eq!(
                written.outcome,
                Ok(RecordOutcome::Written(1)),
                "{partition}"
            );
            position.merge(&written.position);
        }
    }
    let mut homes = origins(&position);
    homes.sort();
    assert_eq!(homes, ["core-1", "core-2"], "each at its home");
    put(&regions.links[1], "stock", "x", "everywhere")
        .await
        .outcome
        .unwrap();
    for link in &regions.links {
        for (region, marker) in ["eu", "us"].into_iter().zip(&markers) {
            for number in 0..2 {
                let partition = format!("{region}/C{number}");
                let found = read(link, &position, "orders", &partition).await;
                assert_eq!(found.as_ref(), Some(marker), "{partition}");
            }
        }
    }
    assert_eq!(
        read(&regions.links[0], &nowhere, "stock", "x")
            .await
            .as_deref(),
        Some("everywhere")
    );
    for (here, (node, marker)) in nodes.iter().zip(&markers).enumerate() {
        let keyspace = ["brink_eu.records", "brink_us.records"][here];
        let own = tables_with(*node, marker).await;
        assert!(
            own.contains(&keyspace.to_owned()),
            "its own are there: {own:?}"
        );
        let folder = kept.path().join(format!("node{}", here + 1));
        assert!(files_with(&folder, marker) > 0, "its own are in its files");
        let other = &markers[1 - here];
        assert_eq!(tables_with(*node, other).await, Vec::<String>::new());
        assert_eq!(files_with(&folder, other), 0, "another's are not");
        assert!(
            tables_with(*node, "everywhere")
                .await
                .contains(&"brink.records".to_owned())
        );
    }
}

fn rand(salt: &str) -> u128 {
    use std::hash::{BuildHasher as _, RandomState};
    let half = || u128::from(RandomState::new().hash_one(salt));
    half() << 64 | half()
}

/// What was acknowledged is there after a region was lost for good and its homes were given to another; who comes back
/// without knowing takes no writes.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_region_is_given_up() {
    let mut cluster = cluster(Options::default()).await;
    let mut regions = start(&cluster, 3).await;
    main_region(&regions).await;
    let home = json!({"placement": {"kind": "hash"}, "home": "us"});
    let carts = regions.eu.control();
    carts
        .json("PUT", "/v1/collections/carts", home)
        .await
        .expect(200);
    geo(&regions.eu.control(), "orders").await;
    deploy_counter(&regions.eu.control()).await;
    regions.connect().await;
    let [at_eu, at_us] = &regions.links;
    let mut position = Position::default();
    for number in 0..20 {
        let cart = put(
            &regions.links[number % 2],
            "carts",
            &format!("c{number}"),
            "full",
        )
        .await;
        assert_eq!(origins(&cart.position), ["core-2"]);
        position.merge(&cart.position);
    }
    put(at_eu, "orders", "us/C1", "lost").await.outcome.unwrap();
    for link in &regions.links {
        let counted = count(link, None).await;
        assert_eq!(origins(&counted.position), ["core-1"], "the main region");
        position.merge(&counted.position);
    }

    cluster.kill(1);
    // Neither side acknowledges what the other cannot have.
    let told = unavailable(put(at_us, "carts", "c0", "unheard of").await);
    assert!(!told.is_empty());

    let promote = json!({"to": "eu", "data_center": CENTERS[1]});
    let control = regions.eu.control();
    control
        .json("POST", "/v1/regions/us/promote", promote)
        .await
        .expect(200);
    for number in 0..20 {
        let cart = format!("c{number}");
        assert_eq!(
            read(at_eu, &position, "carts", &cart).await.as_deref(),
            Some("full")
        );
    }
    let cart = put(at_eu, "carts", "c0", "again").await;
    assert!(cart.outcome.is_ok(), "{cart:?}");
    assert_eq!(origins(&cart.position), ["core-1"]);
    assert_eq!(count(at_eu, None).await.outcome.unwrap()[0], 3);
    assert_eq!(
        read(at_eu, &position, "orders", "us/C1").await,
        None,
        "it lay there alone"
    );
    put(at_eu, "orders", "us/C1", "new").await.outcome.unwrap();

    // The lost region's core lives on and its database comes back: it has no say any more.
    let restart = move || cluster.restart(1).map(|()| cluster);
    let restarted = tokio::task::spawn_blocking(restart).await.unwrap();
    let _cluster = restarted.unwrap();
    let late = put(at_us, "carts", "c0", "late").await;
    assert!(
        late.outcome.is_err() || origins(&late.position) == ["core-1"],
        "{late:?}"
    );
    let after = put(at_eu, "carts", "c1", "eu's").await;
    assert_eq!(origins(&after.position), ["core-1"]);
    let (directory, configuration) = regions.us.stop_anyhow().await;
    let flags = Flags {
        data: Some(directory.path().join("core")),
        control: Some("127.0.0.1:0".parse().unwrap()),
        admin: Some("127.0.0.1:0".parse().unwrap()),
        ..Flags::default()
    };
    let config = Config::parse(&configuration, &flags).unwrap();
    // Its own node hears of the new schema some seconds after it is back.
    let begun = std::time::Instant::now();
    while Core::build(config.clone(), None).await.is_ok() {
        assert!(
            begun.elapsed() < std::time::Duration::from_secs(120),
            "its data centre has no replicas"
        );
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
}
