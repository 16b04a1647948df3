//! HTTP caching: RFC 9110, RFC 9111, RFC 9213, RFC 5861. One file for each decision.
//!
//! What comes from a peer is read leniently where the RFCs allow both (a directive in quotes, empty list members) and
//! towards staleness where they advise it (a lifetime that is not a number counts as none).

pub mod age;
pub mod combine;
pub mod condition;
pub mod date;
pub mod directives;
pub mod explain;
pub mod fields;
pub mod freshen;
pub mod interim;
pub mod invalidate;
pub mod range;
pub mod reuse;
pub mod storable;
pub mod trailers;
pub mod vary;

pub use directives::{RequestDirectives, ResponseDirectives};
pub use reuse::{Connection, Reuse, StaleReason, reuse};
pub use storable::{Lifetime, NoStoreReason, storable};
