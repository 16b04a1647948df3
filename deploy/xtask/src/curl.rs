//! HTTP by curl: a client that is not ours, the same that people use.

use crate::launch;
use anyhow::{Context, Result, bail};
use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Command,
};

/// A client of the control API.
#[derive(Debug, Clone)]
pub struct Control {
    /// `https://HOST:PORT`.
    pub url: String,
    /// The certificate authority.
    pub ca: PathBuf,
    /// A file with the header that carries the token: it must not stand on a command line, where all can read it.
    pub header_file: PathBuf,
}

impl Control {
    /// Sends a body and answers the body of the answer.
    ///
    /// # Errors
    /// The core cannot be reached or answers with a status of 400 and above.
    pub fn post(&self, path: &str, content_type: &str, body: &[u8]) -> Result<String> {
        let mut command = self.command(path);
        command.args([
            "--header",
            &format!("content-type: {content_type}"),
            "--data-binary",
            "@-",
        ]);
        let answer = launch::read(&mut command, body).with_context(|| format!("POST {path}"))?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// Reads.
    ///
    /// # Errors
    /// The core cannot be reached or answers with a status of 400 and above.
    pub fn get(&self, path: &str) -> Result<serde_json::Value> {
        let answer =
            launch::read(&mut self.command(path), &[]).with_context(|| format!("GET {path}"))?;
        serde_json::from_slice(&answer).with_context(|| format!("GET {path} answered no JSON"))
    }

    fn command(&self, path: &str) -> Command {
        let mut command = Command::new("curl");
        command.args([
            "--silent",
            "--show-error",
            "--fail-with-body",
            "--max-time",
            "60",
            "--cacert",
        ]);
        command
            .arg(&self.ca)
            .arg("--header")
            .arg(header_argument(&self.header_file));
        command.arg(format!("{}{path}", self.url));
        command
    }
}

fn header_argument(file: &Path) -> String {
    format!("@{}", file.display())
}

/// Writes the header that carries the token of `token_file` to `file`, for its owner's eyes only.
///
/// # Errors
/// The one cannot be read or the other not be written.
pub fn write_header_file(token_file: &Path, file: &Path) -> Result<()> {
    let token = fs::read_to_string(token_file)
        .with_context(|| format!("{} cannot be read", token_file.display()))?;
    let open = || {
        File::options()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(file)
    };
    let mut file_out = open().with_context(|| format!("{} cannot be written", file.display()))?;
    writeln!(file_out, "authorization: Bearer {}", token.trim())?;
    Ok(())
}

/// The status and body of a GET; an error when nobody answers.
///
/// # Errors
/// There is no answer within five seconds.
pub fn status(url: &str, ca: Option<&Path>) -> Result<(u16, String)> {
    let mut command = Command::new("curl");
    command.args([
        "--silent",
        "--show-error",
        "--max-time",
        "5",
        "--write-out",
        "\n%{http_code}",
    ]);
    if let Some(ca) = ca {
        command.arg("--cacert").arg(ca);
    }
    let text = String::from_utf8_lossy(&launch::read(command.arg(url), &[])?).into_owned();
    match text.rsplit_once('\n') {
        Some((body, code)) => Ok((code.parse()?, body.to_owned())),
        None => bail!("curl printed no status"),
    }
}

/// Whether the installed curl speaks HTTP/3.
#[must_use]
pub fn has_http3() -> bool {
    version().is_some_and(|version| version.contains(" HTTP3"))
}

/// What `curl --version` prints.
#[must_use]
pub fn version() -> Option<String> {
    let output = Command::new("curl").arg("--version").output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}
