//! TLS, HTTP/1.1, HTTP/2 and HTTP/3: bytes in, requests out.
//!
//! A [`Listener`] binds one address for TCP (HTTP/1.1 and HTTP/2) and one for QUIC (HTTP/3), and
//! hands every request to one [`Service`]. What reaches the service is normalised: the request
//! target always carries a scheme and a host, the body is limited in size and must make progress,
//! `CONNECT` and `TRACE` are refused. What a peer may use (connections, streams, header bytes, time)
//! is bounded by [`Limits`], each with a documented answer when it is reached.
//!
//! Replayable 0-RTT requests (RFC 8470) are not accepted: early data is switched off in TLS, so no
//! request reaches a service before the handshake is confirmed.
//!
//! Nothing here knows of routes, caches or modules.

mod activity;
mod admission;
pub mod authority;
mod batched;
mod body;
pub mod client;
mod config;
mod connection;
mod dispatch;
mod error;
mod http1;
mod http2;
mod inbound;
mod interim;
mod listener;
mod outgoing;
mod plain;
mod quic;
mod request;
mod reset;
mod tcp;
mod tls;
mod trailers;

pub use body::Body;
pub use config::{Config, Limits, TlsConfig};
pub use connection::{Connection, Protocol, TlsPeer};
pub use dispatch::Service;
pub use error::{BoxError, Error};
pub use inbound::{BodyTooLarge, BodyTooSlow};
pub use interim::Interim;
pub use listener::Listener;
pub use plain::PlainRequest;
pub use trailers::takes_trailers;
