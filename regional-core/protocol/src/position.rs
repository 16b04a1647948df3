//! How far a reader has got in the logs of all origins.

use crate::{Error, OriginId};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// How many origins a position may name, and so how many logs cores may write together. Beyond it, text and messages are
/// refused.
pub const ORIGINS_MAX: usize = 64;
/// Longest name of a core's node, in bytes, with which a session token may name all of [`ORIGINS_MAX`].
pub const NODE_BYTES_MAX: usize = 24;

/// For each origin the sequence number of the last change that was applied; an origin that is not named is at 0.
///
/// Positions form a lattice: [`Position::merge`] is the least upper bound, [`Position::covers`] the order.
#[derive(Clone, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(
    try_from = "BTreeMap<OriginText, u64>",
    into = "BTreeMap<OriginText, u64>"
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = BTreeMap<String, u64>))]
pub struct Position(BTreeMap<OriginId, u64>);

/// An origin as a map key in JSON.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct OriginText(String);

impl Position {
    /// The last sequence applied from `origin`; 0 if none was.
    #[must_use]
    pub fn get(&self, origin: &OriginId) -> u64 {
        self.0.get(origin).copied().unwrap_or(0)
    }

    /// Moves `origin` forward to `sequence`; never backward. Refuses a 65th origin by leaving it out, which can only
    /// make a reader wait or fetch again, never serve what is stale.
    pub fn advance(&mut self, origin: &OriginId, sequence: u64) {
        if let Some(present) = self.0.get_mut(origin) {
            *present = sequence.max(*present);
        } else if sequence > 0 && self.0.len() < ORIGINS_MAX {
            self.0.insert(origin.clone(), sequence);
        }
    }

    /// The least position that covers both.
    pub fn merge(&mut self, other: &Self) {
        for (origin, sequence) in &other.0 {
            self.advance(origin, *sequence);
        }
    }

    /// Whether everything that `other` has seen was seen here too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other
            .0
            .iter()
            .all(|(origin, sequence)| self.get(origin) >= *sequence)
    }

    /// The origins with their sequences, ordered by origin.
    pub fn iter(&self) -> impl Iterator<Item = (&OriginId, u64)> {
        self.0.iter().map(|(origin, sequence)| (origin, *sequence))
    }

    /// Whether nothing was applied at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (origin, sequence)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{origin}={sequence}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{self}]")
    }
}

impl FromStr for Position {
    type Err = Error;

    /// Reads what `Display` writes: `core-1.1=42,core-2.3=7`; empty text is the empty position.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut position = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let wrong = || {
                Error::malformed(
                    "position",
                    "it is written ORIGIN=SEQUENCE[,ORIGIN=SEQUENCE]",
                )
            };
            let (origin, sequence) = part.split_once('=').ok_or_else(wrong)?;
            let origin = origin.trim().parse()?;
            if position.0.len() == ORIGINS_MAX {
                return Err(too_many(ORIGINS_MAX + 1));
            }
            position.advance(&origin, sequence.trim().parse().map_err(|_| wrong())?);
        }
        Ok(position)
    }
}

fn too_many(count: usize) -> Error {
    Error::Limit {
        what: "origins in a position",
        actual: count as u64,
        limit: ORIGINS_MAX as u64,
    }
}

impl TryFrom<BTreeMap<OriginText, u64>> for Position {
    type Error = Error;

    fn try_from(map: BTreeMap<OriginText, u64>) -> Result<Self, Error> {
        if map.len() > ORIGINS_MAX {
            return Err(too_many(map.len()));
        }
        let mut position = Self::default();
        for (origin, sequence) in map {
            position.advance(&origin.0.parse()?, sequence);
        }
        Ok(position)
    }
}

impl From<Position> for BTreeMap<OriginText, u64> {
    fn from(position: Position) -> Self {
        position
            .0
            .into_iter()
            .map(|(origin, sequence)| (OriginText(origin.to_string()), sequence))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn any_position() -> impl Strategy<Value = Position> {
        proptest::collection::vec((0u32..4, 1u64..6), 0..5).prop_map(|steps| {
            let mut position = Position::default();
            for (node, sequence) in steps {
                let origin = OriginId {
                    node: format!("n{node}").parse().unwrap(),
                    incarnation: 1,
                };
                position.advance(&origin, sequence);
            }
            position
        })
    }

    proptest! {
        #[test]
        fn merge_is_the_least_upper_bound(a in any_position(), b in any_position(), c in any_position()) {
            let mut ab = a.clone();
            ab.merge(&b);
            prop_assert!(ab.covers(&a) && ab.covers(&b));
            if c.covers(&a) && c.covers(&b) {
                prop_assert!(c.covers(&ab));
            }
            if a.covers(&b) && b.covers(&a) {
                prop_assert_eq!(&a, &b);
            }
        }

        #[test]
        fn text_json_and_bytes_and_back(a in any_position()) {
            prop_assert_eq!(&a.to_string().parse::<Position>().unwrap(), &a);
            prop_assert_eq!(&serde_json::from_str::<Position>(&serde_json::to_string(&a).unwrap()).unwrap(), &a);
            prop_assert_eq!(&postcard::from_bytes::<Position>(&postcard::to_stdvec(&a).unwrap()).unwrap(), &a);
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,60}") {
            let _ = text.parse::<Position>();
        }
    }

    #[test]
    fn too_many_origins_are_refused() {
        let text: Vec<_> = (0..=ORIGINS_MAX).map(|n| format!("n{n}.1=1")).collect();
        assert!(text.join(",").parse::<Position>().is_err());
    }
}
