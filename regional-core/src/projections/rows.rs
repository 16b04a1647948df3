//! What is kept of projections, and where: all of it records.
//!
//! | what | collection | partition | sort key |
//! |---|---|---|---|
//! | [`Control`] | `_projections` | `NAME.SOURCE.TARGET` | |
//! | [`Place`] | `_projections` | `NAME.SOURCE.TARGET.SHARD` | the stream |
//! | index of targets | `_projections` | `NAME.SOURCE.TARGET.to.SHARD` | the target partition |
//! | [`Checkpoint`] | the target collection | the target partition | U+0001 `c` `NAME/SOURCE/STREAM` |
//! | mark of an event that was passed over | the target collection | the target partition | U+0001 `s` `NAME/SOURCE/STREAM/NUMBER` |
//! | [`Passed`]: the same, if its target is not known | that of its stream's place | | the same |
//! | mark of one that was applied later, whose target had not been known | the target collection | the target partition | U+0001 `d` ... |
//! | [`Letter`] | `_dead-letters` | `NAME.SOURCE.TARGET` | [`Names::letter_id`] |
//! | their count | `_dead-letters` | `NAME.SOURCE.TARGET` | U+0001 `n` |
//!
//! So one name with another target begins anew, and what it was before is left as it is.

use crate::{
    events::{SHARDS, index_partitions, shard},
    store::Store,
};
use brink_protocol::{
    Digest, Error, ModuleName, TenantName,
    address::PartitionAddress,
    codec,
    event::{Event, collections},
    record::Key,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// Collection of places.
pub(super) const PLACES: &str = "_projections";
/// Collection of dead letters.
pub(super) const DEAD_LETTERS: &str = "_dead-letters";
/// Longest text that is kept of a failure, in bytes.
pub(super) const ERROR_BYTES_MAX: usize = 4096;
/// How values are laid out now.
const LAYOUT: u8 = 1;

/// Knows where rows about a partition belong. All are alike.
#[derive(Clone)]
struct Homes(Arc<dyn Store>);

impl PartialEq for Homes {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Homes {}

impl fmt::Debug for Homes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Homes")
    }
}

/// A projection, and the names of what is kept of it. What is kept about a partition that lies in one region alone lies
/// there too: in collections `_projections__REGION` and `_dead-letters__REGION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Whose.
    pub tenant: TenantName,
    /// Its deployed name.
    pub name: ModuleName,
    /// The collection whose events it reads.
    pub source: String,
    /// The collection that it writes.
    pub target: String,
    homes: Homes,
}

impl Names {
    /// From the settings of a deployment.
    ///
    /// # Errors
    /// A setting is missing, or names no collection that may be read or written.
    pub fn of(
        store: &Arc<dyn Store>,
        tenant: TenantName,
        name: ModuleName,
        config: &BTreeMap<String, String>,
    ) -> Result<Self, Error> {
        let (source, target) = collections(config)?;
        Ok(Self {
            tenant,
            name,
            source,
            target,
            homes: Homes(Arc::clone(store)),
        })
    }

    fn address(&self, collection: &str, partition: String) -> PartitionAddress {
        PartitionAddress {
            tenant: self.tenant.clone(),
            collection: collection.to_owned(),
            partition,
        }
    }

    /// The partition of the [`Control`].
    #[must_use]
    pub fn control(&self) -> PartitionAddress {
        self.address(PLACES, self.whole())
    }

    /// What names of partitions begin with.
    fn whole(&self) -> String {
        format!("{}.{}.{}", self.name, self.source, self.target)
    }

    fn all(&self, base: &str, partition: &str) -> Vec<PartitionAddress> {
        let collections = self.homes.0.collections_of(base);
        collections
            .iter()
            .map(|collection| self.address(collection, partition.to_owned()))
            .collect()
    }

    /// The partitions of the index that name the streams of one shard.
    #[must_use]
    pub fn indexes(&self, shard: u32) -> Vec<PartitionAddress> {
        index_partitions(&*self.homes.0, &self.tenant, &self.source, shard)
    }

    fn place_partition(&self, shard: u32) -> String {
        format!("{}.{shard:02}", self.whole())
    }

    /// The partitions of places of one shard.
    #[must_use]
    pub fn places_of_shard(&self, shard: u32) -> Vec<PartitionAddress> {
        self.all(PLACES, &self.place_partition(shard))
    }

    /// The partition of a stream's place; the sort key is the stream.
    #[must_use]
    pub fn places(&self, stream: &str) -> PartitionAddress {
        let collection = self.homes.0.collection_for(PLACES, &self.stream(stream));
        self.address(&collection, self.place_partition(shard(stream)))
    }

    fn target_partition(&self, shard: u32) -> String {
        format!("{}.to.{shard:02}", self.whole())
    }

    /// The partitions of the index of targets of one shard.
    #[must_use]
    pub fn targets_of_shard(&self, shard: u32) -> Vec<PartitionAddress> {
        self.all(PLACES, &self.target_partition(shard))
    }

    /// The partition of the index that names a target.
    #[must_use]
    pub fn targets(&self, target: &str) -> PartitionAddress {
        let collection = self.homes.0.collection_for(PLACES, &self.target(target));
        self.address(&collection, self.target_partition(shard(target)))
    }

    /// A partition of the source collection.
    #[must_use]
    pub fn stream(&self, stream: &str) -> PartitionAddress {
        self.address(&self.source, stream.to_owned())
    }

    /// A partition of the target collection.
    #[must_use]
    pub fn target(&self, target: &str) -> PartitionAddress {
        self.address(&self.target, target.to_owned())
    }

    /// The partition of a stream's dead letters.
    #[must_use]
    pub fn letters(&self, stream: &str) -> PartitionAddress {
        let collection = self
            .homes
            .0
            .collection_for(DEAD_LETTERS, &self.stream(stream));
        self.address(&collection, self.whole())
    }

    /// The partitions of all dead letters.
    #[must_use]
    pub fn all_letters(&self) -> Vec<PartitionAddress> {
        self.all(DEAD_LETTERS, &self.whole())
    }

    /// Under which sort key the checkpoint of a stream is, in each of its targets.
    #[must_use]
    pub fn checkpoint_sort(&self, stream: &str) -> String {
        format!("\u{1}c{}/{}/{stream}", self.name, self.source)
    }

    /// Under which sort key an event is marked as passed over.
    #[must_use]
    pub fn passed_sort(&self, stream: &str, number: u64) -> String {
        format!("\u{1}s{}/{}/{stream}/{number:020}", self.name, self.source)
    }

    /// Under which sort key an event is marked as applied later.
    #[must_use]
    pub fn redone_sort(&self, stream: &str, number: u64) -> String {
        format!("\u{1}d{}/{}/{stream}/{number:020}", self.name, self.source)
    }

    /// What the ids of a stream's dead letters begin with.
    #[must_use]
    pub fn letter_prefix(&self, stream: &str) -> String {
        let digest = Digest::of(format!("{}\0{stream}", self.source).as_bytes()).to_string();
        let hex = digest.rsplit(':').next().unwrap_or_default();
        format!("{}-", hex.get(..16).unwrap_or(hex))
    }

    /// The id of an event's dead letter.
    #[must_use]
    pub fn letter_id(&self, stream: &str, number: u64) -> String {
        format!("{}{number:020}", self.letter_prefix(stream))
    }

    /// Says which shard a core has to do with: cores divide the work by it.
    #[must_use]
    pub fn share(&self, shard: u32) -> String {
        format!("projections/{}/{}/{shard:02}", self.tenant, self.name)
    }

    /// Every shard.
    pub fn shards() -> impl Iterator<Item = u32> {
        0..SHARDS
    }
}

/// The key of a record of a partition.
#[must_use]
pub(super) fn key_in(partition: &PartitionAddress, sort: &str) -> Key {
    Key {
        collection: partition.collection.clone(),
        partition: partition.partition.clone(),
        sort: sort.to_owned(),
    }
}

/// What holds for all streams of a projection. Without it nothing was ever replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Control {
    /// Counts replays.
    pub generation: u64,
    /// The last replay of all streams; 0: none.
    pub all_since: u64,
    /// It begins behind this number.
    pub behind: u64,
}

/// How far a stream was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Place {
    /// Of which replay; 0: none.
    pub generation: u64,
    /// The number behind which that began.
    pub base: u64,
    /// Everything up to this number is applied, or among the dead letters.
    pub number: u64,
}

impl Place {
    /// The place to go on from, if there was a replay of all streams since. No event is passed over by a replay.
    #[must_use]
    pub(super) fn under(self, control: Control) -> Self {
        if self.generation >= control.all_since {
            return self;
        }
        let base = control.behind.min(self.number);
        Self {
            generation: control.all_since,
            base,
            number: base,
        }
    }
}

/// How far a stream was applied to one target: committed with what was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    /// Of which replay.
    pub generation: u64,
    /// The last number.
    pub number: u64,
}

/// Up to which number a stream is applied to a target; `None`: a later replay has begun there, and who asks is late.
#[must_use]
pub(super) fn applied_to(place: Place, checkpoint: Option<Checkpoint>) -> Option<u64> {
    match checkpoint {
        None => Some(0),
        Some(found) if found.generation == place.generation => Some(found.number),
        Some(found) if found.generation < place.generation => Some(place.base),
        Some(_) => None,
    }
}

/// The mark of an event that was passed over although its target is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Passed {
    /// When, in milliseconds since 1970: an event that comes again may be passed over again.
    pub at_ms: u64,
    /// The target that was named when it was tried again: from then on it is for that one.
    pub target: Option<String>,
}

/// An event that was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// The collection of its stream.
    pub source: String,
    /// Its stream.
    pub stream: String,
    /// The partition that it was for; none: the projection could not say.
    pub target: Option<String>,
    /// The event.
    pub event: Event,
    /// What the last attempt said, at most [`ERROR_BYTES_MAX`].
    pub error: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was given up, in milliseconds since 1970.
    pub at_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct Stored<T> {
    layout: u8,
    value: T,
}

/// The value of a record.
///
/// # Errors
/// It is too large.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Bytes, Error> {
    codec::encode(&Stored {
        layout: LAYOUT,
        value,
    })
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// It is something else.
pub(super) fn decode<T: DeserializeOwned>(value: &[u8]) -> Result<T, Error> {
    match value.first() {
        Some(&LAYOUT) => codec::decode::<Stored<T>>(value).map(|stored| stored.value),
        other => Err(Error::Malformed {
            what: "state of a projection",
            reason: format!("it is laid out in way {other:?}, and {LAYOUT} is known here"),
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::{Options, RedbStore};
    use brink_protocol::record::{PARTITION_BYTES_MAX, check_any_sort, check_partition};

    fn names(config: &[(&str, &str)]) -> Names {
        let config = config
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let directory = tempfile::tempdir().unwrap();
        let options = Options::new(directory.path(), "core-1".parse().unwrap());
        let store: Arc<dyn Store> = Arc::new(RedbStore::open(&options).unwrap());
        Names::of(
            &store,
            "default".parse().unwrap(),
            "n".repeat(63).parse().unwrap(),
            &config,
        )
        .unwrap()
    }

    #[test]
    fn the_longest_names_fit() {
        let long = "c".repeat(64);
        let names = names(&[("source", &long), ("target", &long)]);
        let stream = "é".repeat(PARTITION_BYTES_MAX / 2);
        for sort in [
            names.checkpoint_sort(&stream),
            names.passed_sort(&stream, u64::MAX),
            names.redone_sort(&stream, u64::MAX),
            names.letter_id(&stream, u64::MAX),
        ] {
            check_any_sort(&sort).unwrap();
        }
        for at in [
            names.places(&stream),
            names.targets(&stream),
            names.letters(&stream),
            names.control(),
        ] {
            check_partition(&at.collection, &at.partition).unwrap();
        }
        assert_ne!(names.letter_prefix("a"), names.letter_prefix("b"));
        assert_eq!(names.letter_id("a", 7).len(), 16 + 1 + 20);
    }

    #[test]
    fn replays_move_places_back_and_never_on() {
        let at = |generation, base, number| Place {
            generation,
            base,
            number,
        };
        let control = |all_since, behind| Control {
            generation: 9,
            all_since,
            behind,
        };
        for (place, control, expected) in [
            (at(0, 0, 7), Control::default(), at(0, 0, 7)),
            (at(0, 0, 7), control(1, 3), at(1, 3, 3)),
            (at(0, 0, 2), control(1, 3), at(1, 2, 2)),
            (at(1, 3, 5), control(1, 3), at(1, 3, 5)),
            (at(2, 0, 5), control(1, 3), at(2, 0, 5)),
            (at(1, 3, 5), control(2, 0), at(2, 0, 0)),
        ] {
            assert_eq!(place.under(control), expected, "{place:?} {control:?}");
        }
        let checkpoint = |generation, number| Some(Checkpoint { generation, number });
        for (checkpoint, expected) in [
            (None, Some(0)),
            (checkpoint(2, 6), Some(6)),
            (checkpoint(1, 9), Some(3)),
            (checkpoint(3, 1), None),
        ] {
            assert_eq!(applied_to(at(2, 3, 5), checkpoint), expected);
        }
    }

    #[test]
    fn values_and_back() {
        let place = Place {
            generation: 1,
            base: 2,
            number: 3,
        };
        assert_eq!(decode::<Place>(&encode(&place).unwrap()).unwrap(), place);
        for wrong in [&[][..], &[9, 1, 2, 3], &[LAYOUT], &[LAYOUT, 1, 2, 3, 4]] {
            assert!(decode::<Place>(wrong).is_err(), "{wrong:?}");
        }
    }
}
