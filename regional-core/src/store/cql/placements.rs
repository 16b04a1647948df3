//! Placements: one row, changed on the condition that it is what it was, in an order of all data centres.

use super::{
    CqlStore, audit,
    engine::Engine,
    json::encode,
    placed::{decoded, read},
    session::{Applied, Bind},
};
use crate::{
    Error,
    store::{NewAudit, PlacementStore},
};
use async_trait::async_trait;
use brink_protocol::{RegionName, placement::PlacementTable};
use std::time::Duration;

const WHAT: &str = "placements";
/// Times that the outcome of a change is asked for.
const ASKED_MAX: usize = 3;

const CHANGE: &str = "UPDATE deployments SET row = ? WHERE every = 0 AND kind = 'placements' AND tenant = '' AND name = '' \
                      IF row = ?";

/// Puts a table back as it was, but for where this database's regions are.
pub(super) async fn put_back(engine: &Engine, table: &PlacementTable) -> Result<(), Error> {
    let row = read(&engine.session, true).await?;
    let present = decoded(row.as_deref())?;
    let table = PlacementTable {
        main: table.main.clone().or(present.main),
        centers: present.centers,
        ..table.clone()
    };
    let values = vec![encode(WHAT, &table)?, row.map_or(Bind::Null, Bind::Text)];
    if engine.session.global(vec![(CHANGE, values)]).await? == Applied::No {
        return Err(Error::Busy);
    }
    engine.keyspaces.learn(&table);
    Ok(())
}

#[async_trait]
impl PlacementStore for CqlStore {
    async fn placements(&self, is_certain: bool) -> Result<PlacementTable, Error> {
        self.engine.keyspaces.read(is_certain).await
    }

    async fn change_placements(
        &self,
        expected_revision: u64,
        table: PlacementTable,
        new_audit: NewAudit,
    ) -> Result<bool, Error> {
        let row = read(&self.engine.session, true).await?;
        if decoded(row.as_deref())?.revision != expected_revision {
            return Ok(false);
        }
        let next = PlacementTable {
            revision: expected_revision + 1,
            ..table
        };
        let before = row.map_or(Bind::Null, Bind::Text);
        let values = vec![encode(WHAT, &next)?, before];
        let applied = match self.engine.session.global(vec![(CHANGE, values)]).await {
            Ok(applied) => applied,
            Err(failure) if failure.is_ours => return Err(failure.error),
            Err(failure) => {
                // A serial read ends what is half-way; what is not there then does not come any more.
                let mut found = None;
                for _ in 0..ASKED_MAX {
                    if let Ok(row) = read(&self.engine.session, true).await {
                        found = Some(row);
                        break;
                    }
                }
                let row = found.ok_or(failure.error)?;
                if decoded(row.as_deref())? == next {
                    Applied::Yes
                } else {
                    Applied::No
                }
            }
        };
        if applied == Applied::No {
            return Ok(false);
        }
        self.engine.keyspaces.learn(&next);
        audit::add_audit(&self.engine, new_audit).await?;
        Ok(true)
    }

    async fn give_up(&self, data_center: &str) -> Result<(), Error> {
        self.engine.keyspaces.give_up(data_center).await
    }

    fn own_center(&self) -> Option<&str> {
        let engine = &self.engine;
        engine
            .session
            .orders_alone()
            .then(|| engine.keyspaces.own_center())
    }

    fn sees_all(&self) -> bool {
        !self.engine.session.is_near_alone()
    }

    fn write_max(&self) -> Duration {
        self.engine.write_max()
    }

    fn check_region(&self, region: &RegionName) -> Result<(), Error> {
        self.engine.keyspaces.check_region(region)
    }
}
