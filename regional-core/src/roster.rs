//! The PoPs of all cores, as each core tells of its own.

use crate::{
    clock::now_ms,
    exchange::{Known, Peers},
    pops::Pops,
};
use brink_protocol::{NodeName, PopName, Position, control::Pop, peers::RosterAnswer};
use futures_util::future::join_all;
use std::collections::BTreeMap;

/// Every PoP once, by name, as the core tells that heard of it last; of cores that are not reached, who their PoPs last
/// were. Takes as long as the slowest core, up to a fixed time.
pub async fn everywhere(pops: &Pops, peers: &Peers, head: &Position) -> Vec<Pop> {
    let asked = peers.all().into_iter();
    let told = join_all(asked.map(|(number, core)| async move {
        match peers.roster(number).await {
            Some(answer) => of_answer(core, answer, now_ms()),
            None => peers
                .last_known(number)
                .map_or_else(Vec::new, |known| of_known(&core, &known, head, now_ms())),
        }
    }));
    let own = pops.list(head).into_iter().map(|pop| Pop {
        core: Some(peers.own().clone()),
        ..pop
    });
    let own: Vec<Pop> = own.collect();
    merged(own.into_iter().chain(told.await.into_iter().flatten()))
}

/// With times by this core's clock.
fn of_answer(core: NodeName, answer: RosterAnswer, now_ms: u64) -> Vec<Pop> {
    let here = |at_ms: u64| now_ms.saturating_sub(answer.at_ms.saturating_sub(at_ms));
    let pops = answer.pops.into_iter();
    pops.map(|pop| Pop {
        core: Some(core.clone()),
        seen_at_ms: here(pop.seen_at_ms),
        quarantined_since_ms: pop.quarantined_since_ms.map(here),
        ..pop
    })
    .collect()
}

/// Nothing is known of them but that they were there.
fn of_known(core: &NodeName, known: &Known, head: &Position, now_ms: u64) -> Vec<Pop> {
    let since = u64::try_from(known.at.elapsed().as_millis()).unwrap_or(u64::MAX);
    let pops = known.answer.pops.iter();
    pops.map(|pop| Pop {
        name: pop.name.clone(),
        core: Some(core.clone()),
        connected: false,
        position: Position::default(),
        lag_changes: head.iter().map(|(_, sequence)| sequence).sum(),
        revision: 0,
        seen_at_ms: now_ms.saturating_sub(pop.silent_ms.saturating_add(since)),
        figures: Default::default(),
        staleness_ms: None,
        quarantined_since_ms: None,
    })
    .collect()
}

fn merged(all: impl Iterator<Item = Pop>) -> Vec<Pop> {
    let mut by_name: BTreeMap<PopName, Pop> = BTreeMap::new();
    for pop in all {
        let is_later =
            |known: &Pop| (pop.connected, pop.seen_at_ms) > (known.connected, known.seen_at_ms);
        if by_name.get(&pop.name).is_none_or(is_later) {
            by_name.insert(pop.name.clone(), pop);
        }
    }
    by_name.into_values().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn pop(name: &str, connected: bool, seen_at_ms: u64) -> Pop {
        Pop {
            name: name.parse().unwrap(),
            core: None,
            connected,
            position: Position::default(),
            lag_changes: 0,
            revision: 0,
            seen_at_ms,
            figures: Default::default(),
            staleness_ms: None,
            quarantined_since_ms: Some(seen_at_ms),
        }
    }

    #[test]
    fn each_pop_is_told_of_once_by_the_clock_of_who_tells() {
        // The other core's clock is an hour ahead.
        let answer = RosterAnswer {
            at_ms: 3_600_000 + 5_000,
            pops: vec![
                pop("ams", true, 3_600_000 + 4_900),
                pop("fra", false, 3_600_000 + 2_000),
            ],
        };
        let told = of_answer("core-2".parse().unwrap(), answer, 5_000);
        assert_eq!(told[0].seen_at_ms, 4_900);
        assert_eq!(told[1].quarantined_since_ms, Some(2_000));
        let own = [pop("ams", false, 4_950), pop("fra", false, 3_000)];
        let all = merged(own.into_iter().chain(told));
        let all: Vec<_> = all
            .iter()
            .map(|pop| (pop.name.as_str(), pop.connected, pop.core.is_some()))
            .collect();
        assert_eq!(all, [("ams", true, true), ("fra", false, false)]);
    }
}
