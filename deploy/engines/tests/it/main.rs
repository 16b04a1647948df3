//! Engines really started.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use brink_engines::{Broker, BrokerOptions, Cluster, Durability, Options};
use std::{
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
};

fn takes_clients(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_ok()
}

/// The folder of a node's network.
fn folder(address: SocketAddr) -> PathBuf {
    let SocketAddr::V4(address) = address else {
        panic!("not IPv4");
    };
    let [_, high, low, _] = address.ip().octets();
    let user = rustix::process::geteuid().as_raw();
    std::env::temp_dir()
        .join(format!("brink-engines-{user}"))
        .join(format!("127.{high}.{low}"))
}

#[test]
fn two_data_centres_know_each_other_and_a_killed_node_comes_back() {
    let options = Options {
        durability: Durability::Periodic,
        ..Options::default()
    };
    let mut cluster = Cluster::start(&[("ams", 1), ("sfo", 1)], &options).expect("a cluster");
    let points = cluster.contact_points();
    let [first, second] = points[..] else {
        panic!("two nodes: {points:?}");
    };
    assert!(takes_clients(first) && takes_clients(second));
    assert_eq!(cluster.ended(), None);
    cluster.kill(1);
    assert!(takes_clients(first) && !takes_clients(second));
    cluster.restart(1).expect("it comes back");
    assert!(takes_clients(second));
    drop(cluster);
    assert!(!takes_clients(first) && !takes_clients(second));
    assert!(!folder(first).join("node1").exists());
}

#[test]
fn the_shared_node_is_one() {
    let first = brink_engines::shared().expect("a node");
    assert!(takes_clients(first));
    assert_eq!(brink_engines::shared(), Ok(first));
}

#[test]
fn a_node_that_does_not_start_says_why() {
    let options = Options {
        settings: vec!["no_such_setting: 1".to_owned()],
        ..Options::default()
    };
    let error = Cluster::start(&[("ams", 1)], &options).expect_err("it must not start");
    let said = error.to_string();
    assert!(said.contains("no_such_setting"), "{said}");
}

#[test]
fn a_node_takes_tls_only_and_keeps_its_data_where_it_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options {
        tls: true,
        authentication: true,
        data: Some(folder.path().to_owned()),
        ..Options::default()
    };
    let cluster = Cluster::start(&[("ams", 1)], &options).expect("a cluster");
    assert!(takes_clients(cluster.contact_points()[0]));
    assert!(cluster.authority().is_some_and(|file| file.is_file()));
    cluster.stop(std::time::Duration::from_secs(20));
    assert!(Path::new(folder.path()).join("node1/commitlog").is_dir());
}

#[test]
fn a_killed_broker_comes_back_and_leaves_nothing() {
    let mut broker = Broker::start(&BrokerOptions::default()).expect("a broker");
    let address = broker.address();
    assert!(takes_clients(address));
    broker.kill();
    assert!(!takes_clients(address));
    broker.restart().expect("it comes back");
    assert!(takes_clients(address));
    drop(broker);
    assert!(!takes_clients(address));
    assert!(!folder(address).join("kafka").exists());
}

#[test]
fn a_broker_that_does_not_start_says_why() {
    let options = BrokerOptions {
        settings: vec!["node.id=-7".to_owned()],
        ..BrokerOptions::default()
    };
    let error = Broker::start(&options).expect_err("it must not start");
    assert!(error.to_string().contains("node.id"), "{error}");
}
