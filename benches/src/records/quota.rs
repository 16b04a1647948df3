//! A share of the processors: what it costs to have other processes beside one on a machine of its own, shown on one machine.

use anyhow::{Context as _, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// In which the share is given, in microseconds: short, so that a process that has used its share does not pause for long.
const PERIOD_US: u64 = 10_000;
/// Where control groups are, cgroups(7).
const ROOT: &str = "/sys/fs/cgroup";

/// A control group with a share of the processors. Dropped: it is taken away, if nothing runs in it any more.
#[derive(Debug)]
pub(super) struct Quota(PathBuf);

impl Quota {
    /// Lets these processes, all threads of each, have `percent` of one processor.
    ///
    /// # Errors
    /// Control groups cannot be made here: that takes root, and the controller `cpu`.
    pub(super) fn of(processes: &[u32], percent: u32) -> Result<Self> {
        ensure!(percent > 0, "a share of the processors is over 0 %");
        let quota_us = u64::from(percent) * PERIOD_US / 100;
        let name = format!("brink-bench-{}", std::process::id());
        let first = Path::new(ROOT).join("cpu");
        let folder = if first.is_dir() {
            let own = fs::read_to_string("/proc/self/cgroup")?;
            let folder = first.join(below(&own)).join(name);
            make(&folder)?;
            write(&folder, "cpu.cfs_period_us", &PERIOD_US.to_string())?;
            write(&folder, "cpu.cfs_quota_us", &quota_us.to_string())?;
            folder
        } else {
            write(Path::new(ROOT), "cgroup.subtree_control", "+cpu")?;
            let folder = Path::new(ROOT).join(name);
            make(&folder)?;
            write(&folder, "cpu.max", &format!("{quota_us} {PERIOD_US}"))?;
            folder
        };
        for process in processes {
            write(&folder, "cgroup.procs", &process.to_string())?;
        }
        Ok(Self(folder))
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// The group of the first version's controller `cpu` that a process is in, below that controller's root.
fn below(groups: &str) -> &str {
    let mut lines = groups.lines().filter_map(|line| {
        let (_number, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let is_cpu = controllers.split(',').any(|name| name == "cpu");
        is_cpu.then(|| path.trim_start_matches('/'))
    });
    lines.next().unwrap_or_default()
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir(folder).with_context(|| format!("a control group {}", folder.display()))
}

fn write(folder: &Path, file: &str, text: &str) -> Result<()> {
    let file = folder.join(file);
    fs::write(&file, text).with_context(|| format!("{text:?} to {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_found() {
        let groups = "12:pids:/a\n4:cpu,cpuacct:/b/c\n0::/d\n";
        assert_eq!(below(groups), "b/c");
        assert_eq!(below("0::/d\n"), "");
    }
}
