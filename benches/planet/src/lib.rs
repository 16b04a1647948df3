//! A planet in one thread: cores, a thousand PoPs, clients, a bad network and crashes, all from one seed; and the checker
//! that holds the promises of coherence against every answer that a client saw.
//!
//! PoPs run the very [`brink_policy::coherence::Replica`] that edges run in production, and cores the very
//! [`brink_protocol::log`]. What is simulated is around them: the network, the shared store, caches, clients and faults.
//!
//! [`history`] and [`checker`] also serve runs with real processes: whoever records the same events is held to the same
//! promises.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss
)]

pub mod checker;
pub mod cities;
pub mod client;
pub mod clock;
pub mod context;
pub mod core;
pub mod faults;
pub mod figures;
pub mod history;
pub mod messages;
pub mod mutation;
pub mod network;
pub mod pages;
pub mod pop;
pub mod random;
pub mod scenario;
pub mod store;
pub mod trace;
pub mod world;

pub use figures::{Figures, quantile};
pub use mutation::Mutation;
pub use scenario::{CORES_MAX, POPS_MAX, Scenario};
pub use trace::trace;
pub use world::{Outcome, run};
