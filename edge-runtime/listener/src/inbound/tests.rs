//! The progress rule, with times as arguments.

use super::*;

const WINDOW: Duration = Duration::from_secs(10);

/// Seconds of waiting, bytes that arrive then, seconds that the service takes for them.
struct Step(u64, u64, u64);

fn check(steps: &[Step], expected: bool) {
    let mut progress = Progress::new(WINDOW, 100);
    let mut now = Instant::now();
    let mut stalled = false;
    for Step(wait, bytes, pause) in steps {
        let deadline = progress.wait(|| now);
        assert_eq!(progress.wait(|| now), None, "the wait goes on");
        now += Duration::from_secs(*wait);
        stalled = stalled || deadline.is_some_and(|deadline| now > deadline);
        progress.arrived(*bytes, || now);
        now += Duration::from_secs(*pause);
    }
    assert_eq!(stalled, expected);
}

#[test]
fn only_waiting_counts() {
    check(&[Step(9, 100, 0), Step(9, 100, 0), Step(9, 100, 0)], false);
    check(&[Step(11, 100, 0)], true);
    // One byte at a time does not count as progress.
    check(&[Step(4, 1, 0), Step(4, 1, 0), Step(4, 1, 0)], true);
    check(&[Step(4, 1, 0), Step(4, 99, 0), Step(9, 1, 0)], false);
    // The service takes its time: not the client's fault.
    check(
        &[
            Step(4, 1, 60),
            Step(4, 1, 60),
            Step(1, 100, 60),
            Step(9, 1, 0),
        ],
        false,
    );
}
