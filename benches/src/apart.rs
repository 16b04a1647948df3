//! A server and its load on processors of their own.
//!
//! In production nobody shares an edge's processors. Here the load generator would: a hit that is interrupted by it waits
//! for its share to end, a thousand times as long as the hit takes. What is measured inside a server is therefore measured
//! with the two apart.

use anyhow::{Context as _, Result, ensure};
use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};

/// Processors that this process may use, in two parts.
pub(crate) struct Apart {
    all: Vec<usize>,
}

impl Apart {
    /// Finds out which there are.
    pub(crate) fn new() -> Result<Self> {
        let set = sched_getaffinity(None)?;
        let all: Vec<_> = (0..CpuSet::MAX_CPU)
            .filter(|cpu| set.is_set(*cpu))
            .collect();
        ensure!(
            all.len() > 1,
            "one processor cannot be shared out: a server and its load need two"
        );
        Ok(Self { all })
    }

    /// The processors of the server: the first half.
    pub(crate) fn of_server(&self) -> &[usize] {
        self.all.get(..self.all.len() / 2).unwrap_or_default()
    }

    /// Runs `start` where what it starts gets the server's processors; from then on this process has the others, and so
    /// has what it starts, until the guard is dropped.
    pub(crate) fn start<T>(self, start: impl FnOnce() -> Result<T>) -> Result<(T, Guard)> {
        move_threads(self.of_server())?;
        let guard = Guard {
            all: self.all.clone(),
        };
        let started = start()?;
        move_threads(self.all.get(self.of_server().len()..).unwrap_or_default())?;
        Ok((started, guard))
    }
}

/// Gives this process all its processors back when it is dropped.
pub(crate) struct Guard {
    all: Vec<usize>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Threads that have ended meanwhile need none.
        let _ = move_threads(&self.all);
    }
}

/// Moves all threads of this process to some processors; threads and processes that they start inherit them.
fn move_threads(cpus: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    cpus.iter().for_each(|cpu| set.set(*cpu));
    for task in std::fs::read_dir("/proc/self/task")? {
        let name = task?.file_name();
        let id = name.to_str().and_then(|name| name.parse().ok());
        let thread = id.and_then(Pid::from_raw).context("a thread's number")?;
        match sched_setaffinity(Some(thread), &set) {
            // It has ended.
            Err(rustix::io::Errno::SRCH) => {}
            done => done.context("which processors a thread may use")?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_started_has_processors_of_its_own() {
        let Ok(apart) = Apart::new() else { return };
        let all = sched_getaffinity(None).unwrap();
        let of_server = apart.of_server().to_vec();
        let shown = || {
            let set = sched_getaffinity(None).unwrap();
            (0..CpuSet::MAX_CPU)
                .filter(|cpu| set.is_set(*cpu))
                .collect::<Vec<_>>()
        };
        let (child, guard) = apart
            .start(|| Ok(std::thread::spawn(shown).join().unwrap()))
            .unwrap();
        assert_eq!(child, of_server);
        assert!(shown().iter().all(|cpu| !of_server.contains(cpu)));
        drop(guard);
        assert_eq!(sched_getaffinity(None).unwrap(), all);
    }
}
