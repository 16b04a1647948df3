//! Sort keys and the bounds of ranges, shortened so that what is remembered of each has a fixed size.
//!
//! A key is cut to its first bytes. Cutting keeps the order: of two keys the lesser is never the greater afterwards. So a
//! comparison of cut keys can call a write inside a range that it just misses, and never the reverse.

use brink_protocol::record::{Bound, Range};
use serde::{Deserialize, Serialize};

/// How many bytes of a sort key are kept.
pub const SORT_PREFIX_BYTES: usize = 31;

/// The beginning of a sort key, and whether it is all of it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
pub struct SortKey {
    bytes: [u8; SORT_PREFIX_BYTES],
    /// Of the key; one more than there is room for says that it was cut.
    length: u8,
}

const _: () = assert!(SORT_PREFIX_BYTES < u8::MAX as usize);

impl SortKey {
    /// Cuts a key.
    #[must_use]
    pub fn of(sort: &str) -> Self {
        let mut bytes = [0; SORT_PREFIX_BYTES];
        for (place, byte) in bytes.iter_mut().zip(sort.bytes()) {
            *place = byte;
        }
        let length = u8::try_from(sort.len().min(SORT_PREFIX_BYTES + 1)).unwrap_or(u8::MAX);
        Self { bytes, length }
    }

    fn is_whole(&self) -> bool {
        usize::from(self.length) <= SORT_PREFIX_BYTES
    }

    fn prefix(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.length))
            .unwrap_or(&self.bytes)
    }
}

/// One end of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
enum End {
    Open,
    Inclusive(SortKey),
    Exclusive(SortKey),
}

impl End {
    fn of(bound: &Bound) -> Self {
        match bound {
            Bound::Unbounded => Self::Open,
            Bound::Inclusive(key) => Self::Inclusive(SortKey::of(key)),
            Bound::Exclusive(key) => Self::Exclusive(SortKey::of(key)),
        }
    }
}

/// The bounds of a range of sort keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Bounds {
    lower: End,
    upper: End,
}

impl Bounds {
    /// The bounds of a range; none if it is the whole partition.
    #[must_use]
    pub fn of(range: &Range) -> Option<Self> {
        let (lower, upper) = (End::of(&range.lower), End::of(&range.upper));
        (lower != End::Open || upper != End::Open).then_some(Self { lower, upper })
    }

    /// Whether the key may lie between them. Never wrongly no.
    #[must_use]
    pub fn may_contain(&self, key: &SortKey) -> bool {
        let above = match &self.lower {
            End::Open => true,
            End::Inclusive(low) => key.prefix() >= low.prefix(),
            // Of equal beginnings only two whole keys are known to be equal.
            End::Exclusive(low) if low.is_whole() && key.is_whole() => key.prefix() > low.prefix(),
            End::Exclusive(low) => key.prefix() >= low.prefix(),
        };
        let below = match &self.upper {
            End::Open => true,
            // A key that was cut lies beyond a whole one of the same beginning.
            End::Inclusive(high) if high.is_whole() && !key.is_whole() => {
                key.prefix() < high.prefix()
            }
            End::Inclusive(high) => key.prefix() <= high.prefix(),
            End::Exclusive(high) if high.is_whole() => key.prefix() < high.prefix(),
            End::Exclusive(high) => key.prefix() <= high.prefix(),
        };
        above && below
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn range(lower: Bound, upper: Bound) -> Range {
        Range {
            collection: "c".into(),
            partition: "p".into(),
            lower,
            upper,
            limit: 10,
            descending: false,
        }
    }

    #[test]
    fn short_keys_are_exact() {
        let incl = |key: &str| Bound::Inclusive(key.into());
        let excl = |key: &str| Bound::Exclusive(key.into());
        for (lower, upper) in [
            (incl("b"), excl("d")),
            (excl("b"), incl("d")),
            (Bound::Unbounded, incl("c")),
            (excl(""), Bound::Unbounded),
            (incl("d"), incl("b")),
        ] {
            let range = range(lower, upper);
            let bounds = Bounds::of(&range).unwrap();
            for key in ["", "a", "b", "b\u{1}", "c", "c/d", "d", "d/", "é"] {
                let found = bounds.may_contain(&SortKey::of(key));
                assert_eq!(found, range.contains(key), "{range:?} {key}");
            }
        }
        assert!(Bounds::of(&range(Bound::Unbounded, Bound::Unbounded)).is_none());
    }

    /// Keys that differ within and beyond what is kept of them.
    fn any_key() -> impl Strategy<Value = String> {
        let long = prop_oneof![Just(0usize), Just(1), Just(28), Just(40)];
        (long, "[ab]{0,3}", "[ab]{0,3}")
            .prop_map(|(long, head, tail)| format!("{head}{}{tail}", "x".repeat(long)))
    }

    fn any_bound() -> impl Strategy<Value = Bound> {
        prop_oneof![
            Just(Bound::Unbounded),
            any_key().prop_map(Bound::Inclusive),
            any_key().prop_map(Bound::Exclusive),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn never_wrongly_no(lower in any_bound(), upper in any_bound(), key in any_key()) {
            let range = range(lower, upper);
            let found = Bounds::of(&range).is_none_or(|b| b.may_contain(&SortKey::of(&key)));
            if range.contains(&key) {
                prop_assert!(found);
            }
            let short = |bound: &Bound| match bound {
                Bound::Unbounded => true,
                Bound::Inclusive(k) | Bound::Exclusive(k) => k.len() <= SORT_PREFIX_BYTES,
            };
            if key.len() <= SORT_PREFIX_BYTES && short(&range.lower) && short(&range.upper) {
                prop_assert_eq!(found, range.contains(&key));
            }
        }
    }
}
