//! When those who wait for one fill share its failure, instead of trying one after the other.

/// So many fills of a key that fail in a row are waited for; then the failure is everybody's who waits.
pub const FAILURES_MAX: u32 = 2;
/// Fills fail in a row that fail within so many milliseconds of each other.
const ROW_MS_MAX: u64 = 1_000;

/// Fills of one key that failed in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failures {
    count: u32,
    last_ms: u64,
}

impl Failures {
    /// A fill has failed now, after those of `before`.
    #[must_use]
    pub fn after(before: Option<Self>, now_ms: u64) -> Self {
        let count = match before {
            Some(before) if now_ms.saturating_sub(before.last_ms) <= ROW_MS_MAX => before.count,
            Some(_) | None => 0,
        };
        Self {
            count: count.saturating_add(1),
            last_ms: now_ms,
        }
    }

    /// Whether all are told who waited for the last one.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.count >= FAILURES_MAX
    }

    /// Whether one is told that began to wait at `since_ms`, and was not there when the last one ended: it was among those for
    /// whom it was tried again.
    #[must_use]
    pub fn is_shared_by(&self, since_ms: u64) -> bool {
        self.is_final() && since_ms <= self.last_ms
    }

    /// Whether nobody who waits can have to do with it any more, `wait_ms` being how long one may wait.
    #[must_use]
    pub fn is_past(&self, wait_ms: u64, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.last_ms) > wait_ms.max(ROW_MS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_failure_in_a_row_is_shared() {
        for (failed_at, is_final) in [
            (&[0][..], false),
            (&[0, 1], true),
            (&[0, 1_000], true),
            (&[0, 1_001], false),
            (&[0, 1_001, 1_002], true),
            (&[0, 900, 1_800, 2_700], true),
        ] {
            let failures = failed_at
                .iter()
                .fold(None, |before, at| Some(Failures::after(before, *at)));
            assert_eq!(
                failures.map(|f| f.is_final()),
                Some(is_final),
                "{failed_at:?}"
            );
        }
    }

    #[test]
    fn who_came_later_tries_for_itself() {
        let failures = Failures::after(Some(Failures::after(None, 5)), 10);
        for (since_ms, is_shared) in [(0, true), (7, true), (10, true), (11, false)] {
            assert_eq!(failures.is_shared_by(since_ms), is_shared, "{since_ms}");
        }
        assert!(!failures.is_past(60_000, 60_010));
        assert!(failures.is_past(60_000, 60_011));
        assert!(!failures.is_past(0, 1_010));
    }
}
