//! What was lately not stored, and why: for people who ask.

use brink_policy::http::NoStoreReason;
use http::StatusCode;
use std::{
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

/// Most keys that are remembered.
const KEYS_MAX: usize = 1024;

/// The last answer of a key that was not stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unstored {
    pub(super) reason: NoStoreReason,
    pub(super) status: StatusCode,
    pub(super) at: SystemTime,
}

/// The hash of a key, and what became of it.
type Place = Option<(u64, Unstored)>;

/// A table in which a key takes the place of another.
#[derive(Debug)]
pub(super) struct LatelyUnstored(Mutex<Box<[Place]>>);

impl LatelyUnstored {
    pub(super) fn new() -> Self {
        Self(Mutex::new(vec![None; KEYS_MAX].into()))
    }

    pub(super) fn note(&self, hash: u64, unstored: Unstored) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = table.get_mut(place(hash)) {
            *place = Some((hash, unstored));
        }
    }

    pub(super) fn of(&self, hash: u64) -> Option<Unstored> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, unstored) = (*table.get(place(hash))?)?;
        (known == hash).then_some(unstored)
    }
}

fn place(hash: u64) -> usize {
    usize::try_from(hash % KEYS_MAX as u64).unwrap_or(0)
}
