//! P1, and P2 of purges.

use super::{Answer, Promise, Rules, Seconds, Violation, index::Index};
use crate::history::{Seen, Source};

/// What an answer shows of objects, against the purges that its PoP, or anybody, had been told of.
pub(super) fn check_read(
    index: &Index<'_>,
    answer: Answer<'_>,
    rules: Rules,
    violations: &mut Vec<Violation>,
) {
    let read = answer.read;
    let is_stale = read.source == Source::Stale;
    for seen in &read.seen {
        let Seen::Object { object, generation } = seen else {
            continue;
        };
        let mut refuse = |promise, needed: Option<(u64, u64)>, what: &str| {
            if let Some((least, purge)) = needed
                && *generation < least
            {
                let message = message(index, answer, (*object, *generation, least), what, purge);
                let purge = index.purges.get(&purge).map(|purge| purge.at);
                violations.push(Violation {
                    promise,
                    message,
                    events: std::iter::once(answer.at).chain(purge).collect(),
                });
            }
        };
        if let Some(purged) = index.reported.get(&(read.pop, *object))
            && let Some(by_us) = read.began_us.checked_sub(1)
        {
            let needed = if is_stale { &purged.hard } else { &purged.all };
            let what = "had been reported as applied there";
            refuse(Promise::P1, needed.height(by_us), what);
        }
        if let Some(purged) = index.purged.get(object)
            && let Some(by_us) = read.began_us.checked_sub(rules.bound_us + 1)
            && !is_stale
        {
            let what = "had been acknowledged for longer than the bound";
            refuse(Promise::P2, purged.all.height(by_us), what);
        }
    }
}

fn message(
    index: &Index<'_>,
    answer: Answer<'_>,
    (object, generation, least): (u64, u64, u64),
    what: &str,
    purge: u64,
) -> String {
    let read = answer.read;
    let (began, acked) = index
        .purges
        .get(&purge)
        .map_or((0, None), |purge| (purge.began_us, purge.acked_us));
    format!(
        "{} answered client {} from {} to {} ({:?}) with generation {generation} of object {object}, though purge {purge} (sent at {}, acknowledged at {}, when the origin served generation {least}) {what}",
        index.pop(read.pop),
        read.client,
        Seconds(read.began_us),
        Seconds(read.ended_us),
        read.source,
        Seconds(began),
        acked.map_or_else(|| "?".to_owned(), |acked| Seconds(acked).to_string()),
    )
}
