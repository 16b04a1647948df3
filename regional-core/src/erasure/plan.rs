//! What an erasure is asked for, as addresses, and what it counts.

use super::kept::Work;
use crate::store::{KeptRow, RowKey};
use brink_protocol::{
    Digest, TenantName,
    address::PartitionAddress,
    operations::{ERASED_MAX, ErasedCollection, NewErasure},
    record::{check_partition, check_sort},
};

pub(super) fn check(plan: &NewErasure) -> Result<(), brink_protocol::Error> {
    let count = plan.partitions.len() + plan.records.len();
    if !(1..=ERASED_MAX).contains(&count) {
        return Err(brink_protocol::Error::Limit {
            what: "partitions and records of one erasure (at least 1)",
            actual: count as u64,
            limit: ERASED_MAX as u64,
        });
    }
    for partition in &plan.partitions {
        check_partition(&partition.collection, &partition.partition)?;
    }
    for record in &plan.records {
        check_partition(&record.collection, &record.partition)?;
        check_sort(&record.sort)?;
    }
    Ok(())
}

pub(super) fn address(tenant: &TenantName, collection: &str, partition: &str) -> PartitionAddress {
    PartitionAddress {
        tenant: tenant.clone(),
        collection: collection.to_owned(),
        partition: partition.to_owned(),
    }
}

pub(super) fn partitions(work: &Work) -> Vec<PartitionAddress> {
    let all = work.plan.partitions.iter();
    all.map(|asked| address(&work.tenant, &asked.collection, &asked.partition))
        .collect()
}

/// The sort key of a record that is there.
pub(super) fn present(row: KeptRow) -> Option<String> {
    match row.key {
        RowKey::Record(sort) if row.value.is_some() => Some(sort),
        RowKey::Record(_) | RowKey::Answer { .. } => None,
    }
}

pub(super) fn counted<'w>(
    work: &'w mut Work,
    partition: &PartitionAddress,
) -> &'w mut ErasedCollection {
    let collection = &partition.collection;
    let counts = work.erased.entry(collection.clone());
    counts.or_insert_with(|| ErasedCollection {
        collection: collection.clone(),
        ..ErasedCollection::default()
    })
}

pub(super) fn subjects(plan: &NewErasure) -> Vec<String> {
    let partitions = plan
        .partitions
        .iter()
        .map(|asked| format!("{}\0{}", asked.collection, asked.partition));
    let records = plan
        .records
        .iter()
        .map(|asked| format!("{}\0{}\0{}", asked.collection, asked.partition, asked.sort));
    partitions
        .chain(records)
        .map(|text| Digest::of(text.as_bytes()).to_string())
        .collect()
}
