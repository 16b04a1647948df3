//! `[projections]`

use serde::Deserialize;

/// `[projections]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProjectionsConfig {
    /// How often an event is tried before it is put among the dead letters, 1 to 100. Waits between grow from a tenth of a
    /// second to a minute. Default 8 (13 seconds at most).
    pub attempts_max: u32,
}

impl Default for ProjectionsConfig {
    fn default() -> Self {
        Self { attempts_max: 8 }
    }
}

impl ProjectionsConfig {
    /// Whether it is one that may be.
    #[must_use]
    pub fn is_valid(self) -> bool {
        (1..=100).contains(&self.attempts_max)
    }
}
