//! A server as a child process: its log, its readiness, its end.

use crate::{error::Error, output::Output};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    collections::VecDeque,
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    process::Command,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

/// How often a readiness file is looked for.
const READY_POLL: Duration = Duration::from_millis(20);
/// How long a child may drain before it is killed.
const DRAIN_TIME_MAX: Duration = Duration::from_millis(3500);
/// How many of its last lines are shown when a child ends by itself.
const LAST_LINES: usize = 20;

/// How a child's log is passed on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pump {
    /// Where to.
    pub(super) output: Output,
    /// All of the server's own lines; otherwise warnings and errors only.
    pub(super) verbose: bool,
    /// What modules log. A core collects it too: then it is shown from there.
    pub(super) module_lines: bool,
}

/// The last lines of a child's log.
type LastLines = Arc<Mutex<VecDeque<String>>>;

/// A running server. Killed when dropped.
pub(super) struct Child {
    name: &'static str,
    child: tokio::process::Child,
    last_lines: LastLines,
    pumps: [JoinHandle<()>; 2],
}

impl Child {
    /// Starts a server in a process group of its own: Ctrl-C reaches it through us alone, after what needs it has ended.
    ///
    /// # Errors
    /// It does not start.
    pub(super) fn start(
        name: &'static str,
        mut command: Command,
        pump: Pump,
    ) -> Result<Self, Error> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .process_group(0);
        let wrong = |error| Error::failed(format_args!("the {name} did not start"), error);
        let mut child = command.spawn().map_err(wrong)?;
        let last_lines = LastLines::default();
        let pumps = [
            tokio::spawn(pass_on(
                name,
                child.stdout.take(),
                pump,
                Arc::clone(&last_lines),
            )),
            tokio::spawn(pass_on(
                name,
                child.stderr.take(),
                pump,
                Arc::clone(&last_lines),
            )),
        ];
        Ok(Self {
            name,
            child,
            last_lines,
            pumps,
        })
    }

    /// Waits for its readiness file, and reads it.
    ///
    /// # Errors
    /// It ends instead, or does not answer in time.
    pub(super) async fn ready(&mut self, file: &Path, time_max: Duration) -> Result<Value, Error> {
        let end = Instant::now() + time_max;
        loop {
            if let Ok(text) = std::fs::read(file) {
                return serde_json::from_slice(&text).map_err(|error| {
                    Error::failed(
                        format_args!("the {}'s readiness file is not JSON", self.name),
                        error,
                    )
                });
            }
            if let Ok(Some(_)) = self.child.try_wait() {
                return Err(self.ended().await);
            }
            if Instant::now() > end {
                let late = format!(
                    "the {} did not answer within {} s",
                    self.name,
                    time_max.as_secs()
                );
                return Err(Error::TimedOut(self.with_log(late)));
            }
            sleep(READY_POLL).await;
        }
    }

    /// Waits for its end, which nobody asked for.
    pub(super) async fn ended(&mut self) -> Error {
        let how = match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        for pump in &mut self.pumps {
            // Its last words; a grandchild may hold the pipe open.
            let _ = timeout(Duration::from_millis(500), pump).await;
        }
        Error::Failed(self.with_log(format!("the {} ended by itself ({how})", self.name)))
    }

    fn with_log(&self, mut text: String) -> String {
        let lines = self
            .last_lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !lines.is_empty() {
            text.push_str("; its last lines:");
        }
        for line in lines.iter() {
            text.push_str("\n  ");
            text.push_str(line);
        }
        text
    }

    /// Lets it drain, then ends it.
    pub(super) async fn stop(&mut self) {
        let pid = self
            .child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        let Some(pid) = pid else { return }; // It has ended and was waited for.
        let _ = kill_process(pid, Signal::TERM);
        if timeout(DRAIN_TIME_MAX, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

async fn pass_on(
    name: &'static str,
    stream: Option<impl AsyncRead + Unpin>,
    pump: Pump,
    last_lines: LastLines,
) {
    let Some(stream) = stream else { return };
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let line = Line::of(&line);
        let shown = match line.kind {
            Kind::Module => pump.module_lines,
            Kind::Loud => true,
            Kind::Quiet => pump.verbose,
        };
        if shown {
            pump.output.progress(format_args!("{name}: {}", line.text));
        }
        let mut last = last_lines.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(line.text);
    }
}

/// Whose lines these are in a server's log.
const OF_MODULE: &str = "brink::module";
/// What is left out for people.
const NOT_SHOWN: [&str; 8] = [
    "timestamp",
    "level",
    "message",
    "target",
    "service",
    "node",
    "spans",
    "span",
];

/// A line of a server's log, for people.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    text: String,
    kind: Kind,
}

/// What a line says.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// What a module logged.
    Module,
    /// A warning, an error, or something that is no log line at all: a panic, a usage error.
    Loud,
    /// The daily business.
    Quiet,
}

impl Line {
    /// Servers log JSON objects or lines of text.
    fn of(line: &str) -> Self {
        let Ok(Value::Object(object)) = serde_json::from_str::<Value>(line) else {
            return Self::of_text(line);
        };
        let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
        let level = text("level");
        let mut out = format!("{level} {}", text("message"));
        for (name, value) in object
            .iter()
            .filter(|(name, _)| !NOT_SHOWN.contains(&name.as_str()))
        {
            match value {
                Value::String(value) => out.push_str(&format!(" {name}={value}")),
                value => out.push_str(&format!(" {name}={value}")),
            }
        }
        Self {
            text: out,
            kind: kind(level, text("target")),
        }
    }

    /// `2026-11-21T09:00:00Z  INFO brink_edge::edge: ready`
    fn of_text(line: &str) -> Self {
        let mut words = line.split_whitespace();
        let stamped = words.next().is_some_and(|first| {
            first.ends_with('Z') && first.starts_with(|c: char| c.is_ascii_digit())
        });
        let level = words.next().unwrap_or_default();
        let target = words.next().unwrap_or_default();
        let kind = match (stamped, line.is_empty()) {
            (true, _) => kind(level, target.trim_end_matches(':')),
            (false, true) => Kind::Quiet,
            (false, false) => Kind::Loud,
        };
        Self {
            text: line.to_owned(),
            kind,
        }
    }
}

fn kind(level: &str, target: &str) -> Kind {
    match (target, level) {
        (OF_MODULE, _) => Kind::Module,
        (_, "WARN" | "ERROR") => Kind::Loud,
        _ => Kind::Quiet,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_logs() {
        for (line, text, kind) in [
            (
                r#"{"timestamp":"x","level":"INFO","message":"listening","port":1}"#,
                "INFO listening port=1",
                Kind::Quiet,
            ),
            (
                r#"{"level":"WARN","message":"slow","route":"/a","node":"ams"}"#,
                "WARN slow route=/a",
                Kind::Loud,
            ),
            (
                r#"{"level":"WARN","message":"a","target":"brink::module"}"#,
                "WARN a",
                Kind::Module,
            ),
            (
                "2026-11-21T09:00:00Z  INFO brink_edge: ready",
                "2026-11-21T09:00:00Z  INFO brink_edge: ready",
                Kind::Quiet,
            ),
            (
                "2026-11-21T09:00:00Z ERROR x: y",
                "2026-11-21T09:00:00Z ERROR x: y",
                Kind::Loud,
            ),
            (
                "2026-11-21T09:00:00Z DEBUG brink::module: y",
                "2026-11-21T09:00:00Z DEBUG brink::module: y",
                Kind::Module,
            ),
            (
                "thread 'main' panicked",
                "thread 'main' panicked",
                Kind::Loud,
            ),
            ("", "", Kind::Quiet),
        ] {
            assert_eq!(
                Line::of(line),
                Line {
                    text: text.into(),
                    kind
                },
                "{line}"
            );
        }
    }
}
