//! Changes of placements, in steps that cores may learn of one after the other.

use super::{LEASE, Placements, Regions};
use crate::{
    Error,
    clock::now_ms,
    refusal::Refusal,
    store::{NewAudit, RowKey, Store},
    tokens::Caller,
};
use brink_protocol::{
    RegionName, TenantName,
    placement::{
        About, COLLECTIONS_MAX, Collection, Pending, Placement, PlacementTable, moves_data,
    },
};
use std::{collections::BTreeSet, time::Duration};

/// How often a step is tried when others change the table at the same time.
const ATTEMPTS_MAX: u32 = 8;
/// Partitions of one reading while it is looked whether a collection is empty.
const PARTITIONS: usize = 1000;
/// How long writes that were let through are waited for where no other core writes.
const OWN_WRITES: Duration = Duration::from_millis(250);

/// What came of a declaration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Declared {
    /// It is in force.
    Done,
    /// It was so before.
    Unchanged,
}

/// What a region's loss is answered with.
#[derive(Debug, Clone)]
pub struct Promotion {
    /// The region that is lost for good.
    pub from: RegionName,
    /// The one that takes its place.
    pub to: RegionName,
    /// The engine's data centre that is given up with it; none: the database is whole.
    pub data_center: Option<String>,
}

/// Who changes what.
struct Step<'a> {
    caller: &'a Caller,
    action: &'static str,
    subject: String,
}

impl Placements {
    /// Declares how a collection is placed, or (without `to`) that it is not any more.
    ///
    /// # Errors
    /// It is not allowed, would move data, another change is under way, or the store.
    pub async fn declare(
        &self,
        regions: &dyn Regions,
        caller: &Caller,
        name: &str,
        to: Option<Collection>,
    ) -> Result<Declared, Refusal> {
        if let Some(to) = &to {
            to.check()?;
        }
        let _turn = self.turn.lock().await;
        let table = self.refresh(true).await?;
        let from = table.collection(&caller.tenant, name).cloned();
        if from == to {
            return Ok(Declared::Unchanged);
        }
        let count: usize = table.collections.values().map(|all| all.len()).sum();
        if from.is_none() && count >= COLLECTIONS_MAX {
            return Err(Refusal::Conflict(format!(
                "there are {COLLECTIONS_MAX} declared collections already"
            )));
        }
        let action = if to.is_some() {
            "collection.put"
        } else {
            "collection.delete"
        };
        let step = Step {
            caller,
            action,
            subject: name.to_owned(),
        };
        let about = About::Collection(caller.tenant.clone(), name.to_owned());
        let pending = self.begin(&step, about).await?;
        self.wait_for_writes().await;
        if moves_data(from.as_ref(), to.as_ref(), self.store.is_shared()) {
            let empty = self.is_empty(regions, caller, name, from.as_ref()).await;
            if !matches!(empty, Ok(true)) {
                self.end(&step, &pending, |_| {}).await?;
                empty?;
                return Err(Refusal::Conflict(format!(
                    "the collection {name} has records, and they would have to lie elsewhere: declare it before there are any, or export and import them"
                )));
            }
        }
        self.edit(&step, &pending, |table| {
            let own = table.collections.entry(caller.tenant.clone()).or_default();
            match &to {
                Some(to) => own.insert(name.to_owned(), to.clone()),
                None => own.remove(name),
            };
            table.collections.retain(|_, own| !own.is_empty());
        })
        .await?;
        // Who reads where the records were must not miss what is written where they are.
        self.wait_for_knowledge().await;
        self.end(&step, &pending, |_| {}).await?;
        Ok(Declared::Done)
    }

    /// Sets the home of partitions that no placement gives another.
    ///
    /// # Errors
    /// Records would have to lie elsewhere, another change is under way, or the store.
    pub async fn set_main(
        &self,
        caller: &Caller,
        main: Option<RegionName>,
    ) -> Result<Declared, Refusal> {
        let _turn = self.turn.lock().await;
        let table = self.refresh(true).await?;
        if table.main == main {
            return Ok(Declared::Unchanged);
        }
        if !self.store.is_shared() && self.has_records().await? {
            return Err(Refusal::Conflict(
                "there are records, and with the embedded store they lie at their home: set the main region before there are any"
                    .into(),
            ));
        }
        let step = Step {
            caller,
            action: "region.main",
            subject: main.as_ref().map_or("none", RegionName::as_str).to_owned(),
        };
        let present = |region: &RegionName| table.present(region).clone();
        let before = table.main.as_ref().map(present);
        let pending = self.begin(&step, About::Homes(vec![before])).await?;
        self.wait_for_writes().await;
        self.end(&step, &pending, |table| table.main.clone_from(&main))
            .await?;
        Ok(Declared::Done)
    }

    /// Gives the homes of a region that is lost for good to another.
    ///
    /// # Errors
    /// It makes no sense, another change is under way, or the store.
    pub async fn promote(
        &self,
        caller: &Caller,
        promotion: &Promotion,
    ) -> Result<Declared, Refusal> {
        let Promotion {
            from,
            to,
            data_center,
        } = promotion;
        let _turn = self.turn.lock().await;
        let check = |table: &PlacementTable| {
            let is_done = table.promoted.get(from) == Some(to);
            let is_itself = table.present(to) == table.present(from);
            if !is_done && table.promoted.contains_key(from) {
                return Err(Refusal::Conflict(format!(
                    "{from} was given up before: promote the region that took its place"
                )));
            }
            if !is_done && (is_itself || table.promoted.contains_key(to)) {
                return Err(Refusal::Conflict(format!(
                    "{to} cannot take the place of {from}: it is that region, or was given up itself"
                )));
            }
            Ok(is_done)
        };
        // By what is known without asking: a mistake gives up nothing.
        check(&self.current())?;
        // Then this: without it nothing is certain any more where a majority of the replicas was lost.
        if let Some(data_center) = data_center {
            self.store.give_up(data_center).await?;
        }
        let table = self.refresh(true).await?;
        if check(&table)? {
            return Ok(Declared::Unchanged);
        }
        let step = Step {
            caller,
            action: "region.promote",
            subject: format!("{from} -> {to}"),
        };
        let pending = self
            .begin(&step, About::Homes(vec![Some(from.clone())]))
            .await?;
        self.wait_for_writes().await;
        self.end(&step, &pending, |table| {
            table.promoted.insert(from.clone(), to.clone());
        })
        .await?;
        Ok(Declared::Done)
    }

    /// Tells everybody of a change.
    async fn begin(&self, step: &Step<'_>, about: About) -> Result<String, Refusal> {
        let id = ulid::Ulid::new().to_string();
        let mut unknown = None;
        for _ in 0..ATTEMPTS_MAX {
            let present = self.refresh(true).await?;
            if let Some(pending) = &present.pending {
                // It was told, though the answer was lost.
                if pending.id == id {
                    return Ok(id);
                }
                return Err(Refusal::Conflict(format!(
                    "another change of placements is under way ({:?}); one that was left behind ends by itself after two minutes",
                    pending.about
                )));
            }
            let table = PlacementTable {
                pending: Some(Pending {
                    id: id.clone(),
                    at_ms: now_ms(),
                    about: about.clone(),
                }),
                ..PlacementTable::clone(&present)
            };
            match self.put(step, present.revision, table).await {
                Ok(true) => return Ok(id),
                Ok(false) => {}
                Err(error) => unknown = Some(error),
            }
        }
        Err(unknown.map_or_else(busy, Refusal::from))
    }

    /// Changes the table while the change is under way.
    async fn edit(
        &self,
        step: &Step<'_>,
        pending: &str,
        edit: impl Fn(&mut PlacementTable),
    ) -> Result<(), Refusal> {
        let mut unknown = None;
        for _ in 0..ATTEMPTS_MAX {
            let present = self.refresh(true).await?;
            if present.pending.as_ref().is_none_or(|p| p.id != pending) {
                // The last step was done, though the answer was lost.
                if unknown.is_some() && present.pending.is_none() {
                    return Ok(());
                }
                return Err(Refusal::Conflict(
                    "the change took too long, and was ended by another core; try again".into(),
                ));
            }
            let mut table = PlacementTable::clone(&present);
            edit(&mut table);
            match self.put(step, present.revision, table).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => unknown = Some(error),
            }
        }
        Err(unknown.map_or_else(busy, Refusal::from))
    }

    /// The last step.
    async fn end(
        &self,
        step: &Step<'_>,
        pending: &str,
        edit: impl Fn(&mut PlacementTable),
    ) -> Result<(), Refusal> {
        let last = |table: &mut PlacementTable| {
            edit(table);
            table.pending = None;
        };
        self.edit(step, pending, last).await
    }

    async fn put(
        &self,
        step: &Step<'_>,
        revision: u64,
        table: PlacementTable,
    ) -> Result<bool, Error> {
        let audit = NewAudit {
            by: step.caller.id.clone(),
            tenant: step.caller.tenant.clone(),
            action: step.action,
            subject: step.subject.clone(),
            at_ms: now_ms(),
        };
        let is_done = self.store.change_placements(revision, table, audit).await?;
        self.refresh(true).await?;
        Ok(is_done)
    }

    /// Until every core that takes writes knows of what was told.
    async fn wait_for_knowledge(&self) {
        if self.store.is_shared() {
            tokio::time::sleep(LEASE).await;
        }
    }

    /// Until, besides, what was let through before that is over.
    async fn wait_for_writes(&self) {
        self.wait_for_knowledge().await;
        let writes = if self.store.is_shared() {
            self.write_max
        } else {
            OWN_WRITES
        };
        tokio::time::sleep(writes).await;
    }

    /// Whether a collection has no record, wherever its records may lie.
    async fn is_empty(
        &self,
        regions: &dyn Regions,
        caller: &Caller,
        name: &str,
        from: Option<&Collection>,
    ) -> Result<bool, Refusal> {
        if !is_empty(&*self.store, Some(&caller.tenant), Some(name)).await? {
            return Ok(false);
        }
        let table = self.current();
        let mut elsewhere: BTreeSet<RegionName> = BTreeSet::new();
        if let Some(from) = from {
            if let Placement::Geo { regions, .. } = &from.placement {
                elsewhere.extend(regions.values().map(|region| table.present(region).clone()));
            }
            elsewhere.extend(from.home.iter().map(|home| table.present(home).clone()));
        }
        if let Some(own) = &self.own {
            elsewhere.remove(own);
        }
        for region in elsewhere {
            if !regions.is_empty_at(&region, &caller.tenant, name).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn has_records(&self) -> Result<bool, Error> {
        Ok(!is_empty(&*self.store, None, None).await?)
    }
}

fn busy() -> Refusal {
    Refusal::Conflict("placements are being changed by others all the time; try again".into())
}

/// Whether there is no record of a collection (of any that is not the platform's, if none is named) in this core's data.
pub(crate) async fn is_empty(
    store: &dyn Store,
    tenant: Option<&TenantName>,
    collection: Option<&str>,
) -> Result<bool, Error> {
    let mut after = None;
    loop {
        let found = store.partitions(tenant, after.as_ref(), PARTITIONS).await?;
        for partition in &found {
            let is_platform = partition.tenant.as_str() == brink_protocol::link::canary::TENANT
                || partition.collection.starts_with('_');
            let is_meant = collection.map_or(!is_platform, |collection| {
                collection == partition.collection
            });
            if is_meant && has_records(store, partition).await? {
                return Ok(false);
            }
        }
        after = found.into_iter().next_back();
        if after.is_none() {
            return Ok(true);
        }
    }
}

async fn has_records(
    store: &dyn Store,
    partition: &brink_protocol::address::PartitionAddress,
) -> Result<bool, Error> {
    let mut after: Option<RowKey> = None;
    loop {
        let rows = store.kept(partition, after.as_ref(), PARTITIONS).await?;
        let is_record = |row: &crate::store::KeptRow| {
            matches!(row.key, RowKey::Record(_)) && row.value.is_some()
        };
        if rows.iter().any(is_record) {
            return Ok(true);
        }
        after = rows.into_iter().next_back().map(|row| row.key);
        if after.is_none() {
            return Ok(false);
        }
    }
}
