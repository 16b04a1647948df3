//! The first entry of a log whose node has had another before: it puts the later life into every head, so that who knows
//! the earlier one alone starts anew.

use crate::Error;
use brink_protocol::{
    address::PartitionAddress,
    change::{ChangeKind, Phase, RecordChange},
    link::canary,
};

/// A change that touches nothing but the canary.
pub(super) fn beginning() -> Result<ChangeKind, Error> {
    Ok(ChangeKind::Records {
        partition: PartitionAddress {
            tenant: canary::TENANT.parse()?,
            collection: canary::COLLECTION.into(),
            partition: canary::PARTITION.into(),
        },
        records: vec![RecordChange {
            sort: canary::SORT.into(),
            version: None,
        }],
        phase: Phase::Written,
    })
}
