//! What modules and plugins reach at this PoP: the host's side of `brink:platform`, one interface a file.

pub mod address;
mod commands;
mod egress;
mod identity;
mod log;
mod outbound;
mod records;
mod response_cache;
mod run;
mod store;

pub use outbound::Guarded;
pub use run::{Collected, Platform, Run};
pub use store::Store;
