//! Changes of placements, in steps that cores may learn of one after the other.
//!
//! What is to be stands in the table while it is under way, so that any core can go on with it: whoever asked may go away,
//! and the core may die. Two cores that carry out the same change are not in each other's way.

use super::{LEASE, Placements, empty};
use crate::{Error, clock::now_ms, refusal::Refusal, store::NewAudit, tokens::Caller};
use brink_protocol::{
    RegionName,
    deployment::default_tenant,
    placement::{Collection, Pending, Placement, PlacementTable, Step, moves_data},
};
use std::sync::Arc;

/// How often a step is tried when others change the table at the same time.
const ATTEMPTS_MAX: u32 = 8;

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

impl Placements {
    /// Declares how a collection is placed, or (without `to`) that it is not any more. Goes on when the caller goes away;
    /// asked for again, it gives what comes of it.
    ///
    /// # Errors
    /// It is not allowed, would move data, another change of the tenant's collections is under way, or the store.
    pub async fn declare(
        self: &Arc<Self>,
        caller: &Caller,
        name: &str,
        to: Option<Collection>,
    ) -> Result<Declared, Refusal> {
        if let Some(to) = &to {
            to.check()?;
            if let Placement::Geo {
                regions,
                pinned: true,
            } = &to.placement
            {
                for region in regions.values() {
                    self.store.check_region(region)?;
                }
            }
        }
        let step = Step::Collection {
            tenant: caller.tenant.clone(),
            name: name.to_owned(),
            to,
        };
        self.change(caller, step, None).await
    }

    /// Sets the home of partitions that no placement gives another. As [`Placements::declare`].
    ///
    /// # Errors
    /// Records would have to lie elsewhere, another change of regions is under way, or the store.
    pub async fn set_main(
        self: &Arc<Self>,
        caller: &Caller,
        to: Option<RegionName>,
    ) -> Result<Declared, Refusal> {
        self.change(caller, Step::Main { to }, None).await
    }

    /// Gives the homes of a region that is lost for good to another. As [`Placements::declare`]; it takes the place of a
    /// change of the main region that is under way.
    ///
    /// # Errors
    /// It makes no sense, another promotion is under way, or the store.
    pub async fn promote(
        self: &Arc<Self>,
        caller: &Caller,
        promotion: &Promotion,
    ) -> Result<Declared, Refusal> {
        let step = Step::Promote {
            from: promotion.from.clone(),
            to: promotion.to.clone(),
        };
        // By what is known without asking: a mistake gives up nothing.
        self.check(&self.current(), &step).await?;
        self.change(caller, step, promotion.data_center.clone())
            .await
    }

    async fn change(
        self: &Arc<Self>,
        caller: &Caller,
        step: Step,
        give_up: Option<String>,
    ) -> Result<Declared, Refusal> {
        let (placements, by) = (Arc::clone(self), caller.id.clone());
        let changing = tokio::spawn(async move {
            // First: without it nothing is certain any more where a majority of the replicas was lost.
            if let Some(data_center) = give_up {
                placements.store.give_up(&data_center).await?;
            }
            match placements.begin(by, step).await? {
                Some(pending) => placements.carry_out(&pending).await,
                None => Ok(Declared::Unchanged),
            }
        });
        let changed = changing.await;
        changed.map_err(|error| Error::store("changing placements", error))?
    }

    /// Whether a step may be done.
    async fn check(&self, table: &PlacementTable, step: &Step) -> Result<(), Refusal> {
        match step {
            Step::Collection { to: None, .. } => {}
            Step::Collection { tenant, .. } => {
                let mut next = table.clone();
                step.make(&mut next);
                next.check_room(tenant)?;
            }
            Step::Main { to } => {
                if to.is_none() && self.store.own_center().is_some() {
                    return Err(Refusal::Conflict(super::center::NO_MAIN.into()));
                }
                if !self.store.is_shared() && !empty::is_empty(&*self.store, None, None).await? {
                    return Err(Refusal::Conflict(
                        "there are records, and with the embedded store they lie at their home: set the main region before there are any"
                            .into(),
                    ));
                }
            }
            Step::Promote { from, to } => {
                if step.is_done(table) {
                    return Ok(());
                }
                if table.promoted.contains_key(from) {
                    return Err(Refusal::Conflict(format!(
                        "{from} was given up before: promote the region that took its place"
                    )));
                }
                if table.present(to) == table.present(from) || table.promoted.contains_key(to) {
                    return Err(Refusal::Conflict(format!(
                        "{to} cannot take the place of {from}: it is that region, or was given up itself"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Tells everybody of a change; none: it is so already. The same change, if it is under way, is given as it is.
    async fn begin(&self, by: String, step: Step) -> Result<Option<Pending>, Refusal> {
        let id = ulid::Ulid::new().to_string();
        let mut unknown = None;
        for _ in 0..ATTEMPTS_MAX {
            let present = self.refresh(true).await?;
            match present.pending_of(&step) {
                Some(pending) if pending.step == step => return Ok(Some(pending.clone())),
                // It has done nothing yet, and whoever wanted it may have died with the region.
                Some(pending)
                    if matches!(
                        (&pending.step, &step),
                        (Step::Main { .. }, Step::Promote { .. })
                    ) => {}
                Some(_) => {
                    return Err(Refusal::Conflict(
                        "another change is under way; one whose core died is ended after two minutes by another"
                            .into(),
                    ));
                }
                None => {}
            }
            if step.is_done(&present) {
                return Ok(None);
            }
            self.check(&present, &step).await?;
            let pending = Pending {
                id: id.clone(),
                at_ms: now_ms(),
                by: by.clone(),
                step: step.clone(),
            };
            let mut table = PlacementTable::clone(&present);
            table.begin(pending.clone());
            match self.put(&pending, present.revision, table).await {
                Ok(true) => return Ok(Some(pending)),
                Ok(false) => {}
                Err(error) => unknown = Some(error),
            }
        }
        Err(unknown.map_or_else(busy, Refusal::from))
    }

    /// Does all that comes after a change was told.
    pub(super) async fn carry_out(&self, pending: &Pending) -> Result<Declared, Refusal> {
        let step = &pending.step;
        self.wait_for_writes().await;
        let Step::Collection { tenant, name, to } = step else {
            let last = |table: &mut PlacementTable| {
                step.make(table);
                table.end(step);
            };
            self.edit(pending, last).await?;
            return Ok(Declared::Done);
        };
        let from = self.refresh(true).await?.collection(tenant, name).cloned();
        if from != *to {
            if moves_data(from.as_ref(), to.as_ref(), self.store.is_shared()) {
                let is_empty = self.is_empty(tenant, name, from.as_ref()).await;
                if !matches!(is_empty, Ok(true)) {
                    let ended = self.edit(pending, |table| table.end(step)).await;
                    is_empty?;
                    if let Err(error @ Refusal::Core(_)) = ended {
                        return Err(error);
                    }
                    return Err(Refusal::Conflict(format!(
                        "the collection {name} has records, and they would have to lie elsewhere: declare it before there are any, or export and import them"
                    )));
                }
            }
            self.edit(pending, |table| step.make(table)).await?;
        }
        // Who reads where the records were must not miss what is written where they are.
        self.wait_for_knowledge().await;
        self.edit(pending, |table| table.end(step)).await?;
        Ok(Declared::Done)
    }

    /// Changes the table while the change is under way. Another core may have been quicker.
    async fn edit(
        &self,
        pending: &Pending,
        edit: impl Fn(&mut PlacementTable),
    ) -> Result<(), Refusal> {
        let step = &pending.step;
        let mut unknown = None;
        for _ in 0..ATTEMPTS_MAX {
            let present = self.refresh(true).await?;
            if present
                .pending_of(step)
                .is_none_or(|found| found.id != pending.id)
            {
                if step.is_done(&present) {
                    return Ok(());
                }
                return Err(Refusal::Conflict(
                    "the change was ended by another core, or another took its place; try again"
                        .into(),
                ));
            }
            let mut table = PlacementTable::clone(&present);
            edit(&mut table);
            match self.put(pending, present.revision, table).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => unknown = Some(error),
            }
        }
        Err(unknown.map_or_else(busy, Refusal::from))
    }

    async fn put(
        &self,
        pending: &Pending,
        revision: u64,
        table: PlacementTable,
    ) -> Result<bool, Error> {
        let (tenant, action, subject) = match &pending.step {
            Step::Collection { tenant, name, to } => {
                let action = match to {
                    Some(_) => "collection.put",
                    None => "collection.delete",
                };
                (tenant.clone(), action, name.clone())
            }
            Step::Main { to } => {
                let name = to.as_ref().map_or("none", RegionName::as_str);
                (default_tenant(), "region.main", name.to_owned())
            }
            Step::Promote { from, to } => (
                default_tenant(),
                "region.promote",
                format!("{from} -> {to}"),
            ),
        };
        let audit = NewAudit {
            by: pending.by.clone(),
            tenant,
            action,
            subject,
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
        // Those of this core's callers that still wait; elsewhere, and without their callers, it is a matter of time.
        let _none_is_left = self.under_way.write().await;
        tokio::time::sleep(self.store.write_max()).await;
    }
}

fn busy() -> Refusal {
    Refusal::Conflict("placements are being changed by others all the time; try again".into())
}
