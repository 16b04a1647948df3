//! The machine by tables, and by chance: kept states, calls with kept answers, and death between any two of them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]
use super::*;
use brink_protocol::{
    Digest,
    deployment::{Grants, Limits},
    workflow::{Deployed, Step, WorkflowState},
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const NOW: u64 = 1_000_000;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn call(command: &str, partition: &str) -> StepCall {
    StepCall {
        command: command.parse().unwrap(),
        collection: "c".into(),
        partition: partition.into(),
        input: bytes("input"),
    }
}

fn step(name: &str, has_compensation: bool) -> Decision {
    Decision::Call(Step {
        call: call(name, "p"),
        compensation: has_compensation.then(|| call(&format!("un-{name}"), "p")),
    })
}

fn begun() -> Instance {
    Instance {
        deployed: Some(Deployed {
            version: 1,
            digest: Digest::of(b"x"),
            config: Default::default(),
            limits: Limits::default(),
            grants: Grants::default(),
        }),
        run: 1,
        caller: None,
        subject: None,
        input: bytes("{}"),
        started_at_ms: NOW,
        ended_at_ms: 0,
        steps: Vec::new(),
        completed: None,
        failure: None,
        stuck: None,
        unreached: 0,
        failed: 0,
        not_before_ms: 0,
        last_error: None,
        due: None,
        at_work: None,
    }
}

/// What came next after each of these events, each taken in as soon as nothing is waited for.
fn run(instance: &mut Instance, events: Vec<Event>) -> Vec<Next> {
    let mut now = NOW;
    let mut nexts = Vec::new();
    for event in events {
        apply(instance, event, now, 0);
        now = now.max(instance.not_before_ms);
        loop {
            match next(instance, now) {
                Next::Apply(event) => apply(instance, event, now, 0),
                other => break nexts.push(other),
            }
        }
    }
    nexts
}

fn decided(decision: Decision) -> Event {
    Event::Decided(Ok(decision))
}

fn done(text: &str) -> Event {
    Event::Called(Ok(bytes(text)))
}

fn refused(text: &str) -> CommandError {
    CommandError::Refused(bytes(text))
}

fn slug(instance: &Instance) -> String {
    let problem: Problem = serde_json::from_slice(instance.failure.as_ref().unwrap()).unwrap();
    problem
        .kind
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn the_good_way() {
    let mut instance = begun();
    assert_eq!(next(&instance, NOW), Next::Decide);
    let nexts = run(
        &mut instance,
        vec![
            decided(step("a", true)),
            done("1"),
            decided(Decision::Wait(0)),
            decided(step("b", true)),
            done("2"),
            decided(Decision::Complete(bytes("end"))),
        ],
    );
    let expected = [
        Next::Call(0),
        Next::Decide,
        Next::Decide,
        Next::Call(2),
        Next::Decide,
        Next::Rest,
    ];
    assert_eq!(nexts, expected);
    assert_eq!(
        instance.state(),
        Some(WorkflowState::Completed(bytes("end")))
    );
    let outcomes = [
        Outcome::Done(bytes("1")),
        Outcome::Elapsed,
        Outcome::Done(bytes("2")),
    ];
    assert_eq!(instance.outcomes().unwrap(), outcomes);
}

#[test]
fn what_was_done_is_compensated_the_last_first() {
    let mut instance = begun();
    let nexts = run(
        &mut instance,
        vec![
            decided(step("a", true)),
            done(""),
            decided(step("b", false)),
            done(""),
            decided(step("c", true)),
            Event::Called(Err(refused("no"))),
            decided(step("d", true)),
            done(""),
            decided(Decision::Fail(bytes("why"))),
            Event::Undone(3, Ok(bytes(""))),
            Event::Undone(0, Ok(bytes(""))),
        ],
    );
    let tail = &nexts[nexts.len() - 3..];
    assert_eq!(tail, [Next::Undo(3, 0), Next::Undo(0, 0), Next::Rest]);
    assert_eq!(instance.state(), Some(WorkflowState::Failed(bytes("why"))));
}

#[test]
fn a_step_that_fails_again_and_again_is_given_up_before_the_others_are_compensated() {
    for (settled, expected) in [
        (Settled::Never, vec![Next::Undo(0, 0)]),
        (Settled::Refused(bytes("no")), vec![Next::Decide]),
        (Settled::Done(bytes("yes")), vec![Next::Decide]),
    ] {
        let mut instance = begun();
        let failed = || Event::Called(Err(CommandError::Failed("it trapped".into())));
        let mut events = vec![decided(step("a", true)), done(""), decided(step("b", true))];
        events.extend((0..CALL_ATTEMPTS_MAX).map(|_| failed()));
        let nexts = run(&mut instance, events);
        assert_eq!(nexts[3..], {
            let mut calls = vec![Next::Call(1); CALL_ATTEMPTS_MAX as usize - 1];
            calls.push(Next::GiveUp(1));
            calls
        });
        let unavailable = Event::GaveUp(Err(CommandError::Unavailable("gone".into())));
        assert_eq!(run(&mut instance, vec![unavailable]), [Next::GiveUp(1)]);
        assert_eq!(
            run(&mut instance, vec![Event::GaveUp(Ok(settled))]),
            expected
        );
    }
}

#[test]
fn a_call_that_cannot_be_reached_waits_longer_and_longer() {
    let mut instance = begun();
    apply(&mut instance, decided(step("a", true)), NOW, 0);
    let mut now = NOW;
    let mut waits = Vec::new();
    for _ in 0..12 {
        let event = Event::Called(Err(CommandError::Unavailable("gone".into())));
        apply(&mut instance, event, now, u64::MAX);
        let Next::Wait(until) = next(&instance, now) else {
            panic!("{instance:?}")
        };
        waits.push(until - now);
        now = until;
        assert_eq!(next(&instance, now), Next::Call(0));
    }
    assert!(
        waits
            .iter()
            .zip(&waits[1..])
            .all(|(a, b)| a <= b || *b >= PAUSE_MS_MAX / 2),
        "{waits:?}"
    );
    assert!(
        waits[0] <= PAUSE_MS && *waits.last().unwrap() > PAUSE_MS_MAX / 3,
        "{waits:?}"
    );
    assert!(waits.iter().all(|wait| *wait <= PAUSE_MS_MAX));
}

#[test]
fn cancelled_at_any_place() {
    let waits = vec![decided(Decision::Wait(50_000))];
    let calling = vec![decided(step("a", true))];
    let after = vec![decided(step("a", true)), done("")];
    for (events, expected) in [
        (Vec::new(), Next::Apply(Event::Compensated)),
        (waits, Next::Apply(Event::Compensated)),
        (calling, Next::GiveUp(0)),
        (after, Next::Apply(Event::UndoBegins(0))),
    ] {
        let mut instance = begun();
        run(&mut instance, events);
        cancel(&mut instance, "by an operator", NOW);
        let cancelled = instance.clone();
        cancel(&mut instance, "again", NOW);
        assert_eq!(instance, cancelled);
        assert_eq!(next(&instance, NOW), expected);
        assert_eq!(slug(&instance), "workflow-cancelled");
    }
}

#[test]
fn a_compensation_that_is_refused_has_another_key_and_an_end() {
    let mut instance = begun();
    run(
        &mut instance,
        vec![
            decided(step("a", true)),
            done(""),
            decided(Decision::Fail(bytes(""))),
        ],
    );
    for round in 0..UNDO_ATTEMPTS_MAX {
        let nexts = run(&mut instance, vec![Event::Undone(0, Err(refused("no")))]);
        let expected = match round + 1 {
            UNDO_ATTEMPTS_MAX => Next::Rest,
            next => Next::Undo(0, next),
        };
        assert_eq!(nexts, [expected]);
    }
    assert!(
        instance
            .stuck
            .as_ref()
            .unwrap()
            .reason
            .contains("refused: no")
    );
    assert_eq!(
        instance.state(),
        Some(WorkflowState::Compensating),
        "never half in silence"
    );
    retry(&mut instance, NOW);
    assert_eq!(next(&instance, NOW), Next::Undo(0, UNDO_ATTEMPTS_MAX));
    let nexts = run(&mut instance, vec![Event::Undone(0, Ok(bytes("")))]);
    assert_eq!(nexts, [Next::Rest]);
    assert!(instance.has_ended());
    let ended = instance.clone();
    retry(&mut instance, NOW);
    assert_eq!(instance, ended);
}

#[test]
fn limits_fail_it() {
    let large = |text: &str| {
        Decision::Call(Step {
            call: StepCall {
                input: vec![0; 256 << 10].into(),
                ..call(text, "p")
            },
            compensation: None,
        })
    };
    let mut many = begun();
    for _ in 0..OUTCOMES_MAX {
        run(&mut many, vec![decided(Decision::Wait(0))]);
    }
    let mut full = begun();
    for _ in 0..4 {
        let answer = Bytes::from(vec![0; 230 << 10]);
        run(
            &mut full,
            vec![decided(step("a", false)), Event::Called(Ok(answer))],
        );
    }
    for (mut instance, decision) in [
        (many.clone(), Decision::Wait(0)),
        (full.clone(), large("a")),
        (begun(), Decision::Wait(u64::MAX)),
    ] {
        assert_eq!(next(&instance, NOW), Next::Decide);
        run(&mut instance, vec![decided(decision)]);
        assert_eq!(slug(&instance), "workflow-limit");
        assert!(instance.has_ended());
        assert!(instance.encode().is_ok());
    }
    // An answer that does not fit: the step is done, and compensated.
    let answer = Bytes::from(vec![0; 256 << 10]);
    let nexts = run(
        &mut full,
        vec![decided(step("b", true)), Event::Called(Ok(answer))],
    );
    assert_eq!(nexts, [Next::Call(4), Next::Undo(4, 0)]);
    assert_eq!(slug(&full), "workflow-limit");
    // The 256th decision may be the end.
    run(&mut many, vec![decided(Decision::Complete(bytes("")))]);
    assert!(many.completed.is_some());
}

#[test]
fn a_module_that_fails() {
    let passing = |is_passing| {
        Event::Decided(Err(Undecided {
            reason: "it trapped".into(),
            is_passing,
        }))
    };
    let mut instance = begun();
    let waits = run(&mut instance, (0..50).map(|_| passing(true)).collect());
    assert!(waits.iter().all(|next| *next == Next::Decide));
    let nexts = run(
        &mut instance,
        (0..DECIDE_ATTEMPTS_MAX).map(|_| passing(false)).collect(),
    );
    assert_eq!(nexts, [Next::Decide, Next::Decide, Next::Rest]);
    assert_eq!(slug(&instance), "workflow-module");
}

#[test]
fn what_is_not_known_for_too_long_waits_for_an_operator() {
    let late = NOW + UNKNOWN_MS_MAX + 1;
    let mut instance = begun();
    run(&mut instance, vec![decided(step("a", true))]);
    let Next::Apply(event) = next(&instance, late) else {
        panic!()
    };
    apply(&mut instance, event, late, 0);
    assert_eq!(next(&instance, late), Next::Rest);
    cancel(&mut instance, "it is enough", late);
    assert_eq!(next(&instance, late), Next::GiveUp(0));
    // Whether it was done is forgotten: it is compensated in any case.
    apply(&mut instance, Event::GaveUp(Ok(Settled::Never)), late, 0);
    assert_eq!(next(&instance, late), Next::Apply(Event::UndoBegins(0)));
}

#[test]
fn what_fails_after_it_was_not_known_for_too_long_does_not_go_on() {
    let late = NOW + UNKNOWN_MS_MAX + 1;
    let mut instance = begun();
    run(&mut instance, vec![decided(step("a", true))]);
    let failed = || Event::Called(Err(CommandError::Failed("trap".into())));
    for _ in 0..CALL_ATTEMPTS_MAX {
        apply(&mut instance, failed(), late, 0);
    }
    let later = instance.not_before_ms;
    assert_eq!(next(&instance, later), Next::GiveUp(0));
    apply(&mut instance, Event::GaveUp(Ok(Settled::Never)), later, 0);
    assert_eq!(slug(&instance), "workflow-step");
    assert_eq!(next(&instance, later), Next::Apply(Event::UndoBegins(0)));
}

#[test]
fn a_step_that_is_taken_nowhere_fails_it() {
    let misplaced = || Event::Misplaced("no such key".into());
    let mut instance = begun();
    let nexts = run(
        &mut instance,
        vec![decided(step("a", true)), done(""), misplaced()],
    );
    assert_eq!(nexts.last(), Some(&Next::Undo(0, 0)));
    assert_eq!(slug(&instance), "workflow-step");
    assert_eq!(instance.steps.len(), 1, "it was never begun");
    // It was taken when it was decided on, and is not any more: it may have been done.
    let mut instance = begun();
    let invalid = || CommandError::Invalid("no such key".into());
    let mut events = vec![decided(step("a", true))];
    events.extend((0..CALL_ATTEMPTS_MAX).map(|_| Event::Called(Err(invalid()))));
    events.push(Event::GaveUp(Err(invalid())));
    let nexts = run(&mut instance, events);
    assert_eq!(
        nexts[nexts.len() - 2..],
        [Next::GiveUp(0), Next::Undo(0, 0)]
    );
    assert_eq!(slug(&instance), "workflow-step");
}

/// A world of commands that keep what they answered, as [`crate::commands::Commands`] does for steps.
#[derive(Default)]
struct World {
    kept: BTreeMap<String, Settled>,
    /// Calls that had their effect, in order.
    effects: Vec<String>,
}

/// How a call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Well,
    Refuse,
    Fail,
    /// It is done, and its answer is lost.
    Lost,
    /// It is not reached.
    Away,
}

impl World {
    fn call(&mut self, key: &str, turn: Turn) -> Result<Bytes, CommandError> {
        if turn == Turn::Away {
            return Err(CommandError::Unavailable("away".into()));
        }
        let settled = match self.kept.get(key) {
            Some(kept) => kept.clone(),
            None => match turn {
                Turn::Fail => return Err(CommandError::Failed("trap".into())),
                Turn::Refuse => Settled::Refused(bytes("no")),
                _ => {
                    self.effects.push(key.to_owned());
                    Settled::Done(bytes("ok"))
                }
            },
        };
        self.kept.insert(key.to_owned(), settled.clone());
        if turn == Turn::Lost {
            return Err(CommandError::Unavailable("lost".into()));
        }
        match settled {
            Settled::Done(bytes) => Ok(bytes),
            Settled::Refused(bytes) => Err(CommandError::Refused(bytes)),
            Settled::Never => Err(CommandError::Failed("given up".into())),
        }
    }

    fn give_up(&mut self, key: &str, turn: Turn) -> Result<Settled, CommandError> {
        if turn == Turn::Away {
            return Err(CommandError::Unavailable("away".into()));
        }
        let settled = self
            .kept
            .entry(key.to_owned())
            .or_insert(Settled::Never)
            .clone();
        if turn == Turn::Lost {
            return Err(CommandError::Unavailable("lost".into()));
        }
        Ok(settled)
    }
}

/// A module that makes five steps, and fails at the first that is refused.
fn decide(outcomes: &[Outcome]) -> Decision {
    match outcomes.last() {
        Some(Outcome::Refused(reason)) => Decision::Fail(reason.clone()),
        _ if outcomes.len() == 5 => Decision::Complete(bytes("all")),
        _ => step(&format!("s{}", outcomes.len()), outcomes.len() != 2),
    }
}

fn key_of(next: &Next) -> String {
    match next {
        Next::Call(index) | Next::GiveUp(index) => format!("s{index}"),
        Next::Undo(index, round) => format!("u{index}.{round}"),
        other => panic!("{other:?}"),
    }
}

/// One core at work on the instance: what it has read, and with which version.
struct Core {
    at: Option<(Instance, u64)>,
}

/// Lets the core do one thing: read, act, or write. Gives whether it could.
fn act(
    core: &mut Core,
    kept: &mut (Instance, u64),
    world: &mut World,
    (turn, dies): (Turn, bool),
    now: u64,
) -> bool {
    let Some((instance, version)) = &mut core.at else {
        core.at = Some(kept.clone());
        return !kept.0.has_ended();
    };
    let before = instance.clone();
    let event = match next(instance, now) {
        Next::Rest | Next::Wait(_) => {
            core.at = None;
            return !kept.0.has_ended();
        }
        Next::Apply(event) => event,
        Next::Decide => Event::Decided(Ok(decide(&instance.outcomes().unwrap()))),
        next @ Next::Call(_) => Event::Called(world.call(&key_of(&next), turn)),
        next @ Next::GiveUp(_) => Event::GaveUp(world.give_up(&key_of(&next), turn)),
        next @ Next::Undo(index, _) => Event::Undone(index, world.call(&key_of(&next), turn)),
    };
    apply(instance, event, now, 0);
    if dies {
        // What it did is done, and it told nobody.
        core.at = None;
        return true;
    }
    if *version == kept.1 && before == kept.0 {
        *kept = (instance.clone(), *version + 1);
        *version += 1;
    } else {
        // Another was quicker: what this one knows is of yesterday.
        core.at = None;
    }
    true
}

fn turns() -> impl Strategy<Value = Vec<(usize, Turn, bool)>> {
    let turn = prop_oneof![
        8 => Just(Turn::Well),
        1 => Just(Turn::Refuse),
        1 => Just(Turn::Fail),
        2 => Just(Turn::Lost),
        2 => Just(Turn::Away),
    ];
    proptest::collection::vec((0..3usize, turn, any::<bool>()), 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn never_half(script in turns(), cancel_at in proptest::option::of(0..60usize)) {
        let mut kept = (begun(), 1);
        let mut world = World::default();
        let mut cores = [Core { at: None }, Core { at: None }, Core { at: None }];
        let mut now = NOW;
        for (place, (who, turn, dies)) in script.into_iter().enumerate() {
            now += 40_000;
            if Some(place) == cancel_at && kept.0.completed.is_none() && !kept.0.has_ended() {
                let mut instance = kept.0.clone();
                cancel(&mut instance, "test", now);
                kept = (instance, kept.1 + 1);
            }
            act(&mut cores[who], &mut kept, &mut world, (turn, dies), now);
        }
        // What is left of it goes well; then the late ones do what they still have in hand.
        let mut last = Core { at: None };
        let mut left = 0;
        while act(&mut last, &mut kept, &mut world, (Turn::Well, false), now) {
            now += 40_000;
            left += 1;
            prop_assert!(left < 500, "{:?}", kept.0);
        }
        for core in &mut cores {
            while core.at.is_some() {
                act(core, &mut kept, &mut world, (Turn::Well, false), now);
                now += 40_000;
            }
        }
        prop_assert!(kept.0.has_ended() && kept.0.stuck.is_none());
        let unique: BTreeSet<_> = world.effects.iter().collect();
        prop_assert_eq!(unique.len(), world.effects.len(), "exactly once: {:?}", world.effects);
        let did = |key: &str| world.effects.iter().position(|effect| effect.starts_with(key));
        for index in 0..5 {
            let (done, undone) = (did(&format!("s{index}")), did(&format!("u{index}.")));
            if kept.0.completed.is_some() {
                prop_assert!(done.is_some() && undone.is_none(), "{:?}", world.effects);
            } else if index != 2 {
                prop_assert_eq!(done.is_some(), undone.is_some(), "{:?}", world.effects);
                prop_assert!(done <= undone);
            }
        }
    }
}
