//! A client: a process with a store of its own and some operations at a time, each noted before it begins and after it
//! has ended. It goes on until its standard input ends.

use crate::{
    Error,
    settings::{Client, now_ns},
    subject::Subject,
    work::{self, Next, View},
};
use brink_history::history::{Call, Line, Outcome};
use brink_planet::random::Random;
use std::{
    fs::File,
    io::{Read as _, Write as _},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// How many earlier slices are still read.
const EARLIER_MAX: u64 = 40;
/// How often the number of operations is told.
const TELL: Duration = Duration::from_millis(50);
/// How long a caller that loses patience waits, at most, in milliseconds.
const PATIENCE_MS_MAX: u64 = 12;

/// Writes notes. What was written is there even if the process is killed right after.
pub(crate) struct Notes(Mutex<File>);

impl Notes {
    pub(crate) fn new(file: File) -> Self {
        Self(Mutex::new(file))
    }

    pub(crate) fn write(&self, line: &Line) -> Result<(), Error> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&text).map_err(Error::io("notes"))
    }
}

struct Shared {
    settings: Client,
    subject: Subject,
    notes: Notes,
    count: AtomicU64,
    ended: AtomicU64,
    stops: AtomicBool,
}

pub(crate) fn run(settings: Client) -> Result<(), Error> {
    // However the run ends: also a client that stands still goes with it.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|error| Error::Other(error.to_string()))?;
    let runtime = tokio::runtime::Runtime::new().map_err(Error::io("the runtime"))?;
    let done = runtime.block_on(work(settings));
    // Writes that nobody waits for any more go with the process.
    runtime.shutdown_background();
    done
}

async fn work(settings: Client) -> Result<(), Error> {
    let file = File::create(&settings.notes).map_err(Error::io("notes"))?;
    let notes = Notes::new(file);
    let store = settings.place.open().await?;
    notes.write(&Line::Opened {
        origin: store.origin().clone(),
    })?;
    let shared = Arc::new(Shared {
        subject: Subject::new(store, settings.flaw)?,
        notes,
        count: AtomicU64::new(0),
        ended: AtomicU64::new(0),
        stops: AtomicBool::new(false),
        settings,
    });
    let watched = Arc::clone(&shared);
    // A thread, since reading standard input cannot be given up.
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        watched.stops.store(true, Ordering::SeqCst);
    });
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..shared.settings.tasks {
        let shared = Arc::clone(&shared);
        let seed =
            shared.settings.seed ^ ((number as u64 + 1) << 40) ^ (shared.settings.number << 20);
        tasks.spawn(async move { shared.task(Random::new(seed)).await });
    }
    let mut told = 0;
    let mut tick = tokio::time::interval(TELL);
    loop {
        tokio::select! {
            done = tasks.join_next() => match done {
                None => break,
                Some(Ok(done)) => done?,
                Some(Err(error)) => return Err(Error::Other(error.to_string())),
            },
            _ = tick.tick() => told = shared.tell(told)?,
        }
    }
    shared.tell(told)?;
    Ok(())
}

impl Shared {
    fn tell(&self, told: u64) -> Result<u64, Error> {
        let ended = self.ended.load(Ordering::Relaxed);
        if ended > told {
            let mut out = std::io::stdout();
            writeln!(out, "{}", ended - told).map_err(Error::io("standard output"))?;
        }
        Ok(ended)
    }

    fn id(&self) -> u64 {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        ((self.settings.number + 1) << 32) | count
    }

    fn slice(&self) -> u64 {
        let since = now_ns().saturating_sub(self.settings.began_ns);
        since / (self.settings.slice_ms * 1_000_000)
    }

    async fn task(&self, mut random: Random) -> Result<(), Error> {
        let mut partition = String::new();
        let mut view = View::default();
        while !self.stops.load(Ordering::SeqCst) {
            let slice = self.slice();
            if random.chance(0.05) && slice > 0 {
                // What is over is over.
                let earlier = slice - random.between(1, slice.min(EARLIER_MAX));
                let name = format!("s{earlier}-{}", random.below(self.settings.partitions));
                let call = work::reading(&mut random);
                self.operation(&mut random, self.id(), &name, &call).await?;
                continue;
            }
            let name = format!("s{slice}-{}", random.below(self.settings.partitions));
            if name != partition {
                partition = name;
                view = View::default();
            }
            let id = self.id();
            match work::next(&mut random, &view, id) {
                Next::Call(call) => {
                    let outcome = self.operation(&mut random, id, &partition, &call).await?;
                    work::learn(&mut view, &call, &outcome);
                }
                Next::ReadThen(call, then) => {
                    let read = self.operation(&mut random, id, &partition, &call).await?;
                    work::learn(&mut view, &call, &read);
                    let id = self.id();
                    if let Some(call) = work::follow(&mut random, then, &read, id) {
                        let outcome = self.operation(&mut random, id, &partition, &call).await?;
                        work::learn(&mut view, &call, &outcome);
                    }
                }
            }
        }
        Ok(())
    }

    async fn operation(
        &self,
        random: &mut Random,
        id: u64,
        partition: &str,
        call: &Call,
    ) -> Result<Outcome, Error> {
        self.notes.write(&Line::Called {
            id,
            at_ns: now_ns(),
            partition: partition.to_owned(),
            call: call.clone(),
        })?;
        let doing = self.subject.call(partition, call, random.number());
        let loses_patience = matches!(call, Call::Commit(_)) && random.chance(0.02);
        let outcome = if loses_patience {
            let patience = Duration::from_millis(random.between(0, PATIENCE_MS_MAX));
            let done = tokio::time::timeout(patience, doing).await;
            done.unwrap_or(Outcome::Unknown)
        } else {
            doing.await
        };
        self.notes.write(&Line::Ended {
            id,
            at_ns: now_ns(),
            outcome: outcome.clone(),
        })?;
        self.ended.fetch_add(1, Ordering::Relaxed);
        if outcome == Outcome::Unknown && !loses_patience {
            // Not to note thousands of them while the engine is away.
            tokio::time::sleep(Duration::from_millis(random.between(5, 50))).await;
        }
        Ok(outcome)
    }
}
