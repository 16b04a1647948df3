//! What happens to clients while they run.

use crate::{Error, processes::Clients};
use brink_planet::random::Random;
use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

const TICK: Duration = Duration::from_millis(20);
/// How long a run may go on without any operation that ends.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often progress is told.
const TELL: Duration = Duration::from_secs(10);
/// Between two faults of clients, in milliseconds.
const BETWEEN_MS: (u64, u64) = (800, 3_500);

/// Faults by kind.
#[derive(Debug, Default)]
pub(crate) struct Counts(pub(crate) BTreeMap<&'static str, u64>);

impl Counts {
    pub(crate) fn add(&mut self, kind: &'static str) {
        *self.0.entry(kind).or_default() += 1;
    }
}

/// Keeps clients at work, and spoils it, until so many operations have ended.
pub(crate) fn run(
    clients: &mut Clients,
    operations: u64,
    seed: u64,
    is_calm: bool,
) -> Result<Counts, Error> {
    let mut random = Random::new(seed ^ 0x636c_6965);
    let mut counts = Counts::default();
    let begun = Instant::now();
    let (mut moved, mut told, mut last) = (begun, begun, 0);
    let mut next = begun + between(&mut random);
    let mut paused: Option<(usize, Instant)> = None;
    let mut start_at = begun;
    loop {
        let now = Instant::now();
        let done = clients.operations();
        if done >= operations {
            return Ok(counts);
        }
        if done > last {
            (last, moved) = (done, now);
        } else if now > moved + PATIENCE {
            return Err(Error::Other("no operation ends any more".to_owned()));
        }
        if now > told + TELL {
            told = now;
            let seconds = begun.elapsed().as_secs();
            println!("{done} of {operations} operations in {seconds} s");
        }
        if now >= start_at {
            clients.start_missing()?;
            start_at = now + Duration::from_millis(200);
        }
        if let Some((at, until)) = paused
            && now >= until
        {
            clients.resume(at);
            paused = None;
        }
        if !is_calm && now >= next && paused.is_none() {
            let at = random.below(clients.count());
            if random.chance(0.6) {
                counts.add("clients killed");
                clients.kill(at);
                start_at = now + Duration::from_millis(random.between(0, 700));
            } else {
                counts.add("clients stopped");
                clients.pause(at);
                let lasts = Duration::from_millis(random.between(50, 4_000));
                paused = Some((at, now + lasts));
            }
            next = Instant::now() + between(&mut random);
        }
        thread::sleep(TICK);
    }
}

fn between(random: &mut Random) -> Duration {
    Duration::from_millis(random.between(BETWEEN_MS.0, BETWEEN_MS.1))
}
