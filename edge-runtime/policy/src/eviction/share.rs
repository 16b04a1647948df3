//! The entries of one tenant, in the order in which they leave.

use std::{cmp::Ordering, collections::BinaryHeap};

/// An entry's place in the order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ranked {
    pub(super) rank: f64,
    pub(super) slot: u32,
    pub(super) stamp: u32,
}

impl Ord for Ranked {
    /// The lowest rank is the greatest: a heap gives it first.
    fn cmp(&self, other: &Self) -> Ordering {
        let order = other.rank.total_cmp(&self.rank);
        order.then_with(|| other.stamp.cmp(&self.stamp))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}

/// See the module. Ranks only grow, so that a rank in the heap is never above the true one.
#[derive(Debug, Default)]
pub(super) struct Share {
    pub(super) id: u64,
    weight: usize,
    entries: usize,
    order: BinaryHeap<Ranked>,
}

impl Share {
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    pub(super) fn add(&mut self, weight: usize) {
        self.weight += weight;
        self.entries += 1;
    }

    /// An entry has left; `is_there` tells which places of the order still lead somewhere. Gives whether it was the last.
    pub(super) fn sub(&mut self, weight: usize, is_there: impl Fn(&Ranked) -> bool) -> bool {
        self.weight -= weight;
        self.entries -= 1;
        if self.entries == 0 {
            self.order = BinaryHeap::new();
        } else if self.order.len() > 2 * self.entries + 64 {
            self.order.retain(is_there);
        }
        self.entries == 0
    }

    pub(super) fn push(&mut self, ranked: Ranked) {
        self.order.push(ranked);
    }

    /// The entry that ranks lowest; `rank` gives the true rank of one that is there.
    pub(super) fn lowest(&mut self, rank: impl Fn(Ranked) -> Option<f64>) -> Option<Ranked> {
        while let Some(mut top) = self.order.peek_mut() {
            match rank(*top) {
                None => {
                    std::collections::binary_heap::PeekMut::pop(top);
                }
                // It was used since: it goes to its true place.
                Some(rank) if rank > top.rank => top.rank = rank,
                Some(_) => return Some(*top),
            }
        }
        None
    }

    pub(super) fn pop(&mut self) {
        self.order.pop();
    }
}
