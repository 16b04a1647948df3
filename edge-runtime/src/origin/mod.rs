//! HTTP origins: pooled connections over HTTP/1.1, HTTP/2 and TLS, bounded in time and size.

mod body;
mod client;
mod config;
mod connector;
mod error;
mod forwarded;

pub use body::BodyError;
pub use client::Origins;
pub use config::Config;
pub use error::Error;
