//! The cache as its callers see it, against temporary directories.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod coding;
mod coherence;
mod collapse;
mod disconnected;
mod origins;
mod races;
mod restart;
mod semantics;
mod streams;
mod support;
mod tiers;

use support::*;
