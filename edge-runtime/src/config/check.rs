//! From a configuration file to what the parts of the edge are given, with all mistakes at once.

use super::{Core, File, Listen, Settings};
use crate::error::Error;
use brink_listener::{TlsConfig, client::ClientTls};
use brink_policy::{cores::CORES_MAX, shield::SHIELDS_MAX};
use brink_protocol::PopName;
use serde::Deserialize as _;
use std::{net::SocketAddr, path::Path, time::Duration};

const LISTEN_DEFAULT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8443);
const ADMIN_DEFAULT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Reads TOML. serde stops at the first mistake, so each key is tried alone.
pub(super) fn parse(text: &str) -> Result<File, Vec<String>> {
    let table: toml::Table = text
        .parse()
        .map_err(|e: toml::de::Error| vec![e.to_string().trim_end().to_owned()])?;
    let mut leaves = Vec::new();
    collect_leaves(&table, &mut Vec::new(), &mut leaves);
    let mistakes: Vec<String> = leaves
        .into_iter()
        .filter_map(|(path, value)| {
            let error = File::deserialize(alone(&path, value)).err()?;
            Some(format!("{}: {}", path.join("."), error.message()))
        })
        .collect();
    if mistakes.is_empty() {
        File::deserialize(table).map_err(|e| vec![e.message().to_owned()])
    } else {
        Err(mistakes)
    }
}

type Leaf<'a> = (Vec<&'a str>, &'a toml::Value);

fn collect_leaves<'a>(table: &'a toml::Table, path: &mut Vec<&'a str>, leaves: &mut Vec<Leaf<'a>>) {
    for (key, value) in table {
        path.push(key);
        match value {
            toml::Value::Table(inner) if !inner.is_empty() => collect_leaves(inner, path, leaves),
            leaf => leaves.push((path.clone(), leaf)),
        }
        path.pop();
    }
}

/// A table with the one value at `path`.
fn alone(path: &[&str], value: &toml::Value) -> toml::Table {
    let Some((key, rest)) = path.split_first() else {
        return toml::Table::new();
    };
    let value = if rest.is_empty() {
        value.clone()
    } else {
        toml::Value::Table(alone(rest, value))
    };
    toml::Table::from_iter([((*key).to_owned(), value)])
}

impl File {
    /// What the parts of a PoP with a core are given.
    ///
    /// # Errors
    /// All mistakes.
    pub fn settings(self) -> Result<Settings, Error> {
        let mut mistakes = Vec::new();
        let pop = pop(self.pop.as_deref(), &mut mistakes);
        let core = core(&self.core, &mut mistakes);
        let listener = listener(&self.listen, self.limits.clone(), &self.core, &mut mistakes);
        if let Err(error) = self.sandbox.check() {
            mistakes.push(format!("sandbox: {error}"));
        }
        if self.admission.exchanges_max == 0 {
            mistakes.push("admission.exchanges_max: at least 1 request must be let in".into());
        }
        let shield = shield(&self.shield, &self.core, &mut mistakes);
        let (Some(pop), Some(core), Some(listener), true) =
            (pop, core, listener, mistakes.is_empty())
        else {
            return Err(Error::Config(mistakes));
        };
        let data = self.data.clone().unwrap_or_else(|| "data".into());
        let mut settings = self.common(pop, listener);
        settings.cache.follows_feed = true;
        settings.admin = Some(settings.admin.unwrap_or(ADMIN_DEFAULT));
        settings.core = Some(core);
        settings.shield = shield;
        settings.keep_in(&data);
        Ok(settings)
    }

    /// What the parts of an edge without a core are given.
    fn common(self, pop: PopName, listener: brink_listener::Config) -> Settings {
        let mut telemetry = self.telemetry;
        telemetry.service = "brink-edge".into();
        telemetry.node = pop.to_string();
        Settings {
            pop,
            data: None,
            listener,
            admin: self.admin.address,
            core: None,
            exchanges_max: self.admission.exchanges_max,
            cache: self.cache,
            records: self.records,
            sandbox: self.sandbox,
            origin: self.origin,
            shield: crate::shield::Settings::default(),
            egress_allow: self.egress.allow,
            telemetry,
            access_log: self.access.log,
        }
    }

    /// What the parts of an edge without a core are given; nothing outlives it unless `data` is set.
    ///
    /// # Errors
    /// All mistakes.
    pub fn standalone(self) -> Result<Settings, Error> {
        let mut mistakes = Vec::new();
        let pop = pop(Some(self.pop.as_deref().unwrap_or("local")), &mut mistakes);
        let listener = listener(&self.listen, self.limits.clone(), &self.core, &mut mistakes);
        let (Some(pop), Some(listener), true) = (pop, listener, mistakes.is_empty()) else {
            return Err(Error::Config(mistakes));
        };
        let data = self.data.clone();
        let mut settings = self.common(pop, listener);
        if let Some(data) = data {
            settings.keep_in(&data);
        }
        Ok(settings)
    }
}

impl Settings {
    fn keep_in(&mut self, data: &Path) {
        self.cache.dir.get_or_insert_with(|| data.join("cache"));
        self.sandbox
            .cache_dir
            .get_or_insert_with(|| data.join("cwasm"));
        self.data = Some(data.to_owned());
    }
}

fn pop(name: Option<&str>, mistakes: &mut Vec<String>) -> Option<PopName> {
    let Some(name) = name else {
        mistakes.push("pop: the PoP needs a name (or --pop)".into());
        return None;
    };
    name.parse()
        .map_err(|error| mistakes.push(format!("pop: {error}")))
        .ok()
}

/// Shields to ask, or being one.
fn shield(
    shield: &crate::shield::Config,
    core: &Core,
    mistakes: &mut Vec<String>,
) -> crate::shield::Settings {
    let mut settings = crate::shield::Settings::default();
    let Some(identity) = &core.identity else {
        return settings;
    };
    if shield.listen.is_some() && !shield.addresses.is_empty() {
        mistakes.push("shield.addresses: a shield (shield.listen) asks no other shield".into());
    }
    if shield.addresses.len() > SHIELDS_MAX {
        mistakes.push(format!(
            "shield.addresses: at most {SHIELDS_MAX} are allowed"
        ));
    }
    each_once("shield.addresses", &shield.addresses, mistakes);
    if let Some(address) = shield.listen {
        let tls = TlsConfig {
            certificate: identity.join("server.pem"),
            key: identity.join("server.key"),
            client_ca: Some(identity.join("ca.pem")),
        };
        if !tls.certificate.is_file() || !tls.key.is_file() {
            let needed = "shield.listen: server.pem and server.key are needed in core.identity (brink-core issue-pop --host)";
            mistakes.push(needed.into());
        }
        settings.listen = Some((address, tls));
    }
    if !shield.addresses.is_empty() {
        let tls = ClientTls::new(identity.join("ca.pem"))
            .with_identity(identity.join("pop.pem"), identity.join("pop.key"));
        settings.ask = Some((shield.addresses.clone(), tls));
    }
    settings
}

/// The cores that may be used, each once.
fn addresses(core: &Core, mistakes: &mut Vec<String>) -> Vec<String> {
    let (key, addresses) = match &core.address {
        Some(_) if !core.addresses.is_empty() => {
            mistakes.push("core.address and core.addresses: only one of them is allowed".into());
            return Vec::new();
        }
        Some(address) => ("core.address", vec![address.clone()]),
        None => ("core.addresses", core.addresses.clone()),
    };
    if addresses.is_empty() {
        let needed =
            "core.address: HOST:PORT of the core's link is needed, or core.addresses (or --core)";
        mistakes.push(needed.into());
    }
    if addresses.len() > CORES_MAX {
        mistakes.push(format!("core.addresses: at most {CORES_MAX} are allowed"));
    }
    each_once(key, &addresses, mistakes);
    addresses
}

/// Each is `HOST:PORT`, and there once.
fn each_once(key: &str, addresses: &[String], mistakes: &mut Vec<String>) {
    let is_address = |address: &str| {
        address.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
        })
    };
    for (number, address) in addresses.iter().enumerate() {
        if !is_address(address) {
            mistakes.push(format!("{key}: {address:?} is not written HOST:PORT"));
        }
        if addresses
            .iter()
            .take(number)
            .any(|before| before == address)
        {
            mistakes.push(format!("{key}: {address} is there twice"));
        }
    }
}

fn core(core: &Core, mistakes: &mut Vec<String>) -> Option<crate::link::Config> {
    let before = mistakes.len();
    let addresses = addresses(core, mistakes);
    if core.identity.is_none() {
        let needed = "core.identity: the directory with pop.pem, pop.key and ca.pem is needed (or --identity)";
        mistakes.push(needed.into());
    }
    if let Some(identity) = &core.identity {
        for file in ["pop.pem", "pop.key", "ca.pem"] {
            if !identity.join(file).is_file() {
                mistakes.push(format!(
                    "core.identity: {} has no {file}",
                    identity.display()
                ));
            }
        }
    }
    if core.request_ms_max == 0 || core.requests_max == 0 {
        mistakes.push("core.request_ms_max and core.requests_max: at least 1".into());
    }
    if core.hedge_percent > 100 {
        mistakes.push("core.hedge_percent: at most 100".into());
    }
    let (Some(identity), true) = (&core.identity, mistakes.len() == before) else {
        return None;
    };
    Some(crate::link::Config {
        addresses,
        tls: ClientTls::new(identity.join("ca.pem"))
            .with_identity(identity.join("pop.pem"), identity.join("pop.key")),
        transport: core.transport,
        request_time_max: Duration::from_millis(core.request_ms_max),
        requests_max: core.requests_max,
        hedge_percent: core.hedge_percent,
    })
}

fn listener(
    listen: &Listen,
    limits: brink_listener::Limits,
    core: &Core,
    mistakes: &mut Vec<String>,
) -> Option<brink_listener::Config> {
    let beside = |name: &str| {
        let path = core.identity.as_ref()?.join(name);
        path.is_file().then_some(path)
    };
    let (certificate, key) = match (&listen.certificate, &listen.key) {
        (None, None) => (beside("server.pem"), beside("server.key")),
        (certificate, key) => (certificate.clone(), key.clone()),
    };
    let tls = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(TlsConfig {
            certificate,
            key,
            client_ca: None,
        }),
        (None, None) => None,
        (Some(_), None) => {
            mistakes.push("listen.key: a certificate needs its key (or --key)".into());
            return None;
        }
        (None, Some(_)) => {
            let needed = "listen.certificate: a key needs its certificate (or --certificate)";
            mistakes.push(needed.into());
            return None;
        }
    };
    if tls.is_none() && listen.quic.is_some() {
        mistakes.push("listen.quic: HTTP/3 needs listen.certificate and listen.key".into());
        return None;
    }
    let tcp = listen.tcp.unwrap_or(LISTEN_DEFAULT);
    Some(brink_listener::Config {
        tcp: Some(tcp),
        quic: tls.is_some().then(|| listen.quic.unwrap_or(tcp)),
        tls,
        limits,
        alt_svc: !listen.without_alt_svc,
    })
}
