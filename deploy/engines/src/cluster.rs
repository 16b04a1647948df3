//! Several nodes that know each other.

use crate::{
    DATA_CENTRE, Durability, Error, Options, SHARED_VARIABLE,
    child::Signal,
    cql::peers,
    fetch::{cassandra, require},
    network::Network,
    node::{AUTHORITY, Node, Place},
};
use std::{
    env, fs,
    net::SocketAddr,
    path::PathBuf,
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

/// How long a cluster may take until it is ready, for each node.
pub const DEADLINE: Duration = Duration::from_secs(90);
/// Most nodes of a cluster.
const NODES_MAX: usize = 9;
const POLL: Duration = Duration::from_millis(100);

/// A CQL cluster. Dropped: its nodes are killed, and their data is removed unless it was to be kept.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    keeps_data: bool,
    // Given back when the nodes are gone.
    _network: Network,
}

impl Cluster {
    /// Starts a cluster with so many nodes in each data centre, and waits until every node takes clients and knows all
    /// others. Nodes are counted from 0, through the data centres in order; each has a rack of its own.
    ///
    /// # Errors
    /// The engine is not there and cannot be fetched, a node does not start, or the shape is not possible.
    pub fn start(data_centres: &[(&str, usize)], options: &Options) -> Result<Self, Error> {
        let count: usize = data_centres.iter().map(|(_, nodes)| nodes).sum();
        if count == 0 || count > NODES_MAX {
            return Err(Error::Shape(format!(
                "a cluster has 1 to {NODES_MAX} nodes, not {count}"
            )));
        }
        if !options.sites.is_empty() && options.sites.len() < count {
            return Err(Error::Shape(format!("{count} nodes need as many sites")));
        }
        if count > 1 && options.tls {
            return Err(Error::Shape("TLS is for clusters of one node".to_owned()));
        }
        let jars = cassandra()?;
        require("java", "openjdk-17-jre-headless")?;
        let network = Network::take()?;
        let mut nodes = Vec::new();
        let places = data_centres
            .iter()
            .flat_map(|(name, nodes)| (1..=*nodes).map(move |rack| (*name, rack)));
        let mut sites = options.sites.iter();
        let mut seed = None;
        for ((data_centre, rack), number) in places.zip(1..) {
            let site = sites.next();
            let address = site.map_or_else(|| network.address(number), |site| site.address);
            let place = Place {
                address,
                seed: *seed.get_or_insert(address),
                enter: site.map(|site| site.enter.clone()).unwrap_or_default(),
                data_centre: data_centre.to_owned(),
                rack: format!("rack{rack}"),
                home: network.folder().join(format!("node{number}")),
            };
            nodes.push(Node::prepare(place, &jars, options)?);
        }
        let mut cluster = Self {
            nodes,
            keeps_data: options.data.is_some(),
            _network: network,
        };
        cluster.start_all()?;
        Ok(cluster)
    }

    fn start_all(&mut self) -> Result<(), Error> {
        let count = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let deadline = Instant::now() + DEADLINE * count;
        // The first alone: the others are found through it.
        let (first, others) = self.nodes.split_at_mut(1);
        for group in [first, others] {
            for node in &mut *group {
                node.start()?;
            }
            for node in group {
                node.wait(deadline)?;
            }
        }
        self.wait_for_each_other(deadline)
    }

    /// Waits until every node that runs knows all others.
    fn wait_for_each_other(&self, deadline: Instant) -> Result<(), Error> {
        let others = self.nodes.len().saturating_sub(1);
        for node in self.nodes.iter().filter(|node| others > 0 && node.runs()) {
            loop {
                let known = peers(node.cql());
                if matches!(known, Ok(known) if known >= others) {
                    break;
                }
                if Instant::now() >= deadline {
                    return Err(node.fault(format!("of {others} other nodes it knows {known:?}")));
                }
                thread::sleep(POLL);
            }
        }
        Ok(())
    }

    /// Where the nodes take clients, in their order.
    #[must_use]
    pub fn contact_points(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(Node::cql).collect()
    }

    /// PEM file of whom clients are to trust, if the nodes take TLS only.
    #[must_use]
    pub fn authority(&self) -> Option<PathBuf> {
        let node = self.nodes.first()?;
        let file = node.place.home.join("conf").join(AUTHORITY);
        file.exists().then_some(file)
    }

    /// Kills a node at once, as a power failure would. Nothing happens if it does not run.
    pub fn kill(&mut self, node: usize) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.kill();
        }
    }

    /// Starts a killed node on its data again and waits until it takes clients.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&mut self, node: usize) -> Result<(), Error> {
        let Some(node) = self.nodes.get_mut(node) else {
            return Err(Error::Shape(format!("there is no node {node}")));
        };
        node.kill();
        node.start()?;
        node.wait(Instant::now() + DEADLINE)?;
        self.wait_for_each_other(Instant::now() + DEADLINE)
    }

    /// Makes a node stand still: its connections stay, and nothing is answered. [`Cluster::resume`] ends that.
    pub fn pause(&self, node: usize) {
        if let Some(node) = self.nodes.get(node) {
            node.signal(Signal::Stop);
        }
    }

    /// Lets a node go on that stood still.
    pub fn resume(&self, node: usize) {
        if let Some(node) = self.nodes.get(node) {
            node.signal(Signal::Continue);
        }
    }

    /// A node that has ended by itself, and where its log is.
    #[must_use]
    pub fn ended(&mut self) -> Option<String> {
        let node = self.nodes.iter_mut().find_map(|node| {
            let ended = node.ended();
            ended.then_some(node)
        })?;
        Some(node.fault("it ended unexpectedly".to_owned()).to_string())
    }

    /// Asks all nodes to end in order, and waits for that at most `patience`; then they are killed.
    pub fn stop(mut self, patience: Duration) {
        for node in &self.nodes {
            node.signal(Signal::Terminate);
        }
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline
            && self
                .nodes
                .iter_mut()
                .any(|node| node.runs() && !node.ended())
        {
            thread::sleep(POLL);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.kill();
            let home = &node.place.home;
            let _ = fs::remove_dir_all(home.join("tmp"));
            if !self.keeps_data {
                let _ = fs::remove_dir_all(home.join("data"));
            }
        }
        if !thread::panicking() {
            for node in &self.nodes {
                let _ = fs::remove_dir_all(&node.place.home);
            }
        }
    }
}

/// Heap of the node of [`shared`], in MiB.
const SHARED_HEAP_MIB: u32 = 1536;

/// One node for a whole run of a test program, started by the first that asks: its address. Take a keyspace of your own.
///
/// Where the environment names a running node ([`SHARED_VARIABLE`]), it is that.
///
/// # Errors
/// It did not start; every later call tells the same.
pub fn shared() -> Result<SocketAddr, String> {
    static SHARED: OnceLock<Result<(SocketAddr, Option<Cluster>), String>> = OnceLock::new();
    let started = SHARED.get_or_init(|| {
        if let Ok(named) = env::var(SHARED_VARIABLE) {
            let address = named
                .parse()
                .map_err(|error| format!("{SHARED_VARIABLE}={named}: {error}"))?;
            return Ok((address, None));
        }
        let options = Options {
            durability: Durability::Throwaway,
            // Each test has a keyspace with some twenty tables, and each table takes heap for as long as the node lives.
            heap_mib: SHARED_HEAP_MIB,
            ..Options::default()
        };
        let cluster =
            Cluster::start(&[(DATA_CENTRE, 1)], &options).map_err(|error| error.to_string())?;
        let address = cluster.contact_points().first().copied();
        address
            .map(|address| (address, Some(cluster)))
            .ok_or_else(|| "a cluster without nodes".to_owned())
    });
    started
        .as_ref()
        .map(|(address, _)| *address)
        .map_err(Clone::clone)
}
