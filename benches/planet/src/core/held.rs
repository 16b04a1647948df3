//! The logs that a core holds, its own and the others', each with a bounded end.

use crate::messages::Entry;
use brink_protocol::{OriginId, Position, log::Kept};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

/// What an entry was to the log that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holding {
    New,
    Known,
    /// Others are missing before it: it was not taken.
    Missing,
}

/// Logs by origin.
#[derive(Debug, Default)]
pub(super) struct Held {
    entries: BTreeMap<OriginId, VecDeque<Arc<Entry>>>,
    kept: BTreeMap<OriginId, Kept>,
    heads: Position,
    keep: usize,
}

impl Held {
    /// Keeps at most `keep` entries of each log.
    pub(super) fn new(keep: usize) -> Self {
        Self {
            keep,
            ..Self::default()
        }
    }

    pub(super) fn kept(&self) -> &BTreeMap<OriginId, Kept> {
        &self.kept
    }

    pub(super) fn heads(&self) -> &Position {
        &self.heads
    }

    /// Takes the next entry of a log.
    pub(super) fn hold(&mut self, entry: &Arc<Entry>) -> Holding {
        let change = &entry.change;
        let present = self.heads.get(&change.origin);
        if change.sequence <= present {
            return Holding::Known;
        }
        if change.sequence != present + 1 {
            return Holding::Missing;
        }
        let entries = self.entries.entry(change.origin.clone()).or_default();
        entries.push_back(Arc::clone(entry));
        if entries.len() > self.keep {
            entries.pop_front();
        }
        let oldest = entries
            .front()
            .map_or(change.sequence + 1, |e| e.change.sequence);
        let kept = Kept {
            oldest,
            head: change.sequence,
        };
        self.kept.insert(change.origin.clone(), kept);
        self.heads.advance(&change.origin, change.sequence);
        Holding::New
    }

    /// The entries after a position, of these logs; none: of all.
    pub(super) fn after(
        &self,
        position: &Position,
        of: Option<&BTreeSet<OriginId>>,
    ) -> Vec<Arc<Entry>> {
        let wanted = |origin: &OriginId| of.is_none_or(|of| of.contains(origin));
        let logs = self.entries.iter().filter(|(origin, _)| wanted(origin));
        logs.flat_map(|(origin, entries)| {
            let known = position.get(origin);
            entries.iter().filter(move |e| e.change.sequence > known)
        })
        .cloned()
        .collect()
    }
}
