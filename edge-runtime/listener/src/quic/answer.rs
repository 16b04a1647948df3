//! One HTTP/3 request, from its first frame to the last byte of its answer.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use h3::error::{Code, StreamError};
use h3::server::RequestResolver;
use http::header::EXPECT;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::time::error::Elapsed;
use tokio_util::sync::CancellationToken;

use super::body::RequestBody;
use super::filter::Excess;
use super::qpack;
use super::transport::{RequestStream, Transport, var_int};
use crate::body::Body;
use crate::dispatch::{Dispatcher, Service, problem};
use crate::inbound::Source;
use crate::interim::Interim;
use crate::outgoing::{self, Payload};
use crate::request::{Refusal, content_length};

/// Usual bytes of an answer's head.
const HEAD_BYTES: usize = 512;

/// Why an answer was not sent whole.
#[derive(Debug)]
enum Unsent {
    /// The client stopped the stream, or is gone.
    Client,
    /// The client does not acknowledge what it is sent.
    Stalled,
    /// The answer's body broke.
    Body,
}

impl From<quinn::WriteError> for Unsent {
    fn from(_: quinn::WriteError) -> Self {
        Self::Client
    }
}

/// What becomes of a request that did not resolve.
enum Unresolved {
    Answer(Box<Response<Body>>),
    Reset(Code),
}

/// Reads a request, has it answered, sends the answer.
pub(super) async fn run<S: Service>(
    dispatcher: Arc<Dispatcher<S>>,
    resolver: RequestResolver<Transport, Bytes>,
    stream: Arc<RequestStream>,
    stop: CancellationToken,
) {
    let _in_flight = dispatcher.activity.begin();
    let limits = &dispatcher.shared.limits;
    let stall = Duration::from_millis(limits.stall_ms_max);
    let resolved = within(limits.header(), resolver.resolve_request()).await;
    let resolved = match resolved {
        Ok(Ok((request, body))) => read_request(request, body).await,
        Ok(Err(error)) => Err(unresolved(&error, stream.excess())),
        Err(_) => Err(Unresolved::Answer(Box::new(problem(
            StatusCode::REQUEST_TIMEOUT,
            "the request's header section came too slowly",
        )))),
    };
    // h3 has taken it to reset the stream itself.
    let Some(mut send) = stream.take_send() else {
        return;
    };
    let (head_only, response) = match resolved {
        Ok(request) => {
            if request.headers().contains_key(EXPECT) && send_continue(&mut send).await.is_err() {
                return;
            }
            let head_only = request.method() == Method::HEAD;
            match answer(&dispatcher, request, &mut send, stall).await {
                Some(response) => (head_only, response),
                None => return,
            }
        }
        Err(Unresolved::Answer(response)) => (false, *response),
        Err(Unresolved::Reset(code)) => {
            let _ = send.reset(var_int(code.value()));
            return;
        }
    };
    match send_response(&mut send, response, head_only, stall).await {
        Ok(()) if stop.is_cancelled() => {
            // The connection is about to be closed, which throws away what is not acknowledged.
            let _ = tokio::time::timeout(limits.drain(), send.stopped()).await;
        }
        Ok(()) => {}
        Err(Unsent::Client) => {}
        Err(unsent) => {
            tracing::debug!(?unsent, "answer not sent");
            let _ = send.reset(var_int(Code::H3_INTERNAL_ERROR.value()));
        }
    }
}

/// Has a request answered, and sends interim answers meanwhile. None: the client does not want the answer any more, or is
/// gone.
async fn answer<S: Service>(
    dispatcher: &Dispatcher<S>,
    request: Request<Option<Source>>,
    send: &mut quinn::SendStream,
    stall: Duration,
) -> Option<Response<Body>> {
    let interim = Interim::new();
    let stopped = send.stopped();
    let mut stopped = pin!(stopped);
    let mut answering = pin!(dispatcher.answer(request, Some(&interim)));
    let mut heads = BytesMut::new();
    let response = loop {
        tokio::select! {
            biased;
            response = &mut answering => break response,
            (status, fields) = poll_fn(|cx| interim.poll_next(cx)) => {
                qpack::put_head(status, &fields, &mut heads);
            }
            // Beside the answer, which may be others' too, and must not wait for a client that reads slowly.
            written = send.write(&heads), if !heads.is_empty() => heads.advance(written.ok()?),
            _ = &mut stopped => return None,
        }
    };
    for (status, fields) in interim.close() {
        qpack::put_head(status, &fields, &mut heads);
    }
    let rest = [heads.freeze(), Bytes::new()];
    write(send, rest, stall).await.ok().map(|()| response)
}

/// Finds out whether there is a body.
async fn read_request(
    request: Request<()>,
    stream: h3::server::RequestStream<super::transport::Exchange, Bytes>,
) -> Result<Request<Option<Source>>, Unresolved> {
    // One that is not valid is refused in a moment, by the one who checks the head.
    let declared = content_length(request.headers()).ok().flatten();
    let mut body = Box::pin(RequestBody::new(stream, declared));
    let looked = poll_fn(|cx| Poll::Ready(body.look(cx))).await;
    looked.map_err(|_| Unresolved::Reset(Code::H3_MESSAGE_ERROR))?;
    let source = (!body.is_end_stream()).then_some(Source::Boxed(body));
    Ok(request.map(|()| source))
}

fn unresolved(error: &StreamError, excess: Option<Excess>) -> Unresolved {
    let too_large = |refusal: Refusal| {
        Unresolved::Answer(Box::new(problem(refusal.status(), refusal.detail())))
    };
    match (excess, error) {
        (Some(Excess::HeaderSection(_)), _) | (None, StreamError::HeaderTooBig { .. }) => {
            too_large(Refusal::HeaderBytes)
        }
        (Some(Excess::Frame(..) | Excess::Skipped), _) => {
            Unresolved::Reset(Code::H3_EXCESSIVE_LOAD)
        }
        (None, StreamError::StreamError { code, .. }) => Unresolved::Reset(*code),
        (None, _) => Unresolved::Reset(Code::H3_REQUEST_CANCELLED),
    }
}

/// RFC 9110 §15.2.1: the client may send its body.
async fn send_continue(send: &mut quinn::SendStream) -> Result<(), Unsent> {
    let mut buffer = BytesMut::with_capacity(16);
    qpack::put_head(StatusCode::CONTINUE, &HeaderMap::new(), &mut buffer);
    Ok(send.write_chunk(buffer.freeze()).await?)
}

/// Sends an answer with as few writes as possible: each one takes the connection's lock and wakes its driver.
async fn send_response(
    send: &mut quinn::SendStream,
    response: Response<Body>,
    head_only: bool,
    stall: Duration,
) -> Result<(), Unsent> {
    let (mut parts, body) = response.into_parts();
    let payload = outgoing::finish(&mut parts, body, head_only);
    let copied = match &payload {
        Payload::Full(bytes) if bytes.len() <= qpack::COPIED_BYTES_MAX => bytes.len(),
        Payload::None | Payload::Full(_) | Payload::Stream(_) => 0,
    };
    let mut buffer = BytesMut::with_capacity(HEAD_BYTES + copied);
    qpack::put_head(parts.status, &parts.headers, &mut buffer);
    match payload {
        Payload::None => write(send, [buffer.freeze(), Bytes::new()], stall).await?,
        Payload::Full(bytes) => {
            let rest = qpack::put_data(bytes, &mut buffer).unwrap_or_default();
            write(send, [buffer.freeze(), rest], stall).await?;
        }
        Payload::Stream(body) => send_stream(send, buffer, body, stall).await?,
    }
    let _ = send.finish();
    Ok(())
}

async fn send_stream(
    send: &mut quinn::SendStream,
    mut buffer: BytesMut,
    mut body: Body,
    stall: Duration,
) -> Result<(), Unsent> {
    loop {
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            // Nothing is at hand: the head, or what there is, goes out now.
            () = std::future::ready(()), if !buffer.is_empty() => {
                write(send, [buffer.split().freeze(), Bytes::new()], stall).await?;
                continue;
            }
            _ = send.stopped() => return Err(Unsent::Client),
        };
        let frame = match frame {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                tracing::debug!(error, "an answer's body ended with an error");
                return Err(Unsent::Body);
            }
            None => return write(send, [buffer.freeze(), Bytes::new()], stall).await,
        };
        let rest = match frame.into_data() {
            Ok(data) if data.is_empty() => continue,
            Ok(data) => qpack::put_data(data, &mut buffer).unwrap_or_default(),
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    qpack::put_trailers(&trailers, &mut buffer);
                }
                Bytes::new()
            }
        };
        write(send, [buffer.split().freeze(), rest], stall).await?;
    }
}

async fn write(
    send: &mut quinn::SendStream,
    mut chunks: [Bytes; 2],
    stall: Duration,
) -> Result<(), Unsent> {
    let chunks = match &mut chunks {
        [first, second] if second.is_empty() => std::slice::from_mut(first),
        both => both.as_mut_slice(),
    };
    if chunks.iter().all(Bytes::is_empty) {
        return Ok(());
    }
    match within(stall, send.write_all_chunks(chunks)).await {
        Ok(written) => Ok(written?),
        Err(_) => Err(Unsent::Stalled),
    }
}

/// A timeout that costs neither timer nor clock when nothing has to be waited for, as is usual.
async fn within<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    match poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => tokio::time::timeout(limit, future).await,
    }
}
