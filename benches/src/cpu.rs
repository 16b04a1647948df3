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
}
