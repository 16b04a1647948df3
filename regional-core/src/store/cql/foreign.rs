//! What peers hand on of logs: all of them are in the engine already, written by their own cores.

use super::engine::Engine;
use crate::{
    Error,
    store::{Appended, Held},
};
use brink_protocol::{OriginId, change::Change};

fn refuse_own(engine: &Engine, origin: &OriginId) -> Result<(), Error> {
    if origin.node == engine.claim.origin.node {
        return Err(brink_protocol::Error::Malformed {
            what: "change of another origin",
            reason: format!("{origin} is this core itself"),
        }
        .into());
    }
    Ok(())
}

/// Whether what is held reaches to an entry, or to all that there will be of its origin.
fn reaches(held: &Held, origin: &OriginId, sequence: u64) -> bool {
    let is_over =
        |known: &OriginId| known.node == origin.node && known.incarnation > origin.incarnation;
    held.heads.get(origin) >= sequence || held.kept.keys().any(is_over)
}

/// Sees that the changes are there. What an origin has told a peer is in its log, so one look is enough.
pub(super) async fn append(engine: &Engine, changes: &[Change]) -> Result<Appended, Error> {
    for change in changes {
        refuse_own(engine, &change.origin)?;
    }
    let missing = || {
        let held = engine.logs.now();
        let is_missing = |change: &&Change| !reaches(&held, &change.origin, change.sequence);
        changes.iter().find(is_missing).map(|change| {
            let origin = change.origin.clone();
            let head = held.heads.get(&origin);
            Appended::Gap { origin, head }
        })
    };
    if missing().is_none() {
        return Ok(Appended::Held);
    }
    engine.looks.look_far().await?;
    Ok(missing().unwrap_or(Appended::Held))
}

/// A log that is written here needs no new beginning. One that is not cannot be kept.
pub(super) async fn restart(engine: &Engine, origin: &OriginId, head: u64) -> Result<(), Error> {
    refuse_own(engine, origin)?;
    if !reaches(&engine.logs.now(), origin, head.max(1)) {
        engine.looks.look_far().await?;
    }
    let held = engine.logs.now();
    if held.kept.keys().any(|known| known.node == origin.node) {
        return Ok(());
    }
    Err(brink_protocol::Error::Malformed {
        what: "origin of a peer's log",
        reason: format!("{origin} does not write to the engine that this core uses"),
    }
    .into())
}
