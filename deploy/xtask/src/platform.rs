//! A core and its PoPs as processes on this machine.

use crate::{
    binaries::Binaries,
    curl::{self, Control},
    interrupt, launch,
    launch::Running,
};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// How long a program may take until it answers everywhere.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How often something that is waited for is looked at.
const POLL: Duration = Duration::from_millis(25);

/// Names of PoPs, in the order in which they are used.
pub const POP_NAMES: [&str; 8] = ["ams", "sfo", "fra", "nrt", "gru", "jnb", "syd", "bom"];

/// Where the programs are, where they keep their data, and what starts them.
#[derive(Debug, Clone)]
pub struct Site {
    /// The programs.
    pub binaries: Binaries,
    /// This tool's own program.
    pub launcher: PathBuf,
    /// Holds `core/`, `pops/NAME/` and `logs/`.
    pub data: PathBuf,
}

impl Site {
    /// Where a program's output goes.
    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.data.join("logs").join(format!("{name}.log"))
    }

    /// The core's data.
    #[must_use]
    pub fn core_data(&self) -> PathBuf {
        self.data.join("core")
    }

    /// The core's configuration file; it starts with the defaults if there is none.
    #[must_use]
    pub fn core_config(&self) -> PathBuf {
        self.data.join("core.toml")
    }

    /// A PoP's data.
    #[must_use]
    pub fn pop_data(&self, name: &str) -> PathBuf {
        self.data.join("pops").join(name)
    }

    /// The certificate authority that the core made.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.core_data().join("ca/ca.pem")
    }

    /// The token that the core made at its first start.
    #[must_use]
    pub fn token_file(&self) -> PathBuf {
        self.core_data().join("root.token")
    }

    /// Where a PoP's certificates are.
    #[must_use]
    pub fn identity(&self, name: &str) -> PathBuf {
        self.data.join("identities").join(name)
    }

    /// Makes the folders.
    ///
    /// # Errors
    /// One cannot be made.
    pub fn prepare(&self) -> Result<()> {
        for folder in ["core", "pops", "logs", "identities"] {
            let folder = self.data.join(folder);
            fs::create_dir_all(&folder)
                .with_context(|| format!("{} cannot be made", folder.display()))?;
        }
        Ok(())
    }

    /// Makes the certificates of a PoP.
    ///
    /// # Errors
    /// `brink-core issue-pop` fails.
    pub fn issue(&self, name: &str) -> Result<()> {
        let mut command = Command::new(&self.binaries.core);
        command.arg("issue-pop").arg("--data").arg(self.core_data());
        command
            .args(["--name", name])
            .arg("--out")
            .arg(self.identity(name));
        launch::read(&mut command, &[]).map(drop)
    }

    /// Makes the certificates of another core over the same store, in its data.
    ///
    /// # Errors
    /// `brink-core issue-core` fails.
    pub fn issue_core(&self, name: &str) -> Result<()> {
        let mut command = Command::new(&self.binaries.core);
        command
            .arg("issue-core")
            .arg("--data")
            .arg(self.core_data());
        command.args(["--name", name]).arg("--out");
        command.arg(self.data.join(name));
        launch::read(&mut command, &[]).map(drop)
    }

    /// What a PoP is told beside its flags, if it is told anything.
    #[must_use]
    pub fn pop_config(&self, name: &str) -> PathBuf {
        self.data.join(format!("pop-{name}.toml"))
    }

    /// Starts the core and waits until it answers.
    ///
    /// # Errors
    /// It ends or does not answer in time.
    pub fn start_core(&self, ports: CorePorts) -> Result<Core> {
        self.start_core_named("core", ports)
    }

    /// Starts the core whose data is in the folder `name`, and whose configuration, if it has any, in `name.toml`; waits
    /// until it answers.
    ///
    /// # Errors
    /// It ends or does not answer in time.
    pub fn start_core_named(&self, name: &str, ports: CorePorts) -> Result<Core> {
        let ready = self.data.join(format!("{name}.ready.json"));
        let _ = fs::remove_file(&ready);
        let mut command = Command::new(&self.binaries.core);
        command.arg("run").arg("--data").arg(self.data.join(name));
        let config = self.data.join(format!("{name}.toml"));
        if config.exists() {
            command.arg("--config").arg(config);
        }
        for (flag, port) in [
            ("--control", ports.control),
            ("--link", ports.link),
            ("--admin", ports.admin),
        ] {
            command.arg(flag).arg(loopback(port).to_string());
        }
        command.arg("--ready-file").arg(&ready);
        let mut running = Running::start(&self.launcher, name, &command, Some(&self.log(name)))?;
        let addresses = until_ready(&mut running, &ready)?;
        Ok(Core {
            control: address(&addresses, "control")?,
            link: address(&addresses, "link")?,
            admin: address(&addresses, "admin")?,
            running,
        })
    }

    /// A client of the core's control API with the root token.
    ///
    /// # Errors
    /// The token cannot be read.
    pub fn control(&self, core: &Core) -> Result<Control> {
        let header_file = self.data.join("authorization.header");
        curl::write_header_file(&self.token_file(), &header_file)?;
        Ok(Control {
            url: format!("https://localhost:{}", core.control.port()),
            ca: self.ca(),
            header_file,
        })
    }

    /// Starts a PoP that may use these cores, without waiting for it.
    ///
    /// # Errors
    /// It does not start.
    pub fn launch_pop(
        &self,
        name: &str,
        cores: &[SocketAddr],
        ports: PopPorts,
    ) -> Result<StartingPop> {
        let ready = self.data.join(format!("{name}.ready.json"));
        let _ = fs::remove_file(&ready);
        let identity = self.identity(name);
        let mut command = Command::new(&self.binaries.edge);
        command.args(["run", "--pop", name]);
        let config = self.pop_config(name);
        if config.exists() {
            command.arg("--config").arg(config);
        }
        command
            .arg("--listen")
            .arg(loopback(ports.listen).to_string());
        command
            .arg("--admin")
            .arg(loopback(ports.admin).to_string());
        command.arg("--data").arg(self.pop_data(name));
        for core in cores {
            command.arg("--core").arg(core.to_string());
        }
        command.arg("--identity").arg(&identity);
        command
            .arg("--certificate")
            .arg(identity.join("server.pem"));
        command.arg("--key").arg(identity.join("server.key"));
        command.arg("--ready-file").arg(&ready);
        let running = Running::start(&self.launcher, name, &command, Some(&self.log(name)))?;
        Ok(StartingPop {
            name: name.to_owned(),
            running,
            ready,
        })
    }
}

/// Ports of the core; 0: any free one.
#[derive(Debug, Clone, Copy, Default)]
pub struct CorePorts {
    /// Control API.
    pub control: u16,
    /// Core link.
    pub link: u16,
    /// Health and metrics.
    pub admin: u16,
}

/// Ports of a PoP; 0: any free one.
#[derive(Debug, Clone, Copy, Default)]
pub struct PopPorts {
    /// The public listener.
    pub listen: u16,
    /// Health, metrics and cache lookup.
    pub admin: u16,
}

/// A core that answers.
#[derive(Debug)]
pub struct Core {
    /// Its process.
    pub running: Running,
    /// Control API.
    pub control: SocketAddr,
    /// Core link.
    pub link: SocketAddr,
    /// Health and metrics.
    pub admin: SocketAddr,
}

impl Core {
    /// The same ports again.
    #[must_use]
    pub fn ports(&self) -> CorePorts {
        CorePorts {
            control: self.control.port(),
            link: self.link.port(),
            admin: self.admin.port(),
        }
    }
}

/// A PoP that may not answer yet.
#[derive(Debug)]
pub struct StartingPop {
    name: String,
    running: Running,
    ready: PathBuf,
}

impl StartingPop {
    /// Waits until it answers.
    ///
    /// # Errors
    /// It ends or does not answer in time.
    pub fn wait(mut self) -> Result<Pop> {
        let addresses = until_ready(&mut self.running, &self.ready)?;
        let tcp = address(&addresses, "url")?;
        Ok(Pop {
            tcp,
            quic: address(&addresses, "h3")?,
            admin: address(&addresses, "admin")?,
            name: self.name,
            running: self.running,
        })
    }
}

/// A PoP that answers.
#[derive(Debug)]
pub struct Pop {
    /// Its name.
    pub name: String,
    /// Its process.
    pub running: Running,
    /// HTTP/1.1 and HTTP/2.
    pub tcp: SocketAddr,
    /// HTTP/3.
    pub quic: SocketAddr,
    /// Health, metrics and cache lookup.
    pub admin: SocketAddr,
}

impl Pop {
    /// The same ports again.
    #[must_use]
    pub fn ports(&self) -> PopPorts {
        PopPorts {
            listen: self.tcp.port(),
            admin: self.admin.port(),
        }
    }

    /// `https://localhost:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.tcp.port())
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// `port` if nobody has it on loopback, for TCP and UDP; else 0, which means any.
#[must_use]
pub fn free_or_any(port: u16) -> u16 {
    let free = TcpListener::bind(loopback(port)).is_ok() && UdpSocket::bind(loopback(port)).is_ok();
    if free { port } else { 0 }
}

/// Ports that nobody has on loopback now, for TCP and UDP, all different: for programs that have to be told of each other
/// before they start.
///
/// # Errors
/// The system gives none.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut held = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind(loopback(0))?;
        *port = listener.local_addr()?.port();
        held.push((listener, UdpSocket::bind(loopback(*port))?));
    }
    Ok(ports)
}

/// Waits for the file that a program writes when everything answers.
fn until_ready(running: &mut Running, file: &Path) -> Result<Value> {
    let name = running.name.clone();
    let text = wait_for(&format!("{name} to answer"), READY_WITHIN, || {
        if let Some(status) = running.ended()? {
            bail!("{}", running.obituary(status));
        }
        Ok(fs::read_to_string(file).ok())
    })
    .with_context(|| {
        running
            .log
            .as_deref()
            .map(crate::step::tail)
            .unwrap_or_default()
    })?;
    serde_json::from_str(&text).with_context(|| format!("{} is no JSON", file.display()))
}

/// Looks again and again until there is an answer.
///
/// # Errors
/// An error of `look`, the time is over, or somebody asked to stop.
pub fn wait_for<T>(
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        interrupt::check()?;
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("waited {} s for {what} in vain", within.as_secs());
        }
        thread::sleep(POLL);
    }
}

/// An address of a ready file, with or without a scheme.
fn address(ready: &Value, name: &str) -> Result<SocketAddr> {
    let text = ready.get(name).and_then(Value::as_str);
    let text = text.with_context(|| format!("the ready file names no {name}: {ready}"))?;
    let address = text.split_once("://").map_or(text, |(_, address)| address);
    address
        .parse()
        .with_context(|| format!("{name} of the ready file is {text}"))
}
