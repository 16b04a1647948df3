//! A program that is told things and answers them, a line of JSON each. Without us its input ends, and it does too.

use crate::interrupt;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

/// How often somebody may ask to stop while an answer is waited for.
const POLL: Duration = Duration::from_millis(50);
/// How long the program may take to end after its input.
const END_WITHIN: Duration = Duration::from_secs(5);

/// The program. Dropped: its input ends, and if it does not end then it is killed.
#[derive(Debug)]
pub(super) struct Talk {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    answers: Receiver<String>,
}

impl Talk {
    /// Starts it; what it complains about goes to the file `log`.
    pub(super) fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log);
        // Ctrl-C at the terminal is for us: we end it in order.
        command.process_group(0);
        let mut child = command
            .spawn()
            .with_context(|| format!("{name} did not start"))?;
        let (sender, answers) = mpsc::channel();
        let output = child.stdout.take().context("no standard output")?;
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            name: name.to_owned(),
            input: child.stdin.take(),
            child,
            answers,
        })
    }

    /// Says something.
    pub(super) fn say(&mut self, text: &Value) -> Result<()> {
        let input = self.input.as_mut().context("its input has ended")?;
        writeln!(input, "{text}").with_context(|| format!("{} does not listen", self.name))
    }

    /// The next answer, which must be an object with the member `member`; its value.
    pub(super) fn hear(&mut self, member: &str, within: Duration) -> Result<Value> {
        let deadline = Instant::now() + within;
        loop {
            interrupt::check()?;
            match self.answers.recv_timeout(POLL) {
                Ok(line) => {
                    let mut answer: Value = serde_json::from_str(&line)
                        .with_context(|| format!("{} said {line}", self.name))?;
                    match answer.get_mut(member) {
                        Some(value) => return Ok(value.take()),
                        None => bail!("{} said {answer}", self.name),
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.child.wait()?;
                    bail!("{} ended ({status}) before it said {member}", self.name);
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() >= deadline => {
                    bail!("{} did not say {member} in time", self.name)
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        drop(self.input.take());
        let deadline = Instant::now() + END_WITHIN;
        while !self.has_ended() {
            if Instant::now() >= deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            thread::sleep(POLL);
        }
    }
}
