//! Which data centre a region is in, where each data centre orders its own writes: a partition that two of them wrote would
//! take writes of both under one condition.
//!
//! So each region is in one data centre, and every partition has a home: that of the first core which ever begins, where
//! nothing else is declared. A core that cannot be certain of both does not begin.

use crate::{
    Error,
    clock::now_ms,
    store::{NewAudit, Store},
};
use brink_protocol::{RegionName, deployment::default_tenant, placement::PlacementTable};

/// Why nothing is written where no home is known.
pub(super) const NO_MAIN: &str = "each data centre orders its own writes (store.cql.order = \"local\"), and partitions \
    without a home would be written in several: set the main region (brink regions main)";
/// How often it is tried when others change the table at the same time.
const ATTEMPTS_MAX: u32 = 8;

/// Puts this core's region into its data centre, and makes it the main one if none is; gives the table.
///
/// # Errors
/// The region is in another data centre, or has no name; or the store.
pub(super) async fn settle(
    store: &dyn Store,
    own: Option<&RegionName>,
    mut table: PlacementTable,
) -> Result<PlacementTable, Error> {
    let Some(center) = store.own_center() else {
        return Ok(table);
    };
    let own = own.ok_or_else(|| {
        Error::Config(
            "region: where a database lies in several data centres it is 1 to 63 of a-z, 0-9 and -"
                .into(),
        )
    })?;
    for _ in 0..ATTEMPTS_MAX {
        match table.centers.get(own) {
            Some(found) if found != center => {
                return Err(Error::Config(format!(
                    "region: {own} is in the data centre {found}, and this core's is {center} (store.cql.data_center): give the region of each data centre its own name"
                )));
            }
            Some(_) if table.main.is_some() => return Ok(table),
            _ => {}
        }
        let mut next = table.clone();
        next.centers.insert(own.clone(), center.to_owned());
        next.main.get_or_insert_with(|| own.clone());
        let audit = NewAudit {
            by: "core".into(),
            tenant: default_tenant(),
            action: "region.begin",
            subject: format!("{own} in {center}"),
            at_ms: now_ms(),
        };
        store.change_placements(table.revision, next, audit).await?;
        table = store.placements(true).await?;
    }
    Err(Error::Busy)
}
