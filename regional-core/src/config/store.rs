//! `[store]` and `[store.cql]`.

use crate::{
    Error,
    store::{Confirm, CqlOptions, Credentials, Serial},
};
use brink_listener::client::ClientTls;
use brink_protocol::NodeName;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Longest password in a file, in bytes.
const PASSWORD_BYTES_MAX: usize = 4096;
/// Longest name of a keyspace, in bytes: the engines' own limit.
const KEYSPACE_BYTES_MAX: usize = 48;
/// Most contact points, and data centres.
const PLACES_MAX: usize = 64;

/// Where the core's data is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// In the data directory.
    #[default]
    Embedded,
    /// On a CQL engine.
    Cql,
}

/// `[store]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// `embedded`: in the data directory, for one core. `cql`: on ScyllaDB or Apache Cassandra, shared by any number of
    /// cores; `[store.cql]` says where. Default `embedded`.
    pub kind: StoreKind,
    /// Changes that the log keeps. An edge that was away for more of them starts with an empty cache. Default 1,000,000.
    pub log_changes_max: u64,
    /// Embedded: writes that may wait for the disk. Default 8,192.
    pub queue_max: usize,
    /// Embedded: memory for pages of the database, in bytes. Default 256 MiB.
    pub cache_bytes: usize,
    /// How often records whose lifetime has ended are removed, in milliseconds. Default 1,000.
    pub sweep_ms: u64,
    /// The CQL engine.
    pub cql: CqlConfig,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            kind: StoreKind::default(),
            log_changes_max: 1_000_000,
            queue_max: 8_192,
            cache_bytes: 256 << 20,
            sweep_ms: 1_000,
            cql: CqlConfig::default(),
        }
    }
}

/// What has to be confirmed, or asked, in which data centres.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// This core's own.
    #[default]
    Local,
    /// All.
    All,
}

/// `[store.cql]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CqlConfig {
    /// `HOST:PORT` of some nodes, at most 64; the others are found through them.
    pub contact_points: Vec<String>,
    /// The keyspace: a letter, then letters, digits and `_`, at most 48 bytes. Made if it is not there. Default `brink`.
    pub keyspace: String,
    /// The engine's data centre that this core asks.
    pub data_center: String,
    /// Replicas by data centre, 1 to 9 each, for a keyspace that is made: `{ ams = 3, sfo = 3 }`. One that is there keeps
    /// its own. Default: 3 in `data_center`.
    pub replication: BTreeMap<String, u8>,
    /// The role to log in as. Goes with `password_file`. Default: the engine asks for none.
    pub user: Option<String>,
    /// File that holds its password; white space at its end does not count.
    pub password_file: Option<PathBuf>,
    /// PEM file of the authorities that sign the nodes' certificates, which name the nodes' addresses. Default: without
    /// TLS.
    pub ca: Option<PathBuf>,
    /// PEM file of the core's own certificate chain, for nodes that ask for one. Goes with `key` and `ca`.
    pub certificate: Option<PathBuf>,
    /// Its key (PEM).
    pub key: Option<PathBuf>,
    /// What confirms a write: a quorum of this data centre (`local`), or of each (`all`). Default `local`.
    pub confirm: Reach,
    /// Who orders conditional writes of records: the replicas of this data centre (`local`), or those of all (`all`). With
    /// several data centres and `local` each has regions of its own and every partition is written at its home. The
    /// registry is always ordered by all. Default `local`.
    pub order: Reach,
    /// How long one connection may take to be made, in milliseconds. Default 5,000.
    pub connect_timeout_ms: u64,
    /// How long the engine may take for one request, in milliseconds. Default 3,000.
    pub request_timeout_ms: u64,
    /// How long a write may take with all its requests, in milliseconds; beyond it the caller is told that it may or may
    /// not have happened. Default 10,000.
    pub write_timeout_ms: u64,
    /// After how long a read is asked of another replica, too, in milliseconds; 0: never. Default 50.
    pub speculative_delay_ms: u64,
    /// How often the logs of other cores are looked at, in milliseconds. Default 100.
    pub poll_ms: u64,
    /// How long a core says nothing until another of its region takes over its log, in milliseconds. Default 10,000.
    pub silent_ms: u64,
    /// Writes that may be under way. Default 1,024.
    pub writes_max: usize,
}

impl Default for CqlConfig {
    fn default() -> Self {
        Self {
            contact_points: Vec::new(),
            keyspace: "brink".into(),
            data_center: String::new(),
            replication: BTreeMap::new(),
            user: None,
            password_file: None,
            ca: None,
            certificate: None,
            key: None,
            confirm: Reach::Local,
            order: Reach::Local,
            connect_timeout_ms: 5_000,
            request_timeout_ms: 3_000,
            write_timeout_ms: 10_000,
            speculative_delay_ms: 50,
            poll_ms: 100,
            silent_ms: 10_000,
            writes_max: 1_024,
        }
    }
}

fn is_data_center(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

fn is_keyspace(name: &str) -> bool {
    name.len() <= KEYSPACE_BYTES_MAX
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

pub(super) fn is_address(text: &str) -> bool {
    text.rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

impl StoreConfig {
    /// All mistakes.
    pub(super) fn mistakes(&self) -> Vec<String> {
        let checks = [
            (
                self.log_changes_max >= 1,
                "log_changes_max: it is at least 1",
            ),
            (
                (1..=1 << 20).contains(&self.queue_max),
                "queue_max: it is 1 to 1048576",
            ),
            (
                self.cache_bytes >= 1 << 20,
                "cache_bytes: it is at least 1 MiB",
            ),
            (
                (10..=3_600_000).contains(&self.sweep_ms),
                "sweep_ms: it is 10 to 3600000",
            ),
        ];
        let mut mistakes = failed("store", &checks);
        if self.kind == StoreKind::Cql {
            mistakes.extend(self.cql.mistakes());
        } else if self.cql != CqlConfig::default() {
            mistakes.push("store.cql: it is for `kind = \"cql\"`".into());
        }
        mistakes
    }
}

fn failed(part: &str, checks: &[(bool, &str)]) -> Vec<String> {
    let failed = checks.iter().filter(|(holds, _)| !holds);
    failed.map(|(_, what)| format!("{part}.{what}")).collect()
}

impl CqlConfig {
    fn mistakes(&self) -> Vec<String> {
        let points = &self.contact_points;
        let is_time = |ms: u64| (10..=600_000).contains(&ms);
        let checks = [
            (
                (1..=PLACES_MAX).contains(&points.len()) && points.iter().all(|p| is_address(p)),
                "contact_points: there are 1 to 64, each written HOST:PORT",
            ),
            (
                is_keyspace(&self.keyspace),
                "keyspace: it is a small letter, then small letters, digits and `_`, at most 48 bytes",
            ),
            (
                is_data_center(&self.data_center),
                "data_center: it is 1 to 64 letters, digits, `.`, `_` and `-`",
            ),
            (
                self.replication.len() <= PLACES_MAX
                    && self
                        .replication
                        .iter()
                        .all(|(name, count)| is_data_center(name) && (1..=9).contains(count)),
                "replication: it has 1 to 9 replicas for each data centre",
            ),
            (
                self.replication.is_empty() || self.replication.contains_key(&self.data_center),
                "replication: `data_center` has replicas, too",
            ),
            (
                self.user.is_some() == self.password_file.is_some(),
                "user: it goes with password_file",
            ),
            (
                self.certificate.is_some() == self.key.is_some()
                    && (self.key.is_none() || self.ca.is_some()),
                "certificate: it goes with key and ca",
            ),
            (
                is_time(self.connect_timeout_ms),
                "connect_timeout_ms: it is 10 to 600000",
            ),
            (
                is_time(self.request_timeout_ms),
                "request_timeout_ms: it is 10 to 600000",
            ),
            (
                is_time(self.write_timeout_ms) && self.write_timeout_ms >= self.request_timeout_ms,
                "write_timeout_ms: it is 10 to 600000, and not less than request_timeout_ms",
            ),
            (
                self.speculative_delay_ms <= 60_000,
                "speculative_delay_ms: it is at most 60000",
            ),
            (
                (10..=60_000).contains(&self.poll_ms),
                "poll_ms: it is 10 to 60000",
            ),
            (
                (3_000..=600_000).contains(&self.silent_ms),
                "silent_ms: it is 3000 to 600000",
            ),
            (
                (1..=1 << 16).contains(&self.writes_max),
                "writes_max: it is 1 to 65536",
            ),
        ];
        failed("store.cql", &checks)
    }

    /// What the store is told. Reads the files.
    ///
    /// # Errors
    /// A file cannot be read, or does not hold what it should.
    pub fn options(&self, node: NodeName, log_changes_max: u64) -> Result<CqlOptions, Error> {
        let mut options = CqlOptions::new(
            self.contact_points.clone(),
            self.keyspace.as_str(),
            self.data_center.as_str(),
            node,
        );
        if !self.replication.is_empty() {
            options.replication = self.replication.clone();
        }
        if let (Some(user), Some(file)) = (&self.user, &self.password_file) {
            options.credentials = Some(Credentials {
                user: user.clone(),
                password: password("store.cql", file)?,
            });
        }
        if let Some(ca) = &self.ca {
            let mut tls = ClientTls::new(ca);
            if let (Some(certificate), Some(key)) = (&self.certificate, &self.key) {
                tls = tls.with_identity(certificate, key);
            }
            options.tls = Some(Arc::new(tls.config(&[])?));
        }
        let speculative = Duration::from_millis(self.speculative_delay_ms);
        Ok(CqlOptions {
            confirm: match self.confirm {
                Reach::Local => Confirm::Local,
                Reach::All => Confirm::Each,
            },
            serial: match self.order {
                Reach::Local => Serial::Local,
                Reach::All => Serial::Global,
            },
            connect_timeout: Duration::from_millis(self.connect_timeout_ms),
            request_timeout: Duration::from_millis(self.request_timeout_ms),
            write_timeout: Duration::from_millis(self.write_timeout_ms),
            speculative_delay: (!speculative.is_zero()).then_some(speculative),
            poll_interval: Duration::from_millis(self.poll_ms),
            silent_max: Duration::from_millis(self.silent_ms),
            log_changes_max,
            writes_max: self.writes_max,
            ..options
        })
    }
}

/// A password of its file; `part` is the part of the configuration that names it.
pub(super) fn password(part: &str, file: &Path) -> Result<String, Error> {
    let text = std::fs::read_to_string(file).map_err(|error| Error::file("read", file, error))?;
    let password = text.trim_end();
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
        let name = file.display();
        return Err(Error::Config(format!(
            "{part}.password_file: {name} holds 1 to {PASSWORD_BYTES_MAX} bytes"
        )));
    }
    Ok(password.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parsed(text: &str) -> StoreConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn every_mistake_of_an_engine_is_told() {
        let config = parsed(
            "kind = 'cql'\n[cql]\ncontact_points = ['db']\nkeyspace = 'Brink'\ndata_center = ''\n\
             replication = { sfo = 10 }\nuser = 'core'\nkey = 'k.pem'\nwrite_timeout_ms = 20\n\
             connect_timeout_ms = 1\nwrites_max = 0\npoll_ms = 0",
        );
        let mistakes = config.mistakes();
        for key in [
            "contact_points",
            "keyspace",
            "data_center",
            "replication",
            "user",
            "certificate",
            "connect_timeout_ms",
            "write_timeout_ms",
            "poll_ms",
            "writes_max",
        ] {
            let wanted = format!("store.cql.{key}:");
            let told = mistakes.iter().any(|mistake| mistake.starts_with(&wanted));
            assert!(told, "{key} is not in {mistakes:?}");
        }
        let unused = parsed("[cql]\nkeyspace = 'other'");
        assert_eq!(unused.mistakes().len(), 1, "an engine that is not used");
        let right =
            parsed("kind = 'cql'\n[cql]\ncontact_points = ['db:9042']\ndata_center = 'ams'");
        assert_eq!(right.mistakes(), Vec::<String>::new());
    }

    #[test]
    fn options_say_what_the_file_says() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "secret\n").unwrap();
        let text = format!(
            "kind = 'cql'\n[cql]\ncontact_points = ['db:9042']\ndata_center = 'ams'\nuser = 'core'\n\
             password_file = '{}'\nconfirm = 'all'\norder = 'all'\nspeculative_delay_ms = 0",
            file.display()
        );
        let config = parsed(&text);
        let options = config.cql.options("core-1".parse().unwrap(), 7).unwrap();
        assert_eq!(options.credentials.unwrap().password, "secret");
        assert_eq!(options.replication, [("ams".to_owned(), 3)].into());
        assert_eq!(
            (options.confirm, options.serial, options.log_changes_max),
            (Confirm::Each, Serial::Global, 7)
        );
        assert_eq!(options.speculative_delay, None);
        std::fs::write(&file, "\n").unwrap();
        assert!(config.cql.options("core-1".parse().unwrap(), 7).is_err());
    }
}
