//! What is held of all logs: this core's own as it appends, those of other cores as they are found by looking.

use crate::{Error, store::Held};
use brink_protocol::{OriginId, Position, log::Kept};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// Where a log ends, as one row of it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    /// Its last entry.
    pub(super) head: u64,
    /// The first entry whose write has no end in the log yet; `head + 1`: there is none.
    pub(super) open_from: u64,
}

/// What was found of a log.
#[derive(Debug)]
pub(super) struct Found {
    /// Whose it is.
    pub(super) origin: OriginId,
    /// The first entry that it keeps.
    pub(super) oldest: u64,
    /// None: it has no entry.
    pub(super) end: Option<End>,
}

/// What is held of all logs. Heads only go on, whatever the order in which looks end.
pub(super) struct Logs {
    own: OriginId,
    held: watch::Sender<Arc<Held>>,
    /// By origin where it ends. Moved before `held`.
    ends: Mutex<BTreeMap<OriginId, End>>,
}

impl Logs {
    /// With this core's own.
    pub(super) fn new(own: OriginId, kept: Kept) -> Self {
        let held = Held::new([(own.clone(), kept)].into());
        Self {
            own,
            held: watch::Sender::new(Arc::new(held)),
            ends: Mutex::default(),
        }
    }

    /// Follows all.
    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<Held>> {
        self.held.subscribe()
    }

    /// What is held now.
    pub(super) fn now(&self) -> Arc<Held> {
        Arc::clone(&self.held.borrow())
    }

    /// What is kept of one log.
    pub(super) fn kept(&self, origin: &OriginId) -> Option<Kept> {
        self.held.borrow().kept.get(origin).copied()
    }

    /// This core's own log.
    pub(super) fn own(&self) -> Kept {
        self.kept(&self.own).unwrap_or(Kept { oldest: 1, head: 0 })
    }

    fn ends(&self) -> MutexGuard<'_, BTreeMap<OriginId, End>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves a log that this process writes.
    pub(super) fn moved(&self, origin: &OriginId, kept: Kept, open_from: u64) {
        let end = End {
            head: kept.head,
            open_from,
        };
        self.ends().insert(origin.clone(), end);
        let insert = |all: &mut BTreeMap<OriginId, Kept>| {
            all.insert(origin.clone(), kept);
        };
        self.change(insert, None);
    }

    /// Logs of others in which something is open.
    pub(super) fn open_elsewhere(&self) -> Vec<OriginId> {
        let ends = self.ends();
        let open = ends
            .iter()
            .filter(|(origin, end)| **origin != self.own && end.open_from <= end.head);
        open.map(|(origin, _)| origin.clone()).collect()
    }

    /// Takes what a look found of the other cores' logs. `looked_at`: everything that was acknowledged then is in it.
    pub(super) fn found(&self, found: Vec<Found>, looked_at: Option<Instant>) {
        let mut ends = self.ends();
        for Found { origin, end, .. } in &found {
            let Some(end) = end else { continue };
            let present = ends.entry(origin.clone()).or_insert(*end);
            if present.head < end.head {
                *present = *end;
            }
        }
        drop(ends);
        let merge = |all: &mut BTreeMap<OriginId, Kept>| {
            for Found {
                origin,
                oldest,
                end,
            } in found
            {
                let head = end.map_or(oldest.saturating_sub(1), |end| end.head);
                let kept = all.entry(origin).or_insert(Kept { oldest, head });
                kept.head = kept.head.max(head);
                kept.oldest = kept.oldest.max(oldest);
            }
            let newest: BTreeMap<_, _> = all
                .keys()
                .map(|origin| (origin.node.clone(), origin.incarnation))
                .collect();
            all.retain(|origin, _| newest.get(&origin.node) == Some(&origin.incarnation));
        };
        self.change(merge, looked_at);
    }

    fn change(
        &self,
        change: impl FnOnce(&mut BTreeMap<OriginId, Kept>),
        looked_at: Option<Instant>,
    ) {
        self.held.send_if_modified(|held| {
            let mut kept = held.kept.clone();
            change(&mut kept);
            let is_new = kept != held.kept;
            let looked_at = held.looked_at.max(looked_at);
            if is_new || looked_at != held.looked_at {
                *held = Arc::new(Held {
                    looked_at,
                    ..Held::new(kept)
                });
            }
            is_new
        });
    }

    /// A position that covers the end of the write that `intent` intended; none: it is not known to have one yet.
    fn settled(&self, origin: &OriginId, intent: u64) -> Option<Position> {
        let is_over =
            |known: &OriginId| known.node == origin.node && known.incarnation > origin.incarnation;
        let mut position = Position::default();
        if self.held.borrow().kept.keys().any(is_over) {
            position.advance(origin, intent);
            return Some(position);
        }
        // Both of one row: what was open when the log ended there.
        let End { head, open_from } = self.ends().get(origin).copied()?;
        if head < intent || open_from <= intent {
            return None;
        }
        position.advance(origin, head);
        Some(position)
    }

    /// What [`Logs::wait_settled`] would give at once.
    #[cfg(test)]
    pub(super) fn settled_now(&self, origin: &OriginId, intent: u64) -> Option<Position> {
        self.settled(origin, intent)
    }

    /// Waits for it.
    pub(super) async fn wait_settled(
        &self,
        origin: &OriginId,
        intent: u64,
        at_most: Duration,
    ) -> Result<Position, Error> {
        let mut held = self.subscribe();
        let found = async {
            loop {
                held.borrow_and_update();
                if let Some(position) = self.settled(origin, intent) {
                    return Some(position);
                }
                held.changed().await.ok()?;
            }
        };
        let timed = tokio::time::timeout(at_most, found).await;
        timed.ok().flatten().ok_or_else(|| {
            Error::store(
                "waiting for the end of a write",
                format!("entry {intent} of {origin} is still open"),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn found(origin: &str, oldest: u64, head: u64, open_from: u64) -> Found {
        Found {
            origin: origin.parse().unwrap(),
            oldest,
            end: Some(End { head, open_from }),
        }
    }

    #[test]
    fn heads_only_go_on() {
        let own = Kept { oldest: 1, head: 0 };
        let logs = Logs::new("a.1".parse().unwrap(), own);
        let b: OriginId = "b.1".parse().unwrap();
        let early = Instant::now();
        let late = early + Duration::from_millis(1);
        logs.found(vec![found("b.1", 1, 7, 8)], Some(late));
        // A look that began before and ends after.
        logs.found(vec![found("b.1", 1, 5, 4)], Some(early));
        assert_eq!(logs.kept(&b), Some(Kept { oldest: 1, head: 7 }));
        assert_eq!(logs.now().looked_at, Some(late));
        let settled = logs.settled(&b, 4).unwrap();
        assert_eq!(settled.get(&b), 7, "with the end that has it closed");
        // One that did not see a core that has come meanwhile does not forget it.
        logs.found(vec![found("c.1", 1, 1, 2)], None);
        assert_eq!(logs.now().heads.iter().count(), 2);
        // A later life takes the place of an earlier one, not the other way round.
        logs.found(vec![found("b.2", 1, 1, 2)], None);
        logs.found(vec![found("b.1", 1, 9, 10)], None);
        assert_eq!(logs.now().heads.to_string(), "b.2=1,c.1=1");
    }

    #[test]
    fn a_look_that_finds_nothing_new_wakes_nobody() {
        let own = Kept { oldest: 1, head: 0 };
        let logs = Logs::new("a.1".parse().unwrap(), own);
        logs.found(vec![found("b.1", 1, 7, 8)], Some(Instant::now()));
        let held = logs.subscribe();
        let later = Instant::now() + Duration::from_secs(1);
        logs.found(vec![found("b.1", 1, 7, 8)], Some(later));
        assert!(!held.has_changed().unwrap());
        assert_eq!(held.borrow().looked_at, Some(later));
    }
}
