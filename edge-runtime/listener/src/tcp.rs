//! HTTP/1.1 and HTTP/2 over TCP and TLS: accept, handshake, hand on, drain.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use http::Version;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::activity::{Activity, Patience};
use crate::admission::Admission;
use crate::client::ALPN_HTTP2;
use crate::config::Limits;
use crate::connection::{Connection, Protocol, TlsPeer};
use crate::dispatch::{Dispatcher, Service, Shared};
use crate::error::{BoxError, Error};
use crate::http1::{Gate, Next, Plain};
use crate::http2;
use crate::reset::Resets;
use crate::tls;

/// RFC 9113 §3.4; three bytes tell it from any method but `PRI`, which is reserved.
const PREFACE: &[u8] = b"PRI";
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// After an error of `accept` that is not one connection's (no file descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    let failed = |source| Error::Bind {
        protocol: "TCP",
        address,
        source,
    };
    let bound = || -> io::Result<TcpListener> {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    bound().map_err(failed)
}

/// What accepts TCP connections.
pub(crate) struct Acceptor<S> {
    pub(crate) shared: Arc<Shared<S>>,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl<S: Service> Acceptor<S> {
    /// Accepts until it is told to stop. Connections go on in tasks of their own.
    pub(crate) async fn run(self: Arc<Self>, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(%error, "no connection accepted");
                    if !is_of_one_connection(&error) {
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                    continue;
                }
            };
            let permit = match self.admission.admit(peer.ip()) {
                Ok(permit) => permit,
                Err(refused) => {
                    tracing::debug!(%peer, ?refused, "connection refused");
                    continue;
                }
            };
            let acceptor = Arc::clone(&self);
            self.tasks.spawn(async move {
                let _permit = permit;
                if let Err(error) = acceptor.serve(stream, peer).await {
                    tracing::debug!(%peer, error, "connection ended");
                }
            });
        }
    }

    async fn serve(&self, stream: TcpStream, peer: SocketAddr) -> Result<(), BoxError> {
        let limits = &self.shared.limits;
        stream.set_nodelay(true)?;
        let stall = Duration::from_millis(limits.stall_ms_max);
        socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(stall))?;
        let local = stream.local_addr()?;
        let connection = |protocol, tls| Connection {
            peer,
            local,
            protocol,
            tls,
        };
        let Some(acceptor) = &self.tls else {
            let preface = tokio::time::timeout(limits.header(), has_preface(&stream));
            let preface = tokio::select! {
                biased;
                preface = preface => preface??,
                () = self.stop.cancelled() => return Ok(()),
            };
            return if preface {
                self.http2(stream, connection(Protocol::Http2, None)).await
            } else {
                self.http1(stream, connection(Protocol::Http1, None)).await
            };
        };
        let handshake = tokio::time::timeout(limits.handshake(), acceptor.accept(stream));
        let stream = tokio::select! {
            biased;
            stream = handshake => stream??,
            () = self.stop.cancelled() => return Ok(()),
        };
        let tls = Some(tls_peer(&stream));
        if stream.get_ref().1.alpn_protocol() == Some(ALPN_HTTP2) {
            self.http2(stream, connection(Protocol::Http2, tls)).await
        } else {
            self.http1(stream, connection(Protocol::Http1, tls)).await
        }
    }

    /// In turn: what can be answered at once, and what hyper answers. See [`crate::http1`].
    async fn http1<I>(&self, stream: I, connection: Connection) -> Result<(), BoxError>
    where
        I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Resets + Unpin + Send + 'static,
    {
        let dispatcher = Arc::new(Dispatcher::new(Arc::clone(&self.shared), connection));
        let activity = Arc::clone(&dispatcher.activity);
        let limits = &self.shared.limits;
        // Both at once, as a head may be on its way: hyper's own header deadline costs a timer a request.
        let patience = Patience {
            first: limits.header(),
            next: limits.header().min(limits.idle()),
        };
        let _watch = activity.watch(self.stop.clone(), patience);
        let mut stream = stream;
        let mut plain = Plain::new(&dispatcher);
        loop {
            let (beginning, is_shut) = match self.plain(&mut plain, &mut stream, &activity).await? {
                Next::Ended => return Ok(()),
                Next::One(request) => (request, true),
                Next::Rest(beginning) => (beginning, false),
            };
            let (gate, watch) = Gate::new(stream, beginning, is_shut);
            let (called, offers) = (Arc::clone(&dispatcher), Arc::clone(&watch));
            let is_old = Arc::new(AtomicBool::new(false));
            let asks_old = Arc::clone(&is_old);
            let service = service_fn(move |request: hyper::Request<Incoming>| {
                let dispatcher = Arc::clone(&called);
                let is_new = request.version() == Version::HTTP_11;
                asks_old.store(!is_new, Ordering::Relaxed);
                // RFC 9110 §15.2: HTTP/1.0 has none.
                let interim = is_new.then(|| offers.interim());
                async move { Ok::<_, Infallible>(dispatcher.answer_hyper(request, interim).await) }
            });
            let mut connection =
                http1_builder(limits).serve_connection(TokioIo::new(gate), service);
            let until = poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
                Poll::Ready(ended) => Poll::Ready(Until::Ended(ended)),
                Poll::Pending if is_shut && watch.is_through() && !activity.is_busy() => {
                    Poll::Ready(Until::Through)
                }
                Poll::Pending => activity.poll_over(cx).map(|()| Until::Over),
            });
            match until.await {
                Until::Ended(Err(error)) if error.is_user() && is_old.load(Ordering::Relaxed) => {
                    // The end of the connection would be taken for that of the body.
                    connection
                        .into_parts()
                        .io
                        .into_inner()
                        .into_stream()
                        .reset();
                    return Err(error.into());
                }
                Until::Ended(ended) => return ended.map_err(Into::into),
                Until::Through => {
                    let gate = connection.into_parts().io.into_inner();
                    stream = gate.into_stream();
                }
                // Nothing was asked: nothing to finish. hyper would wait for a first request.
                Until::Over if activity.begun() == 0 => return Ok(()),
                Until::Over => {
                    Pin::new(&mut connection).graceful_shutdown();
                    let drained = tokio::time::timeout(limits.drain(), connection).await?;
                    return drained.map_err(Into::into);
                }
            }
        }
    }

    /// Answers what can be answered at once. When it is over for the connection, an answer on its way is still written.
    async fn plain<I>(
        &self,
        plain: &mut Plain<'_, S>,
        stream: &mut I,
        activity: &Activity,
    ) -> Result<Next, BoxError>
    where
        I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        let mut serving = pin!(plain.serve(stream));
        let next = poll_fn(|cx| match serving.as_mut().poll(cx) {
            Poll::Ready(next) => Poll::Ready(Some(next)),
            Poll::Pending => activity.poll_over(cx).map(|()| None),
        });
        match next.await {
            Some(next) => Ok(next?),
            None if activity.is_busy() => {
                Ok(tokio::time::timeout(self.shared.limits.drain(), serving).await??)
            }
            None => Ok(Next::Ended),
        }
    }

    async fn http2<I>(&self, stream: I, connection: Connection) -> Result<(), BoxError>
    where
        I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let dispatcher = Arc::new(Dispatcher::new(Arc::clone(&self.shared), connection));
        http2::serve(stream, dispatcher, self.stop.clone()).await
    }
}

fn http1_builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .header_read_timeout(None)
        .max_buf_size(limits.header_bytes())
        // A client may close its side after the request and still wants the answer (`nc -N`).
        .half_close(true);
    // Any number but hyper's own costs an allocation per request.
    if limits.header_fields() > 100 {
        builder.max_headers(limits.header_fields());
    }
    builder
}

/// Why a connection of hyper's is not driven any further.
enum Until {
    Ended(hyper::Result<()>),
    /// It has answered its one request.
    Through,
    Over,
}

/// Whether a plain connection starts HTTP/2 with prior knowledge (RFC 9113 §3.3). Looks without
/// taking, so that HTTP/1.1, the common case, is read straight from the socket.
async fn has_preface(stream: &TcpStream) -> io::Result<bool> {
    let mut start = [0_u8; PREFACE.len()];
    loop {
        let seen = stream.peek(&mut start).await?;
        let seen = start.get(..seen).unwrap_or_default();
        if seen.is_empty() || !PREFACE.starts_with(seen) {
            return Ok(false);
        }
        if seen.len() == PREFACE.len() {
            return Ok(true);
        }
        // A lone "P" or "PR" in the socket: it stays readable, so only time tells what follows.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn tls_peer(stream: &TlsStream<TcpStream>) -> TlsPeer {
    let (_, session) = stream.get_ref();
    let leaf = session.peer_certificates().and_then(|chain| chain.first());
    TlsPeer {
        server_name: session.server_name().map(str::to_owned),
        client_names: leaf.map(tls::dns_names).unwrap_or_default(),
    }
}

/// Errors of `accept` that say nothing of the next connection.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
