//! What clients ask for: answers that depend on one record, several, a range, an object of an origin, or a mix.

use crate::{random::Random, scenario::Scenario};
use brink_policy::coherence::Dependency;
use brink_protocol::{
    TenantName,
    address::PartitionAddress,
    change::RecordChange,
    purge::{Selector, TagName},
    record::{Bound, Range},
    tag::Tag,
};

/// Records of one partition.
const PARTITION_KEYS: u64 = 8;

/// One answer that clients can ask for.
#[derive(Debug, Clone)]
pub struct Page {
    /// The records that it shows.
    pub keys: Vec<u64>,
    /// The objects that it shows.
    pub objects: Vec<u64>,
    /// What it depends on.
    pub on: Vec<Dependency>,
}

/// The one tenant.
#[derive(Debug, Clone)]
pub struct Names {
    tenant: TenantName,
}

impl Names {
    /// Names of a tenant.
    ///
    /// # Errors
    /// None that happens: the name is a constant.
    pub fn new() -> Result<Self, brink_protocol::Error> {
        Ok(Self {
            tenant: "planet".parse()?,
        })
    }

    /// Whose all is.
    #[must_use]
    pub fn tenant(&self) -> &TenantName {
        &self.tenant
    }

    /// The partition of a record.
    #[must_use]
    pub fn partition(&self, key: u64) -> PartitionAddress {
        PartitionAddress {
            tenant: self.tenant.clone(),
            collection: "records".into(),
            partition: format!("p{}", key / PARTITION_KEYS),
        }
    }

    /// A record as it stands in a change.
    #[must_use]
    pub fn record(&self, key: u64, version: Option<u64>) -> RecordChange {
        RecordChange {
            sort: sort(key),
            version,
        }
    }

    fn name(&self, object: u64) -> Option<TagName> {
        format!("object-{object}").parse().ok()
    }

    /// What a purge of an object selects.
    #[must_use]
    pub fn selector(&self, object: u64) -> Selector {
        self.name(object)
            .map_or(Selector::Everything, Selector::Key)
    }

    fn record_tag(&self, key: u64) -> Tag {
        Tag::Record {
            partition: self.partition(key),
            sort: sort(key),
        }
    }

    fn object_tag(&self, object: u64) -> Option<Tag> {
        Some(Tag::Name {
            tenant: self.tenant.clone(),
            name: self.name(object)?,
        })
    }

    /// The pages of a run.
    #[must_use]
    pub fn pages(&self, scenario: &Scenario, random: &mut Random) -> Vec<Page> {
        (0..scenario.pages)
            .map(|_| self.page(scenario, random))
            .collect()
    }

    fn page(&self, scenario: &Scenario, random: &mut Random) -> Page {
        let last = scenario.keys.saturating_sub(1);
        let (keys, objects, tags) = match random.below(6) {
            0 | 1 => {
                let keys = vec![random.between(0, last)];
                (keys.clone(), vec![], self.records(&keys))
            }
            2 => {
                let mut keys: Vec<u64> = (0..3).map(|_| random.between(0, last)).collect();
                keys.sort_unstable();
                keys.dedup();
                (keys.clone(), vec![], self.records(&keys))
            }
            3 => self.range(last, random),
            4 => {
                let object = random.between(0, scenario.objects - 1);
                (
                    vec![],
                    vec![object],
                    self.object_tag(object).into_iter().collect(),
                )
            }
            _ => {
                let object = random.between(0, scenario.objects - 1);
                let keys = vec![random.between(0, last)];
                let mut tags = self.records(&keys);
                tags.extend(self.object_tag(object));
                (keys, vec![object], tags)
            }
        };
        Page {
            keys,
            objects,
            on: tags.iter().map(Dependency::on).collect(),
        }
    }

    fn records(&self, keys: &[u64]) -> Vec<Tag> {
        keys.iter().map(|key| self.record_tag(*key)).collect()
    }

    /// All records of a partition between two bounds, those that are absent too.
    fn range(&self, last: u64, random: &mut Random) -> (Vec<u64>, Vec<u64>, Vec<Tag>) {
        let first = random.between(0, last) / PARTITION_KEYS * PARTITION_KEYS;
        let low = first + random.between(0, PARTITION_KEYS / 2);
        let high = low + random.between(0, PARTITION_KEYS / 2 - 1);
        let range = Range {
            collection: "records".into(),
            partition: self.partition(first).partition,
            lower: if low == first {
                Bound::Unbounded
            } else {
                Bound::Inclusive(sort(low))
            },
            upper: Bound::Inclusive(sort(high)),
            limit: 100,
            descending: random.chance(0.5),
        };
        let keys = (low..=high.min(last)).collect();
        let tag = Tag::Range {
            tenant: self.tenant.clone(),
            range,
        };
        (keys, vec![], vec![tag])
    }
}

fn sort(key: u64) -> String {
    format!("{:03}", key % PARTITION_KEYS)
}
