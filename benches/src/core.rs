//! A core under load: a process of its own over a new data directory, and links to it as edges hold them.

use crate::server::Server;
use anyhow::{Context as _, Result};
use brink_edge::link::{Config, Link, Transport};
use brink_listener::{
    authority::{DevAuthority, Leaf},
    client::ClientTls,
};
use brink_protocol::{PopName, link::POP_SUFFIX};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// A running core.
#[derive(Debug)]
pub struct Core {
    server: Server,
    directory: PathBuf,
    /// Address of its link.
    pub link: SocketAddr,
    /// Address of its control API.
    pub control: SocketAddr,
}

/// What a PoP needs for the link: `pop.pem`, `pop.key`, `ca.pem`.
#[derive(Debug, Clone)]
pub struct Pop {
    /// Its name.
    pub name: PopName,
    /// Where its files are.
    pub identity: PathBuf,
}

impl Core {
    /// Starts `program` with its data below `directory`.
    ///
    /// # Errors
    /// It ended, or was not ready within 30 s.
    pub fn start(program: &Path, directory: &Path) -> Result<Self> {
        Self::start_with(program, directory, "")
    }

    /// The same with more in its configuration, as TOML.
    ///
    /// # Errors
    /// As [`Core::start`].
    pub fn start_with(program: &Path, directory: &Path, more: &str) -> Result<Self> {
        let config = directory.join("core.toml");
        let data = directory.join("core");
        std::fs::write(
            &config,
            format!("data = {data:?}\n[telemetry]\nlog_filter = \"warn\"\n{more}"),
        )?;
        let config = config.display().to_string();
        let mut arguments = vec!["run", "--config", &config];
        for flag in ["--control", "--link", "--admin"] {
            arguments.extend([flag, "127.0.0.1:0"]);
        }
        let (server, ready) = Server::brink(program, &arguments, &directory.join("core.json"))?;
        let address = |key: &str| -> Result<SocketAddr> {
            let text = ready.get(key).and_then(serde_json::Value::as_str);
            let text = text.with_context(|| format!("the ready file has no {key}: {ready}"))?;
            Ok(text.parse()?)
        };
        Ok(Self {
            server,
            directory: directory.to_owned(),
            link: address("link")?,
            control: address("control")?,
        })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Its authority's directory.
    fn authority(&self) -> PathBuf {
        self.directory.join("core").join("ca")
    }

    /// Its authority's certificate.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.authority().join("ca.pem")
    }

    /// Issues the certificates of PoPs, all from one opening of the authority.
    ///
    /// # Errors
    /// Files that cannot be read or written.
    pub fn issue(&self, names: &[PopName]) -> Result<Vec<Pop>> {
        let authority = DevAuthority::open_or_create(&self.authority())?;
        let issue = |name: &PopName| -> Result<Pop> {
            let identity = self.directory.join("pops").join(name.as_str());
            std::fs::create_dir_all(&identity)?;
            let file = |name: &str| identity.join(name);
            let leaf = Leaf {
                names: vec![format!("{name}{POP_SUFFIX}")],
                client: true,
                server: false,
            };
            authority.issue(&leaf, &file("pop.pem"), &file("pop.key"))?;
            std::fs::write(file("ca.pem"), authority.certificate_pem())?;
            Ok(Pop {
                name: name.clone(),
                identity,
            })
        };
        names.iter().map(issue).collect()
    }

    /// A link to it, not connected yet.
    ///
    /// # Errors
    /// The PoP's files cannot be read.
    pub fn connect(&self, pop: &Pop, transport: Transport) -> Result<Link> {
        let file = |name: &str| pop.identity.join(name);
        Ok(Link::new(Config {
            addresses: vec![self.link.to_string()],
            tls: ClientTls::new(self.ca()).with_identity(file("pop.pem"), file("pop.key")),
            transport,
            request_time_max: Duration::from_secs(30),
            requests_max: 256,
            hedge_percent: 0,
        })?)
    }

    /// Runs `brink` with the root token.
    ///
    /// # Errors
    /// It does not start or fails; the message holds what it said.
    pub fn brink(&self, program: &Path, arguments: &[&str]) -> Result<()> {
        let output = Command::new(program)
            .args(arguments)
            .arg("--control")
            .arg(format!("https://localhost:{}", self.control.port()))
            .arg("--ca")
            .arg(self.ca())
            .arg("--token-file")
            .arg(self.directory.join("core").join("root.token"))
            .output()
            .with_context(|| program.display().to_string())?;
        anyhow::ensure!(
            output.status.success(),
            "{} {arguments:?}: {}",
            program.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }
}
