//! End to end: the real programs, driven by clients that are not ours, from publishing to the loss of processes.
//!
//! `cargo xtask test` builds what these tests need and runs them with everything else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod bad_requests;
mod benches;
mod caching;
mod clients;
mod crashes;
mod dialects;
mod failover;
mod harness;
mod hostile;
mod origins;
mod projections;
mod projects;
mod publishing;
mod relay;
mod secrets;
mod serving;
mod sessions;
mod up;
mod wan;
