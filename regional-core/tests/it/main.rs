//! A real core over real sockets: the control API, the link, the program, and what is left after kill -9.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

mod appends;
mod audits;
mod bridge;
mod client;
mod commands;
mod control;
mod deploying;
mod dialects;
mod events;
mod everywhere;
mod exchange;
mod guests;
mod link;
mod members;
mod operating;
mod program;
mod projections;
mod proving;
mod purges;
mod purging;
mod regions;
mod server;
mod slow;
mod transferring;
mod workflows;
