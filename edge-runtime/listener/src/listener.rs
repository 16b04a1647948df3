//! Binds, serves, drains.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::Admission;
use crate::client::{ALPN_HTTP1, ALPN_HTTP2, ALPN_HTTP3};
use crate::config::Config;
use crate::dispatch::{Service, Shared};
use crate::error::Error;
use crate::tls::{self, Identity};
use crate::{quic, tcp};

/// How long clients may take `Alt-Svc` for granted (RFC 7838 §3.1), in seconds.
const ALT_SVC_SECONDS: u32 = 86_400;
/// Tries to get one port for TCP and QUIC when any will do.
const SAME_PORT_TRIES: u32 = 8;

/// Bound addresses, ready to serve.
pub struct Listener {
    config: Config,
    tcp: Option<(TcpListener, SocketAddr)>,
    quic: Option<(quinn::Endpoint, SocketAddr)>,
    tls: Option<TlsAcceptor>,
    identity: Option<Arc<Identity>>,
}

impl Listener {
    /// Loads the certificate and binds the addresses. Clients can connect from here on; they are
    /// answered once [`serve`](Self::serve) runs. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// No address, QUIC without TLS, files that do not load, addresses that cannot be bound.
    pub async fn bind(config: Config) -> Result<Self, Error> {
        if config.tcp.is_none() && config.quic.is_none() {
            return Err(Error::NoAddress);
        }
        let (mut acceptor, mut identity, mut quic_config) = (None, None, None);
        if let Some(files) = &config.tls {
            let loaded = Identity::load(files)?;
            let over_tcp = tls::server_config(files, &loaded, &[ALPN_HTTP2, ALPN_HTTP1], false)?;
            acceptor = Some(TlsAcceptor::from(Arc::new(over_tcp)));
            let over_quic = tls::server_config(files, &loaded, &[ALPN_HTTP3], true)?;
            quic_config = Some(quic::server_config(over_quic, &config.limits)?);
            identity = Some(loaded);
        }
        let quic_config = match (config.quic, quic_config) {
            (Some(address), None) => return Err(Error::QuicWithoutTls { address }),
            (Some(address), Some(server)) => Some((address, server)),
            (None, _) => None,
        };
        let (tcp, quic) = bind_both(config.tcp, quic_config)?;
        Ok(Self {
            config,
            tcp,
            quic,
            tls: acceptor,
            identity,
        })
    }

    /// The address bound for HTTP/1.1 and HTTP/2.
    pub fn tcp_addr(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().map(|(_, address)| *address)
    }

    /// The address bound for HTTP/3.
    pub fn quic_addr(&self) -> Option<SocketAddr> {
        self.quic.as_ref().map(|(_, address)| *address)
    }

    /// Answers requests until `stop` is cancelled. Then nothing new is accepted, clients are told
    /// (`connection: close`, GOAWAY), requests in flight may finish within
    /// [`Limits::drain_ms_max`](crate::Limits::drain_ms_max), and what is left is closed.
    pub async fn serve<S: Service>(self, service: Arc<S>, stop: CancellationToken) {
        let quic_addr = self.quic_addr();
        let Self {
            config,
            tcp,
            quic,
            tls,
            identity,
        } = self;
        let drain = config.limits.drain();
        let certificate_poll = Duration::from_millis(config.limits.certificate_poll_ms);
        let alt_svc = quic_addr.filter(|_| config.alt_svc).and_then(|address| {
            let value = format!("h3=\":{}\"; ma={ALT_SVC_SECONDS}", address.port());
            HeaderValue::from_str(&value).ok()
        });
        let admission = Admission::new(&config.limits);
        let shared = Arc::new(Shared::new(service, config.limits, alt_svc));
        let tasks = TaskTracker::new();
        if let Some(identity) = identity {
            tasks.spawn(identity.follow(certificate_poll, stop.clone()));
        }
        if let Some((listener, _)) = tcp {
            let acceptor = Arc::new(tcp::Acceptor {
                shared: Arc::clone(&shared),
                tls,
                admission: Arc::clone(&admission),
                stop: stop.clone(),
                tasks: tasks.clone(),
            });
            tasks.spawn(acceptor.run(listener));
        }
        let endpoint = quic.map(|(endpoint, address)| {
            let acceptor = Arc::new(quic::Acceptor {
                shared,
                admission,
                local: address,
                stop: stop.clone(),
                tasks: tasks.clone(),
            });
            tasks.spawn(acceptor.run(endpoint.clone()));
            endpoint
        });
        stop.cancelled().await;
        tasks.close();
        // Connections keep the deadline themselves; this one is for what they cannot know of.
        let grace = Duration::from_millis(250);
        if tokio::time::timeout(drain + grace, tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(tasks = tasks.len(), "connections did not drain in time");
        }
        if let Some(endpoint) = endpoint {
            quic::close(&endpoint, grace).await;
        }
    }
}

type Bound = (
    Option<(TcpListener, SocketAddr)>,
    Option<(quinn::Endpoint, SocketAddr)>,
);

/// Binds both, on one port if any port will do for both.
fn bind_both(
    tcp: Option<SocketAddr>,
    quic: Option<(SocketAddr, quinn::ServerConfig)>,
) -> Result<Bound, Error> {
    let any_port = |address: &SocketAddr| address.port() == 0;
    let same_port = tcp.as_ref().is_some_and(any_port)
        && quic.as_ref().is_some_and(|(address, _)| any_port(address));
    if let (Some(tcp_address), Some((quic_address, server)), true) = (tcp, &quic, same_port) {
        for _ in 0..SAME_PORT_TRIES {
            let listener = bind_tcp(tcp_address)?;
            let mut address = *quic_address;
            address.set_port(listener.1.port());
            if let Ok(endpoint) = quic::bind(address, server.clone()) {
                return Ok((Some(listener), Some(endpoint)));
            }
        }
    }
    let listener = tcp.map(bind_tcp).transpose()?;
    let endpoint = quic
        .map(|(address, server)| quic::bind(address, server))
        .transpose()?;
    Ok((listener, endpoint))
}

fn bind_tcp(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let listener = tcp::bind(address)?;
    let bound = listener.local_addr().map_err(|source| Error::Bind {
        protocol: "TCP",
        address,
        source,
    })?;
    Ok((listener, bound))
}
