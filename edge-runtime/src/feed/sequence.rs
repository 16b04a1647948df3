//! Whether a change is the next one of its origin. Pure.

use brink_protocol::{OriginId, Position, change::Change};

/// What to do with a change that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// It is the next one of its origin.
    Apply,
    /// It was applied before.
    Repeat,
    /// One before it is missing: nothing that follows may be applied.
    Gap {
        /// Whose.
        origin: OriginId,
        /// The sequence that should have come.
        expected: u64,
    },
}

/// Compares `change` with what was `applied`.
#[must_use]
pub(super) fn step(applied: &Position, change: &Change) -> Step {
    let expected = applied.get(&change.origin) + 1;
    match change.sequence {
        sequence if sequence == expected => Step::Apply,
        sequence if sequence < expected => Step::Repeat,
        _ => Step::Gap {
            origin: change.origin.clone(),
            expected,
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use brink_protocol::change::ChangeKind;

    #[test]
    fn changes_are_applied_once_and_without_gaps() {
        let gap = |origin: &str, expected| Step::Gap {
            origin: origin.parse().unwrap(),
            expected,
        };
        for (applied, origin, sequence, expected) in [
            ("", "a.1", 1, Step::Apply),
            ("", "a.1", 2, gap("a.1", 1)),
            ("a.1=4", "a.1", 5, Step::Apply),
            ("a.1=4", "a.1", 4, Step::Repeat),
            ("a.1=4", "a.1", 1, Step::Repeat),
            ("a.1=4", "a.1", 6, gap("a.1", 5)),
            ("a.1=4", "a.2", 1, Step::Apply),
            ("a.1=4", "b.1", 5, gap("b.1", 1)),
        ] {
            let change = Change {
                origin: origin.parse().unwrap(),
                sequence,
                at_ms: 0,
                kind: ChangeKind::Deployments {
                    revision: 1,
                    tenant: "t".parse().unwrap(),
                    modules: Vec::new(),
                },
            };
            assert_eq!(
                step(&applied.parse().unwrap(), &change),
                expected,
                "{applied} {origin} {sequence}"
            );
        }
    }
}
