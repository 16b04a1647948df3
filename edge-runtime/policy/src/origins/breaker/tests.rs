//! When it opens, for how long, and what closes it.
#![allow(clippy::indexing_slicing)]

use super::*;
use proptest::prelude::*;

const SOME: Neighbours = Neighbours::Some;

fn fail(
    breaker: &mut Breaker,
    failure: Failure,
    neighbours: Neighbours,
    times: u32,
    now_ms: u64,
) -> bool {
    (0..times).any(|_| breaker.failed(Permit::Granted, failure, neighbours, now_ms, 0))
}

#[test]
fn it_opens_when_the_origin_cannot_be_reached() {
    let mut breaker = Breaker::default();
    assert!(!fail(&mut breaker, Failure::Unreachable, SOME, 4, 0));
    breaker.succeeded(Permit::Granted, 0);
    assert!(!fail(&mut breaker, Failure::Unreachable, SOME, 4, 0));
    assert!(fail(&mut breaker, Failure::Unreachable, SOME, 1, 0));
    assert_eq!(breaker.look(799), Permit::Refused);
    assert_eq!(breaker.ask(800), Permit::Trial);
    assert_eq!(breaker.ask(800), Permit::Refused, "one at a time");
    breaker.abandoned(Permit::Trial);
    assert_eq!(breaker.ask(900), Permit::Trial, "nothing was learned");
    // What was sent before it opened says nothing now.
    breaker.succeeded(Permit::Granted, 900);
    assert_eq!(breaker.ask(900), Permit::Refused);
    assert!(breaker.failed(Permit::Trial, Failure::Broken, SOME, 1_000, 0));
    assert_eq!(breaker.look(2_599), Permit::Refused, "twice as long");
    assert_eq!(breaker.ask(2_600), Permit::Trial);
    breaker.succeeded(Permit::Trial, 2_700);
    assert_eq!(breaker.ask(2_700), Permit::Granted);
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn a_trial_that_is_lost_is_over_some_day() {
    let mut breaker = Breaker::default();
    fail(&mut breaker, Failure::Unreachable, SOME, 5, 0);
    assert_eq!(breaker.ask(2_000), Permit::Trial);
    assert_eq!(breaker.look(2_000 + TRIAL_MS_MAX - 1), Permit::Refused);
    assert_eq!(breaker.look(2_000 + TRIAL_MS_MAX), Permit::Trial);
}

#[test]
fn it_opens_when_most_requests_fail() {
    for (neighbours, answered, failure, failed, opens) in [
        (Neighbours::Some, 10, Failure::Broken, 9, false),
        (Neighbours::Some, 10, Failure::Broken, 10, true),
        (Neighbours::Some, 40, Failure::Late, 39, false),
        (Neighbours::Some, 40, Failure::Late, 40, true),
        (Neighbours::Some, 0, Failure::Unwell, 20, true),
        (Neighbours::Some, 0, Failure::Late, 19, false),
        // The only one there is answers others: what fails is what is asked of it.
        (Neighbours::None, 10, Failure::Broken, 1_000, false),
        (Neighbours::None, 0, Failure::Broken, 20, true),
        (Neighbours::None, 0, Failure::Unwell, 1_000, false),
    ] {
        let mut breaker = Breaker::default();
        (0..answered).for_each(|_| breaker.succeeded(Permit::Granted, 5_000));
        let opened = fail(&mut breaker, failure, neighbours, failed, 6_000);
        assert_eq!(
            opened, opens,
            "{neighbours:?} {answered} {failure:?} {failed}"
        );
    }
    // Nothing has come from it for a while.
    let mut breaker = Breaker::default();
    breaker.succeeded(Permit::Granted, 1_000);
    assert!(!fail(
        &mut breaker,
        Failure::Late,
        Neighbours::None,
        30,
        2_999
    ));
    assert!(fail(
        &mut breaker,
        Failure::Late,
        Neighbours::None,
        1,
        3_000
    ));
}

#[test]
fn what_was_long_ago_does_not_count() {
    let mut breaker = Breaker::default();
    assert!(!fail(&mut breaker, Failure::Late, SOME, 19, 0));
    assert!(!fail(&mut breaker, Failure::Late, SOME, 19, 10_000));
    assert!(fail(&mut breaker, Failure::Late, SOME, 1, 19_999));
}

#[test]
fn it_is_forgiven_after_a_while() {
    let mut breaker = Breaker::default();
    let mut now = 0;
    let mut lengths = Vec::new();
    for round in 0..8 {
        if round == 7 {
            now += FORGIVEN_MS;
            breaker.succeeded(Permit::Granted, now);
        }
        fail(&mut breaker, Failure::Unreachable, SOME, 5, now);
        let State::Open { until_ms } = breaker.state() else {
            unreachable!("it is open");
        };
        lengths.push(until_ms - now);
        now = until_ms;
        assert_eq!(breaker.ask(now), Permit::Trial);
        breaker.succeeded(Permit::Trial, now);
    }
    assert_eq!(
        lengths,
        [800, 1_600, 3_200, 6_400, 12_800, 24_000, 24_000, 800]
    );
}

proptest! {
    /// Whatever happens: never two trials at a time, it is never open for longer than it may be, and an origin that is
    /// well again is in use again.
    #[test]
    fn it_recovers(
        alone in any::<bool>(),
        steps in proptest::collection::vec((0..4_000u64, 0..4u8, 0..6u8, any::<u64>()), 1..300),
    ) {
        let mut breaker = Breaker::default();
        let neighbours = if alone { Neighbours::None } else { SOME };
        let (mut now, mut open) = (0, Vec::new());
        for (wait, failure, what, chance) in steps {
            now += wait;
            let permit = breaker.ask(now);
            prop_assert_eq!(permit == Permit::Trial && open.contains(&Permit::Trial), false);
            if permit != Permit::Refused {
                open.push(permit);
            }
            if let State::Open { until_ms } = breaker.state() {
                prop_assert!(until_ms <= now + OPEN_MS_MAX * 6 / 5);
            }
            let failure = [Failure::Unreachable, Failure::Late, Failure::Broken, Failure::Unwell][usize::from(failure)];
            if let Some(permit) = (what < 5).then(|| open.pop()).flatten() {
                match what {
                    0 | 1 => breaker.succeeded(permit, now),
                    2 => breaker.abandoned(permit),
                    _ => drop(breaker.failed(permit, failure, neighbours, now, chance)),
                }
            }
            // A trial that nobody hears of is over only after long; here each is heard of.
            if let Some(at) = open.iter().position(|permit| *permit == Permit::Trial) {
                breaker.abandoned(open.swap_remove(at));
            }
        }
        now += OPEN_MS_MAX * 6 / 5;
        let permit = breaker.ask(now);
        prop_assert_ne!(permit, Permit::Refused);
        breaker.succeeded(permit, now);
        prop_assert_eq!(breaker.state(), State::Closed);
    }
}
