//! HTTP origins: pooled connections over HTTP/1.1, HTTP/2 and TLS, bounded in number, time and size.
//!
//! | file | what |
//! |---|---|
//! | `target.rs`, `client.rs` | what a route names, and the origins that are known |
//! | `group.rs` | a request is sent to one after the other: carries out what [`brink_policy::origins`] decides |
//! | `upstream.rs` | one origin, and one exchange with it |
//! | `ticket.rs` | how it stands: places, breaker, health |
//! | `checks.rs` | health checks |
//! | `connector.rs`, `connection.rs` | connections; [`crate::reach`] says which addresses it may have |
//! | `forwarded.rs` | what it is told about the client |
//! | `upload.rs`, `body.rs` | bodies there and back |

mod body;
mod checks;
mod client;
mod config;
mod connection;
mod connector;
mod error;
mod figures;
mod forwarded;
mod group;
mod target;
mod ticket;
mod upload;
mod upstream;

pub use body::BodyError;
pub use client::Origins;
pub use config::Config;
pub use error::Error;
pub use group::Trail;
pub use target::OriginTarget;
pub use upstream::OriginView;
