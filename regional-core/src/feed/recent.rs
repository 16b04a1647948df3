//! The newest changes of each origin as frames, encoded once for all followers.
//!
//! Changes that were read together lie in one buffer, and a follower is given a part of it: nothing is copied for it. If
//! what it lacks lies in several small buffers, they are put together once, and the next follower that lacks the same is
//! given the same again.

use crate::Error;
use brink_protocol::{OriginId, change::Change, codec::encode_frame, link::FeedMessage};
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, VecDeque};

/// Bytes that are put into one chunk; a single larger frame is a chunk of its own.
pub(super) const CHUNK_BYTES: usize = 64 << 10;

/// Frames of consecutive changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    /// The sequence of the last one.
    pub(super) last: u64,
    /// The frames.
    pub(super) bytes: Bytes,
}

/// Consecutive changes of one origin in one buffer.
#[derive(Debug)]
pub(super) struct Slab {
    first: u64,
    /// Where each frame ends.
    ends: Vec<usize>,
    bytes: Bytes,
}

impl Slab {
    fn last(&self) -> u64 {
        (self.first + self.ends.len() as u64).saturating_sub(1)
    }

    /// The frames after `after`, which is before its end.
    fn after(&self, after: u64) -> Option<Chunk> {
        let begin = match (after + 1).saturating_sub(self.first) {
            0 => 0,
            skipped => *self
                .ends
                .get(usize::try_from(skipped).ok()?.checked_sub(1)?)?,
        };
        (begin < self.bytes.len()).then(|| Chunk {
            last: self.last(),
            bytes: self.bytes.slice(begin..),
        })
    }

    /// All of it.
    pub(super) fn chunk(&self) -> Chunk {
        Chunk {
            last: self.last(),
            bytes: self.bytes.clone(),
        }
    }
}

/// Consecutive changes of one origin as slabs of about [`CHUNK_BYTES`].
pub(super) fn encode(changes: Vec<Change>) -> Result<Vec<Slab>, Error> {
    let mut slabs = Vec::new();
    let (mut first, mut ends, mut buffer) = (0, Vec::new(), BytesMut::new());
    for change in changes {
        let sequence = change.sequence;
        let frame = encode_frame(&FeedMessage::Change(change))?;
        if !ends.is_empty() && buffer.len() + frame.len() > CHUNK_BYTES {
            let (ends, bytes) = (std::mem::take(&mut ends), buffer.split().freeze());
            slabs.push(Slab { first, ends, bytes });
        }
        if ends.is_empty() {
            first = sequence;
        }
        buffer.extend_from_slice(&frame);
        ends.push(buffer.len());
    }
    if !ends.is_empty() {
        let bytes = buffer.freeze();
        slabs.push(Slab { first, ends, bytes });
    }
    Ok(slabs)
}

/// The newest changes of one origin, gapless.
#[derive(Default)]
struct Newest {
    slabs: VecDeque<Slab>,
    bytes: usize,
    /// What was put together last, and after which sequence it begins.
    joined: Option<(u64, Chunk)>,
}

impl Newest {
    fn last(&self) -> Option<u64> {
        self.slabs.back().map(Slab::last)
    }

    fn push(&mut self, slab: Slab) {
        if self.last().is_some_and(|last| last + 1 != slab.first) {
            (self.slabs, self.bytes, self.joined) = Default::default();
        }
        self.bytes += slab.bytes.len();
        self.slabs.push_back(slab);
    }

    fn pop(&mut self) -> usize {
        let bytes = self.slabs.pop_front().map_or(0, |slab| slab.bytes.len());
        self.bytes -= bytes;
        bytes
    }

    /// Frames after `after`, as many as make a chunk.
    fn after(&mut self, after: u64) -> Option<Chunk> {
        let at = self.slabs.partition_point(|slab| slab.last() <= after);
        let mut chunk = self.slabs.get(at)?.after(after)?;
        let is_room = |bytes: usize, next: &Slab| bytes + next.bytes.len() <= CHUNK_BYTES;
        let next = self.slabs.get(at + 1);
        if !next.is_some_and(|next| is_room(chunk.bytes.len(), next)) {
            return Some(chunk);
        }
        // Also where more has come since: the newest frames then make the next chunk.
        if let Some((begin, joined)) = &self.joined
            && *begin == after
            && (joined.bytes.len() > CHUNK_BYTES / 2 || Some(joined.last) == self.last())
        {
            return Some(joined.clone());
        }
        let mut buffer = BytesMut::from(chunk.bytes.as_ref());
        for slab in self.slabs.range(at + 1..) {
            if !is_room(buffer.len(), slab) {
                break;
            }
            buffer.extend_from_slice(&slab.bytes);
            chunk.last = slab.last();
        }
        chunk.bytes = buffer.freeze();
        self.joined = Some((after, chunk.clone()));
        Some(chunk)
    }
}

/// What there is for a follower.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// This.
    Chunk(Chunk),
    /// It has everything that is here: what is newer has to be read, for all.
    Newer,
    /// What it lacks is no longer here: it has to be read for it alone.
    Older,
}

/// The newest changes of all origins.
pub(super) struct Recent {
    origins: BTreeMap<OriginId, Newest>,
    bytes: usize,
    bytes_max: usize,
}

impl Recent {
    /// Nothing yet; never more than `bytes_max` and one slab.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            origins: BTreeMap::new(),
            bytes: 0,
            bytes_max,
        }
    }

    /// Bytes that are held.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What follows `after` in the origin's log.
    pub(super) fn after(&mut self, origin: &OriginId, after: u64) -> Found {
        let Some(newest) = self.origins.get_mut(origin) else {
            return Found::Newer;
        };
        match (newest.slabs.front(), newest.last()) {
            (Some(first), Some(last)) if after < last => {
                if after + 1 < first.first {
                    return Found::Older;
                }
                newest.after(after).map_or(Found::Older, Found::Chunk)
            }
            _ => Found::Newer,
        }
    }

    /// Adds slabs that follow the last one of their origin; any other begin anew. The oldest go, of the origin with most.
    pub(super) fn push(&mut self, origin: &OriginId, slabs: Vec<Slab>) {
        let newest = self.origins.entry(origin.clone()).or_default();
        for slab in slabs {
            let before = newest.bytes;
            newest.push(slab);
            self.bytes = self.bytes - before + newest.bytes;
        }
        while self.bytes > self.bytes_max {
            let fullest = self
                .origins
                .iter_mut()
                .max_by_key(|(_, newest)| newest.bytes);
            match fullest {
                Some((full, newest)) if newest.slabs.len() > 1 || full != origin => {
                    self.bytes -= newest.pop();
                }
                _ => break,
            }
        }
        self.origins.retain(|_, newest| !newest.slabs.is_empty());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use brink_protocol::{change::ChangeKind, codec::FrameReader};

    fn changes(origin: &str, range: std::ops::RangeInclusive<u64>, bytes: usize) -> Vec<Change> {
        let kind = || ChangeKind::Deployments {
            revision: 1,
            tenant: "t".parse().unwrap(),
            modules: vec!["m".repeat(60).parse().unwrap(); bytes / 61],
        };
        range
            .map(|sequence| Change {
                origin: origin.parse().unwrap(),
                sequence,
                at_ms: 0,
                kind: kind(),
            })
            .collect()
    }

    fn sequences(chunk: &Chunk) -> Vec<u64> {
        let mut reader = FrameReader::default();
        reader.push(&chunk.bytes);
        let mut found = Vec::new();
        while let Some(message) = reader.next::<FeedMessage>().unwrap() {
            match message {
                FeedMessage::Change(change) => found.push(change.sequence),
                other => panic!("{other:?}"),
            }
        }
        found
    }

    #[test]
    fn every_follower_gets_what_it_lacks() {
        let mut recent = Recent::new(1 << 20);
        let a: OriginId = "a.1".parse().unwrap();
        assert_eq!(recent.after(&a, 0), Found::Newer);
        // Three slabs: two read together, two more, one.
        for range in [5..=6, 7..=8, 9..=9] {
            recent.push(&a, encode(changes("a.1", range, 100)).unwrap());
        }
        assert_eq!(recent.after(&a, 3), Found::Older);
        assert_eq!(recent.after(&a, 9), Found::Newer);
        for after in 4..9 {
            let Found::Chunk(chunk) = recent.after(&a, after) else {
                panic!("{after}")
            };
            assert_eq!(sequences(&chunk), (after + 1..=9).collect::<Vec<_>>());
            assert_eq!(chunk.last, 9);
        }
        // What was put together is shared, and so is a part of one slab.
        let part = |recent: &mut Recent, after| match recent.after(&a, after) {
            Found::Chunk(chunk) => chunk.bytes.as_ptr(),
            other => panic!("{other:?}"),
        };
        assert_eq!(part(&mut recent, 4), part(&mut recent, 4));
        assert_eq!(part(&mut recent, 8), part(&mut recent, 8));
        // A jump begins anew.
        recent.push(&a, encode(changes("a.1", 20..=20, 100)).unwrap());
        assert_eq!(recent.after(&a, 8), Found::Older);
        assert!(matches!(recent.after(&a, 19), Found::Chunk(_)));
    }

    #[test]
    fn chunks_and_memory_are_bounded() {
        let (a, b) = ("a.1".parse().unwrap(), "b.1".parse().unwrap());
        let mut recent = Recent::new(300_000);
        for n in 0..40 {
            recent.push(
                &a,
                encode(changes("a.1", n * 10 + 1..=n * 10 + 10, 10_000)).unwrap(),
            );
            recent.push(&b, encode(changes("b.1", n + 1..=n + 1, 200_000)).unwrap());
            assert!(recent.bytes() <= 300_000 + 210_000, "{}", recent.bytes());
        }
        let Found::Chunk(chunk) = recent.after(&b, 39) else {
            panic!()
        };
        assert_eq!(sequences(&chunk), [40], "larger than a chunk, alone");
        let mut after = 395;
        while after < 400 {
            match recent.after(&a, after) {
                Found::Chunk(chunk) => {
                    assert!(chunk.bytes.len() <= CHUNK_BYTES);
                    assert_eq!(sequences(&chunk).first(), Some(&(after + 1)));
                    after = chunk.last;
                }
                other => panic!("{other:?}"),
            }
        }
        let counted: usize = recent.origins.values().map(|newest| newest.bytes).sum();
        assert_eq!(counted, recent.bytes());
    }
}
