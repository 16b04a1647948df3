//! The core's configuration: a TOML file, with flags over it. Every mistake in it is reported at once.

mod kafka;
mod store;

pub use kafka::{KafkaConfig, Login, ReceiveConfig, SendConfig};
pub use store::{CqlConfig, Reach, StoreConfig, StoreKind};

use crate::{
    Error,
    archive::ArchiveConfig,
    backup::BackupConfig,
    deployments::Ceilings,
    exchange::{PEERS_MAX, PeerConfig},
    prober::ProberConfig,
    projections::ProjectionsConfig,
    purges::PurgesConfig,
    workflows::WorkflowsConfig,
};
use brink_protocol::{NodeName, RegionName};
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};
use toml::{Table, Value};

/// The whole configuration. A file has one table for each part, and `data`, `node`, `region`, `names` and `ready_file`
/// before them; every key has a default but `data`.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the core keeps everything. `data` in the file.
    pub data: PathBuf,
    /// The core node's name, the origin of its changes. Default `core-1`.
    pub node: NodeName,
    /// The region that it says it is in. Default `local`.
    pub region: String,
    /// Directory with the certificates that `brink-core issue-core` wrote for this core, where they are not in the data
    /// directory. With it, and with a CQL engine, the data directory may be empty at every start.
    pub identity: Option<PathBuf>,
    /// File with the secret of the first token, 32 to 256 visible ASCII characters, which the first start on an empty store
    /// takes. Default: one is made and written to `root.token` in the data directory.
    pub root_token_file: Option<PathBuf>,
    /// Further host names and addresses in the certificates that it issues to itself.
    pub names: Vec<String>,
    /// Written when everything answers: JSON with the bound addresses.
    pub ready_file: Option<PathBuf>,
    /// The control API.
    pub control: ControlConfig,
    /// The link.
    pub link: LinkConfig,
    /// Health and metrics.
    pub admin: AdminConfig,
    /// The store.
    pub store: StoreConfig,
    /// The feed.
    pub feed: FeedConfig,
    /// The other cores: one `[[peers]]` for each, at most 63.
    pub peers: Vec<PeerConfig>,
    /// The sandbox of commands. `cache_dir` is `cwasm` in the data directory if it is left out.
    pub sandbox: brink_sandbox::Config,
    /// The most that deployments may ask for.
    pub ceilings: Ceilings,
    /// Purges.
    pub purges: PurgesConfig,
    /// Workflows.
    pub workflows: WorkflowsConfig,
    /// Projections.
    pub projections: ProjectionsConfig,
    /// Backups.
    pub backup: BackupConfig,
    /// Archives.
    pub archive: ArchiveConfig,
    /// The prober.
    pub prober: ProberConfig,
    /// The bridge to Kafka.
    pub kafka: KafkaConfig,
    /// Logs, metrics, traces.
    pub telemetry: brink_telemetry::Config,
}

/// `[control]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ControlConfig {
    /// Address of the control API. Default `127.0.0.1:7443`.
    pub listen: SocketAddr,
    /// Certificate chain to use in the place of one of the core's own authority (PEM). Goes with `key`.
    pub certificate: Option<PathBuf>,
    /// Its key (PEM).
    pub key: Option<PathBuf>,
    /// `HOST:PORT` under which it is reached, told to the cores on the same CQL engine. Default: the address that it listens
    /// on, with the first of `names` in the place of one that means all.
    pub advertise: Option<String>,
}

impl Default for ControlConfig {
    fn default() -> Self {
        Self {
            listen: loopback(7443),
            certificate: None,
            key: None,
            advertise: None,
        }
    }
}

/// `[link]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinkConfig {
    /// Address of the link, for TCP and UDP. Default `127.0.0.1:7444`.
    pub listen: SocketAddr,
    /// `HOST:PORT` under which it is reached, told to the cores on the same CQL engine. Default: as `control.advertise`.
    pub advertise: Option<String>,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            listen: loopback(7444),
            advertise: None,
        }
    }
}

/// `[admin]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Address of health and metrics, over plain HTTP: for machines of one's own only. Default `127.0.0.1:7445`.
    pub listen: SocketAddr,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: loopback(7445),
        }
    }
}

/// `[feed]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FeedConfig {
    /// How long an edge may call coherent entries fresh without hearing from the feed, in milliseconds: more than two
    /// heartbeats (500 ms each). Default 2,000.
    pub lease_ms: u64,
    /// A PoP whose socket takes nothing of what is sent for so long is cut off, in milliseconds; it resumes where it was.
    /// Default 10,000.
    pub stall_ms: u64,
}

impl Default for FeedConfig {
    fn default() -> Self {
        Self {
            lease_ms: 2_000,
            stall_ms: 10_000,
        }
    }
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// What the command line says over the file.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Flags {
    /// Configuration file (TOML)
    #[arg(long, env = "BRINK_CORE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Where the core keeps everything
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Address of the control API
    #[arg(long)]
    pub control: Option<SocketAddr>,
    /// Address of the link, for TCP and UDP
    #[arg(long)]
    pub link: Option<SocketAddr>,
    /// Address of health and metrics
    #[arg(long)]
    pub admin: Option<SocketAddr>,
    /// The core node's name
    #[arg(long)]
    pub node: Option<String>,
    /// Its region
    #[arg(long)]
    pub region: Option<String>,
    /// Written when everything answers: JSON with the bound addresses
    #[arg(long)]
    pub ready_file: Option<PathBuf>,
}

/// Collects mistakes while the file is taken apart.
struct Reader {
    table: Table,
    mistakes: Vec<String>,
}

impl Reader {
    fn take<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        let value = self.table.remove(key)?;
        match value.try_into() {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                let text = error.to_string();
                self.mistakes
                    .push(format!("{key}: {}", text.trim().replace('\n', " ")));
                None
            }
        }
    }

    fn part<T: DeserializeOwned + Default>(&mut self, key: &str) -> T {
        self.take(key).unwrap_or_default()
    }

    fn check(&mut self, holds: bool, mistake: impl Into<String>) {
        if !holds {
            self.mistakes.push(mistake.into());
        }
    }
}

impl Config {
    /// Reads the file that the flags name, if they do, and puts the flags over it.
    ///
    /// # Errors
    /// The file cannot be read; or all mistakes in it and in the flags.
    pub fn load(flags: &Flags) -> Result<Self, Error> {
        let text = match &flags.config {
            Some(path) => {
                std::fs::read_to_string(path).map_err(|error| Error::file("read", path, error))?
            }
            None => String::new(),
        };
        Self::parse(&text, flags)
    }

    /// The configuration of a text and flags.
    ///
    /// # Errors
    /// All mistakes in them.
    pub fn parse(text: &str, flags: &Flags) -> Result<Self, Error> {
        let table = text
            .parse::<Table>()
            .map_err(|error| Error::Config(error.to_string()))?;
        let mut reader = Reader {
            table,
            mistakes: Vec::new(),
        };
        let file_node: Option<String> = reader.take("node");
        let node = flags
            .node
            .clone()
            .or(file_node)
            .unwrap_or_else(|| "core-1".into());
        let node = node
            .parse::<NodeName>()
            .map_err(|error| reader.mistakes.push(format!("node: {error}")))
            .ok();
        let file_data: Option<PathBuf> = reader.take("data");
        let data = flags.data.clone().or(file_data);
        reader.check(
            data.is_some(),
            "data: name the directory where the core keeps everything (`data`, or --data)",
        );
        let file_region: Option<String> = reader.take("region");
        let file_ready: Option<PathBuf> = reader.take("ready_file");
        let mut config = Self {
            region: flags
                .region
                .clone()
                .or(file_region)
                .unwrap_or_else(|| "local".into()),
            identity: reader.take("identity"),
            root_token_file: reader.take("root_token_file"),
            names: reader.part("names"),
            ready_file: flags.ready_file.clone().or(file_ready),
            control: reader.part("control"),
            link: reader.part("link"),
            admin: reader.part("admin"),
            store: reader.part("store"),
            feed: reader.part("feed"),
            peers: reader.part("peers"),
            sandbox: reader.part("sandbox"),
            ceilings: reader.part("ceilings"),
            purges: reader.part("purges"),
            workflows: reader.part("workflows"),
            projections: reader.part("projections"),
            backup: reader.part("backup"),
            archive: reader.part("archive"),
            prober: reader.part("prober"),
            kafka: reader.part("kafka"),
            telemetry: telemetry(&mut reader),
            // In their places below, once it is known that they are there.
            data: PathBuf::new(),
            node: "core-1".parse()?,
        };
        config.over(flags);
        config.check(&mut reader);
        let unknown: Vec<String> = reader
            .table
            .keys()
            .map(|key| format!("{key}: there is no such key"))
            .collect();
        reader.mistakes.extend(unknown);
        let is_own = |peer: &PeerConfig| Some(&peer.name) == node.as_ref();
        if config.peers.iter().any(is_own) {
            let mistake =
                "peers: one has the name of this core itself; every core has its own `node`";
            reader.mistakes.push(mistake.into());
        }
        let (Some(data), Some(node), true) = (data, node, reader.mistakes.is_empty()) else {
            return Err(Error::Config(reader.mistakes.join("\n")));
        };
        config.telemetry.node = node.to_string();
        // What the sandbox does not give, no deployment can be promised.
        let memory = config.ceilings.memory_bytes_max;
        config.ceilings.memory_bytes_max = memory.min(config.sandbox.memory_bytes_max);
        config
            .sandbox
            .cache_dir
            .get_or_insert_with(|| data.join("cwasm"));
        Ok(Self {
            data,
            node,
            ..config
        })
    }

    fn over(&mut self, flags: &Flags) {
        let set = |address: &mut SocketAddr, flag: Option<SocketAddr>| {
            *address = flag.unwrap_or(*address)
        };
        set(&mut self.control.listen, flags.control);
        set(&mut self.link.listen, flags.link);
        set(&mut self.admin.listen, flags.admin);
    }

    fn check(&self, reader: &mut Reader) {
        let region = &self.region;
        let is_region =
            (1..=64).contains(&region.len()) && region.bytes().all(|b| b.is_ascii_graphic());
        reader.check(is_region, "region: it is 1 to 64 visible ASCII characters");
        reader.check(self.names.len() <= 64, "names: there are at most 64");
        for (key, address) in [
            ("control.advertise", &self.control.advertise),
            ("link.advertise", &self.link.advertise),
        ] {
            let is_right = address.as_deref().is_none_or(store::is_address);
            reader.check(is_right, format!("{key}: it is HOST:PORT"));
        }
        let both = self.control.certificate.is_some() == self.control.key.is_some();
        reader.check(both, "control: certificate and key go together");
        reader.mistakes.extend(self.store.mistakes());
        reader.mistakes.extend(self.backup.mistakes());
        reader.mistakes.extend(self.kafka.mistakes());
        let least = 2 * brink_protocol::link::HEARTBEAT_MS;
        let lease = self.feed.lease_ms;
        reader.check(
            (least + 1..=60_000).contains(&lease),
            format!("feed.lease_ms: it is over {least} and up to 60000"),
        );
        reader.check(
            self.workflows.is_valid(),
            "workflows.retention_ms: it is 60000 to 31622400000; workflows.open_max: 1 to 100000",
        );
        reader.check(
            self.projections.is_valid(),
            "projections.attempts_max: it is 1 to 100",
        );
        reader.check(
            self.prober.is_valid(),
            "prober.interval_ms: it is 0, or 100 to 3600000",
        );
        reader.check(
            (100..=600_000).contains(&self.feed.stall_ms),
            "feed.stall_ms: it is 100 to 600000",
        );
        self.check_peers(reader);
        if let Err(error) = self.sandbox.check() {
            reader.mistakes.push(format!("sandbox: {error}"));
        }
    }

    fn check_peers(&self, reader: &mut Reader) {
        let peers = &self.peers;
        reader.check(
            peers.len() <= PEERS_MAX,
            format!("peers: there are at most {PEERS_MAX}"),
        );
        for (index, peer) in peers.iter().enumerate() {
            let name = &peer.name;
            reader.check(
                peers
                    .iter()
                    .skip(index + 1)
                    .all(|other| other.name != *name),
                format!("peers: {name} is named twice"),
            );
            let port = peer
                .link
                .rsplit_once(':')
                .map(|(_, port)| port.parse::<u16>());
            let region = peer.region.as_deref().map(str::parse::<RegionName>);
            reader.check(
                !matches!(region, Some(Err(_))),
                format!("peers: region of {name}: it is 1 to 63 of a-z, 0-9 and -"),
            );
            reader.check(
                matches!(port, Some(Ok(_))),
                format!("peers: link of {name}: it is written HOST:PORT"),
            );
        }
    }

    /// A file in the data directory.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.data.join(name)
    }
}

/// `[telemetry]`: the service's name is its own.
fn telemetry(reader: &mut Reader) -> brink_telemetry::Config {
    let part = reader
        .table
        .entry("telemetry")
        .or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(table) = part {
        table
            .entry("service")
            .or_insert_with(|| Value::String("brink-core".into()));
    }
    reader.part("telemetry")
}

/// Writes a file whole or not at all.
///
/// # Errors
/// It cannot be written.
pub fn write_ready_file(path: &Path, content: &str) -> Result<(), Error> {
    let partial = path.with_extension("partial");
    std::fs::write(&partial, content)
        .and_then(|()| std::fs::rename(&partial, path))
        .map_err(|error| Error::file("written", path, error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_mistake_at_once() {
        let text = r#"
            node = "Core 1"
            datta = "/tmp"
            [control]
            listen = "nowhere"
            [link]
            port = 1
            [store]
            queue_max = 0
            [feed]
            lease_ms = 1000
            stall_ms = 1
            [[peers]]
            name = "core-2"
            link = "core-2.example"
            [[peers]]
            name = "core-2"
            link = "core-2.example:7444"
        "#;
        let error = Config::parse(text, &Flags::default())
            .unwrap_err()
            .to_string();
        for part in [
            "node:",
            "data:",
            "datta: there is no such key",
            "control:",
            "link:",
            "store.queue_max",
            "feed.lease_ms",
            "feed.stall_ms",
            "peers: core-2 is named twice",
            "peers: link of core-2",
        ] {
            assert!(error.contains(part), "{part} is not in:\n{error}");
        }
    }

    #[test]
    fn flags_over_the_file() {
        let flags = Flags {
            data: Some("/data".into()),
            control: Some(loopback(1)),
            region: Some("eu".into()),
            ..Flags::default()
        };
        let text = "data = '/other'\nregion = 'us'\n[control]\nlisten = '127.0.0.1:2'\n[link]\nlisten = '127.0.0.1:3'";
        let config = Config::parse(text, &flags).unwrap();
        assert_eq!(config.data, PathBuf::from("/data"));
        assert_eq!(
            (config.control.listen, config.link.listen),
            (loopback(1), loopback(3))
        );
        assert_eq!(
            (config.region.as_str(), config.node.as_str()),
            ("eu", "core-1")
        );
        assert_eq!(config.sandbox.cache_dir, Some("/data/cwasm".into()));
        assert_eq!(config.telemetry.service, "brink-core");
    }
}
