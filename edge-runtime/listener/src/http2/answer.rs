//! One HTTP/2 request, from its head to the last byte of its answer.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::{ALT_SVC, CONNECTION, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, Request, Response, StatusCode};
use http_body::Body as _;

use crate::activity::InFlight;
use crate::batched::Counts;
use crate::body::Body;
use crate::dispatch::{Dispatcher, Service};
use crate::interim::{self, Interim};
use crate::outgoing::{self, Payload};

/// Of a connection that writes less than this in the time that an answer may take without progress, the client does not
/// read.
pub(super) const STALLED_BYTES_MAX: u64 = 1024;

/// Fields of HTTP/1.1 connections that the library refuses to send (RFC 9113 §8.2.2).
const CONNECTION_FIELDS: [HeaderName; 6] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    TE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Where an answer goes.
pub(super) struct Exchange {
    pub(super) respond: SendResponse<Bytes>,
    pub(super) head_only: bool,
    pub(super) in_flight: InFlight,
}

/// The rest of an answer, which has to wait for its bytes or for the client.
pub(super) struct Rest {
    stream: SendStream<Bytes>,
    body: Body,
    stall: Duration,
    _in_flight: InFlight,
}

/// Why an answer was not sent whole.
#[derive(Debug)]
enum Unsent {
    /// The client does not want it any more, or is gone.
    Client,
    /// The client does not read.
    Stalled,
    /// The answer's body broke.
    Body,
}

impl From<h2::Error> for Unsent {
    fn from(_: h2::Error) -> Self {
        Self::Client
    }
}

/// Has a request answered that has to wait for something, sends interim answers meanwhile, and the answer then. When the
/// client does not want it any more, the service's future is dropped.
pub(super) async fn answer<S: Service>(
    dispatcher: Arc<Dispatcher<S>>,
    request: Request<Body>,
    interim: Interim,
    mut exchange: Exchange,
    counts: Arc<Counts>,
) {
    let response = {
        let respond = &mut exchange.respond;
        let mut call = pin!(dispatcher.call(request, Some(&interim)));
        let answered = poll_fn(|cx| {
            if let Poll::Ready(response) = call.as_mut().poll(cx) {
                return Poll::Ready(Some(response));
            }
            if respond.poll_reset(cx).is_ready() {
                return Poll::Ready(None);
            }
            while let Poll::Ready(head) = interim.poll_next(cx) {
                inform(respond, head);
            }
            Poll::Pending
        });
        answered.await
    };
    let Some(response) = response else { return };
    for head in interim.close() {
        // The answer itself says more than that the client may go on.
        if head.0 != StatusCode::CONTINUE {
            inform(&mut exchange.respond, head);
        }
    }
    if let Some(rest) = send(&dispatcher, response, exchange) {
        rest.send(&counts).await;
    }
}

fn inform(respond: &mut SendResponse<Bytes>, (status, mut fields): interim::Head) {
    strip(&mut fields);
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    // What it cannot be sent on is closed.
    let _ = respond.send_informational(response);
}

/// Sends an answer's head, and its body if that is at hand: the library keeps what the client's window has no room for.
/// Otherwise the rest is given back.
pub(super) fn send<S>(
    dispatcher: &Dispatcher<S>,
    response: Response<Body>,
    exchange: Exchange,
) -> Option<Rest> {
    let Exchange {
        mut respond,
        head_only,
        in_flight,
    } = exchange;
    let (mut parts, body) = response.into_parts();
    let payload = outgoing::finish(&mut parts, body, head_only);
    strip(&mut parts.headers);
    if let Some(alt_svc) = dispatcher.shared.alt_svc() {
        parts
            .headers
            .entry(ALT_SVC)
            .or_insert_with(|| alt_svc.clone());
    }
    let ends = matches!(payload, Payload::None);
    let mut stream = match respond.send_response(Response::from_parts(parts, ()), ends) {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%error, "answer not sent");
            respond.send_reset(Reason::INTERNAL_ERROR);
            return None;
        }
    };
    match payload {
        Payload::None => None,
        Payload::Full(bytes) => {
            // An error says that the client has reset the stream.
            let _ = stream.send_data(bytes, true);
            None
        }
        Payload::Stream(body) => Some(Rest {
            stream,
            body,
            stall: Duration::from_millis(dispatcher.shared.limits.stall_ms_max),
            _in_flight: in_flight,
        }),
    }
}

impl Rest {
    pub(super) async fn send(mut self, counts: &Counts) {
        let sent = loop {
            match self.step(counts).await {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(unsent) => break Err(unsent),
            }
        };
        let reason = match &sent {
            Ok(()) | Err(Unsent::Client) => return,
            Err(Unsent::Stalled) => Reason::CANCEL,
            Err(Unsent::Body) => Reason::INTERNAL_ERROR,
        };
        tracing::debug!(?sent, "answer not sent");
        self.stream.send_reset(reason);
    }

    /// Sends a frame of the body. Whether there may be more.
    async fn step(&mut self, counts: &Counts) -> Result<bool, Unsent> {
        let (stream, body) = (&mut self.stream, &mut self.body);
        let frame = poll_fn(|cx| {
            if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) {
                return Poll::Ready(Ok(frame));
            }
            stream.poll_reset(cx).map(|_| Err(Unsent::Client))
        });
        let frame = match frame.await? {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                tracing::debug!(error, "an answer's body ended with an error");
                return Err(Unsent::Body);
            }
            None => {
                self.stream.send_data(Bytes::new(), true)?;
                return Ok(false);
            }
        };
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                let Ok(mut trailers) = frame.into_trailers() else {
                    return Ok(true);
                };
                strip(&mut trailers);
                self.stream.send_trailers(trailers)?;
                return Ok(false);
            }
        };
        let is_last = self.body.is_end_stream();
        if data.is_empty() && !is_last {
            return Ok(true);
        }
        if !data.is_empty() {
            self.room(counts).await?;
        }
        self.stream.send_data(data, is_last)?;
        Ok(!is_last)
    }

    /// Waits until the client takes some of what is there to be sent. It is not asked for more than a byte before: what is
    /// kept for a stream is kept from the others of the connection.
    async fn room(&mut self, counts: &Counts) -> Result<(), Unsent> {
        self.stream.reserve_capacity(1);
        loop {
            if self.stream.capacity() > 0 {
                return Ok(());
            }
            let before = counts.written();
            let capacity = poll_fn(|cx| self.stream.poll_capacity(cx));
            match tokio::time::timeout(self.stall, capacity).await {
                Ok(Some(capacity)) => drop(capacity?),
                Ok(None) => return Err(Unsent::Client),
                // The others of the connection may have taken all that the client takes.
                Err(_) if counts.written() - before < STALLED_BYTES_MAX => {
                    return Err(Unsent::Stalled);
                }
                Err(_) => {}
            }
        }
    }
}

/// Takes off what belongs to an HTTP/1.1 connection, and what its `Connection` names.
fn strip(fields: &mut HeaderMap) {
    if !fields.keys().any(|name| CONNECTION_FIELDS.contains(name)) {
        return;
    }
    let named: Vec<String> = fields
        .get_all(CONNECTION)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_owned())
        .collect();
    for name in CONNECTION_FIELDS {
        fields.remove(name);
    }
    for name in named {
        fields.remove(name.as_str());
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn fields_of_connections_are_taken_off() {
        let field = |(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        };
        let mut fields = HeaderMap::from_iter(
            [
                ("connection", "close, X-One ,,"),
                ("keep-alive", "1"),
                ("proxy-connection", "1"),
                ("te", "trailers"),
                ("transfer-encoding", "chunked"),
                ("upgrade", "h2c"),
                ("x-one", "1"),
                ("x-two", "2"),
            ]
            .map(field),
        );
        strip(&mut fields);
        let left: Vec<_> = fields.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["x-two"]);
    }
}
