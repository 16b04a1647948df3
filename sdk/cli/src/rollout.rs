//! Which PoPs run what was deployed.

use crate::{client::Client, error::Error};
use brink_protocol::{
    PopName, Position,
    control::{Pop, Status},
};
use serde::Serialize;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often PoPs are asked after.
const POLL: Duration = Duration::from_millis(100);

/// A PoP and whether it runs what was deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct PopRun {
    /// The PoP.
    pub(crate) name: PopName,
    /// It follows the feed. One that does not will catch up when it comes back.
    pub(crate) connected: bool,
    /// It runs it.
    pub(crate) runs: bool,
}

/// Waits until every connected PoP runs what was deployed at `position`, for `time_max` at most.
///
/// # Errors
/// The control API does not answer.
pub(crate) async fn wait(
    client: &Client,
    position: &Position,
    time_max: Duration,
) -> Result<Vec<PopRun>, Error> {
    let end = Instant::now() + time_max;
    // Read after the deploy was answered: at least the revision that it made.
    let Status { revision, pops, .. } = client.get("/v1/status").await?;
    let mut runs = runs_of(&pops, position, revision);
    while !all_run(&runs) && Instant::now() < end {
        sleep(POLL).await;
        let pops: Vec<Pop> = client.get("/v1/pops").await?;
        runs = runs_of(&pops, position, revision);
    }
    Ok(runs)
}

/// Whether every connected PoP runs it.
pub(crate) fn all_run(pops: &[PopRun]) -> bool {
    pops.iter().all(|pop| pop.runs || !pop.connected)
}

fn runs_of(pops: &[Pop], position: &Position, revision: u64) -> Vec<PopRun> {
    let run = |pop: &Pop| PopRun {
        name: pop.name.clone(),
        connected: pop.connected,
        runs: pop.connected && pop.revision >= revision && pop.position.covers(position),
    };
    pops.iter().map(run).collect()
}

/// As people read it.
pub(crate) fn describe(pops: &[PopRun]) -> String {
    if pops.is_empty() {
        return "no PoP was ever connected".into();
    }
    let state = |pop: &PopRun| match (pop.connected, pop.runs) {
        (_, true) => format!("{} runs it", pop.name),
        (true, false) => format!("{} not yet", pop.name),
        (false, false) => format!("{} is not connected", pop.name),
    };
    pops.iter().map(state).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use brink_protocol::link::PopFigures;

    #[test]
    fn a_pop_runs_it_when_both_revision_and_position_have_come() {
        let pop = |name: &str, connected, position: &str, revision| Pop {
            name: name.parse().unwrap(),
            core: None,
            connected,
            position: position.parse().unwrap(),
            lag_changes: 0,
            revision,
            seen_at_ms: 0,
            figures: PopFigures::default(),
            staleness_ms: None,
            quarantined_since_ms: None,
        };
        let pops = [
            pop("a", true, "c.1=7", 3),
            pop("b", true, "c.1=6", 3),
            pop("c", true, "c.1=9", 2),
            pop("d", false, "c.1=7", 3),
        ];
        let runs = runs_of(&pops, &"c.1=7".parse().unwrap(), 3);
        assert_eq!(
            runs.iter().map(|pop| pop.runs).collect::<Vec<_>>(),
            [true, false, false, false]
        );
        assert_eq!(
            describe(&runs),
            "a runs it, b not yet, c not yet, d is not connected"
        );
        assert!(!all_run(&runs));
        assert!(all_run(&runs_of(&pops[..1], &"c.1=7".parse().unwrap(), 3)));
        assert_eq!(describe(&[]), "no PoP was ever connected");
    }
}
