//! Memory and tables of one instance.

use wasmtime::ResourceLimiter;

/// Most elements of one table.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 100_000;
/// Most core instances, tables and memories of one component instance. What `componentize-py` makes has about thirty.
pub(crate) const CORE_INSTANCES_MAX: u32 = 100;
/// Most tables of one component instance.
pub(crate) const TABLES_MAX: u32 = 50;
/// Most memories of one component instance.
pub(crate) const MEMORIES_MAX: u32 = 4;

/// Holds an instance's memories together to one limit, and notes that it refused.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    /// Bytes of all memories together.
    pub(crate) memory_bytes_max: u64,
    memory_bytes: u64,
    /// More memory was asked for than the limit, in the present run.
    pub(crate) refused: bool,
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let growth = desired.saturating_sub(current) as u64;
        let total = self.memory_bytes.saturating_add(growth);
        if total > self.memory_bytes_max {
            self.refused = true;
            return Ok(false);
        }
        self.memory_bytes = total;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= maximum.unwrap_or(usize::MAX).min(TABLE_ELEMENTS_MAX))
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_MAX as usize
    }

    fn tables(&self) -> usize {
        TABLES_MAX as usize
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX as usize
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn memories_together() {
        let mut limiter = Limiter {
            memory_bytes_max: 100,
            ..Limiter::default()
        };
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(!limiter.memory_growing(0, 50, Some(40)).unwrap());
        assert!(!limiter.refused, "its own maximum is not ours");
        assert!(limiter.memory_growing(0, 40, None).unwrap());
        assert!(!limiter.memory_growing(60, 61, None).unwrap());
        assert!(limiter.refused);
    }

    #[test]
    fn tables() {
        let mut limiter = Limiter::default();
        assert!(limiter.table_growing(0, 100_000, None).unwrap());
        assert!(!limiter.table_growing(0, 100_001, None).unwrap());
        assert!(!limiter.table_growing(0, 11, Some(10)).unwrap());
    }
}
