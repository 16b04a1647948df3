//! The clients of a run: processes that are killed, stopped and started again.

use crate::{Error, flaw::Flaw, settings::Place};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const POLL: Duration = Duration::from_millis(20);

/// What all clients are told.
pub(crate) struct Told {
    pub(crate) seed: u64,
    pub(crate) tasks: u64,
    pub(crate) partitions: u64,
    pub(crate) began_ns: u64,
    pub(crate) slice_ms: u64,
    pub(crate) flaw: Option<Flaw>,
    /// The folder for notes.
    pub(crate) notes: PathBuf,
}

/// One place, and the process that uses it now.
struct Client {
    place: Place,
    child: Option<Child>,
    is_paused: bool,
}

/// All of them.
pub(crate) struct Clients {
    told: Told,
    clients: Vec<Client>,
    started: u64,
    ended: Arc<AtomicU64>,
}

impl Clients {
    pub(crate) fn new(told: Told, places: Vec<Place>) -> Self {
        let client = |place| Client {
            place,
            child: None,
            is_paused: false,
        };
        Self {
            told,
            clients: places.into_iter().map(client).collect(),
            started: 0,
            ended: Arc::default(),
        }
    }

    /// Operations that have ended so far.
    pub(crate) fn operations(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self) -> usize {
        self.clients.len()
    }

    /// The notes of all that were ever started.
    pub(crate) fn notes(&self) -> impl Iterator<Item = PathBuf> {
        (0..self.started).map(|number| self.notes_of(number))
    }

    fn notes_of(&self, number: u64) -> PathBuf {
        self.told.notes.join(format!("client-{number}.jsonl"))
    }

    /// Starts those that do not run. Those that could not open their store have ended.
    pub(crate) fn start_missing(&mut self) -> Result<(), Error> {
        for at in 0..self.clients.len() {
            let Some(client) = self.clients.get_mut(at) else {
                continue;
            };
            if let Some(child) = &mut client.child {
                if child.try_wait().map_err(Error::io("a client"))?.is_none() {
                    continue;
                }
                client.child = None;
            }
            let number = self.started;
            self.started += 1;
            let notes = self.notes_of(number);
            let Some(client) = self.clients.get_mut(at) else {
                continue;
            };
            let mut child = start(&self.told, &client.place, number, &notes)?;
            client.is_paused = false;
            let ended = Arc::clone(&self.ended);
            if let Some(out) = child.stdout.take() {
                thread::spawn(move || {
                    for line in BufReader::new(out).lines().map_while(Result::ok) {
                        let more = line.parse().unwrap_or(0);
                        ended.fetch_add(more, Ordering::Relaxed);
                    }
                });
            }
            client.child = Some(child);
        }
        Ok(())
    }

    /// Kills one, as a power failure would.
    pub(crate) fn kill(&mut self, at: usize) {
        if let Some(client) = self.clients.get_mut(at)
            && let Some(mut child) = client.child.take()
        {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Makes one stand still.
    pub(crate) fn pause(&mut self, at: usize) {
        self.signal(at, true);
    }

    /// Lets one go on.
    pub(crate) fn resume(&mut self, at: usize) {
        self.signal(at, false);
    }

    fn signal(&mut self, at: usize, pauses: bool) {
        let Some(client) = self.clients.get_mut(at) else {
            return;
        };
        let pid = client.child.as_ref().map(Child::id);
        let pid = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(pid) = pid
            && client.is_paused != pauses
        {
            let _ = kill_process(pid, if pauses { Signal::STOP } else { Signal::CONT });
            client.is_paused = pauses;
        }
    }

    /// Lets all end what they have begun.
    pub(crate) fn stop(&mut self, patience: Duration) {
        for at in 0..self.clients.len() {
            self.resume(at);
        }
        for client in &mut self.clients {
            if let Some(child) = &mut client.child {
                drop(child.stdin.take());
            }
        }
        let deadline = Instant::now() + patience;
        for at in 0..self.clients.len() {
            let runs = |client: &mut Client| {
                let child = client.child.as_mut();
                child.is_some_and(|child| matches!(child.try_wait(), Ok(None)))
            };
            while self.clients.get_mut(at).is_some_and(runs) && Instant::now() < deadline {
                thread::sleep(POLL);
            }
            self.kill(at);
        }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        for at in 0..self.clients.len() {
            self.kill(at);
        }
    }
}

fn start(told: &Told, place: &Place, number: u64, notes: &PathBuf) -> Result<Child, Error> {
    let program = std::env::current_exe().map_err(Error::io("this program"))?;
    let mut command = brink_engines::command_in(&place.enter, program);
    command.arg("client").args(["--node", place.node.as_str()]);
    if let Some(directory) = &place.directory {
        command.arg("--directory").arg(directory);
    }
    for contact in &place.contact {
        command.args(["--contact", contact]);
    }
    command.args(["--keyspace", &place.keyspace]);
    command.args(["--replicas", &place.replicas.to_string()]);
    if let Some(flaw) = told.flaw {
        command.args(["--flaw", flaw.name()]);
    }
    for (name, value) in [
        ("--seed", told.seed),
        ("--number", number),
        ("--tasks", told.tasks),
        ("--partitions", told.partitions),
        ("--began-ns", told.began_ns),
        ("--slice-ms", told.slice_ms),
    ] {
        command.args([name, &value.to_string()]);
    }
    command.arg("--notes").arg(notes);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    // A client that does not get at its store says so and is started again: only its end counts.
    let log = notes.with_extension("log");
    let log = std::fs::File::create(log).map_err(Error::io("a client's log"))?;
    command.stderr(log);
    command.spawn().map_err(Error::io("a client"))
}
