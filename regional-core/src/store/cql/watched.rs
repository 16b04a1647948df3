//! Which cores live. Pure.
//!
//! Each core writes a beat; nobody compares clocks. A core is silent for as long as its beat was *read again and again* and
//! was the same: time in which this core could not read, or stood still, does not count.

use brink_protocol::NodeName;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// How often beats are written and read.
pub(super) const BEAT: Duration = Duration::from_secs(1);
/// What one reading adds to a silence, at most.
const STEP_MAX: Duration = Duration::from_secs(2);

/// What a core says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Said {
    /// See [`crate::store::Member::region`].
    pub(super) region: Option<String>,
    /// The engine's data centre that it asks.
    pub(super) data_center: String,
    /// See [`crate::store::Member::link`].
    pub(super) link: Option<String>,
    /// See [`crate::store::Member::control`].
    pub(super) control: Option<String>,
    /// See [`crate::store::Member::started_at_ms`].
    pub(super) started_at_ms: u64,
    /// It has ended in order.
    #[serde(default)]
    pub(super) has_left: bool,
    /// Under which node's name its log is; none: under its own.
    #[serde(default)]
    pub(super) log: Option<String>,
}

impl Said {
    /// Whether a core that says this is so near that one may take over what the other leaves: terms and fences may be
    /// ordered by a region, and by a data centre, alone.
    pub(super) fn is_near(&self, other: &Self) -> bool {
        self.region == other.region && self.data_center == other.data_center
    }
}

/// What is known of one core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) said: Said,
    beat: i64,
    silent: Duration,
}

/// What is known of all.
#[derive(Debug, Default)]
pub(super) struct Watched {
    cores: BTreeMap<NodeName, Seen>,
    read_at: Option<Instant>,
}

impl Watched {
    /// All beats were read; the reading began at `now`.
    pub(super) fn read(&mut self, rows: Vec<(NodeName, Said, i64)>, now: Instant) {
        let passed = self.read_at.map(|at| now.saturating_duration_since(at));
        let passed = passed.unwrap_or_default().min(STEP_MAX);
        self.read_at = Some(now);
        let seen = |(node, said, beat): (NodeName, Said, i64)| {
            let known = self.cores.get(&node).filter(|known| known.beat == beat);
            let silent = known.map_or(Duration::ZERO, |known| known.silent + passed);
            (node, Seen { said, beat, silent })
        };
        self.cores = rows.into_iter().map(seen).collect();
    }

    /// Those that live: that have not left, and were silent for less than `silent_max`.
    pub(super) fn live(&self, silent_max: Duration) -> impl Iterator<Item = (&NodeName, &Said)> {
        let live = move |(_, seen): &(&NodeName, &Seen)| !seen.is_gone(silent_max);
        let cores = self.cores.iter().filter(live);
        cores.map(|(node, seen)| (node, &seen.said))
    }

    /// Who says that a log is its own, and whether that core is gone; more than one after a log was taken over.
    pub(super) fn writers<'w>(
        &'w self,
        log: &'w NodeName,
        silent_max: Duration,
    ) -> impl Iterator<Item = (&'w NodeName, &'w Said, bool)> {
        let cores = self.cores.iter();
        let writers = cores.filter(|(node, seen)| {
            let own = seen.said.log.as_deref();
            own.unwrap_or(node.as_str()) == log.as_str()
        });
        writers.map(move |(node, seen)| (node, &seen.said, seen.is_gone(silent_max)))
    }

    /// Whether whoever wrote a log, the core `own` aside, is gone, and all of them were near it; no: one lives, or none was
    /// ever heard of.
    pub(super) fn is_left(
        &self,
        log: &NodeName,
        (own, says): (&NodeName, &Said),
        silent_max: Duration,
    ) -> bool {
        let writers = self.writers(log, silent_max);
        let mut others = writers.filter(|(node, ..)| *node != own).peekable();
        others.peek().is_some() && others.all(|(_, said, is_gone)| is_gone && said.is_near(says))
    }
}

impl Seen {
    fn is_gone(&self, silent_max: Duration) -> bool {
        self.said.has_left || self.silent >= silent_max
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MAX: Duration = Duration::from_secs(10);

    fn said() -> Said {
        Said {
            region: None,
            data_center: "ams".into(),
            link: None,
            control: None,
            started_at_ms: 1,
            has_left: false,
            log: None,
        }
    }

    fn live(watched: &Watched) -> Vec<String> {
        let live = watched.live(MAX);
        live.map(|(node, _)| node.to_string()).collect()
    }

    #[test]
    fn a_core_is_gone_when_its_beat_was_the_same_for_long_enough() {
        let node = |name: &str| name.parse::<NodeName>().unwrap();
        let begin = Instant::now();
        let mut watched = Watched::default();
        // Seen for the first time: nobody knows for how long it has been silent.
        for second in 0..=10 {
            assert!(
                !watched.is_left(&node("b"), (&node("x"), &said()), MAX),
                "{second}"
            );
            let rows = vec![(node("a"), said(), second), (node("b"), said(), 7)];
            watched.read(rows, begin + Duration::from_secs(second.cast_unsigned()));
        }
        assert!(watched.is_left(&node("b"), (&node("x"), &said()), MAX));
        assert_eq!(live(&watched), ["a"]);
        // It is back.
        let rows = vec![(node("a"), said(), 10), (node("b"), said(), 8)];
        watched.read(rows, begin + Duration::from_secs(11));
        assert_eq!(live(&watched), ["a", "b"]);
        // It says that it goes: nobody waits.
        let left = Said {
            has_left: true,
            ..said()
        };
        let rows = vec![(node("a"), said(), 11), (node("b"), left, 9)];
        watched.read(rows, begin + Duration::from_secs(12));
        assert_eq!(live(&watched), ["a"]);
        assert!(watched.is_left(&node("b"), (&node("x"), &said()), MAX));
        assert!(
            !watched.is_left(&node("c"), (&node("x"), &said()), MAX),
            "never heard of"
        );
    }

    #[test]
    fn a_log_is_left_when_all_who_wrote_it_are_gone() {
        let node = |name: &str| name.parse::<NodeName>().unwrap();
        let left = Said {
            has_left: true,
            ..said()
        };
        let of_a = |said: Said| Said {
            log: Some("a".into()),
            ..said
        };
        let elsewhere = Said {
            region: Some("us".into()),
            ..said()
        };
        let mut watched = Watched::default();
        for (other, own, is_left) in [
            (left.clone(), said(), true),
            (of_a(said()), said(), false),
            (of_a(left.clone()), said(), true),
            (of_a(left.clone()), elsewhere, false),
        ] {
            let rows = vec![(node("a"), left.clone(), 1), (node("b"), other, 1)];
            watched.read(rows, Instant::now());
            assert_eq!(
                watched.is_left(&node("a"), (&node("x"), &own), MAX),
                is_left
            );
        }
        // What a core says itself does not make it live for itself: it may take the log back.
        let rows = vec![(node("a"), said(), 1), (node("b"), of_a(left), 1)];
        watched.read(rows, Instant::now());
        assert!(watched.is_left(&node("a"), (&node("a"), &said()), MAX));
        assert!(!watched.is_left(&node("a"), (&node("x"), &said()), MAX));
    }

    #[test]
    fn time_in_which_nothing_was_read_is_no_silence() {
        let a: NodeName = "a".parse().unwrap();
        let begin = Instant::now();
        let mut watched = Watched::default();
        watched.read(vec![(a.clone(), said(), 1)], begin);
        // The engine was away, or this process stood still.
        watched.read(
            vec![(a.clone(), said(), 1)],
            begin + Duration::from_secs(3600),
        );
        assert!(!watched.is_left(&a, (&"x".parse().unwrap(), &said()), MAX));
    }
}
