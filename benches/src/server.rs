//! Servers under load: child processes that are stopped when they are dropped.

use crate::cpu;
use anyhow::{Context as _, Result, bail};
use std::{
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A server's process.
#[derive(Debug)]
pub struct Server {
    child: Child,
}

impl Server {
    /// Starts a bare server (a subcommand of this program) and reads its address from its first line.
    ///
    /// # Errors
    /// It did not start.
    pub fn bare(arguments: &[&str]) -> Result<(Self, SocketAddr)> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("its output")?;
        let server = Self { child };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line
            .trim()
            .parse()
            .with_context(|| format!("bare server said {line:?}"))?;
        Ok((server, address))
    }

    /// Starts a Brink program and waits for its ready file.
    ///
    /// # Errors
    /// It ended, or was not ready within 30 s.
    pub fn brink(
        program: &Path,
        arguments: &[&str],
        ready: &Path,
    ) -> Result<(Self, serde_json::Value)> {
        let child = Command::new(program)
            .args(arguments)
            .arg("--ready-file")
            .arg(ready)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| program.display().to_string())?;
        let mut server = Self { child };
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            if let Ok(text) = std::fs::read_to_string(ready) {
                return Ok((server, serde_json::from_str(&text)?));
            }
            if let Some(status) = server.child.try_wait()? {
                bail!("{} ended: {status}", program.display());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("{} was not ready within 30 s", program.display())
    }

    /// Starts a program that is not ours, and waits until it takes connections at `address`.
    ///
    /// # Errors
    /// It ended, or took none within 30 s.
    pub fn program(mut command: Command, address: SocketAddr) -> Result<Self> {
        let name = format!("{command:?}");
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| name.clone())?;
        let mut server = Self { child };
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            if TcpStream::connect(address).is_ok() {
                return Ok(server);
            }
            if let Some(status) = server.child.try_wait()? {
                bail!("{name} ended: {status}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("{name} took no connection within 30 s")
    }

    /// Lets it end by itself.
    ///
    /// # Errors
    /// It did not within 30 s.
    pub fn end(mut self) -> Result<()> {
        let pid = i32::try_from(self.child.id())?;
        let pid = rustix::process::Pid::from_raw(pid).context("its process id")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("it did not end within 30 s")
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    /// Its own processes, where it has some, would outlive it: they end with it.
    fn drop(&mut self) {
        let descendants = cpu::descendants(self.child.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in descendants {
            let pid = i32::try_from(pid)
                .ok()
                .and_then(rustix::process::Pid::from_raw);
            if let Some(pid) = pid {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}
