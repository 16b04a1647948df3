//! The table of last changes: bounded, with a floor.

use super::{dependency::Depends, tags::TagHash, touch::Touch, writes::Writes};
use brink_protocol::{OriginId, Position};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::collections::{VecDeque, hash_map::Entry};

/// Most gaps that are kept; when there are more, the floor rises to the end of the oldest.
const GAPS_MAX: usize = 64;

/// Largest index of a table that was written down. A life of the program takes 2³² at most but for its changes.
const INDEX_MAX: u64 = 1 << 62;

/// Apply indexes that nobody vouches for: given after what a journal still had, before what came after it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The last index before it.
    pub after: u64,
    /// The first index after it.
    pub until: u64,
}

/// The last changes of one tag; 0: none.
#[derive(Debug, Clone, Default)]
struct Last {
    hard: u64,
    soft: u64,
    /// Of a partition's tag: where in it was written. None: nowhere that is known of.
    writes: Option<Box<Writes>>,
}

impl Last {
    fn newest(&self) -> u64 {
        self.hard.max(self.soft)
    }

    /// A touch of whatever has the tag.
    fn touch(&mut self, index: u64, soft: bool) {
        if soft {
            self.soft = index;
            return;
        }
        self.hard = index;
        if let Some(writes) = &mut self.writes {
            writes.all(index);
        }
    }

    /// Whether a hard change after `index` touches what depends on the tag.
    fn ends(&self, dependency: &impl Depends, index: u64) -> bool {
        self.hard > index
            && match (dependency.bounds(), &self.writes) {
                (Some(bounds), Some(writes)) => writes.touch(bounds, index),
                (None, _) | (_, None) => true,
            }
    }
}

/// What the changes say of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// No change has touched it since.
    Valid,
    /// A soft purge has: it is stale.
    Soft,
    /// A change has: it is gone.
    Ended,
    /// It is older than what is remembered, or of a time that nobody vouches for: it counts as gone.
    Unknown,
}

/// For each tag the apply index of the last change that touched it. Bounded: beyond `tags_max` the oldest are dropped
/// and the *floor* rises to their index; entries below the floor are not served.
#[derive(Debug, Clone)]
pub struct LastChanges {
    table: FxHashMap<TagHash, Last>,
    /// Touches in order; those that a later touch of the same tag has replaced are skipped when they are dropped.
    log: VecDeque<(u64, TagHash)>,
    tags_max: usize,
    index: u64,
    floor: u64,
    gaps: VecDeque<Gap>,
}

/// All that a [`LastChanges`] holds, in a form to be written down.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// See [`LastChanges::index`].
    pub index: u64,
    /// See [`LastChanges::floor`].
    pub floor: u64,
    /// Oldest first.
    pub gaps: Vec<Gap>,
    /// Tag, last hard index, last soft index; in the order of the later of the two.
    pub tags: Vec<(TagHash, u64, u64)>,
    /// Of the tags of partitions: where in them was written.
    pub writes: Vec<PartitionWrites>,
}

impl Snapshot {
    /// Whether a table can have been in this state: nothing in it is later than its index, and that leaves room to go on.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        let later = |index: u64| index > self.index;
        let gap = |gap: &Gap| gap.after > gap.until || later(gap.until);
        let tag = |(_, hard, soft): &(TagHash, u64, u64)| later(*hard) || later(*soft);
        self.index <= INDEX_MAX
            && !later(self.floor)
            && !self.gaps.iter().any(gap)
            && !self.tags.iter().any(tag)
    }
}

/// Where in a partition was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionWrites(TagHash, Writes);

impl LastChanges {
    /// An empty table at index 0 for at most `tags_max` tags.
    #[must_use]
    pub fn new(tags_max: usize) -> Self {
        Self {
            table: FxHashMap::default(),
            log: VecDeque::new(),
            tags_max: tags_max.max(1),
            index: 0,
            floor: 0,
            gaps: VecDeque::new(),
        }
    }

    /// The table that was written down.
    #[must_use]
    pub fn from_snapshot(snapshot: Snapshot, tags_max: usize) -> Self {
        let mut changes = Self::new(tags_max);
        changes.index = snapshot.index;
        changes.floor = snapshot.floor;
        for gap in snapshot.gaps {
            changes.add_gap(gap);
        }
        for (tag, hard, soft) in snapshot.tags {
            let writes = None;
            changes.table.insert(tag, Last { hard, soft, writes });
            changes.log.push_back((hard.max(soft), tag));
        }
        for PartitionWrites(tag, writes) in snapshot.writes {
            if let Some(last) = changes.table.get_mut(&tag) {
                last.writes = Some(Box::new(writes));
            }
        }
        changes.shrink();
        changes
    }

    /// What to write down.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut tags: Vec<_> = self
            .table
            .iter()
            .map(|(tag, last)| (*tag, last.hard, last.soft))
            .collect();
        tags.sort_unstable_by_key(|(tag, hard, soft)| (*hard.max(soft), *tag));
        Snapshot {
            index: self.index,
            floor: self.floor,
            gaps: self.gaps.iter().copied().collect(),
            tags,
            writes: self.writes(),
        }
    }

    fn writes(&self) -> Vec<PartitionWrites> {
        let known = |(tag, last): (&TagHash, &Last)| {
            let writes = last.writes.as_deref()?;
            Some(PartitionWrites(*tag, writes.clone()))
        };
        self.table.iter().filter_map(known).collect()
    }

    /// Takes all the room that the table may ever need, so that no change has to wait while it grows.
    pub fn reserve(&mut self) {
        let tags = self.tags_max.saturating_add(1);
        self.table.reserve(tags.saturating_sub(self.table.len()));
        let log = tags.saturating_mul(2);
        self.log.reserve(log.saturating_sub(self.log.len()));
    }

    /// The index of the last change.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Entries below it are not served.
    #[must_use]
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// How many tags are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no tag is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Notes a change; gives its index.
    pub fn apply(&mut self, touch: &Touch) -> u64 {
        self.index += 1;
        let index = self.index;
        for tag in touch.tags.iter() {
            let last = self.table.entry(*tag).or_default();
            last.touch(index, touch.soft);
            self.log.push_back((index, *tag));
        }
        if let Some(written) = &touch.written {
            let last = self.table.entry(written.partition).or_default();
            // What touched the tag before, and how, is not known here if nothing was written.
            let since = last.hard;
            last.hard = index;
            last.writes
                .get_or_insert_with(|| Box::new(Writes::since(since)))
                .note(index, written, self.floor);
            self.log.push_back((index, written.partition));
        }
        self.shrink();
        index
    }

    /// Every entry there is counts as gone from now on.
    pub fn end_all(&mut self) -> u64 {
        self.index += 1;
        self.floor = self.index;
        self.table.clear();
        self.log.clear();
        self.gaps.clear();
        self.index
    }

    /// Goes on `count` indexes later and vouches for none in between: they may have been given by one who was not able
    /// to write them down.
    pub fn leave_gap(&mut self, count: u64) {
        let gap = Gap {
            after: self.index,
            until: self.index.saturating_add(count),
        };
        self.index = gap.until;
        self.add_gap(gap);
    }

    fn add_gap(&mut self, gap: Gap) {
        self.gaps.push_back(gap);
        if self.gaps.len() > GAPS_MAX
            && let Some(oldest) = self.gaps.pop_front()
        {
            self.floor = self.floor.max(oldest.until);
        }
    }

    fn shrink(&mut self) {
        while self.table.len() > self.tags_max || self.log.len() > self.tags_max.saturating_mul(2) {
            let Some((index, tag)) = self.log.pop_front() else {
                return;
            };
            if let Entry::Occupied(last) = self.table.entry(tag)
                && last.get().newest() == index
            {
                last.remove();
                self.floor = self.floor.max(index);
            }
        }
    }

    /// What the changes say of an entry with these dependencies whose fill started at `index`.
    #[must_use]
    pub fn verdict<D: Depends>(&self, on: &[D], index: u64) -> Verdict {
        let in_gap = |gap: &Gap| gap.after < index && index < gap.until;
        if index < self.floor || index > self.index || self.gaps.iter().any(in_gap) {
            return Verdict::Unknown;
        }
        let mut verdict = Verdict::Valid;
        for dependency in on {
            let Some(last) = self.table.get(&dependency.tag()) else {
                continue;
            };
            if last.ends(dependency, index) {
                return Verdict::Ended;
            }
            if last.soft > index {
                verdict = Verdict::Soft;
            }
        }
        verdict
    }
}

/// What a change of `origin` with `sequence` is to one who has applied `position`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The one that comes next.
    InOrder,
    /// It was applied before.
    Repeated,
    /// Others are missing before it.
    Gap,
}

/// Sequences of an origin begin at 1 and never skip.
#[must_use]
pub fn next(position: &Position, origin: &OriginId, sequence: u64) -> Next {
    match position.get(origin) {
        present if sequence <= present => Next::Repeated,
        present if sequence == present + 1 => Next::InOrder,
        _ => Next::Gap,
    }
}

#[cfg(test)]
mod tests;
