//! Shields: PoPs beside the core that other PoPs ask for what they would fetch from an origin, so that many PoPs cost the
//! origin one fetch.
//!
//! ```text
//! PoP (miss) -> its shields, in the order of rendezvous hashing -> the origin itself, where none of them answers
//!                    |
//!               the shield's cache -> origin
//! ```
//!
//! A question names what the asking PoP has applied; the answer is worth as much as the origin's own (see
//! [`brink_policy::shield`] and docs/coherence.md). A shield never asks a shield. Both sides show the certificates by which
//! cores know PoPs.

mod asking;
mod coming;
mod config;
mod connection;
mod message;

pub use asking::{Shielded, Shields, Sought, is_loop, mark_loop};
pub use config::{Config, Settings};
pub use message::{Asked, Told};
