//! What a workflow does next, and what becomes of it by what happened. Pure.
//!
//! What comes next follows from the kept state alone, so that whoever reads the state goes on where another has stopped.
//! A call is repeated under one key until its outcome is known. A workflow that fails compensates nothing before it knows of
//! its last call whether it took effect, or has seen to it that it never will.

use crate::commands::Settled;
use brink_protocol::{
    link::CommandError,
    problem::Problem,
    workflow::{
        Decision, Instance, OUTCOMES_MAX, Outcome, Progress, StepCall, StepRecord, Stuck, Undo,
    },
};
use bytes::Bytes;

/// Failures of a step, of a compensation's kind aside, before it is given up.
pub(super) const CALL_ATTEMPTS_MAX: u32 = 8;
/// Failures and refusals of a compensation before the workflow stands still until an operator has looked at it.
pub(super) const UNDO_ATTEMPTS_MAX: u32 = 16;
/// Failures of the module's own decision before the workflow fails.
pub(super) const DECIDE_ATTEMPTS_MAX: u32 = 3;
/// The first wait before another attempt, in milliseconds; each later one is twice as long.
const PAUSE_MS: u64 = 100;
/// The longest, in milliseconds.
const PAUSE_MS_MAX: u64 = 60_000;
/// How long a call is tried whose outcome is not known, in milliseconds (30 days). Its answer is kept for longer than that.
pub(super) const UNKNOWN_MS_MAX: u64 = 30 * 24 * 3600 * 1000;

const _: () = assert!(UNKNOWN_MS_MAX < crate::commands::STEP_ANSWER_LIFETIME_MS);

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Ask the module.
    Decide,
    /// Call this step.
    Call(usize),
    /// Learn whether this step's call took effect, and see to it that it does not from now on.
    GiveUp(usize),
    /// Call the compensation of this step, for the so many-th time after refusals.
    Undo(usize, u32),
    /// Nothing outside: the event follows by itself.
    Apply(Event),
    /// Nothing before this moment, in milliseconds since 1970.
    Wait(u64),
    /// Nothing any more.
    Rest,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// The module decided, or could not.
    Decided(Result<Decision, Undecided>),
    /// It decided on a step that cannot be made where it is to be made.
    Misplaced(String),
    /// The last step was called.
    Called(Result<Bytes, CommandError>),
    /// The last step is settled.
    GaveUp(Result<Settled, CommandError>),
    /// The time has come that was waited for.
    Elapsed,
    /// The compensation of this step comes next.
    UndoBegins(usize),
    /// It was called.
    Undone(usize, Result<Bytes, CommandError>),
    /// All that was done is compensated.
    Compensated,
    /// Nobody but an operator can help.
    Stuck(String),
}

/// Why a module did not decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecided {
    /// For people.
    pub reason: String,
    /// It was not asked at all: there was no room, or it could not be loaded.
    pub is_passing: bool,
}

/// What comes next.
pub(super) fn next(instance: &Instance, now_ms: u64) -> Next {
    if instance.deployed.is_none() || instance.has_ended() || instance.stuck.is_some() {
        return Next::Rest;
    }
    if now_ms < instance.not_before_ms {
        return Next::Wait(instance.not_before_ms);
    }
    if let Some(last) = instance.steps.len().checked_sub(1)
        && let Some(step) = instance.steps.get(last)
    {
        match step.progress {
            Progress::Waiting(until_ms) if until_ms > now_ms => return Next::Wait(until_ms),
            Progress::Waiting(_) => return Next::Apply(Event::Elapsed),
            Progress::Calling => return unknown(instance, last, step, now_ms),
            Progress::Ended(_) | Progress::GivenUp(_) => {}
        }
    }
    if instance.failure.is_none() {
        return Next::Decide;
    }
    match instance.steps.iter().rposition(is_to_undo) {
        Some(index) => undo(instance, index, now_ms),
        None => Next::Apply(Event::Compensated),
    }
}

/// The outcome of the last call is not known.
fn unknown(instance: &Instance, index: usize, step: &StepRecord, now_ms: u64) -> Next {
    if instance.failure.is_some() || instance.failed >= CALL_ATTEMPTS_MAX {
        return Next::GiveUp(index);
    }
    if is_old(step.began_at_ms, now_ms) {
        return Next::Apply(Event::Stuck(
            "the outcome of the last step has not been known for 30 days, and what the command may have answered is not \
             kept for ever; cancel the workflow to compensate it"
                .into(),
        ));
    }
    Next::Call(index)
}

fn is_old(since_ms: u64, now_ms: u64) -> bool {
    now_ms.saturating_sub(since_ms) > UNKNOWN_MS_MAX
}

fn is_to_undo(step: &StepRecord) -> bool {
    let has_happened = matches!(step.progress, Progress::Ended(Outcome::Done(_)));
    has_happened && step.compensation.is_some() && !matches!(step.undo, Undo::Done { .. })
}

fn undo(instance: &Instance, index: usize, now_ms: u64) -> Next {
    match instance.steps.get(index).map(|step| &step.undo) {
        Some(Undo::Pending { since_ms, .. }) if is_old(*since_ms, now_ms) => {
            Next::Apply(Event::Stuck(
                "a compensation has not been answered for 30 days; it may have been done: look, then retry to do it again"
                    .into(),
            ))
        }
        Some(Undo::Pending { round, .. }) => Next::Undo(index, *round),
        _ => Next::Apply(Event::UndoBegins(index)),
    }
}

/// Takes in what happened. `chance` spreads attempts over time.
pub(super) fn apply(instance: &mut Instance, event: Event, now_ms: u64, chance: u64) {
    match event {
        Event::Decided(Ok(decision)) => {
            settled(instance);
            decided(instance, decision, now_ms);
        }
        Event::Decided(Err(undecided)) => {
            let reason = undecided.reason;
            if undecided.is_passing {
                unreached(instance, &reason, now_ms, chance);
            } else if failed(instance, &reason, now_ms, chance) >= DECIDE_ATTEMPTS_MAX {
                fail(
                    instance,
                    "workflow-module",
                    "The workflow's module failed",
                    &reason,
                );
            }
        }
        Event::Misplaced(reason) => {
            settled(instance);
            fail_by_step(instance, &reason);
        }
        Event::Called(result) => called(instance, result, now_ms, chance),
        Event::GaveUp(result) => gave_up(instance, result, now_ms, chance),
        Event::Elapsed => end(instance, Progress::Ended(Outcome::Elapsed), now_ms),
        Event::UndoBegins(index) => {
            settled(instance);
            set_undo(
                instance,
                index,
                Undo::Pending {
                    round: 0,
                    since_ms: now_ms,
                },
            );
        }
        Event::Undone(index, result) => undone(instance, index, result, now_ms, chance),
        Event::Compensated => ended(instance, now_ms),
        Event::Stuck(reason) => stick(instance, &reason, now_ms),
    }
}

fn decided(instance: &mut Instance, decision: Decision, now_ms: u64) {
    const TITLE: &str = "The workflow went over a limit";
    if let Err(error) = decision.check() {
        return fail(instance, "workflow-limit", TITLE, &error.to_string());
    }
    if !instance.has_room_for(&decision) {
        let detail = "its inputs, answers and calls together would be more than 960 KiB";
        return fail(instance, "workflow-limit", TITLE, detail);
    }
    let is_step = matches!(decision, Decision::Call(_) | Decision::Wait(_));
    if is_step && instance.steps.len() >= OUTCOMES_MAX {
        let detail = "it made 256 decisions and did not end";
        return fail(instance, "workflow-limit", TITLE, detail);
    }
    let step = |call, compensation, progress| StepRecord {
        call,
        compensation,
        began_at_ms: now_ms,
        ended_at_ms: 0,
        progress,
        undo: Undo::None,
    };
    match decision {
        Decision::Call(new) => {
            let new = step(Some(new.call), new.compensation, Progress::Calling);
            instance.steps.push(new);
        }
        Decision::Wait(ms) => {
            let until = Progress::Waiting(now_ms.saturating_add(ms));
            instance.steps.push(step(None, None, until));
        }
        Decision::Complete(bytes) => {
            instance.completed = Some(bytes);
            ended(instance, now_ms);
        }
        Decision::Fail(bytes) => instance.failure = Some(bytes),
    }
}

/// The workflow is over.
fn ended(instance: &mut Instance, now_ms: u64) {
    settled(instance);
    instance.ended_at_ms = now_ms.max(1);
    for step in &mut instance.steps {
        if let Some(compensation) = &mut step.compensation {
            compensation.input = Bytes::new();
        }
    }
}

fn called(instance: &mut Instance, result: Result<Bytes, CommandError>, now_ms: u64, chance: u64) {
    match result {
        Ok(bytes) => outcome(instance, Outcome::Done, bytes, now_ms),
        Err(CommandError::Refused(bytes)) => outcome(instance, Outcome::Refused, bytes, now_ms),
        Err(CommandError::Unavailable(reason)) => unreached(instance, &reason, now_ms, chance),
        Err(error) => {
            failed(instance, &error.to_string(), now_ms, chance);
        }
    }
}

fn gave_up(
    instance: &mut Instance,
    result: Result<Settled, CommandError>,
    now_ms: u64,
    chance: u64,
) {
    match result {
        Ok(Settled::Done(bytes)) => outcome(instance, Outcome::Done, bytes, now_ms),
        Ok(Settled::Refused(bytes)) => outcome(instance, Outcome::Refused, bytes, now_ms),
        Ok(Settled::Never) => never(instance, None, now_ms),
        Err(CommandError::Unavailable(reason)) => unreached(instance, &reason, now_ms, chance),
        // Where its partition belongs was changed since, and it is taken nowhere any more.
        Err(error) => never(instance, Some(&error.to_string()), now_ms),
    }
}

/// The last call has had no effect that is known of, and will have none. `lost`: why it cannot be known.
fn never(instance: &mut Instance, lost: Option<&str>, now_ms: u64) {
    let began_at_ms = instance.steps.last().map_or(now_ms, |s| s.began_at_ms);
    let reason = instance.last_error.take();
    let reason = reason.or_else(|| lost.map(str::to_owned));
    let reason = reason.unwrap_or_else(|| "the workflow was ended before it was called".into());
    if instance.failure.is_none() {
        fail_by_step(instance, &reason);
    }
    if lost.is_some() || is_old(began_at_ms, now_ms) {
        // What it answered may have been forgotten. A compensation can run without the call having run.
        return outcome(instance, Outcome::Done, Bytes::new(), now_ms);
    }
    end(instance, Progress::GivenUp(reason), now_ms);
}

fn fail_by_step(instance: &mut Instance, reason: &str) {
    const TITLE: &str = "A step of the workflow failed";
    fail(instance, "workflow-step", TITLE, reason);
}

/// The outcome of the last call is known. One that does not fit is not told to the module: the workflow fails.
fn outcome(instance: &mut Instance, kind: fn(Bytes) -> Outcome, bytes: Bytes, now_ms: u64) {
    if let Some(call) = instance
        .steps
        .last_mut()
        .and_then(|step| step.call.as_mut())
    {
        call.input = Bytes::new();
    }
    if instance.has_room(bytes.len()) {
        return end(instance, Progress::Ended(kind(bytes)), now_ms);
    }
    if instance.failure.is_none() {
        let detail = format!(
            "the last answer has {} bytes; inputs, answers and calls together may have 960 KiB",
            bytes.len()
        );
        fail(
            instance,
            "workflow-limit",
            "The workflow went over a limit",
            &detail,
        );
    }
    end(instance, Progress::Ended(kind(Bytes::new())), now_ms);
}

/// The last decision has its outcome.
fn end(instance: &mut Instance, progress: Progress, now_ms: u64) {
    settled(instance);
    if let Some(step) = instance.steps.last_mut() {
        step.progress = progress;
        step.ended_at_ms = now_ms;
    }
}

fn undone(
    instance: &mut Instance,
    index: usize,
    result: Result<Bytes, CommandError>,
    now_ms: u64,
    chance: u64,
) {
    let failures = match result {
        Ok(_) => {
            settled(instance);
            return set_undo(instance, index, Undo::Done { at_ms: now_ms });
        }
        Err(CommandError::Unavailable(reason)) => {
            return unreached(instance, &reason, now_ms, chance);
        }
        Err(CommandError::Refused(bytes)) => {
            let round = match instance.steps.get(index).map(|step| &step.undo) {
                Some(Undo::Pending { round, .. }) => round.saturating_add(1),
                _ => 1,
            };
            set_undo(
                instance,
                index,
                Undo::Pending {
                    round,
                    since_ms: now_ms,
                },
            );
            let reason = format!(
                "the compensation refused: {}",
                String::from_utf8_lossy(&bytes)
            );
            failed(instance, &reason, now_ms, chance)
        }
        Err(error) => failed(instance, &error.to_string(), now_ms, chance),
    };
    if failures >= UNDO_ATTEMPTS_MAX {
        let reason = instance.last_error.clone().unwrap_or_default();
        let reason = format!("the compensation of step {} failed: {reason}", index + 1);
        stick(instance, &reason, now_ms);
    }
}

fn set_undo(instance: &mut Instance, index: usize, undo: Undo) {
    if let Some(step) = instance.steps.get_mut(index) {
        step.undo = undo;
    }
}

/// What was attempted is over; what comes next has all its attempts.
fn settled(instance: &mut Instance) {
    instance.unreached = 0;
    instance.failed = 0;
    instance.not_before_ms = 0;
    instance.last_error = None;
}

fn unreached(instance: &mut Instance, reason: &str, now_ms: u64, chance: u64) {
    instance.unreached = instance.unreached.saturating_add(1);
    instance.last_error = Some(Instance::error_text(reason));
    instance.not_before_ms = now_ms.saturating_add(pause_ms(instance.unreached, chance));
}

/// Notes a failure; gives how many there were.
fn failed(instance: &mut Instance, reason: &str, now_ms: u64, chance: u64) -> u32 {
    instance.failed = instance.failed.saturating_add(1);
    instance.last_error = Some(Instance::error_text(reason));
    instance.not_before_ms = now_ms.saturating_add(pause_ms(instance.failed, chance));
    instance.failed
}

/// The wait after the so many-th attempt: between half of the span and the whole.
fn pause_ms(attempts: u32, chance: u64) -> u64 {
    let doublings = attempts.saturating_sub(1).min(16);
    let span = (PAUSE_MS << doublings).min(PAUSE_MS_MAX);
    span / 2 + chance % (span / 2 + 1)
}

/// The platform fails the workflow, with a problem document.
fn fail(instance: &mut Instance, slug: &str, title: &str, detail: &str) {
    let keep = instance.last_error.take();
    settled(instance);
    instance.last_error = keep;
    let problem = Problem::new(500, slug, title, Instance::error_text(detail));
    instance.failure = Some(problem.to_json().into());
}

fn stick(instance: &mut Instance, reason: &str, now_ms: u64) {
    instance.stuck = Some(Stuck {
        reason: Instance::error_text(reason),
        at_ms: now_ms,
    });
}

/// An operator ends it: it fails now, if it has not failed already.
pub(super) fn cancel(instance: &mut Instance, reason: &str, now_ms: u64) {
    if instance.failure.is_none() {
        let waits = instance
            .steps
            .last()
            .is_some_and(|step| matches!(step.progress, Progress::Waiting(_)));
        fail(
            instance,
            "workflow-cancelled",
            "The workflow was cancelled",
            reason,
        );
        if waits {
            end(
                instance,
                Progress::GivenUp("it was cancelled".into()),
                now_ms,
            );
        }
        instance.stuck = None;
    }
}

/// An operator wants what waits for another attempt, or stands still, to be tried now.
pub(super) fn retry(instance: &mut Instance, now_ms: u64) {
    let is_stuck = instance.stuck.take().is_some();
    if !is_stuck && instance.not_before_ms == 0 {
        return;
    }
    settled(instance);
    for step in &mut instance.steps {
        if let Undo::Pending { since_ms, .. } = &mut step.undo {
            *since_ms = now_ms;
        }
    }
}

/// The call that a step or its compensation makes.
pub(super) fn call_of(instance: &Instance, next: &Next) -> Option<StepCall> {
    match next {
        Next::Call(index) | Next::GiveUp(index) => instance.steps.get(*index)?.call.clone(),
        Next::Undo(index, _) => instance.steps.get(*index)?.compensation.clone(),
        Next::Decide | Next::Apply(_) | Next::Wait(_) | Next::Rest => None,
    }
}

#[cfg(test)]
mod tests;
