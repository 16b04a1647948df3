//! What an erasure does not reach, and when that is gone by itself: a certificate names it.

use crate::{backup::BackupConfig, config::KafkaConfig};
use brink_protocol::operations::{NewErasure, NotReached};

/// What there is besides records, as this core is configured.
#[derive(Debug, Clone)]
pub struct Outside {
    /// Its backups.
    pub backup: BackupConfig,
    /// Changes that a log keeps.
    pub log_changes_max: u64,
    /// How long workflows that have ended are kept, in milliseconds.
    pub workflows_ms: u64,
    /// Topics that hold events.
    pub topics: Vec<String>,
}

impl Outside {
    /// As a configuration of topics says.
    #[must_use]
    pub fn topics(kafka: &KafkaConfig) -> Vec<String> {
        let sent = kafka.send.iter().map(|send| &send.topic);
        let received = kafka.receive.iter().map(|receive| &receive.topic);
        let mut topics: Vec<String> = sent.chain(received).cloned().collect();
        topics.sort();
        topics.dedup();
        topics
    }

    /// What is left of those whose data was erased.
    pub(super) fn not_reached(
        &self,
        plan: &NewErasure,
        is_shared: bool,
        now_ms: u64,
    ) -> Vec<NotReached> {
        let mut all = Vec::new();
        let mut add = |what: &str, lapses_ms| {
            all.push(NotReached {
                what: what.into(),
                lapses_ms,
            });
        };
        if let Some(lapse) = self.backup.lapse_ms(now_ms) {
            add("backups that this core took before", Some(lapse));
        }
        if is_shared || self.backup.lapse_ms(now_ms).is_none() {
            add("backups that others than this core took", None);
        }
        let log = format!(
            "the names of partitions and records, not their values, in the change logs, until {} later changes",
            self.log_changes_max
        );
        add(&log, None);
        add(
            "the engine's files, until it uses the space again or compacts them",
            None,
        );
        if is_shared {
            add(
                "the names of partitions, in the engine's rows of the partitions themselves",
                None,
            );
        }
        if !plan.records.is_empty() {
            add("the names and versions of the single records", None);
        }
        add(
            "answers that modules stored under a lifetime of their own, without reading the records",
            None,
        );
        add(
            "inputs and results of workflows that were begun with it: of those that have ended until then, of others for as \
             long again after their end",
            Some(now_ms.saturating_add(self.workflows_ms)),
        );
        add(
            "events that a projection or the bridge could not take, among their dead letters, until they are dropped",
            None,
        );
        add(
            "what projections made of its events in partitions that were not named",
            None,
        );
        if !self.topics.is_empty() {
            let topics = format!("events in the topics {}", self.topics.join(", "));
            add(&topics, None);
        }
        add(
            "files that were exported, and archives of what has ended",
            None,
        );
        all
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_left_is_named() {
        let outside = Outside {
            backup: BackupConfig::default(),
            log_changes_max: 7,
            workflows_ms: 1000,
            topics: vec!["orders".into()],
        };
        let all = outside.not_reached(&NewErasure::default(), true, 50);
        for (part, lapses_ms) in [
            ("others than this core", None),
            ("7 later changes", None),
            ("workflows", Some(1050)),
            ("dead letters", None),
            ("topics orders", None),
            ("archives", None),
        ] {
            let found = all.iter().find(|left| left.what.contains(part));
            assert_eq!(found.unwrap().lapses_ms, lapses_ms, "{part}");
        }
    }
}
