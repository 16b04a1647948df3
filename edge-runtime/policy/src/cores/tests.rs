//! Tables of what happens to cores, and a seeded simulation of cores that come and go.
#![allow(clippy::indexing_slicing)]
use super::*;

/// What happens to core number n at a time.
#[derive(Debug, Clone, Copy)]
enum Event {
    Linked,
    Lost,
    Unreachable,
    Probed(u64),
    Silent,
    Answered(u32),
    Failed(u32),
    /// Another core did what it has answered that it does not do now.
    Outdone(u32),
    /// For how long its store has not answered it.
    StoreSilent(u64),
    /// Which store it has.
    Store(u8),
}
use Event::{
    Answered, Failed, Linked, Lost, Outdone, Probed, Silent, Store, StoreSilent, Unreachable,
};

fn happen(cores: &mut Cores, now_ms: u64, core: usize, event: Event) -> Choice {
    match event {
        Linked => cores.linked(core, now_ms),
        Lost => cores.lost(core, now_ms),
        Unreachable => cores.unreachable(core, now_ms),
        Probed(us) => (0..30).for_each(|_| cores.probed(core, us, now_ms)),
        Silent => cores.silent(core),
        Answered(times) => (0..times).for_each(|_| cores.answered(core, now_ms)),
        Failed(times) => (0..times).for_each(|_| cores.failed(core, now_ms)),
        Outdone(times) => (0..times).for_each(|_| {
            cores.answered(core, now_ms);
            cores.outdone(core, now_ms);
        }),
        StoreSilent(ms) => cores.store_silence(core, ms, now_ms),
        Store(id) => {
            cores.has_store(core, StoreId::new([id; 16]));
        }
    }
    cores.decide(now_ms)
}

/// One story: what happens when, and which cores are used and second then.
type Story = &'static [(u64, usize, Event, Option<usize>, Option<usize>)];

const BOTH: &[(u64, usize, Event)] = &[(0, 0, Linked), (0, 0, Probed(1_000)), (0, 1, Linked)];

#[test]
fn of_two_the_one_that_answers_is_used_and_change_is_rare() {
    let stories: &[Story] = &[
        // The first that is linked is used; the other is second.
        &[
            (0, 1, Linked, Some(1), None),
            (5, 0, Linked, Some(1), Some(0)),
        ],
        // A broken link is left at once; its core is not gone back to though it comes back.
        &[
            (0, 1, Probed(1_000), Some(0), Some(1)),
            (9, 0, Lost, Some(1), None),
            (20, 0, Unreachable, Some(1), None),
            (30, 0, Linked, Some(1), Some(0)),
            (99_999, 0, Probed(900), Some(1), Some(0)),
        ],
        // A silent core is left; if there is no other that answers, it is stayed with.
        &[
            (0, 1, Probed(1_000), Some(0), Some(1)),
            (9, 0, Silent, Some(1), None),
            (10, 1, Silent, Some(1), None),
            (11, 0, Probed(1_000), Some(0), None),
            (12, 1, Lost, Some(0), None),
            (13, 0, Silent, Some(0), None),
            (14, 0, Lost, None, None),
        ],
        // Clearly nearer, and well for three seconds.
        &[
            (10, 0, Probed(30_000), Some(0), Some(1)),
            (20, 1, Probed(5_000), Some(0), Some(1)),
            (2_999, 1, Probed(5_000), Some(0), Some(1)),
            (3_000, 1, Probed(5_000), Some(1), Some(0)),
        ],
        // Nearer, but not clearly: by share, by time.
        &[
            (10, 0, Probed(30_000), Some(0), Some(1)),
            (9_000, 1, Probed(24_000), Some(0), Some(1)),
        ],
        &[
            (10, 0, Probed(2_500), Some(0), Some(1)),
            (9_000, 1, Probed(700), Some(0), Some(1)),
        ],
        // A few failures are nothing; many are, unless more is answered; they are forgotten.
        &[
            (10, 0, Failed(4), Some(0), Some(1)),
            (11, 0, Failed(1), Some(1), None),
            (12, 0, Answered(6), Some(1), Some(0)),
            (13, 1, Failed(50), Some(0), None),
            (14, 0, Lost, Some(1), None),
            (15, 0, Linked, Some(0), None),
            (30_000, 1, Answered(0), Some(0), Some(1)),
        ],
        // What others do instead is no answer.
        &[
            (10, 0, Outdone(4), Some(0), Some(1)),
            (11, 0, Outdone(1), Some(1), None),
        ],
        // One without its store is left, and gone back to when it is nearer and has had it for three seconds; where no store
        // answers, nobody moves.
        &[
            (10, 0, StoreSilent(STORE_SILENCE_MS_MAX), Some(0), Some(1)),
            (11, 1, Probed(9_000), Some(0), Some(1)),
            (12, 0, StoreSilent(STORE_SILENCE_MS_MAX + 1), Some(1), None),
            (13, 1, StoreSilent(9_999), Some(1), None),
            (5_000, 0, StoreSilent(0), Some(0), None),
            (5_001, 1, StoreSilent(0), Some(0), Some(1)),
            (5_002, 0, StoreSilent(9_999), Some(1), None),
            (9_000, 0, StoreSilent(0), Some(1), Some(0)),
            (11_999, 0, Answered(1), Some(1), Some(0)),
            (12_000, 0, Answered(1), Some(0), Some(1)),
        ],
        // Who has failed again has not been well since before.
        &[
            (10, 1, Probed(9_000), Some(0), Some(1)),
            (20, 0, Failed(20), Some(1), None),
            (4_000, 0, Failed(20), Some(1), None),
            (4_001, 0, Answered(99), Some(1), Some(0)),
            (6_999, 0, Answered(99), Some(1), Some(0)),
            (7_000, 0, Answered(99), Some(0), Some(1)),
        ],
        // One that has another store is never used, not even alone; until it says which it has, neither.
        &[
            (10, 0, Store(1), Some(0), None),
            (11, 1, Probed(500), Some(0), Some(1)),
            (12, 1, Store(2), Some(0), None),
            (13, 0, Lost, None, None),
            (14, 1, Probed(500), None, None),
            (15, 1, Lost, None, None),
            (16, 1, Linked, None, None),
            (17, 0, Linked, Some(0), None),
            // Both have been given another one, the last of them too.
            (18, 0, Store(2), Some(0), Some(1)),
            (19, 1, Store(1), Some(0), None),
        ],
    ];
    for (number, story) in stories.iter().enumerate() {
        let mut cores = Cores::new(2);
        if number > 0 {
            for (at, core, event) in BOTH {
                happen(&mut cores, *at, *core, *event);
            }
        }
        for (now_ms, core, event, used, second) in *story {
            let choice = happen(&mut cores, *now_ms, *core, *event);
            let found = (choice.used, choice.second);
            assert_eq!(
                found,
                (*used, *second),
                "story {number} at {now_ms}: {event:?}"
            );
            assert_eq!(choice.linked, [true, true], "both are always linked");
        }
    }
}

#[test]
fn who_waits_for_a_silent_core_is_cut_off_only_for_one_that_answers() {
    let mut cores = Cores::new(2);
    for (at, core, event) in BOTH {
        happen(&mut cores, *at, *core, *event);
    }
    for (core, event, cut_off) in [
        (0, Silent, [true, false]),
        (1, Silent, [false, false]),
        (1, Probed(1_000), [true, false]),
        (0, Probed(1_000), [false, false]),
        (1, StoreSilent(9_999), [false, true]),
        (0, StoreSilent(9_999), [false, false]),
        (1, StoreSilent(0), [true, false]),
        (0, Lost, [false, false]),
    ] {
        let choice = happen(&mut cores, 50, core, event);
        assert_eq!(choice.cut_off, cut_off, "{core} {event:?}");
    }
}

#[test]
fn one_core_is_always_used() {
    let mut cores = Cores::new(1);
    for (event, used) in [
        (Linked, Some(0)),
        (Silent, Some(0)),
        (Failed(100), Some(0)),
        (Lost, None),
    ] {
        let choice = happen(&mut cores, 1, 0, event);
        assert_eq!((choice.used, choice.second), (used, None), "{event:?}");
        assert_eq!((choice.linked, choice.cut_off), (vec![true], vec![false]));
    }
    assert_eq!(Cores::new(0).decide(0), Choice::default());
    assert_eq!(Cores::new(99).decide(0).linked.len(), CORES_MAX);
}

#[test]
fn ranks_are_shown() {
    let mut cores = Cores::new(3);
    happen(&mut cores, 0, 2, Linked);
    happen(&mut cores, 0, 2, Probed(700));
    happen(&mut cores, 0, 1, Linked);
    let shown = |core| {
        let measured = cores.measured(core, 1);
        (measured.standing, measured.rank, measured.round_trip_us)
    };
    assert_eq!(shown(2), (Standing::Usable, 0, Some(700)));
    assert_eq!(shown(1), (Standing::Usable, 1, None));
    assert_eq!(shown(0), (Standing::Away, 2, None));
}

/// Numbers that look random.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Up,
    Frozen,
    Down,
}

/// Cores that come and go, and the shell around the decisions.
struct World {
    chance: Chance,
    cores: Cores,
    round_trips_us: Vec<u64>,
    states: Vec<State>,
    linked: Vec<bool>,
    moves: u32,
    choice: Choice,
}

const STEP_MS: u64 = 250;

impl World {
    fn new(seed: u64) -> Self {
        let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let count = 1 + usize::try_from(chance.below(5)).unwrap_or(0);
        let round_trips_us = (0..count).map(|_| 300 + chance.below(200_000)).collect();
        let mut cores = Cores::new(count);
        Self {
            choice: cores.decide(0),
            cores,
            round_trips_us,
            states: vec![State::Up; count],
            linked: vec![false; count],
            moves: 0,
            chance,
        }
    }

    fn step(&mut self, now_ms: u64, with_faults: bool) {
        for core in 0..self.states.len() {
            if with_faults && self.chance.below(40) == 0 {
                let states = [State::Up, State::Frozen, State::Down];
                let drawn = usize::try_from(self.chance.below(3)).unwrap_or(0);
                self.states[core] = states[drawn];
            }
            let (wanted, state) = (self.choice.linked[core], self.states[core]);
            match (self.linked[core], wanted, state) {
                (true, false, _) | (true, _, State::Down) => {
                    self.linked[core] = false;
                    self.cores.lost(core, now_ms);
                }
                (true, true, State::Frozen) => self.cores.silent(core),
                (true, true, State::Up) => {
                    let around = self.round_trips_us[core];
                    let noise = self.chance.below(around / 5 + 1);
                    self.cores.probed(core, around + noise, now_ms);
                    self.cores.answered(core, now_ms);
                }
                (false, true, State::Up) => {
                    self.linked[core] = true;
                    self.cores.linked(core, now_ms);
                }
                (false, true, State::Frozen | State::Down) => {
                    self.cores.unreachable(core, now_ms);
                }
                (false, false, _) => {}
            }
        }
        let before = self.choice.used;
        self.choice = self.cores.decide(now_ms);
        self.moves += u32::from(before != self.choice.used);
    }

    fn is_good(&self, core: usize) -> bool {
        self.linked[core] && self.states[core] == State::Up
    }

    /// What must hold at every moment.
    fn check(&self, what: &str) {
        let all = 0..self.states.len();
        let links = self.choice.linked.iter().filter(|wanted| **wanted).count();
        assert!(links <= LINKS + 2, "{what}: {links} links");
        match self.choice.used {
            None => assert!(!all.clone().any(|core| self.linked[core]), "{what}"),
            Some(used) => {
                assert!(self.linked[used], "{what}: {used} is not linked");
                let other = all.clone().find(|&core| self.is_good(core));
                assert!(
                    self.is_good(used) || other.is_none(),
                    "{what}: {used}, not {other:?}"
                );
            }
        }
        for core in all {
            let is_cut_off = self.choice.cut_off[core];
            assert!(
                !is_cut_off || self.choice.used.is_some_and(|used| self.is_good(used)),
                "{what}"
            );
        }
    }
}

#[test]
fn whatever_happens_a_core_that_answers_is_used_and_at_last_the_nearest() {
    for seed in 1..=300 {
        let mut world = World::new(seed);
        let mut now_ms = 0;
        for _ in 0..600 {
            now_ms += STEP_MS;
            world.step(now_ms, true);
            world.check(&format!("seed {seed} at {now_ms}"));
        }
        world.states.fill(State::Up);
        for _ in 0..1_200 {
            now_ms += STEP_MS;
            world.step(now_ms, false);
        }
        let used = world.choice.used.unwrap_or(usize::MAX);
        let nearest = world.round_trips_us.iter().min().copied().unwrap_or(0);
        let taken = world.round_trips_us.get(used).copied().unwrap_or(u64::MAX);
        // Noise is a fifth, and three tenths are not worth a move.
        let most = nearest * 2 + 2 * NEARER_US;
        assert!(
            taken <= most,
            "seed {seed}: {taken}, the nearest is {nearest}"
        );
        let before = world.moves;
        for _ in 0..1_200 {
            now_ms += STEP_MS;
            world.step(now_ms, false);
        }
        // One that lies at the bound may be left once more, and is not gone back to.
        assert!(world.moves <= before + 1, "seed {seed}: it goes to and fro");
    }
}
