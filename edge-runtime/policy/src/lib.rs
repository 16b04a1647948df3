//! Every decision that an edge takes about caching, coherence and routes, without a clock or a socket.
//!
//! Time, chance and bytes are arguments. A decision is an enum that carries its reason; acting on it is the caller's.
//!
//! | module | decides | source |
//! |---|---|---|
//! | [`http`] | what may be stored and reused, for how long, what a client's condition or range gets | RFC 9110, 9111, 9213, 5861 |
//! | [`coherence`] | which stored entries a change ends, what a fill may store, when a silent feed counts | coherence.md |
//! | [`eviction`], [`disk`] | which stored entries make room in memory, and on disk | - |
//! | [`cores`], [`hedge`] | which core is used, when a second one is asked as well | - |
//! | [`collapse`] | when those who wait for one fill share its failure | - |
//! | [`origins`] | which origin is asked, for how long one that fails is left alone, what is asked again | RFC 9110 §9.2.2 |
//! | [`cache_status`] | what the answer says of it | RFC 9211 |
//! | [`coding`] | which answers are compressed, and for whom | RFC 9110 §8.4, §12.5.3 |
//! | [`shield`] | which shield is asked before an origin, and what its answers are worth | coherence.md |
//! | [`key`], [`keying`], [`names`], [`routes`] | under what key, with which names, by whom | RFC 9111 §2, RFC 9875 |

pub mod cache_status;
pub mod coding;
pub mod coherence;
pub mod collapse;
pub mod cores;
pub mod disk;
pub mod eviction;
pub mod hedge;
pub mod http;
pub mod key;
pub mod keying;
pub mod names;
pub mod origins;
pub mod routes;
pub mod shield;
