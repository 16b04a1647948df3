//! What other cores ask of this core's PoPs.

use crate::{
    Error,
    clock::now_ms,
    pops::{Pops, Towards},
    store::Store,
};
use brink_protocol::{
    PopName, Position,
    peers::{HOLD_MS_MAX, PopNote, PopOfPeer, PopsAnswer, PopsRequest, PopsSeen},
};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Whoever holds an answer back looks again after at least so long: many PoPs report at once.
const PACE: Duration = Duration::from_millis(5);

/// The PoPs of this core, and how far they are with the purge that is asked about. Nothing is held back after `stop`.
pub(super) async fn pops(
    store: &dyn Store,
    pops: &Pops,
    asked: &PopsRequest,
    stop: &CancellationToken,
) -> Result<PopsAnswer, Error> {
    let until = Instant::now() + Duration::from_millis(asked.hold_ms.min(HOLD_MS_MAX));
    let mut changed = pops.changed();
    let position = asked.purge.as_ref().map(|purge| &purge.position);
    let seen = || PopsSeen {
        members: pops.members(),
        covering: position.map_or(0, |position| pops.covering(position)),
    };
    let differs = async {
        while asked.seen == Some(seen()) {
            if changed.changed().await.is_err() {
                return;
            }
            tokio::time::sleep(PACE).await;
            changed.mark_unchanged();
        }
    };
    // What is as it was is told again at the end of the time, or of this core.
    tokio::select! {
        () = differs => {}
        () = tokio::time::sleep_until(until) => {}
        () = stop.cancelled() => {}
    }
    // Before the PoPs: what they say meanwhile is told the next time.
    let seen = seen();
    let nowhere = Position::default();
    let towards = pops.towards(position.unwrap_or(&nowhere));
    let mut notes = BTreeMap::new();
    if let Some(purge) = &asked.purge {
        let row = store.purge(&purge.tenant, &purge.id).await?;
        for at in row.map(|row| row.applied).unwrap_or_default() {
            let note = PopNote {
                applied_at_ms: at.applied_at_ms,
                objects: at.objects,
            };
            notes.insert(at.pop, note);
        }
    }
    let (now_ms, is_asked) = (now_ms(), position.is_some());
    Ok(PopsAnswer {
        lease_ms: u64::try_from(pops.lease().as_millis()).unwrap_or(u64::MAX),
        seen,
        pops: towards
            .into_iter()
            .map(|pop| of_peer(pop, &notes, is_asked, now_ms))
            .collect(),
    })
}

fn of_peer(
    pop: Towards,
    notes: &BTreeMap<PopName, PopNote>,
    is_asked: bool,
    now_ms: u64,
) -> PopOfPeer {
    PopOfPeer {
        note: notes.get(&pop.name).copied(),
        connected: pop.connected,
        silent_ms: now_ms.saturating_sub(pop.seen_at_ms),
        covers: is_asked && pop.covers,
        name: pop.name,
    }
}
