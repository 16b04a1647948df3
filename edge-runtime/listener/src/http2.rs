//! HTTP/2: a connection's own task drives the library, answers what is at hand, and writes all of it at once.
//!
//! What a client sends is taken in first. Each request is then tried once by the connection's task: what is stored is
//! answered so, and goes out in one write with the others. Only what has to wait for something becomes a task.

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{Method, Request};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::activity::Patience;
use crate::batched::{Batched, Outlet, batched};
use crate::config::Limits;
use crate::dispatch::{Begun, Dispatcher, Service};
use crate::error::BoxError;
use crate::inbound::Source;
use crate::interim::Interim;
use crate::request::{content_length, expects_continue};

use alive::Alive;
use answer::{Exchange, STALLED_BYTES_MAX};
use body::RequestBody;
use wakes::Wakes;

mod alive;
mod answer;
mod body;
mod wakes;

/// Bytes of a frame that a client may send: the least that there can be (RFC 9113 §4.2).
const FRAME_BYTES_MAX: u32 = 16 * 1024;
/// Streams that were reset here and are remembered, so that frames that were under way are no error (RFC 9113 §5.1).
const RESET_STREAMS_MAX: usize = 50;
/// So long they are.
const RESET_STREAMS_FOR: Duration = Duration::from_secs(1);

/// Why the connection was given up.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum GivenUp {
    #[error("nothing is heard of the client any more")]
    Gone,
    #[error("the client does not read what it asked for")]
    Stalled,
}

/// Serves a connection until it ends, is idle for too long, or has to stop. It is then asked to finish what is in flight.
pub(crate) async fn serve<I, S>(
    stream: I,
    dispatcher: Arc<Dispatcher<S>>,
    stop: CancellationToken,
) -> Result<(), BoxError>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service,
{
    let limits = &dispatcher.shared.limits;
    let activity = Arc::clone(&dispatcher.activity);
    let patience = Patience {
        first: limits.header(),
        next: limits.idle(),
    };
    let watch = activity.watch(stop.clone(), patience);
    let (stream, outlet) = batched(stream);
    let mut handshake = pin!(builder(limits).handshake(stream));
    let opened = poll_fn(|cx| {
        if let Poll::Ready(opened) = handshake.as_mut().poll(cx) {
            return Poll::Ready(Some(opened));
        }
        let _ = outlet.poll_out(cx);
        activity.poll_over(cx).map(|()| None)
    });
    let Some(opened) = opened.await else {
        return Ok(());
    };
    let mut connection = opened?;
    let stall = Duration::from_millis(limits.stall_ms_max);
    let alive = Alive::new(connection.ping_pong(), limits.idle() / 2, stall);
    let mut serving = Serving {
        connection,
        outlet,
        alive,
        wakes: Wakes::new(),
        dispatcher: Arc::clone(&dispatcher),
    };
    let ended = poll_fn(|cx| match serving.poll(cx) {
        Poll::Ready(ended) => Poll::Ready(Some(ended)),
        Poll::Pending => activity.poll_over(cx).map(|()| None),
    });
    if let Some(ended) = ended.await {
        return ended;
    }
    drop(watch);
    if activity.begun() == 0 {
        // Nothing was asked: nothing to finish.
        return Ok(());
    }
    serving.finish(stop).await
}

/// All limits are said, those of the library too.
fn builder(limits: &Limits) -> h2::server::Builder {
    let resets = usize::try_from(limits.resets_max).unwrap_or(usize::MAX);
    let send_buffer = usize::try_from(limits.send_buffer_bytes_max).unwrap_or(usize::MAX);
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(limits.streams_max)
        .max_pending_accept_reset_streams(resets)
        .max_local_error_reset_streams(Some(resets))
        .max_concurrent_reset_streams(RESET_STREAMS_MAX)
        .reset_stream_duration(RESET_STREAMS_FOR)
        // CONTINUATION frames are limited by it too.
        .max_header_list_size(u32::try_from(limits.header_bytes()).unwrap_or(u32::MAX))
        .max_frame_size(FRAME_BYTES_MAX)
        .initial_window_size(limits.stream_window_bytes)
        .initial_connection_window_size(limits.connection_window_bytes)
        .max_send_buffer_size(send_buffer);
    builder
}

/// A connection after its handshake.
struct Serving<I, S> {
    connection: h2::server::Connection<Batched<I>, Bytes>,
    outlet: Outlet<I>,
    alive: Alive,
    wakes: Wakes,
    dispatcher: Arc<Dispatcher<S>>,
}

impl<I, S> Serving<I, S>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.wakes.enter(cx);
        let ended = loop {
            match self.connection.poll_accept(&mut self.wakes.context()) {
                Poll::Ready(Some(Ok((request, respond)))) => self.take(request, respond),
                Poll::Ready(Some(Err(error))) => break Some(Err(error.into())),
                Poll::Ready(None) => break Some(Ok(())),
                Poll::Pending => break None,
            }
        };
        self.wakes.leave(cx);
        if let Some(ended) = ended {
            return Poll::Ready(ended);
        }
        // A stream that takes no more wakes this task, and one that is broken is found by the next read.
        let _ = self.outlet.poll_out(cx);
        let gone = self.alive.poll_gone(cx, || self.outlet.counts().heard());
        gone.map(|()| Err(GivenUp::Gone.into()))
    }

    /// Answers a request if it is at hand; what is not goes on by itself.
    fn take(&self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        let exchange = Exchange {
            respond,
            head_only: request.method() == Method::HEAD,
            in_flight: self.dispatcher.activity.begin(),
        };
        let (parts, stream) = request.into_parts();
        let mut interim = None;
        let source = (!stream.is_end_stream()).then(|| {
            if expects_continue(&parts.headers) {
                interim = Some(Interim::new());
            }
            // One that is not valid is refused in a moment, by the one who checks the head.
            let length = content_length(&parts.headers).ok().flatten();
            Source::Boxed(Box::pin(RequestBody::new(stream, length, interim.clone())))
        });
        match self.dispatcher.begin(Request::from_parts(parts, source)) {
            Begun::Answered(response) => {
                if let Some(rest) = answer::send(&self.dispatcher, response, exchange) {
                    let counts = Arc::clone(self.outlet.counts());
                    go_on(Box::pin(async move { rest.send(&counts).await }));
                }
            }
            Begun::Waiting(request) => {
                let dispatcher = Arc::clone(&self.dispatcher);
                let interim = interim.unwrap_or_else(Interim::new);
                let counts = Arc::clone(self.outlet.counts());
                let answer = answer::answer(dispatcher, request, interim, exchange, counts);
                go_on(Box::pin(answer));
            }
        }
    }

    /// Takes no more requests and finishes what is in flight: while the client reads, or within the time to drain when the
    /// listener has to stop.
    async fn finish(&mut self, stop: CancellationToken) -> Result<(), BoxError> {
        self.connection.graceful_shutdown();
        let limits = self.dispatcher.shared.limits.clone();
        loop {
            let is_reading = !stop.is_cancelled() && self.connection.has_streams();
            let patience = if is_reading {
                Duration::from_millis(limits.stall_ms_max)
            } else {
                limits.drain()
            };
            let counts = Arc::clone(self.outlet.counts());
            let before = counts.written();
            let is_stopping = stop.is_cancelled();
            tokio::select! {
                ended = poll_fn(|cx| self.poll(cx)) => return ended,
                () = stop.cancelled(), if !is_stopping => {}
                () = tokio::time::sleep(patience) => {
                    if !is_reading || counts.written() - before < STALLED_BYTES_MAX {
                        return Err(GivenUp::Stalled.into());
                    }
                }
            }
        }
    }
}

/// Tries an answer once; if it has to wait, it goes on in a task.
fn go_on(mut answer: Pin<Box<dyn Future<Output = ()> + Send>>) {
    // Whoever takes it on asks anew, and is woken then.
    let mut cx = Context::from_waker(Waker::noop());
    let tried = || answer.as_mut().poll(&mut cx);
    match std::panic::catch_unwind(AssertUnwindSafe(tried)) {
        Ok(Poll::Ready(())) => {}
        Ok(Poll::Pending) => drop(tokio::spawn(answer)),
        // The connection's other requests have no part in it.
        Err(_) => tracing::error!("an answer's body panicked"),
    }
}
