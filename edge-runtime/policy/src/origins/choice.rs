//! In which order the origins of a route are asked.

use brink_protocol::origins::Choice;

/// How an origin stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is well.
    Well,
    /// Its breaker lets a trial through.
    Trial,
    /// Its breaker is open.
    Resting,
    /// Health checks say that it is down.
    Down,
}

/// One origin.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// How it stands.
    pub standing: Standing,
    /// Its share; at least 1.
    pub weight: u32,
    /// Requests in flight.
    pub in_flight: u32,
}

impl Candidate {
    fn is_well(&self) -> bool {
        self.standing == Standing::Well
    }

    /// Less is better. All are alike that have nothing to do: then the weights alone decide.
    fn load(&self) -> u64 {
        u64::from(self.in_flight) * 1_000 / u64::from(self.weight.max(1))
    }
}

/// The places of those that may be asked, first to last; empty: none may be. A request that can be repeated is a trial before
/// it goes to those that are well; one that cannot be, only where there is nobody else.
#[must_use]
pub fn order(
    choice: Choice,
    candidates: &[Candidate],
    is_repeatable: bool,
    chance: u64,
) -> Vec<usize> {
    let of = |standing: Standing| {
        let places = candidates.iter().enumerate();
        places.filter_map(move |(at, c)| (c.standing == standing).then_some(at))
    };
    let mut well: Vec<usize> = of(Standing::Well).collect();
    let trials = of(Standing::Trial);
    match choice {
        Choice::Failover => {
            let mut places = well;
            let is_well = !places.is_empty();
            places.extend(trials);
            if is_repeatable || !is_well {
                places.sort_unstable();
            }
            places
        }
        Choice::Spread => {
            let load = |at: &usize| candidates.get(*at).map_or(u64::MAX, Candidate::load);
            well.sort_by_key(load);
            if let Some(first) = drawn(candidates, chance) {
                well.retain(|at| *at != first);
                well.insert(0, first);
            }
            // One request in as many as there are origins: enough to learn, and few wait for it.
            let is_its_turn = chance
                .rotate_left(32)
                .is_multiple_of(candidates.len().max(1) as u64);
            let trials: Vec<usize> = trials.collect();
            match is_repeatable && is_its_turn {
                true => trials.into_iter().chain(well).collect(),
                false => well.into_iter().chain(trials).collect(),
            }
        }
    }
}

/// Draws two that are well by weight, and takes the one with less to do.
fn drawn(candidates: &[Candidate], chance: u64) -> Option<usize> {
    let draw = |chance: u64, without: Option<usize>| {
        let well = || {
            let places = candidates.iter().enumerate();
            places.filter(move |(at, c)| c.is_well() && Some(*at) != without)
        };
        let all: u64 = well().map(|(_, c)| u64::from(c.weight.max(1))).sum();
        let mut left = chance.checked_rem(all)?;
        for (at, candidate) in well() {
            let weight = u64::from(candidate.weight.max(1));
            if left < weight {
                return Some((at, candidate.load()));
            }
            left -= weight;
        }
        None
    };
    let (first, load) = draw(chance >> 32, None)?;
    match draw(chance & u64::from(u32::MAX), Some(first)) {
        Some((second, less)) if less < load => Some(second),
        _ => Some(first),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn candidates(standings: &str) -> Vec<Candidate> {
        let standing = |c| match c {
            'w' => Standing::Well,
            't' => Standing::Trial,
            'r' => Standing::Resting,
            _ => Standing::Down,
        };
        let one = |c| Candidate {
            standing: standing(c),
            weight: 1,
            in_flight: 0,
        };
        standings.chars().map(one).collect()
    }

    #[test]
    fn failover_goes_by_the_list() {
        for (standings, is_repeatable, expected) in [
            ("www", true, &[0, 1, 2][..]),
            ("dww", true, &[1, 2]),
            ("rdw", true, &[2]),
            ("twt", true, &[0, 1, 2]),
            ("twt", false, &[1, 0, 2]),
            ("tr", false, &[0]),
            ("rd", true, &[]),
            ("", true, &[]),
        ] {
            let order = order(Choice::Failover, &candidates(standings), is_repeatable, 7);
            assert_eq!(order, expected, "{standings}");
        }
    }

    /// A sequence that looks like chance, the same each time.
    fn chances() -> impl Iterator<Item = u64> {
        let mut state = 1u64;
        std::iter::from_fn(move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            Some(mixed ^ (mixed >> 31))
        })
    }

    #[test]
    fn spread_goes_by_weight_and_load() {
        let mut some = candidates("wwwd");
        some[0].weight = 2;
        // Requests that stay: weights are kept to.
        for chance in chances().take(4_000) {
            let order = order(Choice::Spread, &some, true, chance);
            assert_eq!(order.len(), 3);
            some[order[0]].in_flight += 1;
        }
        let in_flight: Vec<u32> = some.iter().map(|c| c.in_flight).collect();
        assert!(in_flight[0].abs_diff(2_000) < 100, "{in_flight:?}");
        assert!(in_flight[1].abs_diff(1_000) < 60, "{in_flight:?}");
        assert_eq!(in_flight[3], 0);
        // Nothing stays: weights are kept to as well.
        let mut idle = candidates("www");
        idle[0].weight = 2;
        let first = chances()
            .take(4_000)
            .map(|c| order(Choice::Spread, &idle, true, c)[0]);
        assert!(first.filter(|at| *at == 0).count().abs_diff(2_000) < 150);
        // One that is busy is asked only if nobody else was drawn.
        let mut busy = candidates("ww");
        busy[0].in_flight = 100;
        assert!(
            chances()
                .take(100)
                .all(|c| order(Choice::Spread, &busy, true, c) == [1, 0])
        );
    }

    #[test]
    fn a_trial_is_not_for_everyone() {
        let some = candidates("tww");
        let first = chances()
            .take(3_000)
            .filter(|c| order(Choice::Spread, &some, true, *c)[0] == 0);
        assert!(first.count().abs_diff(1_000) < 150);
        assert!(
            chances()
                .take(100)
                .all(|c| order(Choice::Spread, &some, false, c)[0] != 0)
        );
        let none = candidates("td");
        assert!(
            chances()
                .take(100)
                .all(|c| order(Choice::Spread, &none, false, c) == [0])
        );
    }
}
