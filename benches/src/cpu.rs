//! CPU time of a running process: `proc(5)`, `/proc/PID/stat`.

use anyhow::{Context as _, Result};
use std::time::Duration;

/// Ticks a second of the times in `/proc/PID/stat`. Linux reports them in units of USER_HZ, which is 100 on every
/// architecture that Brink builds for.
const TICKS_PER_SECOND: u64 = 100;

/// User and system time that the process has spent so far, of all its threads.
///
/// # Errors
/// There is no such process, or the file is not what `proc(5)` says.
pub fn spent(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    // The command's name stands in parentheses and may hold anything: fields are counted from behind it.
    let (_, fields) = stat.rsplit_once(')').context("no command in stat")?;
    let mut ticks = fields.split_whitespace().skip(11);
    let mut next = || -> Result<u64> {
        ticks
            .next()
            .context("stat is cut short")?
            .parse()
            .context("ticks")
    };
    let total = next()? + next()?;
    Ok(Duration::from_millis(total * 1000 / TICKS_PER_SECOND))
}

/// What a process and all its descendants have [`spent`] so far. Of those that ended, nothing: servers keep theirs.
///
/// # Errors
/// As [`spent`].
pub fn spent_by_all(pid: u32) -> Result<Duration> {
    descendants(pid)
        .into_iter()
        .try_fold(spent(pid)?, |all, child| Ok(all + spent(child)?))
}

/// The processes that a process has started, and theirs. None if it has ended.
#[must_use]
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut open = vec![pid];
    while let Some(pid) = open.pop() {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
        for task in tasks.into_iter().flatten().flatten() {
            let children = std::fs::read_to_string(task.path().join("children"));
            for child in children.unwrap_or_default().split_whitespace() {
                if let Ok(child) = child.parse() {
                    found.push(child);
                    open.push(child);
                }
            }
        }
    }
    found
}

/// Time that all processors together have not been idle since the machine started: `/proc/stat`.
///
/// # Errors
/// The file is not what `proc(5)` says.
pub fn machine() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let ticks = busy_ticks(&stat).context("no line cpu in /proc/stat")?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// user, nice, system, idle, iowait, irq, softirq, of the first line; what the host took (steal) was nobody's here.
fn busy_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_whitespace();
    let mut next = || fields.next()?.parse::<u64>().ok();
    let running = next()? + next()? + next()?;
    let (_idle, _waiting) = (next()?, next()?);
    Some(running + next()? + next()?)
}

/// Memory of the process that is in RAM, in bytes: `VmRSS` of `/proc/PID/status`.
///
/// # Errors
/// There is no such process, or the file is not what `proc(5)` says.
pub fn resident(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kibibytes
        .with_context(|| path.clone())?
        .trim()
        .parse::<u64>()?
        * 1024)
}

/// CPU time of this process in nanoseconds' resolution: the first field of `/proc/self/schedstat` of each thread.
///
/// # Errors
/// The kernel does not keep these figures.
pub fn precise() -> Result<Duration> {
    let mut nanoseconds = 0u64;
    for task in std::fs::read_dir("/proc/self/task")? {
        // A thread may end between the two calls: it has then no figures any more.
        let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else {
            continue;
        };
        nanoseconds += text
            .split_whitespace()
            .next()
            .context("schedstat is empty")?
            .parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    #[test]
    fn own_time_is_read_and_a_missing_process_is_an_error() {
        let before = super::spent(std::process::id()).unwrap();
        assert!(super::spent(std::process::id()).unwrap() >= before);
        assert!(super::spent(u32::MAX).is_err());
    }

    #[test]
    fn memory_and_the_machines_time_are_read() {
        assert!(super::resident(std::process::id()).unwrap() > 0);
        assert!(super::resident(u32::MAX).is_err());
        assert!(super::machine().is_ok());
        let stat = "cpu  1 2 3 100 100 4 5 100\ncpu0 1 1 1 1 1 1 1\n";
        assert_eq!(super::busy_ticks(stat), Some(15));
        assert_eq!(super::busy_ticks("intr 1"), None);
    }
}
