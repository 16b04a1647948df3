//! Every decision that an edge takes about caching, coherence and routes, without a clock or a socket.
//!
//! Time, chance and bytes are arguments. A decision is an enum that carries its reason; acting on it is the caller's.

pub mod cache_status;
pub mod key;
pub mod routes;
