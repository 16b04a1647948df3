//! What a listener is told: addresses, certificate files, limits.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// Where to listen, with which identity, within which limits.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Address for HTTP/1.1 and HTTP/2. Port 0 takes any free port.
    pub tcp: Option<SocketAddr>,
    /// Address for HTTP/3. With port 0, the port that TCP got is tried first, so that `Alt-Svc`
    /// and people can use one number.
    pub quic: Option<SocketAddr>,
    /// Certificate and key. `None`: plain HTTP/1.1 and HTTP/2 with prior knowledge, no HTTP/3.
    pub tls: Option<TlsConfig>,
    /// What a peer may use.
    pub limits: Limits,
    /// Announce HTTP/3 in an `Alt-Svc` field (RFC 7838 §3) of every answer over TCP.
    pub alt_svc: bool,
}

/// The files of a TLS identity. The certificate is read again when a file changes
/// ([`Limits::certificate_poll_ms`]); one that does not load leaves the old one in use and is logged.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file of the certificate chain, leaf first.
    pub certificate: PathBuf,
    /// PEM file of the leaf's private key.
    pub key: PathBuf,
    /// PEM file of the authorities whose client certificates are taken. Set: a client without one is
    /// refused in the handshake. Read once, at start.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
}

macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $default:expr,)*) => {
        /// What a peer may use, and for how long. Every limit has a default that suits a public edge.
        #[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
        #[serde(deny_unknown_fields, default)]
        #[non_exhaustive]
        pub struct Limits {
            $($(#[$doc])* pub $name: $type,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }
    };
}

limits! {
    /// Connections open at a time over TCP and QUIC together. More are closed (TCP) or refused (QUIC) at once.
    connections_max: u32 = 16_384,
    /// Connections open at a time from one address (IPv6: one /64). More are closed or refused at once.
    connections_per_address_max: u32 = 4_096,
    /// Time for a TLS or QUIC handshake, in milliseconds. Slower: the connection is closed.
    handshake_ms_max: u64 = 10_000,
    /// Time for a request's header section, in milliseconds. HTTP/1.1 counts from the end of the
    /// previous answer (and up to a quarter more), so this also ends idle HTTP/1.1 connections. Slower: the connection (HTTP/1.1) or
    /// stream (HTTP/3) is closed.
    header_ms_max: u64 = 30_000,
    /// Bytes of a request's header section; at least 8192. More: 431, or a reset where the
    /// protocol has no answer (a single HTTP/3 frame of more).
    header_bytes_max: u32 = 64 * 1024,
    /// Fields of a request's header section. More: 431.
    header_fields_max: u32 = 100,
    /// Bytes of a request's body. A larger `content-length` is answered 413 before the service is
    /// called; a body that turns out larger fails with [`crate::BodyTooLarge`].
    body_bytes_max: u64 = 64 * 1024 * 1024,
    /// Time in which [`body_progress_bytes_min`](Self::body_progress_bytes_min) of a request body must
    /// arrive while someone waits for it, in milliseconds. Slower: the body fails with [`crate::BodyTooSlow`].
    body_progress_ms: u64 = 15_000,
    /// See [`body_progress_ms`](Self::body_progress_ms).
    body_progress_bytes_min: u64 = 512,
    /// Bytes of an unread request body that are read and thrown away so that a client that still sends
    /// can read the early answer. More: the connection (HTTP/1.1) or stream is closed.
    unread_body_bytes_max: u64 = 256 * 1024,
    /// Time for the same, in milliseconds.
    unread_body_ms_max: u64 = 2_000,
    /// Time that a connection without a request in flight may stay open, in milliseconds; at most a quarter longer.
    idle_ms_max: u64 = 60_000,
    /// Time that an answer may make no progress because the client does not acknowledge it (TCP), or takes no more of it
    /// (HTTP/2, HTTP/3), in milliseconds. Longer: the connection or the stream is reset. Over HTTP/2, also the time that a
    /// client of which nothing was heard has to answer a ping. QUIC has its idle timeout for it.
    stall_ms_max: u64 = 30_000,
    /// Requests in flight on one HTTP/2 or HTTP/3 connection. More: the stream is refused, or has to wait.
    streams_max: u32 = 128,
    /// HTTP/2 streams that a client may reset before they were taken up, and that we may reset for its
    /// errors, before the connection is closed (rapid reset, CVE-2023-44487).
    resets_max: u32 = 64,
    /// Flow-control window of one stream (HTTP/2, HTTP/3), in bytes: what is buffered for a service that does not read.
    stream_window_bytes: u32 = 256 * 1024,
    /// Flow-control window of one connection (HTTP/2, HTTP/3), in bytes.
    connection_window_bytes: u32 = 2 * 1024 * 1024,
    /// Bytes of an answer that are buffered unsent, per HTTP/2 stream and per HTTP/3 connection.
    send_buffer_bytes_max: u32 = 2 * 1024 * 1024,
    /// Time from the stop signal until connections are closed though requests are in flight, in milliseconds.
    drain_ms_max: u64 = 3_000,
    /// How often the certificate's files are looked at, in milliseconds.
    certificate_poll_ms: u64 = 2_000,
}

impl Limits {
    pub(crate) fn handshake(&self) -> Duration {
        Duration::from_millis(self.handshake_ms_max)
    }

    pub(crate) fn header(&self) -> Duration {
        Duration::from_millis(self.header_ms_max)
    }

    pub(crate) fn idle(&self) -> Duration {
        Duration::from_millis(self.idle_ms_max)
    }

    pub(crate) fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms_max)
    }

    /// hyper takes no less than 8 KiB for HTTP/1.1; the same floor holds for all protocols.
    pub(crate) fn header_bytes(&self) -> usize {
        usize::try_from(self.header_bytes_max)
            .unwrap_or(usize::MAX)
            .max(8192)
    }

    pub(crate) fn header_fields(&self) -> usize {
        usize::try_from(self.header_fields_max).unwrap_or(usize::MAX)
    }
}
