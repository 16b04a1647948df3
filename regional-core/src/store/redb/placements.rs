//! Placements in the embedded store: one row of JSON, which later programs may add to.

use super::{
    RedbStore,
    batch::Batch,
    tables::{OrStore, PLACEMENTS},
};
use crate::{
    Error,
    store::{NewAudit, PlacementStore},
};
use ::redb::{ReadableTable, TableError};
use async_trait::async_trait;
use brink_protocol::placement::PlacementTable;
use std::time::Duration;

const WHAT: &str = "placements";

fn decoded(row: &[u8]) -> Result<PlacementTable, Error> {
    serde_json::from_slice(row).map_err(|error| Error::corrupt(WHAT, error))
}

/// Puts a table back as it is.
pub(super) fn put_back(batch: &mut Batch<'_>, table: &PlacementTable) -> Result<(), Error> {
    let row = serde_json::to_vec(table).map_err(|error| Error::corrupt(WHAT, error))?;
    let mut rows = batch.txn.open_table(PLACEMENTS).or_store(WHAT)?;
    batch.touch();
    rows.insert((), row.as_slice()).or_store(WHAT)?;
    Ok(())
}

#[async_trait]
impl PlacementStore for RedbStore {
    async fn placements(&self, _: bool) -> Result<PlacementTable, Error> {
        let table = match self.read()?.open_table(PLACEMENTS) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(PlacementTable::default()),
            Err(error) => return Err(Error::store(WHAT, error)),
        };
        let row = table.get(()).or_store(WHAT)?;
        row.map_or_else(|| Ok(PlacementTable::default()), |row| decoded(row.value()))
    }

    async fn change_placements(
        &self,
        expected_revision: u64,
        table: PlacementTable,
        audit: NewAudit,
    ) -> Result<bool, Error> {
        let next = PlacementTable {
            revision: expected_revision + 1,
            ..table
        };
        let row = serde_json::to_vec(&next).map_err(|error| Error::corrupt(WHAT, error))?;
        self.writer
            .write(move |batch: &mut Batch<'_>| {
                let mut rows = batch.txn.open_table(PLACEMENTS).or_store(WHAT)?;
                let present = rows.get(()).or_store(WHAT)?;
                let present = present.map_or(Ok(0), |row| decoded(row.value()).map(|t| t.revision));
                if present? != expected_revision {
                    return Ok(false);
                }
                batch.touch();
                rows.insert((), row.as_slice()).or_store(WHAT)?;
                drop(rows);
                batch.audit(audit)?;
                Ok(true)
            })
            .await
    }

    fn write_max(&self) -> Duration {
        // Whoever moves a partition waits for those that were let through, one by one; this is for callers that went away.
        Duration::from_millis(250)
    }

    async fn give_up(&self, _: &str) -> Result<(), Error> {
        Err(brink_protocol::Error::Malformed {
            what: "data centre",
            reason: "the embedded store has no replicas; restore a backup of the region instead"
                .into(),
        }
        .into())
    }
}
