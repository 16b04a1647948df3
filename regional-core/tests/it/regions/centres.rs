//! Two regions on one database with a data centre in each: what is pinned is nowhere else, and a lost centre is given up.

use super::{Regions, ask, count, deploy_counter, geo, is_acknowledged, key, origins, put, read};
use crate::{client::Control, guests};
use brink_core::{
    config::{Config, Flags},
    core::Core,
};
use brink_engines::{Cluster, Durability, Options};
use brink_protocol::{
    Position,
    link::{RecordOperation, RecordOutcome},
};
use scylla::{
    client::{
        execution_profile::ExecutionProfile, session::Session, session_builder::SessionBuilder,
    },
    policies::load_balancing::{NodeIdentifier, SingleTargetLoadBalancingPolicy},
    statement::{Consistency, Statement},
    value::{CqlValue, Row},
};
use serde_json::json;
use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(120);
const CENTERS: [&str; 2] = ["dc_eu", "dc_us"];

fn store(nodes: &[SocketAddr], center: usize, confirm: &str) -> String {
    format!(
        "[projections]\nattempts_max = 1\n\
         [store]\nkind = 'cql'\n[store.cql]\ncontact_points = ['{}']\ndata_center = '{}'\nconfirm = '{confirm}'\n\
         replication = {{ {} = 1, {} = 1 }}\nrequest_timeout_ms = 15000\nwrite_timeout_ms = 15000\n\
         speculative_delay_ms = 0\npoll_ms = 20\n",
        nodes[center], CENTERS[center], CENTERS[0], CENTERS[1]
    )
}

async fn start(cluster: &Cluster) -> Regions {
    start_with(cluster, "all").await
}

async fn start_with(cluster: &Cluster, confirm: &str) -> Regions {
    let nodes = cluster.contact_points();
    let stores = [store(&nodes, 0, confirm), store(&nodes, 1, confirm)];
    Regions::start([&stores[0], &stores[1]]).await
}

async fn cluster(options: Options) -> Cluster {
    let start = move || Cluster::start(&[(CENTERS[0], 1), (CENTERS[1], 1)], &options).unwrap();
    tokio::task::spawn_blocking(start).await.unwrap()
}

/// Both cores, each asked with the token that the first of them made for the database.
fn controls(regions: &Regions) -> [Control; 2] {
    let token = regions.eu.control().token;
    [&regions.eu, &regions.us].map(|server| Control {
        address: server.addresses.control,
        ca: server.data().join("ca/ca.pem"),
        token: token.clone(),
    })
}

/// Nobody has set the main region: it is that of the core which began first.
async fn main_region(regions: &Regions) {
    for control in controls(regions) {
        let shown = control.get("/v1/regions").await.expect(200);
        assert_eq!(shown.json()["main"], "eu");
    }
    let control = regions.eu.control();
    let none = control.json("PUT", "/v1/regions/main", json!({"region": null}));
    assert_eq!(none.await.problem(409), "conflict");
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
    let mut regions = start(&cluster).await;
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
    dead_letters(&regions, &markers).await;
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

/// Has events with the markers appended, with keys that say them, too, and given up by a projection.
async fn dead_letters(regions: &Regions, markers: &[String; 2]) {
    let control = regions.eu.control();
    geo(&control, "src").await;
    let path = "/v1/modules/tally/versions";
    let published = control.send("POST", path, "application/wasm", guests::tally());
    published.await.expect(201);
    let deployment = json!({"module": "tally", "config": {"source": "src", "target": "totals"}});
    let deployed = control.json("POST", "/v1/deployments", deployment);
    deployed.await.expect(200);
    for (region, marker) in ["eu", "us"].into_iter().zip(markers) {
        let events = json!([{"kind": "x", "payload": marker}]);
        let new =
            json!({"collection": "src", "partition": format!("{region}/C1"), "events": events});
        let fields = [
            ("content-type", "application/json"),
            ("idempotency-key", marker.as_str()),
        ];
        let appended = control.try_send("POST", "/v1/events", &fields, new.to_string());
        appended.await.unwrap().expect(200);
    }
    for (region, control) in ["eu", "us"].into_iter().zip(controls(regions)) {
        let begun = Instant::now();
        loop {
            let path = "/v1/projections/tally/dead-letters";
            let listed = control.get(path).await.expect(200).json();
            let letters = listed["letters"].as_array().unwrap().iter();
            let partition = format!("{region}/C1");
            if letters
                .clone()
                .any(|letter| letter["partition"] == partition)
            {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{listed}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// The status of a read of `stock / x` that may be so stale.
async fn status(control: &Control, max_staleness_ms: u64) -> u16 {
    let path = format!("/v1/records/stock/x?max_staleness_ms={max_staleness_ms}");
    let answer = control.get(&path).await;
    if answer.status == 200 {
        assert_eq!(answer.json()["entries"][0]["sort"], "s", "{answer:?}");
    }
    answer.status.as_u16()
}

async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Where all that is acknowledged is in both centres, a core answers by itself as long as it knows that it is still one
/// of them, and asks the home for what is to be newer.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_says_how_stale_it_may_be() {
    let cluster = cluster(Options::default()).await;
    let nodes = cluster.contact_points();
    let regions = start(&cluster).await;
    main_region(&regions).await;
    put(&regions.links[1], "stock", "x", "v")
        .await
        .outcome
        .unwrap();
    let [home, control] = controls(&regions);
    assert_eq!(status(&control, 0).await, 200, "its home says so");
    assert_eq!(status(&home, 0).await, 200, "it is the home");
    // A region is in one data centre.
    let wrong = format!(
        "node = 'core-3'\nregion = 'eu'\n{}",
        store(&nodes, 1, "all")
    );
    let folder = tempfile::tempdir().unwrap();
    let flags = Flags {
        data: Some(folder.path().join("core")),
        control: Some("127.0.0.1:0".parse().unwrap()),
        admin: Some("127.0.0.1:0".parse().unwrap()),
        ..Flags::default()
    };
    let config = Config::parse(&wrong, &flags).unwrap();
    let refused = Core::build(config, None).await.err().unwrap().to_string();
    assert!(
        refused.contains("eu is in the data centre dc_eu"),
        "{refused}"
    );
    let Regions {
        eu,
        us: _us,
        links: _links,
    } = regions;
    let _data = eu.stop().await;
    assert_eq!(status(&control, 0).await, 503, "its home is not reached");
    assert_eq!(status(&control, 600_000).await, 200, "it need not be");
    cluster.pause(0);
    until(async || status(&control, 3_000).await == 503).await;
    assert_eq!(status(&control, 600_000).await, 200, "as of the cut");
    cluster.resume(0);
    until(async || status(&control, 3_000).await == 200).await;
}

/// Where a region confirms its writes alone, what a reader has seen is read at its home: here it may come later.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_seen_is_seen_in_another_region() {
    let cluster = cluster(Options::default()).await;
    let regions = start_with(&cluster, "local").await;
    main_region(&regions).await;
    let [at_eu, at_us] = &regions.links;
    put(at_eu, "stock", "x", "old").await.outcome.unwrap();
    cluster.pause(1);
    let mut written = Position::default();
    let begun = Instant::now();
    // For longer than nodes keep messages for each other before they take note of them.
    while begun.elapsed() < Duration::from_secs(5) {
        let put = put(at_eu, "stock", "x", "new").await;
        put.outcome.unwrap();
        written = put.position;
    }
    cluster.resume(1);
    until(async || {
        let operation = RecordOperation::Get(vec![key("stock", "x")]);
        let Ok(RecordOutcome::Entries(found)) = ask(at_us, &written, operation).await.outcome
        else {
            return false;
        };
        assert_eq!(found[0].as_ref().unwrap().value, "new");
        true
    })
    .await;
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
    let mut regions = start(&cluster).await;
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
    assert!(!is_acknowledged(at_us, "carts", "c0", "unheard of").await);

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
    let begun = Instant::now();
    while Core::build(config.clone(), None).await.is_ok() {
        assert!(
            begun.elapsed() < PATIENCE,
            "its data centre has no replicas"
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
