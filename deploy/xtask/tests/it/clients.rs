//! HTTP clients that are not ours: curl, aioquic, Chromium.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// An answer as a client saw it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// `1.1`, `2` or `3`.
    pub(crate) version: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        let field = self
            .headers
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name));
        field.map_or("", |(_, value)| value)
    }

    /// RFC 9211.
    pub(crate) fn cache_status(&self) -> &str {
        self.header("cache-status")
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// It was made anew: the request went on to the module.
    #[track_caller]
    pub(crate) fn miss(self) -> Self {
        assert!(self.cache_status().contains("fwd="), "{self:?}");
        self
    }

    /// It came out of the cache.
    #[track_caller]
    pub(crate) fn hit(self) -> Self {
        assert!(self.is_hit(), "{self:?}");
        self
    }

    pub(crate) fn is_hit(&self) -> bool {
        self.cache_status().contains("; hit")
    }

    /// A problem document (RFC 9457) with this status.
    #[track_caller]
    pub(crate) fn problem(self, status: u16) -> Self {
        let answer = self.expect(status);
        assert!(
            answer
                .header("content-type")
                .starts_with("application/problem+json"),
            "{answer:?}"
        );
        assert_eq!(answer.json()["status"], status, "{answer:?}");
        answer
    }
}

/// A request by curl.
#[derive(Debug)]
pub(crate) struct Curl(Command);

impl Curl {
    pub(crate) fn new(url: &str, ca: Option<&Path>) -> Self {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--include", "--max-time", "60"]);
        if let Some(ca) = ca {
            command.arg("--cacert").arg(ca);
        }
        command.arg(url).stdin(Stdio::null());
        Self(command)
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<std::ffi::OsStr>) -> Self {
        self.0.arg(argument);
        self
    }

    pub(crate) fn header(self, field: &str) -> Self {
        self.arg("--header").arg(field)
    }

    pub(crate) fn json(self, body: &serde_json::Value) -> Self {
        self.header("content-type: application/json")
            .arg("--data-binary")
            .arg(body.to_string())
    }

    /// The answer; none if there is none, with what curl says about it.
    pub(crate) fn try_send(mut self) -> Result<Answer, String> {
        let output = self.0.output().expect("curl starts");
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        Ok(parse(&String::from_utf8_lossy(&output.stdout)))
    }

    #[track_caller]
    pub(crate) fn send(self) -> Answer {
        let shown = format!("{:?}", self.0);
        self.try_send()
            .unwrap_or_else(|error| panic!("{error}: {shown}"))
    }
}

/// What `curl --include` prints.
fn parse(text: &str) -> Answer {
    let (mut head, mut body) = text.split_once("\r\n\r\n").expect("a head");
    // Interim answers come before the final one.
    while head
        .split_whitespace()
        .nth(1)
        .is_some_and(|status| status.starts_with('1'))
    {
        (head, body) = body.split_once("\r\n\r\n").expect("a final head");
    }
    let mut lines = head.lines();
    let first = lines.next().expect("a status line");
    let mut words = first.split_whitespace();
    Answer {
        version: words
            .next()
            .unwrap_or_default()
            .trim_start_matches("HTTP/")
            .to_owned(),
        status: words
            .next()
            .and_then(|status| status.parse().ok())
            .expect("a status"),
        headers: lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect(),
        body: body.to_owned(),
    }
}

/// The folder of our Python programs, and the interpreter that has what they import.
pub(crate) fn python(script: &str) -> Command {
    let root = xtask::repository_root();
    let python = xtask::setup::venv_python(&root)
        .expect("no Python environment: `cargo xtask setup` makes it");
    let mut command = Command::new(python);
    command
        .arg("-B")
        .arg(root.join("deploy/e2e").join(script))
        .stdin(Stdio::null());
    command
}

/// A request over HTTP/3 by aioquic.
#[track_caller]
pub(crate) fn http3(url: &str, ca: &Path, arguments: &[&str]) -> Answer {
    let output = python("h3get.py")
        .arg(url)
        .arg("--ca")
        .arg(ca)
        .args(arguments)
        .output()
        .expect("python starts");
    assert!(
        output.status.success(),
        "{url}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    Answer {
        status: answer["status"]
            .as_u64()
            .and_then(|status| u16::try_from(status).ok())
            .expect("a status"),
        version: "3".to_owned(),
        headers: answer["headers"]
            .as_array()
            .expect("headers")
            .iter()
            .map(|field| (text(&field[0]), text(&field[1])))
            .collect(),
        body: text(&answer["body"]),
    }
}

/// The document that Chromium makes of a page; none if there is no Chromium.
pub(crate) fn chromium(url: &str, profile: PathBuf) -> Option<String> {
    let program = xtask::setup::chromium()?;
    let output = Command::new(program)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--ignore-certificate-errors",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(["--timeout=20000", "--dump-dom", url])
        .stdin(Stdio::null())
        .output()
        .expect("Chromium starts");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}
