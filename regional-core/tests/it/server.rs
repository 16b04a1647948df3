//! A core in this process, with a directory of its own.

use crate::client::{Control, Link};
use brink_core::{
    config::{Config, Flags},
    core::{Addresses, Core},
    identity::issue_pop,
};
use std::path::PathBuf;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub struct Server {
    pub directory: tempfile::TempDir,
    pub addresses: Addresses,
    configuration: String,
    stop: CancellationToken,
    serving: JoinHandle<Result<(), brink_core::Error>>,
}

/// Nothing is in the log but what a test writes.
const QUIET: &str = "[prober]\ninterval_ms = 0\n";

fn flags(data: PathBuf) -> Flags {
    let any = Some("127.0.0.1:0".parse().unwrap());
    Flags {
        data: Some(data),
        control: any,
        link: any,
        admin: any,
        ..Flags::default()
    }
}

impl Server {
    pub async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    pub async fn start_in(directory: tempfile::TempDir) -> Self {
        Self::start_with(directory, QUIET).await
    }

    /// With a configuration of its own; the link's address is any, unless it says.
    pub async fn start_with(directory: tempfile::TempDir, configuration: &str) -> Self {
        let mut flags = flags(directory.path().join("core"));
        if configuration.contains("[link]") {
            flags.link = None;
        }
        let config = Config::parse(configuration, &flags).unwrap();
        let core = Core::build(config, None).await.unwrap();
        let (addresses, stop) = (core.addresses(), core.stop());
        let serving = tokio::spawn(core.serve());
        Self {
            directory,
            addresses,
            configuration: configuration.to_owned(),
            stop,
            serving,
        }
    }

    /// Stops it, and starts it again over the same data.
    pub async fn restart(self) -> Self {
        let (directory, configuration) = self.stop().await;
        Self::start_with(directory, &configuration).await
    }

    /// Stops it; gives its data and configuration.
    pub async fn stop(self) -> (tempfile::TempDir, String) {
        self.stop.cancel();
        self.serving.await.unwrap().unwrap();
        (self.directory, self.configuration)
    }

    /// Stops it, whatever it says.
    pub async fn stop_anyhow(self) -> (tempfile::TempDir, String) {
        self.stop.cancel();
        let _ = self.serving.await.unwrap();
        (self.directory, self.configuration)
    }

    pub fn data(&self) -> PathBuf {
        self.directory.path().join("core")
    }

    /// A client with the root token.
    pub fn control(&self) -> Control {
        let token = std::fs::read_to_string(self.data().join("root.token")).unwrap();
        Control {
            address: self.addresses.control,
            ca: self.data().join("ca/ca.pem"),
            token: Some(token.trim().to_owned()),
        }
    }

    /// A link of a PoP.
    pub async fn link(&self, pop: &str) -> Link {
        let out = self.directory.path().join(pop);
        issue_pop(&self.data(), &pop.parse().unwrap(), &[], &out).unwrap();
        Link::connect(self.addresses.link, &out).await.unwrap()
    }
}
