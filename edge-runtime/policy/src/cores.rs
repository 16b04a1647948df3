//! Which of several cores an edge uses, and to which it keeps links.
//!
//! Probes measure each core that is linked; requests tell whether it answers. An edge stays with the core that it uses as
//! long as that is usable, unless another is clearly nearer and has been well for a while: going to and fro costs more than
//! some milliseconds do.

use brink_protocol::StoreId;

/// Most cores that an edge knows.
pub const CORES_MAX: usize = 8;
/// Links that are kept at a time.
pub const LINKS: usize = 2;
/// A core that broke off, fell silent or was away is well again after so long, in milliseconds.
pub const SETTLED_MS: u64 = 3_000;
/// How often cores beyond the best two are linked for a moment, one after the other, to be measured, in milliseconds.
pub const EXPLORED_EVERY_MS: u64 = 30_000;
/// Probes that measure a core beyond the best two.
pub const SAMPLES: u32 = 3;
/// Another core is clearly nearer if it saves at least so much, in microseconds, and three tenths.
pub const NEARER_US: u64 = 2_000;
/// A core whose store has not answered it for so long is left for one whose store does, in milliseconds.
pub const STORE_SILENCE_MS_MAX: u64 = 1_000;
/// Answers and failures count half after so long, in milliseconds.
const HALF_LIFE_MS: u64 = 5_000;
/// Failures, as they count now, below which nothing is made of them.
const FAILURES_MIN: u32 = 5;

/// A count that forgets.
#[derive(Debug, Clone, Copy, Default)]
struct Decaying {
    thousandths: u32,
    at_ms: u64,
}

impl Decaying {
    fn get(self, now_ms: u64) -> u32 {
        let halvings = now_ms.saturating_sub(self.at_ms) / HALF_LIFE_MS;
        let halvings = u32::try_from(halvings).unwrap_or(u32::MAX);
        self.thousandths.checked_shr(halvings).unwrap_or(0)
    }

    fn add(&mut self, now_ms: u64) {
        let before = self.get(now_ms);
        if before != self.thousandths || self.thousandths == 0 {
            self.at_ms = now_ms;
        }
        self.thousandths = before.saturating_add(1_000);
    }

    fn take(&mut self) {
        self.thousandths = self.thousandths.saturating_sub(1_000);
    }
}

/// What is known of one core.
#[derive(Debug, Clone, Default)]
struct Core {
    is_linked: bool,
    is_silent: bool,
    is_storeless: bool,
    /// What it has said last; none: nothing.
    store: Option<StoreId>,
    /// Since when it has been linked and heard of; none: it is not.
    well_since_ms: Option<u64>,
    /// Smoothed as TCP's is (RFC 6298 §2).
    round_trip_us: Option<u64>,
    answers: Decaying,
    failures: Decaying,
    /// Attempts to link it that failed, since it was linked last.
    tries: u32,
    /// Probes since it was linked.
    samples: u32,
    /// When it was last measured, or could not be; none: never.
    sampled_at_ms: Option<u64>,
}

impl Core {
    fn is_failing(&self, now_ms: u64) -> bool {
        let failures = self.failures.get(now_ms);
        failures >= FAILURES_MIN * 1_000 && failures > self.answers.get(now_ms)
    }
}

/// How usable a core is, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Linked, and it answers.
    Usable,
    /// Linked, and more requests fail than succeed.
    Failing,
    /// Linked, and its store does not answer it.
    Storeless,
    /// Linked, and a probe waits for its answer for too long.
    Silent,
    /// Not linked, or it has not said yet which store it has while others have.
    Away,
    /// It has another store than the others: it is never used.
    Foreign,
}

/// What an edge is to do. Cores are named by their place in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Choice {
    /// Which core is used; none: none is linked.
    pub used: Option<usize>,
    /// Which is asked when the used one does not answer; none: no other is usable.
    pub second: Option<usize>,
    /// Which cores are to be linked.
    pub linked: Vec<bool>,
    /// Which are silent, or without their store, while another is used: who waits for one of these and may ask again does so
    /// elsewhere.
    pub cut_off: Vec<bool>,
}

/// What is to be shown of a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// How usable it is.
    pub standing: Standing,
    /// Its place, best first, from 0.
    pub rank: usize,
    /// Its smoothed round trip, in microseconds; none: never measured.
    pub round_trip_us: Option<u64>,
}

/// All cores. Times are milliseconds of one clock that never goes back.
#[derive(Debug, Clone)]
pub struct Cores {
    cores: Vec<Core>,
    /// Which store they are to have: what the first has said. It holds as long as any core's last word is that.
    store: Option<StoreId>,
    used: Option<usize>,
    /// The best two, when it was last decided.
    kept: Vec<bool>,
    explored: Option<usize>,
}

impl Cores {
    /// So many, at most [`CORES_MAX`]; none is linked.
    #[must_use]
    pub fn new(count: usize) -> Self {
        let count = count.min(CORES_MAX);
        Self {
            cores: vec![Core::default(); count],
            store: None,
            used: None,
            kept: vec![false; count],
            explored: None,
        }
    }

    fn change(&mut self, core: usize, change: impl FnOnce(&mut Core)) {
        if let Some(core) = self.cores.get_mut(core) {
            change(core);
        }
    }

    /// A core was linked.
    pub fn linked(&mut self, core: usize, now_ms: u64) {
        self.change(core, |core| {
            *core = Core {
                is_linked: true,
                well_since_ms: Some(now_ms),
                round_trip_us: core.round_trip_us,
                sampled_at_ms: core.sampled_at_ms,
                store: core.store,
                ..Core::default()
            };
        });
    }

    /// Its link is gone.
    pub fn lost(&mut self, core: usize, now_ms: u64) {
        self.change(core, |core| {
            core.is_linked = false;
            core.is_silent = false;
            core.is_storeless = false;
            core.well_since_ms = None;
            core.sampled_at_ms = Some(now_ms);
        });
    }

    /// It could not be linked.
    pub fn unreachable(&mut self, core: usize, now_ms: u64) {
        self.lost(core, now_ms);
        self.change(core, |core| core.tries = core.tries.saturating_add(1));
    }

    /// It has answered a probe, after so long.
    pub fn probed(&mut self, core: usize, round_trip_us: u64, now_ms: u64) {
        self.change(core, |core| {
            let smoothed = core.round_trip_us.map_or(round_trip_us, |smoothed| {
                (smoothed.saturating_mul(7).saturating_add(round_trip_us)) / 8
            });
            core.round_trip_us = Some(smoothed);
            core.samples = core.samples.saturating_add(1);
            core.sampled_at_ms = Some(now_ms);
            if core.is_silent {
                core.is_silent = false;
                core.well_since_ms = Some(now_ms);
            }
        });
    }

    /// It has said for how long its store has not answered it.
    pub fn store_silence(&mut self, core: usize, silence_ms: u64, now_ms: u64) {
        self.change(core, |core| {
            let was_storeless = core.is_storeless;
            core.is_storeless = silence_ms > STORE_SILENCE_MS_MAX;
            if was_storeless && !core.is_storeless {
                core.well_since_ms = Some(now_ms);
            }
        });
    }

    /// It has said which store it has. The answer says whether this is news, and another than that of the others: then it
    /// is not used.
    pub fn has_store(&mut self, core: usize, store: StoreId) -> bool {
        let is_news = self.cores.get(core).and_then(|core| core.store) != Some(store);
        self.change(core, |core| core.store = Some(store));
        // All have been given another one, or none has said anything before.
        if self.cores.iter().all(|core| core.store != self.store) || self.store.is_none() {
            self.store = Some(store);
        }
        is_news && self.store != Some(store)
    }

    /// A probe waits for its answer for too long.
    pub fn silent(&mut self, core: usize) {
        self.change(core, |core| {
            core.is_silent = core.is_linked;
            core.well_since_ms = None;
        });
    }

    /// It has answered a request.
    pub fn answered(&mut self, core: usize, now_ms: u64) {
        self.change(core, |core| core.answers.add(now_ms));
    }

    /// It has said of a request that it does not do it now, and another core has done it then: no answer, but a failure.
    pub fn outdone(&mut self, core: usize, now_ms: u64) {
        self.change(core, |core| core.answers.take());
        self.failed(core, now_ms);
    }

    /// It has answered a request with a fault of its own, or broken it off.
    pub fn failed(&mut self, core: usize, now_ms: u64) {
        self.change(core, |core| {
            core.failures.add(now_ms);
            if core.is_failing(now_ms) && core.well_since_ms.is_some() {
                core.well_since_ms = Some(now_ms);
            }
        });
    }

    fn standing(&self, core: usize, now_ms: u64) -> Standing {
        let Some(core) = self.cores.get(core) else {
            return Standing::Away;
        };
        let is_unheard = self.store.is_some() && core.store.is_none() && core.samples == 0;
        if core.store.is_some() && core.store != self.store {
            Standing::Foreign
        } else if !core.is_linked || is_unheard {
            Standing::Away
        } else if core.is_silent {
            Standing::Silent
        } else if core.is_storeless {
            Standing::Storeless
        } else if core.is_failing(now_ms) {
            Standing::Failing
        } else {
            Standing::Usable
        }
    }

    fn round_trip_us(&self, core: usize) -> Option<u64> {
        self.cores.get(core)?.round_trip_us
    }

    /// Best first.
    fn order(&self, now_ms: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.cores.len()).collect();
        order.sort_by_key(|&core| self.key(core, self.round_trip_us(core), now_ms));
        order
    }

    fn key(&self, core: usize, cost: Option<u64>, now_ms: u64) -> (Standing, u32, u64, usize) {
        let tries = self.cores.get(core).map_or(0, |core| core.tries);
        let cost = cost.unwrap_or(u64::MAX);
        (self.standing(core, now_ms), tries, cost, core)
    }

    fn is_settled(&self, core: usize, now_ms: u64) -> bool {
        let since = self.cores.get(core).and_then(|core| core.well_since_ms);
        since.is_some_and(|since| now_ms.saturating_sub(since) >= SETTLED_MS)
    }

    fn is_clearly_nearer(&self, core: usize, than: usize) -> bool {
        let (Some(near), Some(far)) = (self.round_trip_us(core), self.round_trip_us(than)) else {
            return false;
        };
        far.saturating_sub(near) >= NEARER_US && near.saturating_mul(10) <= far.saturating_mul(7)
    }

    fn choose(&self, order: &[usize], now_ms: u64) -> Option<usize> {
        let best = *order.first()?;
        let best_standing = self.standing(best, now_ms);
        if best_standing >= Standing::Away {
            return None;
        }
        let Some(used) = self.used else {
            return Some(best);
        };
        if best_standing < self.standing(used, now_ms) {
            return Some(best);
        }
        // Equal standing: only for one that is worth it.
        let is_worth_it = |&&core: &&usize| {
            self.standing(core, now_ms) == Standing::Usable
                && self.is_settled(core, now_ms)
                && self.is_clearly_nearer(core, used)
        };
        order.iter().find(is_worth_it).copied().or(Some(used))
    }

    /// Which cores are to be linked: all if there are but two; else the best two, the used one and one that is measured.
    fn links(&mut self, used: Option<usize>, now_ms: u64) -> Vec<bool> {
        let count = self.cores.len();
        if count <= LINKS {
            return vec![true; count];
        }
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by_key(|&core| {
            let is_kept = self.kept.get(core).copied().unwrap_or(false);
            let cost = self.round_trip_us(core);
            let cost = cost.map(|cost| {
                if is_kept {
                    cost.saturating_mul(7) / 10
                } else {
                    cost
                }
            });
            // One that was not tried, or only measured, is as good as its last measurement.
            let standing = match self.standing(core, now_ms) {
                Standing::Away => Standing::Usable,
                other => other,
            };
            let (_, tries, cost, core) = self.key(core, cost, now_ms);
            (standing, tries, used != Some(core), cost, core)
        });
        let mut links = vec![false; count];
        for core in order.iter().take(LINKS) {
            mark(&mut links, *core);
        }
        self.kept.clone_from(&links);
        if let Some(used) = used {
            mark(&mut links, used);
        }
        if let Some(explored) = self.explore(&links, now_ms) {
            mark(&mut links, explored);
        }
        links
    }

    /// The one that is measured now, though it is not among those that are linked for good.
    fn explore(&mut self, links: &[bool], now_ms: u64) -> Option<usize> {
        let is_due = |core: &Core| {
            core.sampled_at_ms
                .is_none_or(|at| now_ms.saturating_sub(at) >= EXPLORED_EVERY_MS)
        };
        let is_kept = |core: usize| links.get(core).copied().unwrap_or(false);
        let goes_on = self.explored.filter(|&core| {
            let known = self.cores.get(core);
            !is_kept(core)
                && known.is_some_and(|known| {
                    (known.is_linked && known.samples < SAMPLES) || is_due(known)
                })
        });
        let due = || {
            let others = self.cores.iter().enumerate();
            others
                .filter(|(core, known)| !is_kept(*core) && is_due(known))
                .min_by_key(|(core, known)| (known.sampled_at_ms, *core))
                .map(|(core, _)| core)
        };
        self.explored = goes_on.or_else(due);
        self.explored
    }

    /// What is to be done now. Ask after each event, and a few times a second.
    pub fn decide(&mut self, now_ms: u64) -> Choice {
        let order = self.order(now_ms);
        self.used = self.choose(&order, now_ms);
        let used = self.used;
        let is_usable = |core: usize| self.standing(core, now_ms) == Standing::Usable;
        let second = order
            .iter()
            .copied()
            .find(|&core| Some(core) != used && is_usable(core));
        let used_is_usable = used.is_some_and(is_usable);
        let cut_off = (0..self.cores.len()).map(|core| {
            let standing = self.standing(core, now_ms);
            let is_waited_for = matches!(standing, Standing::Silent | Standing::Storeless);
            is_waited_for && Some(core) != used && used_is_usable
        });
        let cut_off = cut_off.collect();
        Choice {
            used,
            second,
            cut_off,
            linked: self.links(used, now_ms),
        }
    }

    /// What is to be shown of a core.
    #[must_use]
    pub fn measured(&self, core: usize, now_ms: u64) -> Measured {
        let order = self.order(now_ms);
        Measured {
            standing: self.standing(core, now_ms),
            rank: order
                .iter()
                .position(|&other| other == core)
                .unwrap_or(core),
            round_trip_us: self.round_trip_us(core),
        }
    }
}

fn mark(links: &mut [bool], core: usize) {
    if let Some(link) = links.get_mut(core) {
        *link = true;
    }
}

#[cfg(test)]
mod tests;
