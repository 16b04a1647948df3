//! What a person at a terminal sees: a line for each step, and what went wrong.

use anyhow::{Context, Result};
use std::{
    fs::File,
    io::{IsTerminal, Read, Seek, SeekFrom, Write},
    path::Path,
    time::Instant,
};

/// How much of a log is shown when its program failed, in bytes.
const TAIL_BYTES: u64 = 6 << 10;
/// How many of its last lines.
const TAIL_LINES: usize = 25;

/// Steps with the time since the first.
#[derive(Debug)]
pub struct Steps {
    started: Instant,
}

impl Default for Steps {
    fn default() -> Self {
        Self {
            started: Instant::now(),
        }
    }
}

impl Steps {
    /// Says what is about to happen, does it, and says how long it took or that it failed.
    ///
    /// # Errors
    /// What `act` answers, with the name of the step.
    pub fn run<T>(&self, name: &str, act: impl FnOnce() -> Result<T>) -> Result<T> {
        crate::interrupt::check()?;
        let mut stderr = std::io::stderr();
        let bold = if stderr.is_terminal() {
            ("\x1b[1m", "\x1b[0m")
        } else {
            ("", "")
        };
        let at = self.started.elapsed().as_secs_f64();
        let _ = writeln!(stderr, "{}[{at:7.1} s] {name} ...{}", bold.0, bold.1);
        let begun = Instant::now();
        let outcome = act();
        let at = self.started.elapsed().as_secs_f64();
        let took = begun.elapsed().as_secs_f64();
        let end = if outcome.is_ok() { "done" } else { "FAILED" };
        let _ = writeln!(stderr, "[{at:7.1} s] {name}: {end} in {took:.1} s");
        outcome.with_context(|| name.to_owned())
    }

    /// A remark in the run of steps.
    pub fn say(&self, text: &str) {
        let at = self.started.elapsed().as_secs_f64();
        let _ = writeln!(std::io::stderr(), "[{at:7.1} s] {text}");
    }
}

/// The end of a log file, for a message.
#[must_use]
pub fn tail(path: &Path) -> String {
    let mut text = String::new();
    if let Ok(mut file) = File::open(path) {
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        let _ = file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)));
        let mut bytes = Vec::new();
        let _ = file.take(TAIL_BYTES).read_to_end(&mut bytes);
        text = String::from_utf8_lossy(&bytes).into_owned();
    }
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    let mut shown = format!("the end of {}:", path.display());
    for line in lines.get(from..).unwrap_or_default() {
        shown.push_str("\n    ");
        shown.push_str(line);
    }
    shown
}
