//! The progress rule, on a paused clock.
#![allow(clippy::unwrap_used)]

use super::*;

const WINDOW: Duration = Duration::from_secs(10);

/// One step: bytes that arrive after a wait, and a pause of the service after them.
struct Step(u64, u64, u64);

async fn check(steps: &[Step], expected: bool) {
    let mut progress = Progress::new(WINDOW, 100);
    let mut stalled = false;
    for Step(wait, bytes, pause) in steps {
        let wait = tokio::time::sleep(Duration::from_secs(*wait));
        tokio::select! {
            biased;
            () = wait => progress.arrived(*bytes),
            _ = std::future::poll_fn(|cx| progress.poll_stalled(cx)) => { stalled = true; break; }
        }
        tokio::time::advance(Duration::from_secs(*pause)).await;
    }
    assert_eq!(stalled, expected);
}

#[tokio::test(start_paused = true)]
async fn only_waiting_counts() {
    check(&[Step(9, 100, 0), Step(9, 100, 0), Step(9, 100, 0)], false).await;
    check(&[Step(11, 100, 0)], true).await;
    // One byte at a time does not count as progress.
    check(&[Step(4, 1, 0), Step(4, 1, 0), Step(4, 1, 0)], true).await;
    // The service takes its time: not the client's fault.
    check(
        &[
            Step(4, 1, 60),
            Step(4, 1, 60),
            Step(1, 100, 60),
            Step(9, 1, 0),
        ],
        false,
    )
    .await;
}
