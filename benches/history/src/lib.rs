//! Whether what clients of a store saw can be explained by operations that happened one after the other: linearizability,
//! partition by partition.
//!
//! Clients note each call before they make it and each outcome after ([`history`]); a call without an outcome may have
//! happened at any later moment, or never, but not twice. [`model`] says what a partition does when nothing goes wrong,
//! [`search`] looks for an order, [`check`] does so for each partition and shortens what it cannot explain, and [`log`]
//! holds the change logs against what was acknowledged. All of it is pure.
//!
//! The program `brink-history` runs the clients and the faults; `cargo xtask history` builds and starts it.

pub mod check;
pub mod history;
pub mod log;
pub mod model;
pub mod search;
