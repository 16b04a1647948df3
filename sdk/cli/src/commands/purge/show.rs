//! Purges as people read them.

use super::until::Until;
use crate::{
    moment::time,
    output::{pairs, size, table},
};
use brink_protocol::{
    control::{PurgeAtPop, PurgeEstimate, PurgeStatus, Unanswered, UnreachedCore},
    purge::Selector,
};

/// Selectors of one line.
const SELECTORS_MAX: usize = 3;

fn names<T: ToString>(names: &[T]) -> String {
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// What was just accepted.
pub(super) fn accepted(status: &PurgeStatus) -> String {
    let mut rows = vec![
        ("Purge", status.id.clone()),
        ("Position", status.position.to_string()),
    ];
    if !status.waiting.is_empty() {
        rows.push(("Not yet at", names(&status.waiting)));
    }
    if let Some(later) = &status.later {
        rows.push(("Hard", format!("{} at {}", later.id, time(later.at_ms))));
    }
    pairs(&rows)
}

/// What a dry run counted.
pub(super) fn estimate(estimate: &PurgeEstimate) -> String {
    let rows: Vec<_> = estimate
        .pops
        .iter()
        .map(|pop| {
            vec![
                pop.pop.to_string(),
                pop.objects.to_string(),
                size(pop.bytes),
            ]
        })
        .chain(
            estimate
                .silent
                .iter()
                .map(|pop| vec![pop.to_string(), "no answer".into()]),
        )
        .collect();
    format!(
        "It would end {} stored answers, {}. Nothing was purged.\n{}",
        estimate.objects,
        size(estimate.bytes),
        table(&["POP", "OBJECTS", "BYTES"], &rows)
    )
}

/// From acceptance to application: by the core's clock if it is known, else by the PoP's.
pub(super) fn after_ms(status: &PurgeStatus, at: &PurgeAtPop) -> u64 {
    let by_pop = at.applied_at_ms.saturating_sub(status.at_ms);
    at.propagation_ms.unwrap_or(by_pop)
}

fn quarantine(pop: &Unanswered) -> String {
    match pop.quarantined_since_ms {
        Some(since) => format!("quarantined since {}", time(since)),
        None => "its lease has not ended yet".into(),
    }
}

/// How far a purge is.
pub(in crate::commands) fn applied(status: &PurgeStatus) -> String {
    let row = |pop: &PurgeAtPop| {
        vec![
            pop.pop.to_string(),
            "yes".into(),
            format!("{} ms", after_ms(status, pop)),
            pop.objects.to_string(),
        ]
    };
    let mut head = format!("Purge {} at {}", status.id, status.position);
    if let Some(later) = &status.later {
        head.push_str(&format!("; hard as {} at {}", later.id, time(later.at_ms)));
    }
    let is_empty = status.applied.is_empty() && status.waiting.is_empty();
    if is_empty && status.unreached.is_empty() {
        return format!("{head}. There is no PoP that could hold anything.\n");
    }
    let silent = |name: &brink_protocol::PopName| {
        let known = status.unanswered.iter().find(|pop| pop.pop == *name);
        let note = known.map(quarantine).unwrap_or_default();
        vec![
            name.to_string(),
            "no answer".into(),
            String::new(),
            String::new(),
            note,
        ]
    };
    let rows: Vec<_> = status
        .applied
        .iter()
        .map(row)
        .chain(status.waiting.iter().map(silent))
        .chain(status.unreached.iter().map(|unreached| {
            vec![
                format!("({})", unreached.core),
                "not reached".into(),
                String::new(),
                String::new(),
                "a core; it may have more PoPs".into(),
            ]
        }))
        .collect();
    let headings = ["POP", "APPLIED", "AFTER", "OBJECTS", "NOTE"];
    format!("{head}\n{}", table(&headings, &rows))
}

/// Who stays silent, and what keeps it from serving what the purge ended.
pub(super) fn silent(status: &PurgeStatus, until: &Until) -> String {
    let one = |name: &brink_protocol::PopName| {
        let known = status.unanswered.iter().find(|pop| pop.pop == *name);
        let note = known.map_or_else(|| "not known to the core".into(), quarantine);
        format!("{name} ({note})")
    };
    let core = |unreached: &UnreachedCore| {
        let core = &unreached.core;
        format!("what else {core} knows, a core that is not reached")
    };
    let silent = until.silent(status);
    let silent = silent.iter().map(one);
    let all: Vec<_> = match until {
        Until::All | Until::Quorum => silent.chain(status.unreached.iter().map(core)).collect(),
        Until::Pops(_) => silent.collect(),
    };
    all.join(", ")
}

/// What a purge matches, in short.
pub(in crate::commands) fn selectors(selectors: &[Selector]) -> String {
    let one = |selector: &Selector| match selector {
        Selector::Key(key) => format!("key {key}"),
        Selector::Url(url) => format!("url {url}"),
        Selector::Prefix(prefix) => format!("prefix {prefix}"),
        Selector::Host(host) => format!("host {host}"),
        Selector::Module(module) => format!("module {module}"),
        Selector::Everything => "everything".into(),
    };
    let mut texts: Vec<_> = selectors.iter().take(SELECTORS_MAX).map(one).collect();
    if let Some(more @ 1..) = selectors.len().checked_sub(SELECTORS_MAX) {
        texts.push(format!("{more} more"));
    }
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use brink_protocol::control::{EstimateAtPop, Later};

    fn status() -> PurgeStatus {
        PurgeStatus {
            id: "01J".into(),
            selectors: Vec::new(),
            soft: false,
            at_ms: 1000,
            by: "root".into(),
            position: "core.1=7".parse().unwrap(),
            applied: vec![PurgeAtPop {
                pop: "ams".parse().unwrap(),
                applied_at_ms: 1012,
                objects: 3,
                propagation_ms: Some(15),
            }],
            waiting: vec!["fra".parse().unwrap(), "sfo".parse().unwrap()],
            unanswered: vec![
                Unanswered {
                    pop: "fra".parse().unwrap(),
                    connected: true,
                    seen_at_ms: 900,
                    quarantined_since_ms: None,
                    unreached_core: None,
                },
                Unanswered {
                    pop: "sfo".parse().unwrap(),
                    connected: false,
                    seen_at_ms: 500,
                    quarantined_since_ms: Some(3000),
                    unreached_core: None,
                },
            ],
            unreached: Vec::new(),
            later: None,
        }
    }

    #[test]
    fn as_people_read_it() {
        let status = status();
        assert_eq!(
            accepted(&status),
            "Purge       01J\nPosition    core.1=7\nNot yet at  fra, sfo\n"
        );
        assert_eq!(
            applied(&status),
            "Purge 01J at core.1=7\n\
             POP  APPLIED    AFTER  OBJECTS  NOTE\n\
             ams  yes        15 ms  3\n\
             fra  no answer                  its lease has not ended yet\n\
             sfo  no answer                  quarantined since 1970-01-01T00:00:03.000Z\n"
        );
        assert_eq!(
            silent(&status, &Until::All),
            "fra (its lease has not ended yet), sfo (quarantined since 1970-01-01T00:00:03.000Z)"
        );
        let others = "pop:ams,pop:lax".parse().unwrap();
        assert_eq!(silent(&status, &others), "lax (not known to the core)");
        let staggered = PurgeStatus {
            applied: Vec::new(),
            waiting: Vec::new(),
            later: Some(Later {
                id: "01K".into(),
                at_ms: 60_000,
            }),
            ..status
        };
        assert_eq!(
            applied(&staggered),
            "Purge 01J at core.1=7; hard as 01K at 1970-01-01T00:01:00.000Z. There is no PoP that could hold anything.\n"
        );
        assert!(
            accepted(&staggered).ends_with("Hard      01K at 1970-01-01T00:01:00.000Z\n"),
            "{}",
            accepted(&staggered)
        );
    }

    #[test]
    fn a_core_that_is_not_reached() {
        let status = PurgeStatus {
            applied: Vec::new(),
            waiting: Vec::new(),
            unanswered: Vec::new(),
            unreached: vec![UnreachedCore {
                core: "core-2".parse().unwrap(),
                known_at_ms: None,
                quarantined_since_ms: None,
            }],
            ..status()
        };
        assert_eq!(
            applied(&status),
            "Purge 01J at core.1=7\n\
             POP       APPLIED      AFTER  OBJECTS  NOTE\n\
             (core-2)  not reached                  a core; it may have more PoPs\n"
        );
        assert!(!Until::All.is_met(&status) && !Until::Quorum.is_met(&status));
        assert_eq!(
            silent(&status, &Until::All),
            "what else core-2 knows, a core that is not reached"
        );
    }

    #[test]
    fn dry_runs() {
        let counted = PurgeEstimate {
            selectors: vec![Selector::Everything],
            objects: 12,
            bytes: 2048,
            pops: vec![EstimateAtPop {
                pop: "ams".parse().unwrap(),
                objects: 12,
                bytes: 2048,
            }],
            silent: vec!["sfo".parse().unwrap()],
            unreached: Vec::new(),
        };
        assert_eq!(
            estimate(&counted),
            "It would end 12 stored answers, 2.0 KiB. Nothing was purged.\n\
             POP  OBJECTS    BYTES\n\
             ams  12         2.0 KiB\n\
             sfo  no answer\n"
        );
    }

    #[test]
    fn selectors_in_short() {
        let url = Selector::Url("a/b".into());
        assert_eq!(selectors(&[Selector::Everything]), "everything");
        let five = [
            Selector::Key("k".parse().unwrap()),
            url.clone(),
            Selector::Host("h".into()),
            url.clone(),
            url,
        ];
        assert_eq!(selectors(&five), "key k, url a/b, host h, 2 more");
    }
}
