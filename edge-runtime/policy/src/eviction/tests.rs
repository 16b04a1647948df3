//! Bounds, shares, and who stays.
#![allow(clippy::unwrap_used)]

use super::*;
use std::collections::HashMap;

/// A generator of numbers that look random.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % n
    }
}

/// Looks `key` up, and puts it in if it is not there. Gives whether it was.
fn ask(cache: &mut Bounded<u64, u64>, key: u64, weight: usize, share: u64) -> bool {
    let hit = cache.get(key, &key).is_some();
    if !hit {
        cache.insert(key, key, key, weight, share);
    }
    hit
}

#[test]
fn never_over_the_bound_and_never_wrong() {
    for (seed, weight_max) in [(1, 1_000), (2, 100_000), (3, 64), (4, 0)] {
        let (mut chance, mut cache) = (Chance(seed), Bounded::new(weight_max));
        let mut model: HashMap<u64, (u64, usize)> = HashMap::new();
        for value in 0..60_000 {
            let key = chance.below(400);
            match chance.below(8) {
                0 => {
                    let removed = cache.remove_if(key % 300, &key, |_| true);
                    if let Some(value) = removed {
                        assert_eq!(model.remove(&key).unwrap().0, value);
                    } else {
                        assert!(!model.contains_key(&key));
                    }
                }
                1..4 => {
                    let weight = usize::try_from(chance.below(150)).unwrap();
                    let left = cache.insert(key % 300, key, value, weight, key % 3);
                    model.insert(key, (value, weight));
                    model.retain(|_, (value, _)| !left.contains(value));
                }
                _ => {
                    let found = cache.get(key % 300, &key).copied();
                    assert_eq!(found, model.get(&key).map(|(value, _)| *value));
                }
            }
            let weight: usize = model.values().map(|(_, weight)| weight).sum();
            assert_eq!((cache.len(), cache.weight()), (model.len(), weight));
            assert!(weight <= weight_max);
        }
    }
}

#[test]
fn the_newest_is_there_whatever_its_rank() {
    let mut cache = Bounded::new(10_000);
    for key in 0..2_000 {
        ask(&mut cache, key, 100, 0);
        for _ in 0..key % 7 {
            cache.get(key, &key);
        }
        assert_eq!(cache.peek(key, &key), Some(&key));
    }
    let left = cache.insert(5_001, 5_001, 2, 10_001, 0);
    assert_eq!((left, cache.len()), (vec![2], 100));
}

#[test]
fn the_heavy_earn_their_place() {
    let mut cache = Bounded::new(10_000);
    // Where there is room they need not.
    assert!(!ask(&mut cache, 1_000, 9_000, 0) && ask(&mut cache, 1_000, 9_000, 0));
    for key in 0..400 {
        ask(&mut cache, key % 80, 100, 0);
    }
    assert_eq!(cache.peek(1_000, &1_000), None);
    // What the others answer is worth more, as long as they are asked for.
    for round in 0..40 {
        assert!(!ask(&mut cache, 1_000, 9_000, 0), "{round}");
        assert!((0..80).all(|key| ask(&mut cache, key, 100, 0)), "{round}");
    }
    // When they are not, it gets in, in time.
    let tries = (0..1_000).find(|_| ask(&mut cache, 1_000, 9_000, 0));
    assert!(tries.is_some_and(|tries| tries > 0), "{tries:?}");
    assert_eq!(cache.weight(), 9_000 + (cache.len() - 1) * 100);
}

#[test]
fn what_is_used_stays_when_much_passes_that_is_not() {
    let mut cache = Bounded::new(100_000);
    let mut chance = Chance(7);
    let (mut hits, mut asked) = (0, 0);
    for n in 0..200_000 {
        if n % 2 == 0 {
            ask(&mut cache, 1_000_000 + n, 1_000, 0);
        } else if n > 10_000 {
            asked += 1;
            hits += u64::from(ask(&mut cache, chance.below(80), 1_000, 0));
        } else {
            ask(&mut cache, chance.below(80), 1_000, 0);
        }
    }
    assert!(hits * 100 >= asked * 98, "{hits} of {asked}");
}

#[test]
fn of_equal_use_the_light_stay() {
    let mut cache = Bounded::new(100_000);
    let mut chance = Chance(8);
    let (mut light, mut heavy) = (0, 0);
    for _ in 0..100_000 {
        let key = chance.below(200);
        let weight = if key.is_multiple_of(2) { 500 } else { 5_000 };
        let hit = u64::from(ask(&mut cache, key, weight, 0));
        if key.is_multiple_of(2) {
            light += hit;
        } else {
            heavy += hit;
        }
    }
    assert!(light > 3 * heavy, "{light} {heavy}");
}

#[test]
fn a_tenant_that_floods_does_not_push_out_anothers_share() {
    for rounds in [1, 3] {
        let mut cache = Bounded::new(1_000_000);
        // The hot set of one tenant fits into half of an equal part.
        for key in 0..200 {
            ask(&mut cache, key, 1_000, 1);
        }
        for n in 0..50_000 {
            // Even where the others use what they have several times.
            for _ in 0..rounds {
                ask(&mut cache, 1_000 + n, 1_000, 2);
            }
        }
        let kept = (0..200)
            .filter(|key| cache.peek(*key, key).is_some())
            .count();
        assert_eq!(kept, 200);
    }
}

#[test]
fn alone_a_tenant_has_everything_and_many_have_something() {
    let mut cache = Bounded::new(100_000);
    for key in 0..1_000 {
        ask(&mut cache, key, 1_000, 1);
    }
    assert_eq!(cache.len(), 100);
    for key in 0..10_000 {
        ask(&mut cache, 10_000 + key, 100, key % 200);
    }
    assert!(cache.weight() > 99_000);
    assert!(cache.share_of.len() > 190, "{}", cache.share_of.len());
}

#[test]
fn what_comes_back_is_remembered() {
    let mut ghosts = Ghosts::new(1 << 20);
    for hash in 0..500 {
        ghosts.remember(hash, u32::try_from(hash).unwrap());
    }
    let known = (1..500_u64)
        .filter(|hash| u64::from(ghosts.recall(*hash)) == (*hash).min(255))
        .count();
    assert!(known > 450, "{known}");
    assert_eq!(ghosts.recall(499), 0, "once");
    let mut small = Ghosts::new(0);
    for hash in 0..100_000 {
        small.remember(hash, 3);
    }
    assert!((0..100_000).filter(|hash| small.recall(*hash) > 0).count() <= 64);
}

#[test]
fn places_that_lead_nowhere_do_not_add_up() {
    let mut cache = Bounded::new(1_000_000);
    for n in 0..100_000 {
        cache.insert(n % 10, n % 10, n, 10, 0);
        let other = 100 + n;
        cache.insert(other, other, n, 20_000, 0);
        cache.remove_if(other, &other, |_| true);
    }
    assert!(cache.window.len() < 1_000, "{}", cache.window.len());
    assert!(cache.slots.len() < 100, "{}", cache.slots.len());
}

#[test]
fn a_bound_that_changes() {
    let mut cache = Bounded::new(100_000);
    for key in 0..1_000 {
        ask(&mut cache, key, 100, 0);
    }
    assert_eq!(cache.weight(), 100_000);
    let left = cache.set_weight_max(30_000);
    assert_eq!(
        (left.len(), cache.len(), cache.weight()),
        (700, 300, 30_000)
    );
    // Heavy ones, light ones, and none at all.
    ask(&mut cache, 2_000, 25_000, 0);
    ask(&mut cache, 2_001, 40_000, 0);
    assert!(cache.weight() <= 30_000);
    assert_eq!(cache.set_weight_max(100_000).len(), 0);
    ask(&mut cache, 2_001, 40_000, 0);
    assert!(cache.peek(2_001, &2_001).is_some());
    cache.set_weight_max(0);
    assert_eq!((cache.len(), cache.weight()), (0, 0));
    assert!(!ask(&mut cache, 1, 1, 0));
    assert!(!ask(&mut cache, 1, 1, 0));
}

#[test]
fn the_use_that_is_awaited_is_told_once() {
    let mut cache = Bounded::new(1_000);
    cache.insert(1, 1_u64, 'a', 10, 0);
    assert_eq!(cache.use_of(1, &1), Some((&'a', false)));
    cache.await_use(1, &1);
    assert_eq!(cache.peek(1, &1), Some(&'a'));
    assert_eq!(cache.use_of(1, &1), Some((&'a', true)));
    assert_eq!(cache.use_of(1, &1), Some((&'a', false)));
    // What takes its place is another.
    cache.await_use(1, &1);
    cache.insert(1, 1, 'b', 10, 0);
    assert_eq!(cache.use_of(1, &1), Some((&'b', false)));
    // Of what is not there nothing is told.
    cache.await_use(2, &2);
    assert_eq!(cache.use_of(2, &2), None);
}
