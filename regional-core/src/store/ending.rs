//! What ends by its lifetime, where it is to be archived before it is removed.

use super::{KeptRow, Swept};
use crate::Error;
use async_trait::async_trait;
use brink_protocol::{TenantName, address::PartitionAddress, record::Version};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of values that one list of what has ended gives, but for one more value.
pub const ENDED_BYTES_MAX: usize = 4 << 20;
/// How much more of an index is looked through than is asked for, to find what is wanted among what is not.
pub(crate) const LOOKED_AT: usize = 20;

/// Collections, by tenant and name.
pub type CollectionNames = BTreeSet<(TenantName, String)>;

/// A record whose lifetime has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedRow {
    /// The partition that it is in.
    pub partition: PartitionAddress,
    /// Its sort key.
    pub sort: String,
    /// The record as it is kept; none: what was noted to end then is not there any more.
    pub row: Option<KeptRow>,
}

/// What a sweep leaves alone: records of some collections, but for those that are archived.
#[derive(Debug, Clone, Default)]
pub struct Spared {
    /// The collections.
    pub collections: CollectionNames,
    /// Records of them that are archived, with their versions; 0: nothing is there.
    pub archived: BTreeMap<PartitionAddress, BTreeMap<String, Version>>,
}

/// What a sweep may do with a record that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sweeping {
    /// Remove it.
    Any,
    /// Remove this version of it.
    Only(Version),
    /// Leave it.
    Leave,
}

/// Whether a partition is of one of these collections.
#[must_use]
pub fn is_of(collections: &CollectionNames, partition: &PartitionAddress) -> bool {
    let mut names = collections.iter();
    names.any(|(tenant, name)| *tenant == partition.tenant && *name == partition.collection)
}

impl Spared {
    /// Whether something of a partition may be removed.
    #[must_use]
    pub fn lets_some_of(&self, partition: &PartitionAddress) -> bool {
        self.archived.contains_key(partition) || !is_of(&self.collections, partition)
    }

    /// What may be done with a record.
    #[must_use]
    pub fn of(&self, partition: &PartitionAddress, sort: &str) -> Sweeping {
        if !is_of(&self.collections, partition) {
            return Sweeping::Any;
        }
        let archived = self.archived.get(partition);
        match archived.and_then(|sorts| sorts.get(sort)) {
            Some(version) => Sweeping::Only(*version),
            None => Sweeping::Leave,
        }
    }
}

/// The part of a store that archives need.
///
/// # Errors
/// As [`super::Store`].
#[async_trait]
pub trait Endings: Send + Sync + 'static {
    /// Records of `collections` whose lifetime has ended, of partitions whose home is here: at most `limit`, and not many more
    /// bytes than [`ENDED_BYTES_MAX`].
    async fn ended(
        &self,
        now_ms: u64,
        limit: usize,
        collections: &CollectionNames,
    ) -> Result<Vec<EndedRow>, Error>;

    /// As [`super::Store::sweep`], and leaves what is spared.
    async fn sweep_but(&self, now_ms: u64, limit: usize, spared: &Spared) -> Result<Swept, Error>;
}
