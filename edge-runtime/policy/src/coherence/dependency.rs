//! What a stored entry depends on.

use super::{
    bounds::Bounds,
    tags::{self, TagHash},
};
use brink_protocol::tag::Tag;
use serde::{Deserialize, Serialize};

/// One thing that an entry depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Dependency {
    /// Whatever has the tag.
    Tag(TagHash),
    /// Writes to a partition between bounds.
    Range {
        /// See [`tags::partition`].
        partition: TagHash,
        /// Outside of them nothing counts.
        bounds: Box<Bounds>,
    },
}

impl Dependency {
    /// What a response that has this tag depends on.
    #[must_use]
    pub fn on(tag: &Tag) -> Self {
        let bounds = match tag {
            Tag::Range { range, .. } => Bounds::of(range),
            Tag::Record { .. } | Tag::Name { .. } | Tag::Module { .. } => None,
        };
        let tag = tag_hash(tag);
        match bounds {
            Some(bounds) => Self::Range {
                partition: tag,
                bounds: Box::new(bounds),
            },
            None => Self::Tag(tag),
        }
    }
}

impl From<TagHash> for Dependency {
    fn from(tag: TagHash) -> Self {
        Self::Tag(tag)
    }
}

/// The hash of a tag; of a range that of its whole partition.
#[must_use]
pub fn tag_hash(tag: &Tag) -> TagHash {
    match tag {
        Tag::Record { partition, sort } => tags::record(partition, sort),
        Tag::Range { tenant, range } => {
            tags::partition(tenant, &range.collection, &range.partition)
        }
        Tag::Name { tenant, name } => tags::name(tenant, name.as_str()),
        Tag::Module { tenant, module } => tags::module(tenant, module.as_str()),
    }
}

/// What can be held against the changes: a [`Dependency`], or a mere tag, which stands for its whole partition if it is
/// one's.
pub trait Depends {
    /// The tag.
    fn tag(&self) -> TagHash;

    /// Of a range its bounds.
    fn bounds(&self) -> Option<&Bounds>;
}

impl Depends for TagHash {
    fn tag(&self) -> TagHash {
        *self
    }

    fn bounds(&self) -> Option<&Bounds> {
        None
    }
}

impl Depends for Dependency {
    fn tag(&self) -> TagHash {
        match self {
            Self::Tag(tag) | Self::Range { partition: tag, .. } => *tag,
        }
    }

    fn bounds(&self) -> Option<&Bounds> {
        match self {
            Self::Tag(_) => None,
            Self::Range { bounds, .. } => Some(bounds),
        }
    }
}
