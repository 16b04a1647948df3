//! The configuration of workflows.

use serde::Deserialize;

/// `[workflows]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkflowsConfig {
    /// How long a workflow is kept after its end, in milliseconds, 60,000 (a minute) to 31,622,400,000 (366 days). So long its
    /// id starts nothing new. Default 2,592,000,000 (30 days).
    pub retention_ms: u64,
    /// How many workflows of one tenant may be open: under way, waiting or standing still, 1 to 100,000. Beyond, none is started.
    /// Default 10,000.
    pub open_max: u32,
}

impl Default for WorkflowsConfig {
    fn default() -> Self {
        Self {
            retention_ms: 30 * 24 * 3600 * 1000,
            open_max: 10_000,
        }
    }
}

impl WorkflowsConfig {
    /// Whether it is one that may be.
    #[must_use]
    pub fn is_valid(self) -> bool {
        (60_000..=366 * 24 * 3600 * 1000).contains(&self.retention_ms)
            && (1..=100_000).contains(&self.open_max)
    }
}
