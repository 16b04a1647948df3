//! How old a core's knowledge of the other cores' logs is: the same rule of claims by which a PoP's lease works.

use crate::messages::Members;
use brink_protocol::{OriginId, Position};
use std::collections::{BTreeMap, VecDeque};

/// "Never known", in milliseconds.
const AGE_MS_MAX: u64 = 86_400_000;
/// Most claims whose heads are not held yet.
const OPEN_MAX: usize = 16;

#[derive(Debug)]
struct Claim {
    sent_ms: u64,
    head: Position,
    origins: Vec<OriginId>,
}

/// What is known, and as of when, by the core's own clock.
#[derive(Debug, Default)]
pub(super) struct Knowledge {
    members: Members,
    members_ms: u64,
    vouched_ms: BTreeMap<OriginId, u64>,
    open: VecDeque<Claim>,
}

impl Knowledge {
    /// The list of members, asked for at `sent_ms`.
    pub(super) fn learn(&mut self, members: Members, sent_ms: u64) {
        if sent_ms >= self.members_ms {
            self.members = members;
            self.members_ms = sent_ms;
        }
    }

    pub(super) fn members(&self) -> &Members {
        &self.members
    }

    /// Who was asked at `sent_ms` has said where these logs end.
    pub(super) fn claim(
        &mut self,
        sent_ms: u64,
        head: Position,
        origins: Vec<OriginId>,
        held: &Position,
    ) {
        self.open.push_back(Claim {
            sent_ms,
            head,
            origins,
        });
        if self.open.len() > OPEN_MAX {
            self.open.pop_front();
        }
        self.reached(held);
    }

    /// More is held now.
    pub(super) fn reached(&mut self, held: &Position) {
        let (met, open): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|claim| held.covers(&claim.head));
        self.open = open;
        for claim in met {
            for origin in claim.origins {
                let vouched = self.vouched_ms.entry(origin).or_default();
                *vouched = claim.sent_ms.max(*vouched);
            }
        }
    }

    /// As of when everything that was acknowledged is held.
    ///
    /// A life that is over counts no more once all of it is held, and not before. One that has begun is in the list of
    /// members before it acknowledges anything: so the list must not be older than the answer is to be.
    fn as_of_ms(&self, own: &OriginId, held: &Position) -> u64 {
        let others = self.members.iter().filter(|(origin, _)| *origin != own);
        let of = others.map(|(origin, member)| match member.last {
            Some(last) if held.get(origin) >= last => u64::MAX,
            Some(_) => 0,
            None => self.vouched_ms.get(origin).copied().unwrap_or(0),
        });
        of.min().unwrap_or(u64::MAX).min(self.members_ms)
    }

    /// Its age at `now_ms`.
    pub(super) fn age_ms(&self, own: &OriginId, held: &Position, now_ms: u64) -> u64 {
        let as_of = self.as_of_ms(own, held);
        (now_ms.saturating_sub(as_of) + 1).min(AGE_MS_MAX)
    }
}
