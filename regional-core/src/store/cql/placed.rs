//! Reading the placements, for a store that opens as well.

use super::{json::decode, options::Confirm, session::Cql};
use crate::Error;
use brink_protocol::placement::PlacementTable;

const WHAT: &str = "placements";

const READ: &str = "SELECT row FROM deployments WHERE every = 0 AND kind = 'placements' AND tenant = '' AND name = ''";

/// The row as it stands.
pub(super) async fn read(session: &Cql, is_certain: bool) -> Result<Option<String>, Error> {
    let rows: Vec<(Option<String>,)> = if is_certain {
        session.global_rows(READ, Vec::new()).await?
    } else {
        session.rows(READ, Vec::new()).await?
    };
    Ok(rows.into_iter().next().and_then(|(row,)| row))
}

/// As a store that opens finds it. Where writes are confirmed in all data centres it has to be certain.
pub(super) async fn at_start(session: &Cql, confirm: Confirm) -> Result<PlacementTable, Error> {
    let row = match read(session, true).await {
        Err(_) if confirm == Confirm::Local => read(session, false).await?,
        row => row?,
    };
    decoded(row.as_deref())
}

/// The table of a row; none: the first.
pub(super) fn decoded(row: Option<&str>) -> Result<PlacementTable, Error> {
    row.map_or_else(|| Ok(PlacementTable::default()), |row| decode(WHAT, row))
}
