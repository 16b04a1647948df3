//! Takes one instance as far as it goes now: until it waits, ends, stands still, or another is at work on it.

use super::{
    AT_WORK_MS, AtWork, Undecided, Workflows, index,
    machine::{self, Event, Next},
    rows::{self, DueRow, NewDue, Place, Saved, Stored},
};
use crate::Error;
use brink_protocol::{
    address::PartitionAddress,
    link::CommandRequest,
    workflow::{Decision, Instance, Step},
};
use std::{sync::Arc, time::Duration};

/// How often is begun anew after a failure of the store; the instance is then left until it is due.
const STORE_ATTEMPTS_MAX: u32 = 5;
/// The first wait before, doubled each time.
const STORE_PAUSE: Duration = Duration::from_millis(100);

/// How often a go is begun anew that others were quicker than; the instance is then left until it is due.
const LOST_MAX: u32 = 16;
/// The wait before, times how often.
const LOST_PAUSE: Duration = Duration::from_millis(5);

/// How one go ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// There is nothing to do now.
    Rest,
    /// Another has changed it: what was known is of yesterday.
    Lost,
}

/// Takes an instance as far as it goes. `known`: it was just written so.
pub(super) async fn drive(at_work: AtWork, known: Option<Stored>) {
    let AtWork {
        workflows, place, ..
    } = &at_work;
    let mut known = known;
    let mut pause = STORE_PAUSE;
    let mut attempts = 0;
    let mut lost = 0;
    while attempts < STORE_ATTEMPTS_MAX && !workflows.stop.is_cancelled() {
        match go(workflows, place, known.take()).await {
            Ok(End::Rest) => return,
            Ok(End::Lost) if lost < LOST_MAX => {
                // Another was quicker, or this core reads what is older: it is not asked in a hot loop.
                lost += 1;
                tokio::time::sleep(LOST_PAUSE * lost).await;
            }
            Ok(End::Lost) => return,
            Err(error) => {
                tracing::warn!(%error, workflow = %place.name, id = place.id, "a workflow halts for now");
                attempts += 1;
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = workflows.stop.cancelled() => {}
                }
                pause *= 2;
            }
        }
    }
}

async fn go(
    workflows: &Arc<Workflows>,
    place: &Place,
    known: Option<Stored>,
) -> Result<End, Error> {
    let stored = match known {
        Some(stored) => Some(stored),
        None => rows::read(workflows.store(), place, workflows.now_ms()).await?,
    };
    let Some(stored) = stored else {
        return Ok(End::Rest);
    };
    if stored.instance.deployed.is_none() || !is_to_be_taken_up(workflows, &stored.instance) {
        return Ok(End::Rest);
    }
    let mut go = Go {
        workflows,
        place,
        stored,
        is_saved: true,
    };
    go.on().await
}

/// Its time has come, or nobody is at work on it who could be.
fn is_to_be_taken_up(workflows: &Workflows, instance: &Instance) -> bool {
    let Some(due) = instance.due else {
        return false;
    };
    let is_free = |node: &String| {
        *node == workflows.needs.node || !workflows.needs.division.may_be_there(node)
    };
    due.at_ms <= workflows.now_ms() || instance.at_work.as_ref().is_some_and(is_free)
}

/// A row of the due index whose time has come, or whose core is gone: takes its instance up, or removes what is left.
pub(super) async fn due(at_work: AtWork, row: DueRow) {
    let (workflows, place) = (Arc::clone(&at_work.workflows), at_work.place.clone());
    match look(&workflows, &place, &row).await {
        Ok(true) => drive(at_work, None).await,
        Ok(false) => {}
        Err(error) => tracing::warn!(%error, "a workflow that is due was not looked at"),
    }
}

/// Whether the row's instance is to be driven.
async fn look(workflows: &Workflows, place: &Place, row: &DueRow) -> Result<bool, Error> {
    let store = workflows.store();
    let now = workflows.now_ms();
    let Some(mut stored) = rows::read(store, place, now).await? else {
        // A start that broke off, or is about to write: it begins anew.
        return match rows::void(store, place, 0, now).await? {
            Saved::Yes(_) => drop_row(workflows, row).await,
            // It has just written: the row is looked at again.
            Saved::Lost => Ok(false),
        };
    };
    let is_own = stored.instance.due == Some(row.due);
    if is_own && stored.instance.deployed.is_some() {
        return Ok(true);
    }
    if row.due.based_on == stored.version {
        // Who wrote the row may be about to write the instance: after this it cannot any more, and begins anew.
        let saved = if stored.instance.deployed.is_none() {
            rows::void(store, place, stored.version, now).await?
        } else {
            let expires = workflows.expiry(&stored.instance);
            rows::save(store, place, &mut stored, NewDue::Same, (expires, now)).await?
        };
        if saved == Saved::Lost {
            // Who wrote the row was quicker, and the instance may name it now: it is looked at again.
            return Ok(false);
        }
    }
    if row.due.based_on > stored.version {
        // What was read is older than the row: it says nothing of it yet.
        return Ok(false);
    }
    if stored.instance.has_ended() {
        workflows.ended(place, &stored.instance).await?;
    }
    drop_row(workflows, row).await
}

async fn drop_row(workflows: &Workflows, row: &DueRow) -> Result<bool, Error> {
    rows::drop_due(workflows.store(), row, workflows.now_ms()).await?;
    Ok(false)
}

impl Workflows {
    /// When the record of an instance ends; none: not yet.
    fn expiry(&self, instance: &Instance) -> Option<u64> {
        let end = instance.has_ended().then_some(instance.ended_at_ms)?;
        Some(end.saturating_add(self.needs.retention_ms))
    }

    /// The row of the index ends with the instance.
    async fn ended(&self, place: &Place, instance: &Instance) -> Result<(), Error> {
        let expires = self.expiry(instance);
        index::put_index(self.store(), place, instance, expires, self.now_ms()).await
    }
}

/// One go at an instance.
struct Go<'a> {
    workflows: &'a Arc<Workflows>,
    place: &'a Place,
    stored: Stored,
    /// The store has it as it is here.
    is_saved: bool,
}

impl Go<'_> {
    async fn on(&mut self) -> Result<End, Error> {
        loop {
            let now = self.workflows.now_ms();
            let next = machine::next(&self.stored.instance, now);
            let event = match next {
                Next::Rest => return self.rest().await,
                Next::Wait(until_ms) => return self.leave(NewDue::At(until_ms, None)).await,
                Next::Apply(event) => event,
                Next::Decide => self.decide().await,
                Next::Call(_) | Next::GiveUp(_) | Next::Undo(..) => {
                    if self.workflows.stop.is_cancelled() {
                        return self.leave(NewDue::At(now, None)).await;
                    }
                    // What is about to be called is kept before, so that it can be called again, or undone.
                    if self.keep().await? == Saved::Lost {
                        return Ok(End::Lost);
                    }
                    self.call(&next).await
                }
            };
            self.take_in(event);
        }
    }

    fn take_in(&mut self, event: Event) {
        let (now, chance) = (self.workflows.now_ms(), self.workflows.chance());
        let instance = &mut self.stored.instance;
        let was_stuck = instance.stuck.is_some();
        machine::apply(instance, event, now, chance);
        self.is_saved = false;
        if instance.stuck.is_some() && !was_stuck {
            // Why is in the instance, with what modules say: it may have to stay in its region.
            tracing::error!(workflow = %self.place.name, id = self.place.id,
                "a workflow stands still: `brink workflows retry` or `cancel` goes on with it");
            let workflow = self.place.name.to_string();
            metrics::counter!("brink_core_workflows_stuck_total", "workflow" => workflow)
                .increment(1);
        }
    }

    /// Asks the module, and whether what it wants can be made where it is to be made. Nothing was begun of a step that cannot.
    async fn decide(&self) -> Event {
        let decided = self.ask().await;
        let misplaced = match &decided {
            Ok(Decision::Call(step)) => self.misplaced(step),
            _ => None,
        };
        misplaced.map_or(Event::Decided(decided), Event::Misplaced)
    }

    fn misplaced(&self, step: &Step) -> Option<String> {
        let mut calls = [&step.call].into_iter().chain(&step.compensation);
        calls.find_map(|call| {
            self.workflows.needs.calls.misplaced(&PartitionAddress {
                tenant: self.place.tenant.clone(),
                collection: call.collection.clone(),
                partition: call.partition.clone(),
            })
        })
    }

    async fn ask(&self) -> Result<Decision, Undecided> {
        let instance = &self.stored.instance;
        let (Some(deployed), Some(outcomes)) = (&instance.deployed, instance.outcomes()) else {
            let reason = "a step that was given up has no outcome to decide on".into();
            return Err(Undecided {
                reason,
                is_passing: false,
            });
        };
        let Place { tenant, name, .. } = self.place;
        let input = instance.input.clone();
        let modules = &self.workflows.needs.modules;
        modules
            .decide(tenant, name, deployed, input, &outcomes)
            .await
    }

    /// Keeps the instance as it is here, with this core at work on it.
    async fn keep(&mut self) -> Result<Saved, Error> {
        let now = self.workflows.now_ms();
        let node = &self.workflows.needs.node;
        let is_for_long = self
            .stored
            .instance
            .due
            .is_some_and(|due| due.at_ms.saturating_sub(now) > AT_WORK_MS / 2);
        let is_mine = is_for_long && self.stored.instance.at_work.as_ref() == Some(node);
        let due = match (is_mine, self.is_saved) {
            (true, true) => return Ok(Saved::Yes(Default::default())),
            (true, false) => NewDue::Same,
            (false, _) => NewDue::At(now + AT_WORK_MS, Some(node.clone())),
        };
        self.save(due).await
    }

    async fn save(&mut self, due: NewDue) -> Result<Saved, Error> {
        let now = self.workflows.now_ms();
        let expires = self.workflows.expiry(&self.stored.instance);
        let store = self.workflows.store();
        let saved = rows::save(store, self.place, &mut self.stored, due, (expires, now)).await?;
        self.is_saved = matches!(saved, Saved::Yes(_));
        Ok(saved)
    }

    /// Leaves it until it is due.
    async fn leave(&mut self, due: NewDue) -> Result<End, Error> {
        Ok(match self.save(due).await? {
            Saved::Yes(_) => End::Rest,
            Saved::Lost => End::Lost,
        })
    }

    /// It has ended, or stands still.
    async fn rest(&mut self) -> Result<End, Error> {
        if self.save(NewDue::Never).await? == Saved::Lost {
            return Ok(End::Lost);
        }
        let instance = &self.stored.instance;
        if instance.has_ended() {
            let result = match instance.completed {
                Some(_) => "completed",
                None => "failed",
            };
            let workflow = self.place.name.to_string();
            metrics::counter!("brink_core_workflows_ended_total", "workflow" => workflow, "result" => result)
                .increment(1);
            self.workflows.ended(self.place, instance).await?;
        }
        Ok(End::Rest)
    }

    async fn call(&self, next: &Next) -> Event {
        let instance = &self.stored.instance;
        let (kind, of) = match next {
            Next::Undo(index, round) => ("compensation", format!("u{index}.{round}")),
            Next::Call(index) => ("step", format!("s{index}")),
            Next::GiveUp(index) => ("give-up", format!("s{index}")),
            Next::Decide | Next::Apply(_) | Next::Wait(_) | Next::Rest => ("none", String::new()),
        };
        let Some(call) = machine::call_of(instance, next) else {
            return Event::Stuck("the kept state names no call".into());
        };
        let request = CommandRequest {
            tenant: self.place.tenant.clone(),
            caller: self.place.name.clone(),
            subject: instance.subject.clone(),
            command: call.command,
            collection: call.collection,
            partition: call.partition,
            input: call.input,
            idempotency_key: Some(self.place.key(instance, &of)),
        };
        let calls = &self.workflows.needs.calls;
        let (event, is_done) = match next {
            Next::GiveUp(_) => {
                let settled = calls.give_up(&request).await;
                let is_done = settled.is_ok();
                (Event::GaveUp(settled), is_done)
            }
            Next::Undo(index, _) => {
                let result = calls.step(&request).await;
                let is_done = result.is_ok();
                (Event::Undone(*index, result), is_done)
            }
            _ => {
                let result = calls.step(&request).await;
                let is_done = result.is_ok();
                (Event::Called(result), is_done)
            }
        };
        let result = if is_done { "done" } else { "not-done" };
        let workflow = self.place.name.to_string();
        metrics::counter!("brink_core_workflow_calls_total", "workflow" => workflow, "kind" => kind, "result" => result)
            .increment(1);
        event
    }
}
