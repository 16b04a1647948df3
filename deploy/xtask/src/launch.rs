//! Programs that this tool starts, and that never outlive it.
//!
//! Each runs in a process group of its own (so that Ctrl-C at the terminal reaches us alone and we stop them in order)
//! and is started through `xtask bound`, which asks the system to kill it when we are gone, however we went.

use crate::{interrupt, step};
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    ffi::OsString,
    fs::File,
    io::{self, BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{OnceLock, mpsc},
    thread,
    time::{Duration, Instant},
};

/// How often a running program is looked at.
const POLL: Duration = Duration::from_millis(20);
/// How long a program may take to end after SIGTERM before it is killed.
pub const STOP_WITHIN: Duration = Duration::from_millis(4_500);

/// Becomes `program`, which the system kills when the process `parent` ends. Answers only when that fails.
///
/// # Errors
/// The parent is gone already, or the program does not start.
pub fn become_bound(parent: u32, program: &[OsString]) -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .context("the system does not bind a process to its parent")?;
    let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
    if now != Some(parent) {
        bail!("the process that started this one is gone");
    }
    let (first, rest) = program.split_first().context("no program is named")?;
    let error = Command::new(first).args(rest).exec();
    Err(error).with_context(|| format!("{} did not start", first.display()))
}

type Job = (Command, mpsc::Sender<io::Result<Child>>);

/// Starts `command` from a thread that lives as long as we do: the system takes the end of the starting *thread* for
/// the end of the parent.
fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, inbox) = mpsc::channel::<Job>();
        thread::spawn(move || {
            for (mut command, answer) in inbox {
                let _ = answer.send(command.spawn());
            }
        });
        jobs
    });
    let gone = || io::Error::other("the starting thread is gone");
    let (answer, outcome) = mpsc::channel();
    spawner
        .clone()
        .send((command, answer))
        .map_err(|_| gone())?;
    outcome.recv().map_err(|_| gone())?
}

/// `command` as it is run through `xtask bound`, in a group of its own and without standard input.
fn bound(launcher: &Path, command: &Command) -> Command {
    let mut outer = Command::new(launcher);
    outer
        .arg("bound")
        .arg(std::process::id().to_string())
        .arg("--");
    outer.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        outer.current_dir(folder);
    }
    outer.stdin(Stdio::null()).process_group(0);
    outer
}

/// A program that runs. Dropped: it and all that it started are killed.
#[derive(Debug)]
pub struct Running {
    /// What people call it.
    pub name: String,
    /// Where its output goes, if not to ours.
    pub log: Option<PathBuf>,
    child: Child,
}

impl Running {
    /// Starts `command` with its output added to the file `log`, or to our own output.
    ///
    /// `launcher` is this tool's own program.
    ///
    /// # Errors
    /// The log cannot be written, or the program does not start.
    pub fn start(
        launcher: &Path,
        name: &str,
        command: &Command,
        log: Option<&Path>,
    ) -> Result<Self> {
        let mut outer = bound(launcher, command);
        if let Some(path) = log {
            let open = || File::options().create(true).append(true).open(path);
            let file = open().with_context(|| format!("{} cannot be written", path.display()))?;
            outer.stdout(file.try_clone()?).stderr(file);
        }
        let child = spawn(outer).with_context(|| format!("{name} did not start"))?;
        Ok(Self {
            name: name.to_owned(),
            log: log.map(Path::to_owned),
            child,
        })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended; none while it runs.
    ///
    /// # Errors
    /// The system cannot tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Sends a signal to it and all that it started.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(pid, signal);
        }
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Kills it at once, as a power failure would.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }

    /// Waits for its end at most until `deadline`; kills it then. None: it had to be killed.
    ///
    /// # Errors
    /// The system cannot tell how it ended.
    pub fn wait_until(&mut self, deadline: Instant) -> Result<Option<ExitStatus>> {
        loop {
            if let Some(status) = self.ended()? {
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                self.kill();
                return Ok(None);
            }
            thread::sleep(POLL);
        }
    }

    /// What to say of its unexpected end.
    #[must_use]
    pub fn obituary(&self, status: ExitStatus) -> String {
        let log = self.log.as_deref().map(step::tail).unwrap_or_default();
        format!("{} ended unexpectedly ({status}); {log}", self.name)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            // Its own end does not end what it started.
            self.signal(Signal::KILL);
        } else {
            self.kill();
        }
    }
}

/// Runs `command` to its end; with `log`, its output goes there and is shown when it fails. Ctrl-C ends it.
///
/// # Errors
/// It does not start, fails, or somebody asked to stop.
pub fn run(launcher: &Path, name: &str, command: &Command, log: Option<&Path>) -> Result<()> {
    finish(&mut Running::start(launcher, name, command, log)?)
}

/// As [`run`], with each line of its output given to `hear`.
///
/// # Errors
/// As [`run`].
pub fn run_heard(
    launcher: &Path,
    name: &str,
    command: &Command,
    mut hear: impl FnMut(&str) + Send,
) -> Result<()> {
    let mut outer = bound(launcher, command);
    outer.stdout(Stdio::piped());
    let mut child = spawn(outer).with_context(|| format!("{name} did not start"))?;
    let output = child.stdout.take();
    let mut running = Running {
        name: name.to_owned(),
        log: None,
        child,
    };
    thread::scope(|scope| {
        scope.spawn(move || {
            let lines = output.map(|output| BufReader::new(output).split(b'\n'));
            for line in lines.into_iter().flatten().map_while(Result::ok) {
                hear(&String::from_utf8_lossy(&line));
            }
        });
        let outcome = finish(&mut running);
        // Whatever it left behind would keep the pipe open.
        drop(running);
        outcome
    })
}

fn finish(running: &mut Running) -> Result<()> {
    loop {
        if let Some(status) = running.ended()? {
            if status.success() {
                return Ok(());
            }
            let log = running.log.as_deref().map(step::tail).unwrap_or_default();
            bail!("{} failed ({status}) {log}", running.name);
        }
        if interrupt::requested() {
            running.terminate();
            running.wait_until(Instant::now() + STOP_WITHIN)?;
            bail!("interrupted");
        }
        thread::sleep(POLL);
    }
}

/// Runs `command` to its end with `input` and answers what it printed.
///
/// # Errors
/// It does not start or fails; the message holds what it said.
pub fn read(command: &mut Command, input: &[u8]) -> Result<Vec<u8>> {
    let program = command.get_program().display().to_string();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{program} did not start"))?;
    let stdin = child.stdin.take();
    let output = thread::scope(|scope| {
        scope.spawn(move || {
            if let Some(mut stdin) = stdin {
                // A program that does not want all of its input closes it.
                let _ = stdin.write_all(input);
            }
        });
        child.wait_with_output()
    })?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!(
            "{program}: {} {}",
            output.status,
            String::from_utf8_lossy(&said).trim()
        );
    }
    Ok(output.stdout)
}

/// Stops programs in order: each group at once, the next when it has ended. Answers who had to be killed.
///
/// All have ended within [`STOP_WITHIN`] altogether.
pub fn stop(groups: Vec<Vec<Running>>) -> Vec<String> {
    let started = Instant::now();
    let mut killed = Vec::new();
    let count = u32::try_from(groups.len().max(1)).unwrap_or(1);
    for (index, mut group) in groups.into_iter().enumerate() {
        // What earlier groups leave of their share is there for later ones.
        let share = STOP_WITHIN * (u32::try_from(index).unwrap_or(0) + 1) / count;
        for running in &group {
            running.terminate();
        }
        for running in &mut group {
            if !matches!(running.wait_until(started + share), Ok(Some(_))) {
                killed.push(running.name.clone());
            }
        }
    }
    killed
}

/// This tool's own program, to start others through; it stays valid when a build replaces the file.
#[must_use]
pub fn launcher() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}
