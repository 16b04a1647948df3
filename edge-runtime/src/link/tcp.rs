//! The link over TLS and HTTP/2: the fallback where QUIC does not get through.

use super::error::LinkError;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls_pki_types::ServerName;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::net::TcpStream;

/// ALPN of HTTP/2, RFC 9113 §3.1.
pub(super) const ALPN: &[u8] = b"h2";

/// Sends requests on one connection; cheap to clone.
pub(super) type Sender = http2::SendRequest<Full<Bytes>>;
/// Ends with the reason when the connection is over.
pub(super) type Driver = http2::Connection<
    TokioIo<tokio_rustls::client::TlsStream<TcpStream>>,
    Full<Bytes>,
    TokioExecutor,
>;

/// Connects to `address`, which must show a certificate for `name`.
pub(super) async fn connect(
    address: SocketAddr,
    name: &str,
    tls: Arc<rustls::ClientConfig>,
) -> Result<(Sender, Driver), LinkError> {
    let broken = |reason: String| LinkError::Disconnected(format!("TCP to {address}: {reason}"));
    let name = ServerName::try_from(name.to_owned()).map_err(|e| broken(e.to_string()))?;
    let stream = TcpStream::connect(address)
        .await
        .map_err(|e| broken(e.to_string()))?;
    stream
        .set_nodelay(true)
        .map_err(|e| broken(e.to_string()))?;
    let stream = tokio_rustls::TlsConnector::from(tls)
        .connect(name, stream)
        .await
        .map_err(|e| broken(e.to_string()))?;
    if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
        return Err(broken("the core does not speak HTTP/2 there".into()));
    }
    http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(1))
        .keep_alive_timeout(Duration::from_secs(4))
        .keep_alive_while_idle(true)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(8 << 20)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|e| broken(e.to_string()))
}

/// Sends one request with its whole body and waits for the head of the answer.
pub(super) async fn send(
    mut sender: Sender,
    request: Request<()>,
    body: Bytes,
) -> Result<(Response<()>, Incoming), LinkError> {
    let answer = sender
        .try_send_request(request.map(|()| Full::new(body)))
        .await
        .map_err(|mut refused| {
            // It comes back when the connection never took it.
            let is_unsent = refused.take_message().is_some();
            let reason = reason(&refused.into_error());
            if is_unsent {
                LinkError::NotSent(reason)
            } else {
                LinkError::Disconnected(reason)
            }
        })?;
    let (head, body) = answer.into_parts();
    Ok((Response::from_parts(head, ()), body))
}

/// The next piece of the answer's body.
pub(super) async fn piece(body: &mut Incoming) -> Result<Option<Bytes>, LinkError> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| LinkError::Disconnected(reason(&e)))?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// hyper's own text is general; its cause says what happened.
fn reason(error: &hyper::Error) -> String {
    use std::error::Error as _;
    error
        .source()
        .map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}
