//! Connections that end so that nobody takes it for the end of what was sent.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A stream that can be reset.
pub(crate) trait Resets {
    /// Closes it by a reset (RFC 9293 §3.10.7). What was not sent yet is lost.
    fn reset(self);
}

impl Resets for TcpStream {
    fn reset(self) {
        // Where it cannot be, an orderly end is all that there is.
        let _ = socket2::SockRef::from(&self).set_linger(Some(Duration::ZERO));
    }
}

impl Resets for TlsStream<TcpStream> {
    fn reset(self) {
        self.into_inner().0.reset();
    }
}
