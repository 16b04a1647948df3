//! Where shields are, and whether this PoP is one.

use brink_listener::{TlsConfig, client::ClientTls};
use serde::Deserialize;
use std::net::SocketAddr;

/// Shields: PoPs that other PoPs ask before an origin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `HOST:PORT` of each shield that this PoP asks before an origin, at most 8; the same at every PoP, in any order. Default
    /// none: origins are asked directly.
    pub addresses: Vec<String>,
    /// `ADDRESS:PORT` where this PoP is a shield for others (HTTP/2, with the certificates of PoPs on both sides). Needs
    /// `server.pem` and `server.key` in `core.identity`. A shield asks no other shield. Default none: it is no shield.
    pub listen: Option<SocketAddr>,
}

/// What the parts of an edge are given.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Whom to ask, and as whom; none: nobody.
    pub ask: Option<(Vec<String>, ClientTls)>,
    /// Where to listen for PoPs; none: nowhere.
    pub listen: Option<(SocketAddr, TlsConfig)>,
}
