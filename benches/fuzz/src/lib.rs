//! What the fuzzers do with bytes: every parser of what comes from outside or from disk, with what must hold whatever they are.
//!
//! A target is a function from bytes; it panics where something does not hold. `cargo xtask fuzz` feeds the targets by
//! libFuzzer (`benches/fuzz/fuzzer`), the tests of this crate feed them their seeds and what lies close to those.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "models say what a standard says, and what does not hold panics"
)]

mod cache;
#[allow(dead_code)]
#[path = "../../../edge-runtime/policy/tests/it/models.rs"]
mod models;
mod targets;

/// One fuzzer.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, as `cargo xtask fuzz` takes it.
    pub name: &'static str,
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Panics if something does not hold.
    pub run: fn(&[u8]),
}

/// All of them, those of the cache first.
pub const TARGETS: [Target; 14] = [
    targets::cache_control::TARGET,
    targets::structured_fields::TARGET,
    targets::vary::TARGET,
    targets::ranges::TARGET,
    targets::dates::TARGET,
    targets::codings_and_keys::TARGET,
    cache::entries::TARGET,
    cache::disk::segments::TARGET,
    cache::journals::TARGET,
    targets::http_fields::TARGET,
    targets::link_messages::TARGET,
    targets::names_and_positions::TARGET,
    targets::control_bodies::TARGET,
    targets::routes::TARGET,
];

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
