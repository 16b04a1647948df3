//! Where a read that may be so stale and no staler is made.

use super::{Home, LEASE};
use brink_protocol::{RegionName, placement::Place};
use std::time::Duration;

/// What a core knows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Knowledge<'a> {
    /// Its region.
    pub(super) own: Option<&'a RegionName>,
    /// Cores of all regions share the database.
    pub(super) is_shared: bool,
    /// A read here sees what any core has acknowledged.
    pub(super) sees_all: bool,
    /// How long ago it knew for certain where partitions belong.
    pub(super) age: Duration,
}

impl Knowledge<'_> {
    /// Where a partition is read; none: the read is made here or nowhere, and this core cannot vouch for it.
    ///
    /// A core vouches for what lies here as of the moment at which it last knew for certain that it is one of those that
    /// are written to: for all of it where it sees all, else for its homes. And it vouches for its homes as of now as
    /// long as nobody can have become their home: a change of that waits for as long as [`LEASE`].
    pub(super) fn reading(&self, place: &Place<'_>, max_staleness: Duration) -> Option<Home> {
        let elsewhere = place.home.filter(|home| self.own != Some(*home));
        if self.is_shared {
            let is_home = elsewhere.is_none() && (place.home.is_some() || self.sees_all);
            let lies_here = is_home || (self.sees_all && !place.is_pinned);
            let is_recent = lies_here && self.age <= max_staleness;
            let is_now = is_home && !place.is_frozen && self.age <= LEASE;
            if is_recent || is_now {
                return Some(Home::Here);
            }
        } else if elsewhere.is_none() {
            // Its own store has all that was ever written to it.
            return Some(Home::Here);
        }
        elsewhere.map(|home| Home::At(home.clone()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_core_answers_for_what_it_can_vouch_for() {
        let (eu, us): (RegionName, RegionName) = ("eu".parse().unwrap(), "us".parse().unwrap());
        let (here, there, nobody) = (Some(Home::Here), Some(Home::At(us.clone())), None);
        // Shared, sees all, age in ms; home, pinned, frozen; bound in ms.
        for (store, place, bound, expected) in [
            ((true, true, 400), (Some(&us), false, false), 500, &here),
            ((true, true, 600), (Some(&us), false, false), 500, &there),
            ((true, true, 400), (Some(&us), true, false), 500, &there),
            ((true, false, 400), (Some(&us), false, false), 500, &there),
            (
                (true, false, 400),
                (Some(&us), false, false),
                86_400_000,
                &there,
            ),
            ((true, false, 4_000), (Some(&eu), false, false), 0, &here),
            ((true, true, 4_000), (Some(&eu), true, false), 0, &here),
            ((true, true, 6_000), (Some(&eu), false, false), 0, &nobody),
            ((true, true, 6_000), (Some(&eu), false, false), 7_000, &here),
            ((true, true, 400), (Some(&eu), false, true), 0, &nobody),
            ((true, true, 400), (Some(&eu), false, true), 500, &here),
            ((true, true, 400), (None, false, false), 0, &here),
            ((true, false, 400), (None, false, false), 500, &nobody),
            ((false, true, 9_000), (Some(&eu), false, false), 0, &here),
            ((false, true, 9_000), (None, false, false), 0, &here),
            (
                (false, true, 0),
                (Some(&us), false, false),
                86_400_000,
                &there,
            ),
        ] {
            let knowledge = Knowledge {
                own: Some(&eu),
                is_shared: store.0,
                sees_all: store.1,
                age: Duration::from_millis(store.2),
            };
            let declared = brink_protocol::placement::PlacementTable::default();
            let partition = brink_protocol::address::PartitionAddress {
                tenant: "default".parse().unwrap(),
                collection: "c".into(),
                partition: "p".into(),
            };
            let place = Place {
                home: place.0,
                is_pinned: place.1,
                is_frozen: place.2,
                ..declared.place(&partition).unwrap()
            };
            let found = knowledge.reading(&place, Duration::from_millis(bound));
            assert_eq!(found, *expected, "{store:?} {place:?} {bound}");
        }
    }
}
