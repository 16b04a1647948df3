//! What a service may know of the connection that a request came by.

use std::net::SocketAddr;

/// The version of HTTP that a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.0 or HTTP/1.1 (RFC 9112).
    Http1,
    /// HTTP/2 (RFC 9113).
    Http2,
    /// HTTP/3 (RFC 9114).
    Http3,
}

impl Protocol {
    /// The ALPN-like short name: `http/1.1`, `h2`, `h3`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1",
            Self::Http2 => "h2",
            Self::Http3 => "h3",
        }
    }
}

/// A connection, shared by all its requests.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The client's address when the connection was accepted. (A QUIC client may move later.)
    pub peer: SocketAddr,
    /// Our address.
    pub local: SocketAddr,
    /// The version of HTTP.
    pub protocol: Protocol,
    /// `None` on plain TCP.
    pub tls: Option<TlsPeer>,
}

impl Connection {
    /// Whether requests may be replays because the handshake is not confirmed (RFC 8470).
    /// Always false now: the listener accepts no early data.
    pub const fn early_data(&self) -> bool {
        false
    }

    /// `https` over TLS and QUIC, else `http`.
    pub const fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

/// What TLS told of the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsPeer {
    /// The name that the client asked for (SNI, RFC 6066 §3).
    pub server_name: Option<String>,
    /// The DNS names (subjectAltName) of the client's certificate, which was verified. Empty without one.
    pub client_names: Vec<String>,
}
