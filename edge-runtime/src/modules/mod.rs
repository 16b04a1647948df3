//! What modules and plugins reach at this PoP: the host's side of `brink:platform`, one interface a file.

pub mod answer;
mod collected;
mod commands;
mod egress;
mod events;
mod identity;
mod log;
mod nested;
mod outbound;
mod record_cache;
mod records;
mod response_cache;
mod run;
mod store;
mod undone;
mod witness;
mod workflows;

pub use collected::Collected;
pub use outbound::Guarded;
pub use record_cache::{Config as RecordsConfig, RecordCache};
pub use run::{Platform, Run};
pub use store::Store;
