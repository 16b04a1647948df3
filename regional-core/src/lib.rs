//! The regional core.

pub mod clock;
pub mod commands;
pub mod deployments;
pub mod error;
pub mod feed;
pub mod logs;
pub mod pops;
pub mod purges;
pub mod records;
pub mod refusal;
pub mod registry;
pub mod store;
pub mod tokens;

pub use error::Error;
