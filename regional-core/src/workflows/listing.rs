//! Shows workflows of a tenant, the newest first.

use super::{
    Workflows,
    index::{self, IndexRow},
    rows::{self, SHARDS},
};
use crate::Error;
use brink_protocol::{ModuleName, TenantName, control::WorkflowPhase, workflow::Instance};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

/// Rows of the index that one listing looks at.
const ROWS_MAX: usize = 2000;
/// Instances that are read at a time; each may have 1 MiB.
const READS: usize = 8;

/// Where an instance stands.
#[must_use]
pub fn phase(instance: &Instance) -> WorkflowPhase {
    match instance {
        Instance { stuck: Some(_), .. } => WorkflowPhase::Stuck,
        Instance {
            completed: Some(_), ..
        } => WorkflowPhase::Completed,
        Instance {
            failure: Some(_), ..
        } if instance.has_ended() => WorkflowPhase::Failed,
        Instance {
            failure: Some(_), ..
        } => WorkflowPhase::Compensating,
        _ => WorkflowPhase::Running,
    }
}

/// A page of instances.
#[derive(Debug)]
pub struct Listed {
    /// Name, id and state, the newest start first.
    pub instances: Vec<(ModuleName, String, Instance)>,
    /// Where to go on; none: there are no more.
    pub next: Option<String>,
}

impl Workflows {
    /// Instances of a tenant, the newest start first: of one name, in one phase, or all. `before`: see [`Listed::next`].
    ///
    /// # Errors
    /// The store.
    pub async fn list(
        &self,
        tenant: &TenantName,
        (name, wanted): (Option<&ModuleName>, Option<WorkflowPhase>),
        before: Option<&str>,
        limit: usize,
    ) -> Result<Listed, Error> {
        let mut listed = Listed {
            instances: Vec::new(),
            next: before.map(str::to_owned),
        };
        let mut seen = 0;
        loop {
            let page = self
                .index_page(tenant, listed.next.as_deref(), limit)
                .await?;
            if page.is_empty() {
                listed.next = None;
                return Ok(listed);
            }
            seen += page.len();
            let rows = page.into_iter().map(|row| async move {
                let is_wanted = name.is_none_or(|name| *name == row.place.name);
                let found = match is_wanted {
                    true => rows::read(self.store(), &row.place, self.now_ms()).await?,
                    false => None,
                };
                Ok::<_, Error>((row, found))
            });
            let rows: Vec<_> = stream::iter(rows).buffered(READS).try_collect().await?;
            for (row, found) in rows {
                let found = found.map(|stored| stored.instance);
                // A start that another was quicker than has left its row.
                let found = found.filter(|instance| row.place.index_sort(instance) == row.sort);
                let found = found.filter(|instance| {
                    let is_wanted = wanted.is_none_or(|wanted| phase(instance) == wanted);
                    instance.deployed.is_some() && is_wanted
                });
                listed.next = Some(row.sort);
                if let Some(instance) = found {
                    listed
                        .instances
                        .push((row.place.name, row.place.id, instance));
                }
                if listed.instances.len() >= limit {
                    return Ok(listed);
                }
            }
            if seen >= ROWS_MAX {
                return Ok(listed);
            }
        }
    }

    /// The newest rows of all shards before a sort key.
    async fn index_page(
        &self,
        tenant: &TenantName,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<IndexRow>, Error> {
        let count = u32::try_from(limit).unwrap_or(u32::MAX);
        let shards = (0..SHARDS)
            .map(|shard| index::page(self.store(), tenant, shard, (before, count), self.now_ms()));
        let shards: Vec<Vec<IndexRow>> = stream::iter(shards).buffered(READS).try_collect().await?;
        let mut rows: Vec<IndexRow> = shards.into_iter().flatten().collect();
        rows.sort_unstable_by(|a, b| b.cmp(a));
        rows.truncate(limit);
        Ok(rows)
    }
}
