//! A purge that somebody asks for: what, by whom, under which budget and key.

use super::selectors::Asker;
use crate::{Error, refusal::Refusal};
use brink_protocol::{
    Digest, Position, TenantName,
    control::{COUNT_MS, IDEMPOTENCY_KEY_BYTES_MAX, PurgeStatus, STAGGER_MS_MAX},
    purge::Selector,
};
use serde::Deserialize;
use std::time::Duration;

/// `[purges]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PurgesConfig {
    /// Budget of a purge that names none itself: entries that it may end, summed over all PoPs. Purges by modules and
    /// `PURGE` requests for one URL are not counted. None by default.
    pub objects_max: Option<u64>,
}

/// How many entries a purge may end without being confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Entries, summed over all PoPs that answer; the installation's own budget if there is none.
    pub objects_max: Option<u64>,
    /// It does not matter.
    pub confirm: bool,
    /// How long PoPs have for their counts.
    pub wait: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            objects_max: None,
            confirm: false,
            wait: Duration::from_millis(COUNT_MS),
        }
    }
}

/// A purge that somebody asks for.
#[derive(Debug, Clone)]
pub struct Order {
    /// Whose entries.
    pub tenant: TenantName,
    /// Who asks.
    pub asker: Asker,
    /// In their normal form.
    pub selectors: Vec<Selector>,
    /// See [`brink_protocol::purge::Purge::soft`].
    pub soft: bool,
    /// See [`brink_protocol::control::NewPurge::stagger_ms`].
    pub stagger_ms: Option<u64>,
    /// See [`brink_protocol::control::IDEMPOTENCY_HEADER`].
    pub idempotency_key: Option<String>,
    /// What it may end.
    pub budget: Budget,
    /// See [`crate::store::NewPurge::behind`].
    pub behind: Position,
}

/// What came of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It is on its way.
    New(PurgeStatus),
    /// It was taken before, under the same idempotency key.
    Before(PurgeStatus),
}

impl Taken {
    /// How far it is.
    #[must_use]
    pub fn status(self) -> PurgeStatus {
        match self {
            Self::New(status) | Self::Before(status) => status,
        }
    }
}

impl Order {
    /// Whatever it ends, at once, by itself.
    #[must_use]
    pub fn confirmed(
        tenant: TenantName,
        asker: Asker,
        selectors: Vec<Selector>,
        soft: bool,
    ) -> Self {
        Self {
            tenant,
            asker,
            selectors,
            soft,
            stagger_ms: None,
            idempotency_key: None,
            budget: Budget {
                confirm: true,
                ..Budget::default()
            },
            behind: Position::default(),
        }
    }

    /// Refuses what is outside its limits.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        if let Some(stagger) = self.stagger_ms
            && !(1..=STAGGER_MS_MAX).contains(&stagger)
        {
            return Err(Refusal::Invalid(brink_protocol::Error::Limit {
                what: "milliseconds between the halves of a staggered purge (at least 1)",
                actual: stagger,
                limit: STAGGER_MS_MAX,
            }));
        }
        if let Some(key) = &self.idempotency_key
            && !((1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len())
                && key.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(Refusal::Invalid(brink_protocol::Error::Malformed {
                what: "Idempotency-Key",
                reason: "it is 1 to 128 visible ASCII characters".into(),
            }));
        }
        Ok(())
    }

    /// What must be the same under the same idempotency key.
    pub(super) fn digest(&self) -> Result<Digest, Error> {
        let parts = (&self.selectors, self.soft, self.stagger_ms);
        let text = serde_json::to_vec(&parts).map_err(|error| Error::corrupt("purge", error))?;
        Ok(Digest::of(&text))
    }
}
