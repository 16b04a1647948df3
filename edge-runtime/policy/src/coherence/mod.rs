//! Coherence: which stored entries a change ends, and how that is known.
//!
//! Every change that is applied at a PoP gets the next *apply index*. An entry carries the index that was current when
//! its fill started, and its tags as hashes. It may be served if, for each of its tags, the last change that touched the
//! tag is not after the entry's index. The same question, asked before an entry is stored, is the *fence*; asked on every
//! hit, of either tier, it is what makes a purge *applied* the moment that the change is noted.
//!
//! Two tags with one hash make an invalidation spurious, never lost.

mod bounds;
mod dependency;
mod few;
mod index;
mod last_changes;
mod lease;
mod replica;
pub mod tags;
mod touch;
mod writes;

pub use bounds::{Bounds, SORT_PREFIX_BYTES, SortKey};
pub use dependency::{Dependency, Depends, tag_hash};
pub use few::Few;
pub use index::{EntryId, Met, TagIndex, Walk};
pub use last_changes::{Gap, LastChanges, Next, PartitionWrites, Snapshot, Verdict, next};
pub use lease::{CLAIMS_MAX, Lease};
pub use replica::{Admission, Applied, FillStart, Replica, Start, Started};
pub use tags::TagHash;
pub use touch::{SORTS_MAX, Touch, Written, selected, touched_by};
pub use writes::WRITES_MAX;
