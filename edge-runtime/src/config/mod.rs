//! Configuration of `brink-edge run`: a TOML file, flags over it. All mistakes are reported together.

mod check;

use crate::{address::Block, error::Error, link::Transport, pipeline::AccessLog};
use brink_protocol::PopName;
use serde::Deserialize;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// The configuration file. Every key has a default, but for `pop`, `core.identity` and one of `core.address`
/// and `core.addresses`, which a PoP needs.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// The PoP's name: 1 to 63 of `a-z 0-9 -`. Its certificate in `core.identity` was issued for it.
    pub pop: Option<String>,
    /// Directory of what outlives a restart: disk tier, journal, components, deployments. Default `data`.
    pub data: Option<PathBuf>,
    /// Where clients come in.
    pub listen: Listen,
    /// What a client may use.
    pub limits: brink_listener::Limits,
    /// Where operators look in.
    pub admin: Admin,
    /// The regional cores.
    pub core: Core,
    /// The first stage of the pipeline.
    pub admission: Admission,
    /// The cache. Its directory is `cache` below `data`.
    pub cache: crate::cache::Config,
    /// Records that modules read.
    pub records: crate::modules::RecordsConfig,
    /// The sandbox of modules. Compiled components are kept in `cwasm` below `data`.
    pub sandbox: brink_sandbox::Config,
    /// HTTP origins.
    pub origin: crate::origin::Config,
    /// Shields: PoPs that are asked before an origin.
    pub shield: crate::shield::Config,
    /// Outbound HTTP of modules.
    pub egress: Egress,
    /// Logs, metrics and traces. `service` and `node` are set by the program.
    pub telemetry: brink_telemetry::Config,
    /// The access log.
    pub access: Access,
}

/// Where clients come in.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// Address for HTTP/1.1 and HTTP/2, `ADDRESS:PORT`; port 0 takes any free one. Default `127.0.0.1:8443`.
    pub tcp: Option<SocketAddr>,
    /// Address for HTTP/3. Default: that of `tcp`; none without a certificate.
    pub quic: Option<SocketAddr>,
    /// PEM file of the certificate chain. Default: `server.pem` of `core.identity`, if it is there. Without one, plain
    /// HTTP/1.1 and HTTP/2 with prior knowledge is served.
    pub certificate: Option<PathBuf>,
    /// PEM file of the certificate's key. Default: `server.key` of `core.identity`, if it is there.
    pub key: Option<PathBuf>,
    /// Leave out the `Alt-Svc` field that tells HTTP/1.1 and HTTP/2 clients of HTTP/3. Default false.
    pub without_alt_svc: bool,
}

/// Where operators look in: health, readiness, metrics, cache look-up. Plain HTTP: keep it off public networks.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// `ADDRESS:PORT`; port 0 takes any free one. Default `127.0.0.1:0`.
    pub address: Option<SocketAddr>,
}

/// The regional cores.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Core {
    /// `HOST:PORT` of the link of the only core. Either this or `addresses`.
    pub address: Option<String>,
    /// `HOST:PORT` of each core that may be used, at most 8. All have one store: one that has another than the first is not used.
    /// Links are kept to the best two; one is used, and the other as soon as that breaks off, fails, falls silent or loses its
    /// store.
    pub addresses: Vec<String>,
    /// Directory with `pop.pem`, `pop.key` and `ca.pem`, as `brink-core issue-pop` writes them.
    pub identity: Option<PathBuf>,
    /// `auto` (QUIC, and TLS over TCP if QUIC does not connect within 1.5 s), `quic` or `tcp`. Default `auto`.
    pub transport: Transport,
    /// Time for one question to the core, in milliseconds. Default 5,000.
    pub request_ms_max: u64,
    /// Questions to the core in flight; more wait until their time is up. Default 256.
    pub requests_max: usize,
    /// Reads of a hundred that may be asked at a second core as well when they take longer than nineteen of twenty did of
    /// late; 0: none. Default 5.
    pub hedge_percent: u32,
}

impl Default for Core {
    fn default() -> Self {
        Self {
            address: None,
            addresses: Vec::new(),
            identity: None,
            transport: Transport::Auto,
            request_ms_max: 5_000,
            requests_max: 256,
            hedge_percent: 5,
        }
    }
}

/// The first stage of the pipeline.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admission {
    /// Requests in flight, from their head to the head of their answer; more are answered 503. Default 10,000.
    pub exchanges_max: u32,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            exchanges_max: 10_000,
        }
    }
}

/// Outbound HTTP of modules (with the grant `outbound_http`).
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Egress {
    /// Addresses that modules may reach though they are not public, as `ADDRESS` or `ADDRESS/BITS`. Default none:
    /// loopback, private, link-local and other special addresses are denied.
    pub allow: Vec<Block>,
}

/// The access log.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Access {
    /// Requests that are written to the log: `off`, `errors` (status 500 and above) or `all`. Default `errors`.
    pub log: AccessLog,
}

/// Flags of `brink-edge run`, which go before the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct Flags {
    /// The PoP's name.
    #[arg(long, env = "BRINK_POP")]
    pub pop: Option<String>,
    /// Address for HTTP/1.1 and HTTP/2, and, with a certificate, for HTTP/3.
    #[arg(long)]
    pub listen: Option<SocketAddr>,
    /// Address for operators (plain HTTP).
    #[arg(long)]
    pub admin: Option<SocketAddr>,
    /// Directory of what outlives a restart.
    #[arg(long, env = "BRINK_EDGE_DATA")]
    pub data: Option<PathBuf>,
    /// HOST:PORT of the core's link; once for each core that may be used.
    #[arg(long)]
    pub core: Vec<String>,
    /// Directory with pop.pem, pop.key and ca.pem.
    #[arg(long)]
    pub identity: Option<PathBuf>,
    /// PEM file of the certificate that clients see.
    #[arg(long)]
    pub certificate: Option<PathBuf>,
    /// PEM file of its key.
    #[arg(long)]
    pub key: Option<PathBuf>,
}

/// A configuration that can be used.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The PoP's name.
    pub pop: PopName,
    /// Directory of what outlives a restart; none: nothing does.
    pub data: Option<PathBuf>,
    /// Where clients come in.
    pub listener: brink_listener::Config,
    /// Where operators look in; none: nowhere.
    pub admin: Option<SocketAddr>,
    /// The way to the cores; none: there are none.
    pub core: Option<crate::link::Config>,
    /// See [`Admission::exchanges_max`].
    pub exchanges_max: u32,
    /// The cache.
    pub cache: crate::cache::Config,
    /// Records that modules read.
    pub records: crate::modules::RecordsConfig,
    /// The sandbox.
    pub sandbox: brink_sandbox::Config,
    /// HTTP origins.
    pub origin: crate::origin::Config,
    /// Shields.
    pub shield: crate::shield::Settings,
    /// See [`Egress::allow`].
    pub egress_allow: Vec<Block>,
    /// Logs, metrics and traces.
    pub telemetry: brink_telemetry::Config,
    /// See [`Access::log`].
    pub access_log: AccessLog,
}

impl File {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, is not TOML, or has keys or values that are not allowed: all of them.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(Error::file("could not read", path))?;
        Self::parse(&text).map_err(Error::Config)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// All mistakes.
    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        check::parse(text)
    }

    /// Puts flags before what the file says.
    #[must_use]
    pub fn with(mut self, flags: Flags) -> Self {
        fn over<T>(place: &mut Option<T>, flag: Option<T>) {
            if flag.is_some() {
                *place = flag;
            }
        }
        over(&mut self.pop, flags.pop);
        over(&mut self.data, flags.data);
        if flags.listen.is_some() {
            self.listen.quic = None;
        }
        over(&mut self.listen.tcp, flags.listen);
        over(&mut self.admin.address, flags.admin);
        if !flags.core.is_empty() {
            (self.core.address, self.core.addresses) = (None, flags.core);
        }
        over(&mut self.core.identity, flags.identity);
        over(&mut self.listen.certificate, flags.certificate);
        over(&mut self.listen.key, flags.key);
        self
    }
}

#[cfg(test)]
mod tests;
