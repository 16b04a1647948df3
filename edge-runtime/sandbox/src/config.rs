//! Configuration of the sandbox.

use crate::Error;
use serde::Deserialize;
use std::path::PathBuf;

/// Most instances that a sandbox can be configured for.
pub const INSTANCES_MAX: u32 = 10_000;
/// Largest linear memory that any module can be given, in bytes (4 GiB: that of 32-bit WebAssembly).
pub const MEMORY_BYTES_MAX: u64 = 4 << 30;

/// Configuration of the sandbox. Every key has a default.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where compiled components are kept, in files of mode 0600 in a directory of mode 0700. None (the default): they
    /// are compiled at each start.
    pub cache_dir: Option<PathBuf>,
    /// Instances alive at a time, running or idle, over all components. 1 to [`INSTANCES_MAX`]. Default 1000. Each one
    /// reserves 4 GiB of address space twice, and no memory.
    pub instances_max: u32,
    /// Ceiling of every module's linear memory in bytes, whatever its deployment says. 64 KiB to [`MEMORY_BYTES_MAX`].
    /// Default 512 MiB.
    pub memory_bytes_max: u64,
    /// How long an idle instance is kept for reuse, in milliseconds. Default 10,000.
    pub idle_ms_max: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cache_dir: None,
            instances_max: 1000,
            memory_bytes_max: 512 << 20,
            idle_ms_max: 10_000,
        }
    }
}

impl Config {
    /// Checks every value.
    ///
    /// # Errors
    /// All values that are not allowed.
    pub fn check(&self) -> Result<(), Error> {
        let mut mistakes = Vec::new();
        if !(1..=INSTANCES_MAX).contains(&self.instances_max) {
            mistakes.push(format!(
                "instances_max is {}, it must be 1 to {INSTANCES_MAX}",
                self.instances_max
            ));
        }
        if !(1 << 16..=MEMORY_BYTES_MAX).contains(&self.memory_bytes_max) {
            mistakes.push(format!(
                "memory_bytes_max is {}, it must be 65536 to {MEMORY_BYTES_MAX}",
                self.memory_bytes_max
            ));
        }
        if mistakes.is_empty() {
            Ok(())
        } else {
            Err(Error::Config(mistakes.join("; ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let with = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.check().is_ok()
        };
        assert!(with(|_| {}));
        assert!(with(|c| c.instances_max = 1));
        assert!(!with(|c| c.instances_max = 0));
        assert!(!with(|c| c.instances_max = 10_001));
        assert!(!with(|c| c.memory_bytes_max = 65_535));
        assert!(with(|c| c.memory_bytes_max = 4 << 30));
        assert!(!with(|c| c.memory_bytes_max = (4 << 30) + 1));
    }
}
