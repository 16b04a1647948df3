//! HTTP/3 over QUIC: accept, handshake, requests, drain.
//!
//! quinn carries, h3 accepts streams and decodes requests behind a filter (`filter.rs`, `transport.rs`),
//! answers are encoded and written here (`qpack.rs`, `answer.rs`).

mod answer;
mod body;
mod filter;
mod qpack;
mod socket;
mod transport;

use std::future::{Future, poll_fn};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h3::error::Code;
use quinn::crypto::rustls::{HandshakeData, QuicServerConfig};
use quinn::{
    Endpoint, EndpointConfig, IdleTimeout, Incoming, Runtime as _, TransportConfig, VarInt,
};
use rustls_pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use socket::BatchingSocket;
use transport::{Handoff, Transport, var_int};

use crate::activity::Patience;
use crate::admission::Admission;
use crate::config::Limits;
use crate::connection::{Connection, Protocol, TlsPeer};
use crate::dispatch::{Dispatcher, Service, Shared};
use crate::error::{BoxError, Error};
use crate::tls;

/// Unidirectional streams of a client at a time: control, two of QPACK, and a few without meaning.
const UNIDIRECTIONAL_STREAMS_MAX: u32 = 8;
/// After the last answer, for what is still on its way.
const LINGER: Duration = Duration::from_millis(20);

type Http3 = h3::server::Connection<Transport, Bytes>;

/// QUIC's settings from TLS and limits.
pub(crate) fn server_config(
    tls: rustls::ServerConfig,
    limits: &Limits,
) -> Result<quinn::ServerConfig, Error> {
    // Only a provider without the initial cipher suite of RFC 9001 §5.2 fails here.
    let crypto = QuicServerConfig::try_from(tls)
        .map_err(|error| Error::Tls(rustls::Error::General(error.to_string())))?;
    let idle_ms = u32::try_from(limits.idle_ms_max).unwrap_or(u32::MAX);
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(limits.streams_max.into())
        .max_concurrent_uni_streams(UNIDIRECTIONAL_STREAMS_MAX.into())
        .stream_receive_window(limits.stream_window_bytes.into())
        .receive_window(limits.connection_window_bytes.into())
        .send_window(limits.send_buffer_bytes_max.into())
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(idle_ms))))
        // HTTP datagrams (RFC 9297) are not offered.
        .datagram_receive_buffer_size(None);
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    server.transport_config(Arc::new(transport));
    Ok(server)
}

/// Binds a UDP socket. Returns the address bound.
pub(crate) fn bind(
    address: SocketAddr,
    server: quinn::ServerConfig,
) -> Result<(Endpoint, SocketAddr), Error> {
    let failed = |source| Error::Bind {
        protocol: "QUIC",
        address,
        source,
    };
    let socket = UdpSocket::bind(address).map_err(failed)?;
    let runtime = Arc::new(quinn::TokioRuntime);
    let socket = BatchingSocket::new(runtime.wrap_udp_socket(socket).map_err(failed)?);
    let config = EndpointConfig::default();
    let endpoint = Endpoint::new_with_abstract_socket(config, Some(server), socket, runtime)
        .map_err(failed)?;
    let bound = endpoint.local_addr().map_err(failed)?;
    Ok((endpoint, bound))
}

/// Lets the last CONNECTION_CLOSE frames out.
pub(crate) async fn close(endpoint: &Endpoint, within: Duration) {
    endpoint.close(var_int(Code::H3_NO_ERROR.value()), b"");
    let _ = tokio::time::timeout(within, endpoint.wait_idle()).await;
}

/// What accepts QUIC connections.
pub(crate) struct Acceptor<S> {
    pub(crate) shared: Arc<Shared<S>>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) local: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl<S: Service> Acceptor<S> {
    /// Accepts until it is told to stop, and refuses from then on. Connections go on in tasks of their own.
    pub(crate) async fn run(self: Arc<Self>, endpoint: Endpoint) {
        loop {
            let incoming = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                incoming = endpoint.accept() => incoming,
            };
            let Some(incoming) = incoming else { break };
            let peer = incoming.remote_address();
            if self.admission.is_busy()
                && incoming.may_retry()
                && !incoming.remote_address_validated()
            {
                let _ = incoming.retry();
                continue;
            }
            let permit = match self.admission.admit(peer.ip()) {
                Ok(permit) => permit,
                Err(refused) => {
                    tracing::debug!(%peer, ?refused, "connection refused");
                    incoming.refuse();
                    continue;
                }
            };
            let acceptor = Arc::clone(&self);
            self.tasks.spawn(async move {
                let _permit = permit;
                if let Err(error) = acceptor.serve(incoming).await {
                    tracing::debug!(%peer, error, "connection ended");
                }
            });
        }
        endpoint.set_server_config(None);
    }

    async fn serve(&self, incoming: Incoming) -> Result<(), BoxError> {
        let limits = &self.shared.limits;
        let handshake = async {
            let quic = incoming.accept()?.await?;
            let handoff = Handoff::default();
            let header_bytes = u64::try_from(limits.header_bytes()).unwrap_or(u64::MAX);
            let transport = Transport::new(quic.clone(), header_bytes, handoff.clone());
            let http3: Http3 = h3::server::builder()
                .max_field_section_size(header_bytes)
                .send_grease(false)
                .build(transport)
                .await?;
            Ok::<_, BoxError>((quic, http3, handoff))
        };
        let handshake = tokio::time::timeout(limits.handshake(), handshake);
        let (quic, mut http3, handoff) = tokio::select! {
            biased;
            connected = handshake => connected??,
            () = self.stop.cancelled() => return Ok(()),
        };
        let connection = Connection {
            peer: quic.remote_address(),
            local: SocketAddr::new(
                quic.local_ip().unwrap_or(self.local.ip()),
                self.local.port(),
            ),
            protocol: Protocol::Http3,
            tls: Some(tls_peer(&quic)),
        };
        let dispatcher = Arc::new(Dispatcher::new(Arc::clone(&self.shared), connection));
        let requests = TaskTracker::new();
        self.accept_requests(&mut http3, &handoff, &dispatcher, &requests)
            .await?;
        requests.close();
        self.drain(&quic, &mut http3, &requests).await
    }

    /// Takes requests until the client is done (an error, or `Ok` after its GOAWAY), the connection
    /// is idle, or the listener stops.
    async fn accept_requests(
        &self,
        http3: &mut Http3,
        handoff: &Handoff,
        dispatcher: &Arc<Dispatcher<S>>,
        requests: &TaskTracker,
    ) -> Result<(), BoxError> {
        let activity = &dispatcher.activity;
        let limits = &self.shared.limits;
        let patience = Patience {
            first: limits.header(),
            next: limits.idle(),
        };
        let _watch = activity.watch(self.stop.clone(), patience);
        loop {
            let resolver = tokio::select! {
                biased;
                accepted = http3.accept() => match accepted {
                    Ok(Some(resolver)) => resolver,
                    Ok(None) => return Ok(()),
                    Err(error) if error.is_h3_no_error() => return Ok(()),
                    Err(error) => return Err(error.into()),
                },
                () = poll_fn(|cx| activity.poll_over(cx)) => return Ok(()),
            };
            let Some(stream) = handoff.take() else {
                continue;
            };
            let stop = self.stop.clone();
            let dispatcher = Arc::clone(dispatcher);
            let mut request = Box::pin(answer::run(dispatcher, resolver, stream, stop));
            // What is at hand is answered here: the answers to requests that came together leave together, and none of
            // them costs a task. Only who has to wait gets one.
            let polled = poll_fn(|cx| Poll::Ready(request.as_mut().poll(cx))).await;
            if polled.is_pending() {
                requests.spawn(request);
            }
        }
    }

    /// Tells the client to go away, lets requests in flight finish within the limit, then closes. h3's own
    /// `accept` is not used from here on: it may not end, and it would name the last request as not answered.
    async fn drain(
        &self,
        quic: &quinn::Connection,
        http3: &mut Http3,
        requests: &TaskTracker,
    ) -> Result<(), BoxError> {
        let drained = async {
            // One more than the last: `shutdown(0)` names the stream in flight (RFC 9114 §5.2).
            http3.shutdown(1).await?;
            loop {
                tokio::select! {
                    biased;
                    () = requests.wait() => break,
                    late = quic.accept_bi() => {
                        let (mut send, mut recv) = late?;
                        let code = var_int(Code::H3_REQUEST_REJECTED.value());
                        let _ = (send.reset(code), recv.stop(code));
                    }
                }
            }
            let linger = quic.rtt().saturating_mul(3).max(LINGER);
            let _ = tokio::time::timeout(linger, quic.closed()).await;
            Ok::<_, BoxError>(())
        };
        let drained = tokio::time::timeout(self.shared.limits.drain(), drained).await;
        quic.close(var_int(Code::H3_NO_ERROR.value()), b"");
        drained?
    }
}

fn tls_peer(quic: &quinn::Connection) -> TlsPeer {
    let handshake = quic
        .handshake_data()
        .and_then(|data| data.downcast::<HandshakeData>().ok());
    let chain = quic
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok());
    let leaf = chain.as_ref().and_then(|chain| chain.first());
    TlsPeer {
        server_name: handshake.and_then(|data| data.server_name),
        client_names: leaf.map(tls::dns_names).unwrap_or_default(),
    }
}
