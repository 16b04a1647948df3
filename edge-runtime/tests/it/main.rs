//! The edge over real sockets: alone, and with a core that does what a core should not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod admin;
mod at_once;
mod broken;
mod canary;
mod coherence;
mod collapse;
mod cores;
mod deployments;
mod explaining;
mod feed;
mod guest;
mod harness;
mod interim;
mod keying;
mod large;
mod leases;
mod link;
mod origins;
mod parts;
mod process;
mod proxy;
mod purging;
mod raw;
mod scripted;
mod serve;
mod sessions;
mod shielded_modules;
mod shielded_parts;
mod shields;
mod streams;
mod trailers;
