//! The words that edge and core share: ids, positions, changes, tags, record addresses and messages.
//!
//! Pure: no clock, no socket, no file, no task. Every type that arrives from outside is entered through `FromStr`,
//! `TryFrom` or [`codec::decode`], which refuse what is beyond the documented limits.

pub mod address;
pub mod caching;
pub mod change;
pub mod codec;
pub mod control;
pub mod deployment;
pub mod digest;
pub mod error;
pub mod event;
pub mod ids;
pub mod link;
pub mod log;
pub mod operations;
pub mod origins;
pub mod peers;
pub mod place;
pub mod placement;
pub mod position;
pub mod problem;
pub mod purge;
pub mod record;
pub mod session;
pub mod tag;
pub mod trail;
pub mod transfer;
pub mod workflow;

pub use digest::Digest;
pub use error::Error;
pub use ids::{ModuleName, NodeName, OriginId, PopName, RegionName, StoreId, TenantName};
pub use position::Position;
