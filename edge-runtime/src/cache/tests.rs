//! The cache as its callers see it, against temporary directories.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod admission;
mod coding;
mod coherence;
mod collapse;
mod disconnected;
mod full_disk;
mod origins;
mod parts;
mod pieces;
mod races;
mod restart;
mod semantics;
mod streams;
mod support;
mod tiers;

use support::*;
