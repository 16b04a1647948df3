//! The regional core.

pub mod error;
pub mod store;

pub use error::Error;
