//! The last writes to one partition, so that those outside a range's bounds do not end what read the range.

use super::{
    bounds::{Bounds, SortKey},
    touch::{SORTS_MAX, Written},
};
use serde::{Deserialize, Serialize};

/// Most writes that are remembered of one partition; older ones count as writes of the whole partition.
pub const WRITES_MAX: usize = SORTS_MAX;

/// The last writes to one partition.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Writes {
    /// Index of the newest touch of which no sort key is known; 0: none.
    forgotten: u64,
    /// In order of their indexes, each key once.
    recent: Vec<(u64, SortKey)>,
}

impl Writes {
    /// Nothing is known of what happened up to `index`.
    pub(super) fn since(index: u64) -> Self {
        Self {
            forgotten: index,
            recent: Vec::new(),
        }
    }

    /// Notes a touch of all.
    pub(super) fn all(&mut self, index: u64) {
        self.forgotten = index;
        self.recent.clear();
    }

    /// Notes writes. What is not newer than `floor` concerns nobody any more.
    pub(super) fn note(&mut self, index: u64, written: &Written, floor: u64) {
        let Some(sorts) = &written.sorts else {
            return self.all(index);
        };
        self.recent
            .retain(|(at, key)| *at > floor && !sorts.contains(key));
        // A partition that was busy once and is not any more gives its room back.
        let needed = self.recent.len() + sorts.len();
        if self.recent.capacity() > 4 * needed {
            self.recent.shrink_to(needed);
        }
        for key in sorts.iter() {
            self.recent.push((index, *key));
        }
        let beyond = self.recent.len().saturating_sub(WRITES_MAX);
        for (at, _) in self.recent.drain(..beyond) {
            self.forgotten = self.forgotten.max(at);
        }
    }

    /// Whether any write after `index` may lie between the bounds.
    pub(super) fn touch(&self, bounds: &Bounds, index: u64) -> bool {
        self.forgotten > index
            || self
                .recent
                .iter()
                .rev()
                .take_while(|(at, _)| *at > index)
                .any(|(_, key)| bounds.may_contain(key))
    }

    /// How many keys are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.recent.len()
    }
}
