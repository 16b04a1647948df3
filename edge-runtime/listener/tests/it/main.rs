//! The listener over real sockets: clients of all three protocols, and what no client would send.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod at_once;
mod drain;
mod harness;
mod http1;
mod http2;
mod http2_hostile;
mod http3;
mod http3_hostile;
mod interim;
mod tls;
