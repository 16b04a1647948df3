//! The keys that come most often, in bounded memory. Pure.
//!
//! Space-saving (Metwally, Agrawal, El Abbadi: Efficient Computation of Frequent and Top-k Elements in Data Streams,
//! 2005): a key that is not counted yet takes the place of the one with the smallest count, and its count. So no count is
//! too small, each says by how much it may be too large, and every key that comes more often than one in `keys_max` is there.

use std::collections::HashMap;

/// A key and how often it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Counted<K> {
    /// The key.
    pub(super) key: K,
    /// How often it came, at most.
    pub(super) count: u64,
    /// How much of that others may have come.
    pub(super) error: u64,
    hash: u64,
}

/// Counts keys.
#[derive(Debug)]
pub(super) struct Sketch<K> {
    keys_max: usize,
    places: HashMap<u64, usize>,
    counted: Vec<Counted<K>>,
}

impl<K> Sketch<K> {
    /// For so many keys, at least 1.
    pub(super) fn new(keys_max: usize) -> Self {
        Self {
            keys_max: keys_max.max(1),
            places: HashMap::new(),
            counted: Vec::new(),
        }
    }

    /// A key came. `hash` stands for it; keys of one hash are taken for one.
    pub(super) fn count(&mut self, hash: u64, key: impl FnOnce() -> K) {
        let known = self.places.get(&hash).copied();
        if let Some(counted) = known.and_then(|place| self.counted.get_mut(place)) {
            counted.count += 1;
            return;
        }
        let new = |least: u64| Counted {
            key: key(),
            count: least + 1,
            error: least,
            hash,
        };
        if self.counted.len() < self.keys_max {
            self.places.insert(hash, self.counted.len());
            self.counted.push(new(0));
            return;
        }
        let least = self.counted.iter_mut().enumerate();
        if let Some((place, counted)) = least.min_by_key(|(_, counted)| counted.count) {
            self.places.remove(&counted.hash);
            self.places.insert(hash, place);
            *counted = new(counted.count);
        }
    }

    /// Halves all counts; keys of which nothing is left are forgotten.
    pub(super) fn halve(&mut self) {
        self.counted.retain_mut(|counted| {
            counted.count /= 2;
            counted.error /= 2;
            counted.count > 0
        });
        let places = self.counted.iter().enumerate();
        self.places = places.map(|(place, c)| (c.hash, place)).collect();
    }

    /// Whether nothing is counted.
    pub(super) fn is_empty(&self) -> bool {
        self.counted.is_empty()
    }

    /// All that are counted, in no order.
    pub(super) fn counted(&self) -> impl Iterator<Item = &Counted<K>> {
        self.counted.iter()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn counts_are_never_too_small(keys in proptest::collection::vec(0u64..40, 1..2000), keys_max in 1usize..20) {
            let mut sketch = Sketch::new(keys_max);
            let mut exact: HashMap<u64, u64> = HashMap::new();
            for key in &keys {
                sketch.count(*key, || *key);
                *exact.entry(*key).or_default() += 1;
            }
            prop_assert!(sketch.counted().count() <= keys_max);
            for counted in sketch.counted() {
                let count = exact[&counted.key];
                prop_assert!(counted.count >= count && counted.count - counted.error <= count);
            }
            for (key, count) in exact {
                let is_frequent = count > (keys.len() / keys_max) as u64;
                prop_assert!(!is_frequent || sketch.counted().any(|counted| counted.key == key));
            }
        }
    }

    #[test]
    fn what_comes_no_more_is_forgotten() {
        let mut sketch = Sketch::new(4);
        for key in [1, 1, 1, 1, 2] {
            sketch.count(key, || key);
        }
        sketch.halve();
        let left: Vec<_> = sketch.counted().map(|c| (c.key, c.count)).collect();
        assert_eq!(left, [(1, 2)]);
        sketch.count(3, || 3);
        sketch.count(1, || 1);
        assert_eq!(sketch.counted().map(|c| c.count).sum::<u64>(), 4);
        (0..3).for_each(|_| sketch.halve());
        assert!(sketch.is_empty());
    }
}
