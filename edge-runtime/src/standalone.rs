//! Edges without a core: any component, or a cache before any HTTP origin.

use crate::{
    config::File,
    edge::Assembled,
    error::Error,
    routes::{Deployed, DeployedMap, Table},
};
use brink_protocol::{
    Digest, ModuleName,
    deployment::{
        Deployment, DeploymentTable, Grants, Limits, Route, Target, WhenDisconnected, World,
        default_tenant,
    },
    origins::OriginGroup,
};
use brink_sandbox::{BoxError, Sandbox};
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

/// What both kinds have in common.
#[derive(Debug, Clone, clap::Args)]
pub struct Common {
    /// Address for HTTP/1.1 and HTTP/2, and, with a certificate, for HTTP/3. Port 0 takes any free one.
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Address for operators (plain HTTP). None: nowhere.
    #[arg(long)]
    pub admin: Option<SocketAddr>,
    /// Name that Cache-Status shows, after `brink-`.
    #[arg(long, default_value = "local")]
    pub pop: String,
    /// Directory for the disk tier of the cache and for compiled components. None: nothing outlives the process.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// PEM file of the certificate that clients see. None: plain HTTP/1.1, and HTTP/2 with prior knowledge.
    #[arg(long)]
    pub certificate: Option<PathBuf>,
    /// PEM file of its key.
    #[arg(long)]
    pub key: Option<PathBuf>,
    /// What is logged: `info`, `warn,brink_edge=debug`, ...
    #[arg(long, default_value = "info")]
    pub log: String,
}

impl Common {
    /// As a configuration file would say it.
    #[must_use]
    pub fn file(&self) -> File {
        let mut file = File {
            pop: Some(self.pop.clone()),
            data: self.data.clone(),
            ..File::default()
        };
        file.listen.tcp = Some(self.listen);
        file.listen.certificate.clone_from(&self.certificate);
        file.listen.key.clone_from(&self.key);
        file.admin.address = self.admin;
        file.telemetry.log_filter.clone_from(&self.log);
        file.telemetry.log_format = brink_telemetry::LogFormat::Text;
        file
    }
}

/// A component to serve.
#[derive(Debug, Clone, clap::Args)]
pub struct Serve {
    /// The component: any that exports `wasi:http/incoming-handler@0.2`.
    pub component: PathBuf,
    /// A value of its configuration, `KEY=VALUE`. May be repeated.
    #[arg(long = "config", value_name = "KEY=VALUE", value_parser = pair)]
    pub config: Vec<(String, String)>,
    /// What it may use. May be repeated; without any, it may use everything.
    #[arg(long = "grant")]
    pub grants: Vec<Grant>,
    /// Requests that one instance may answer, one after the other; 1: a fresh one for each.
    #[arg(long, default_value_t = 1)]
    pub instance_reuse: u32,
    /// What both kinds have in common.
    #[command(flatten)]
    pub common: Common,
}

/// An origin to stand before.
#[derive(Debug, Clone, clap::Args)]
pub struct Proxy {
    /// The origin, `http[s]://HOST[:PORT]`. May be repeated: the first that is well is asked.
    #[arg(long = "origin", required = true)]
    pub origins: Vec<String>,
    /// What both kinds have in common.
    #[command(flatten)]
    pub common: Common,
}

/// What a component may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Grant {
    /// Wall-clock time.
    Clock,
    /// Random bytes.
    Random,
    /// Outbound HTTP.
    OutboundHttp,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it is written KEY=VALUE".into()),
    }
}

fn grants(given: &[Grant]) -> Grants {
    let has = |grant| given.is_empty() || given.contains(&grant);
    Grants {
        clock: has(Grant::Clock),
        random: has(Grant::Random),
        outbound_http: has(Grant::OutboundHttp),
        // There is no core to purge through.
        purge: false,
    }
}

fn route(target: Target) -> Route {
    Route {
        tenant: default_tenant(),
        host: None,
        path: "/".into(),
        target,
        plugins: Vec::new(),
        when_disconnected: WhenDisconnected::default(),
        show_coherence: false,
        session_cookie: false,
        cache: Default::default(),
    }
}

impl Serve {
    /// Loads the component and lets it answer every request.
    ///
    /// # Errors
    /// The file cannot be read, or is not a component that can run here.
    pub async fn deploy(
        &self,
        assembled: &Assembled,
        sandbox: brink_sandbox::Config,
    ) -> Result<(), Error> {
        let path = &self.component;
        let bytes: Bytes = tokio::fs::read(path)
            .await
            .map_err(Error::file("could not read", path))?
            .into();
        let digest = Digest::of(&bytes);
        let given = move || async move { Ok::<_, BoxError>(bytes) };
        let component = Sandbox::new(sandbox)?.load(&digest, given).await?;
        if component.world() != World::Module {
            let reason = format!(
                "it is a {:?}; only modules answer requests",
                component.world()
            );
            return Err(Error::Component { digest, reason });
        }
        let deployment = Deployment {
            tenant: default_tenant(),
            name: name_of(path),
            version: 1,
            digest,
            world: World::Module,
            config: BTreeMap::from_iter(self.config.clone()),
            limits: Limits {
                instance_reuse_max: self.instance_reuse.max(1),
                ..Limits::default()
            },
            grants: grants(&self.grants),
        };
        let name = deployment.name.clone();
        let source = DeploymentTable {
            revision: 0,
            deployments: vec![deployment.clone()],
            routes: vec![route(Target::Module(name.clone()))],
        };
        let deployed = Arc::new(Deployed::new(deployment, component, false));
        let deployed = DeployedMap::from_iter([((default_tenant(), name), deployed)]);
        assembled
            .table()
            .store(Arc::new(Table::new(source, deployed)));
        Ok(())
    }
}

impl Proxy {
    /// Lets the origin answer every request that the cache does not.
    pub fn deploy(&self, assembled: &Assembled) {
        let source = DeploymentTable {
            revision: 0,
            deployments: Vec::new(),
            routes: vec![route(Target::Origins(OriginGroup::of(&self.origins)))],
        };
        assembled
            .table()
            .store(Arc::new(Table::new(source, DeployedMap::new())));
    }
}

/// A module name made of a file's name: `My_App.wasm` is `my-app`.
fn name_of(path: &Path) -> ModuleName {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let label: String = stem
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(63)
        .collect();
    let or_module = || match "module".parse() {
        Ok(name) => name,
        Err(_) => unreachable!("`module` is a label"),
    };
    label
        .trim_matches('-')
        .parse()
        .unwrap_or_else(|_| or_module())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_made_of_files() {
        for (path, name) in [
            ("a/My_App.wasm", "my-app"),
            ("hello.wasm", "hello"),
            ("--.wasm", "module"),
            ("", "module"),
        ] {
            assert_eq!(name_of(Path::new(path)).as_str(), name, "{path}");
        }
        assert_eq!(name_of(Path::new(&"x".repeat(99))).as_str().len(), 63);
    }

    #[test]
    fn without_grants_all_are_given() {
        let all = grants(&[]);
        assert!(all.clock && all.random && all.outbound_http && !all.purge);
        let one = grants(&[Grant::Clock]);
        assert!(one.clock && !one.random && !one.outbound_http);
        assert_eq!(pair("a=b=c").unwrap(), ("a".into(), "b=c".into()));
        assert!(pair("a").is_err() && pair("=b").is_err());
    }
}
