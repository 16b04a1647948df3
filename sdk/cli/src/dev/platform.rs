//! A core and a PoP that follows it, both on this machine.

use super::{
    READY_TIME_MAX,
    child::{Child, Pump},
    programs::{CORE, EDGE, program},
};
use crate::{client::Client, error::Error, settings::Settings};
use serde_json::Value;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{process::Command, time::timeout};

/// The PoP's name.
const POP: &str = "dev";
/// How long the PoP may drain before the core is stopped too.
const HEAD_START: Duration = Duration::from_secs(1);
/// Any free port of this machine.
const ANY: &str = "127.0.0.1:0";

/// Running servers.
pub(super) struct Platform {
    core: Child,
    edge: Child,
    /// Speaks with the core as its root.
    pub(super) client: Arc<Client>,
    /// Where the PoP answers, over TLS.
    pub(super) listen: SocketAddr,
    /// The PoP's admin pages.
    pub(super) admin: Option<SocketAddr>,
    /// The authority of both.
    pub(super) ca: PathBuf,
    /// The root token's file.
    pub(super) token_file: PathBuf,
}

impl Platform {
    /// Starts both with their data in `dir`, and waits until they answer.
    ///
    /// # Errors
    /// A program is missing, or does not start.
    pub(super) async fn start(
        dir: &Path,
        listen: Option<SocketAddr>,
        pump: Pump,
    ) -> Result<Self, Error> {
        let (core_program, edge_program) = (program(CORE)?, program(EDGE)?);
        let (data, identity) = (dir.join("core"), dir.join("pop"));
        let ready = |name: &str| {
            let file = dir.join(name);
            let _ = std::fs::remove_file(&file); // One of an earlier run would be taken for this one's.
            file
        };
        let (core_ready, edge_ready) = (ready("core.json"), ready("edge.json"));
        let mut command = Command::new(&core_program);
        command
            .arg("run")
            .arg("--data")
            .arg(&data)
            .arg("--ready-file")
            .arg(&core_ready);
        command.args([
            "--control",
            ANY,
            "--link",
            ANY,
            "--admin",
            ANY,
            "--node",
            POP,
            "--region",
            "local",
        ]);
        let mut core = Child::start("core", command, pump)?;
        let addresses = core.ready(&core_ready, READY_TIME_MAX).await?;
        let control = required(&addresses, "control", "core")?;
        let link = required(&addresses, "link", "core")?;

        issue(&core_program, &data, &identity).await?;
        let mut command = Command::new(&edge_program);
        command
            .arg("run")
            .args(["--pop", POP, "--admin", ANY, "--core", &link.to_string()]);
        command
            .arg("--listen")
            .arg(listen.map_or_else(|| ANY.to_owned(), |listen| listen.to_string()));
        command
            .arg("--data")
            .arg(dir.join("edge"))
            .arg("--identity")
            .arg(&identity);
        command
            .arg("--certificate")
            .arg(identity.join("server.pem"))
            .arg("--key")
            .arg(identity.join("server.key"));
        command.arg("--ready-file").arg(&edge_ready);
        let mut edge = Child::start("edge", command, pump)?;
        let addresses = edge.ready(&edge_ready, READY_TIME_MAX).await?;
        let listen = required(&addresses, "url", "edge")?;

        let (ca, token_file) = (data.join("ca/ca.pem"), data.join("root.token"));
        let settings = Settings {
            control: format!("https://{control}").parse()?,
            ca: Some(ca.clone()),
            token_file: Some(token_file.clone()),
        };
        let admin = address(&addresses, &["admin"]);
        Ok(Self {
            core,
            edge,
            client: Arc::new(Client::new(&settings)?),
            listen,
            admin,
            ca,
            token_file,
        })
    }

    /// Waits for the end of either, which nobody asked for.
    pub(super) async fn ended(&mut self) -> Error {
        tokio::select! {
            error = self.core.ended() => error,
            error = self.edge.ended() => error,
        }
    }

    /// Stops the PoP, and the core as soon as the PoP has ended or takes long: both within 5 s.
    pub(super) async fn stop(&mut self) {
        let edge = self.edge.stop();
        tokio::pin!(edge);
        if timeout(HEAD_START, &mut edge).await.is_ok() {
            self.core.stop().await;
        } else {
            tokio::join!(edge, self.core.stop());
        }
    }
}

/// Lets the core's authority issue what identifies the PoP; it stays the same for kept data.
async fn issue(core: &Path, data: &Path, identity: &Path) -> Result<(), Error> {
    if identity.join("server.pem").is_file() && identity.join("pop.pem").is_file() {
        return Ok(());
    }
    let output = Command::new(core)
        .args(["issue-pop", "--name", POP, "--data"])
        .arg(data)
        .arg("--out")
        .arg(identity)
        .output()
        .await
        .map_err(|error| Error::failed("the core's program did not start", error))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(Error::failed(
            "the PoP's certificates could not be issued",
            String::from_utf8_lossy(&output.stderr).trim(),
        ))
    }
}

fn required(ready: &Value, name: &str, of: &str) -> Result<SocketAddr, Error> {
    address(ready, &[name]).ok_or_else(|| {
        Error::Failed(format!(
            "the {of}'s readiness file has no address {name:?}: {ready}"
        ))
    })
}

/// The first of the named addresses; URLs count as the address in them.
pub(super) fn address(ready: &Value, names: &[&str]) -> Option<SocketAddr> {
    names.iter().find_map(|name| {
        let text = ready.get(name)?.as_str()?;
        let text = text.split_once("://").map_or(text, |(_, rest)| rest);
        text.trim_end_matches('/').parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn addresses() {
        let ready = json!({ "listen": "127.0.0.1:1", "url": "https://127.0.0.1:2/", "name": "x" });
        assert_eq!(
            address(&ready, &["listen"]),
            Some(([127, 0, 0, 1], 1).into())
        );
        assert_eq!(
            address(&ready, &["none", "url"]),
            Some(([127, 0, 0, 1], 2).into())
        );
        assert_eq!(address(&ready, &["name"]), None);
    }
}
