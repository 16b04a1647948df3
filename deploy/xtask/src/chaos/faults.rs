//! What goes wrong, when, and for how long: all from a seed.

use super::network::{CORE, POPS};
use crate::seed::chance::Chance;
use std::fmt;

/// Longest time between the beginnings of two faults, in milliseconds.
const PAUSE_MS_MAX: u64 = 3_500;
/// Shortest fault, in milliseconds.
const FAULT_MS_MIN: u64 = 200;
/// Longest fault, in milliseconds: longer than three leases.
const FAULT_MS_MAX: u64 = 7_000;

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing passes between the core and a PoP.
    Cut(&'static str),
    /// Nothing passes from the core to a PoP; the other way is open.
    CutFromCore(&'static str),
    /// Nothing passes from a PoP to the core.
    CutToCore(&'static str),
    /// The way is so many milliseconds slower.
    Slow(&'static str, u64),
    /// So many packets of a hundred are lost.
    Lossy(&'static str, u64),
    /// The program is killed, and started again afterwards.
    Kill(&'static str),
    /// The program stands still.
    Hold(&'static str),
}

impl Fault {
    /// The PoP, or the core, that it happens to. One at a time for each.
    pub(super) fn subject(self) -> &'static str {
        match self {
            Self::Cut(name)
            | Self::CutFromCore(name)
            | Self::CutToCore(name)
            | Self::Slow(name, _)
            | Self::Lossy(name, _)
            | Self::Kill(name)
            | Self::Hold(name) => name,
        }
    }

    /// Its kind, for counts.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Cut(_) => "cut",
            Self::CutFromCore(_) | Self::CutToCore(_) => "one-way cut",
            Self::Slow(..) => "delay",
            Self::Lossy(..) => "loss",
            Self::Kill(CORE) => "core killed",
            Self::Kill(_) => "PoP killed",
            Self::Hold(CORE) => "core held",
            Self::Hold(_) => "PoP held",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut(pop) => write!(f, "cut core and {pop}"),
            Self::CutFromCore(pop) => write!(f, "cut core to {pop}"),
            Self::CutToCore(pop) => write!(f, "cut {pop} to core"),
            Self::Slow(pop, ms) => write!(f, "{ms} ms more between core and {pop}"),
            Self::Lossy(pop, percent) => write!(f, "{percent} % loss between core and {pop}"),
            Self::Kill(name) => write!(f, "kill {name}"),
            Self::Hold(name) => write!(f, "hold {name}"),
        }
    }
}

/// A fault to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Planned {
    /// Begins so long after the one before began, in milliseconds.
    pub(super) pause_ms: u64,
    /// Lasts so long, in milliseconds.
    pub(super) lasts_ms: u64,
    /// What happens.
    pub(super) fault: Fault,
}

/// The faults of a seed, without end.
#[derive(Debug)]
pub(super) struct Faults(Chance);

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        Self(Chance::new(seed))
    }
}

impl Iterator for Faults {
    type Item = Planned;

    fn next(&mut self) -> Option<Planned> {
        let chance = &mut self.0;
        let (pop, _) = *chance.pick(&POPS);
        let fault = match chance.below(16) {
            0..3 => Fault::Cut(pop),
            3 => Fault::CutFromCore(pop),
            4 => Fault::CutToCore(pop),
            5..7 => Fault::Slow(pop, 20 + chance.below(400)),
            7..9 => Fault::Lossy(pop, 1 + chance.below(15)),
            9..12 => Fault::Kill(pop),
            12..14 => Fault::Kill(CORE),
            14 => Fault::Hold(pop),
            _ => Fault::Hold(CORE),
        };
        Some(Planned {
            pause_ms: chance.below(PAUSE_MS_MAX),
            lasts_ms: FAULT_MS_MIN + chance.below(FAULT_MS_MAX - FAULT_MS_MIN),
            fault,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_seed_says_it_all_and_nothing_is_left_out() {
        let some = |seed| Faults::new(seed).take(300).collect::<Vec<_>>();
        assert_eq!(some(1), some(1));
        assert_ne!(some(1), some(2));
        let kinds: BTreeSet<_> = some(1).iter().map(|planned| planned.fault.kind()).collect();
        assert_eq!(kinds.len(), 8, "{kinds:?}");
        assert!(
            some(3)
                .iter()
                .all(|planned| planned.lasts_ms < FAULT_MS_MAX)
        );
    }
}
