//! The client.

use super::{Config, Error};
use brink_listener::Body;
use http::{Request, Response};

/// HTTP origins, with a pool of connections to each. Clones share it.
#[derive(Debug, Clone)]
pub struct Origins {}

impl Origins {
    /// A client with the platform's authorities and those of `config.ca`. Call it from within a tokio runtime.
    ///
    /// # Errors
    /// The file of authorities cannot be used.
    pub fn new(_config: Config) -> Result<Self, Error> {
        Ok(Self {})
    }

    /// Sends `request` (in the client's terms: its URI carries scheme and host as the client wrote them) to `origin`,
    /// `http[s]://host[:port]`. Hop-by-hop fields are stripped both ways, `Via`, `Forwarded` and `X-Forwarded-*` are
    /// set from the request's URI and from its extension [`std::net::SocketAddr`] (the client's address). An idempotent
    /// request without a body is sent once more if a reused connection fails.
    ///
    /// # Errors
    /// There is no answer; see [`Error::problem`].
    pub async fn send(
        &self,
        origin: &str,
        _request: Request<Body>,
    ) -> Result<Response<Body>, Error> {
        Err(Error::Origin {
            origin: origin.to_owned(),
        })
    }
}
