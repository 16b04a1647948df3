//! QUIC as h3 wants it, over quinn, with every received byte passed through a [`Filter`].
//!
//! h3 accepts streams, decodes requests and keeps the control streams; answers are written to quinn
//! directly (`answer.rs`). So the sending half of a request stream is kept beside h3: [`Handoff`].

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::Stream;
use h3::error::Code;
use h3::quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf};
use quinn::VarInt;

use super::filter::{Excess, Filter};

type Accepting<T> = Pin<Box<dyn Stream<Item = Result<T, quinn::ConnectionError>> + Send + Sync>>;

/// What h3 and the answer share of one request stream.
#[derive(Debug)]
pub(super) struct RequestStream {
    /// Taken by whoever answers or resets.
    send: Mutex<Option<quinn::SendStream>>,
    /// Why receiving was given up.
    excess: Mutex<Option<Excess>>,
}

impl RequestStream {
    pub(super) fn take_send(&self) -> Option<quinn::SendStream> {
        self.send
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    pub(super) fn excess(&self) -> Option<Excess> {
        *self.excess.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The request stream that h3 accepted last. h3 hides the streams it is given; as it hands them out one
/// by one, in order, whoever took a request from it finds the stream here.
#[derive(Clone, Debug, Default)]
pub(super) struct Handoff(Arc<Mutex<Option<Arc<RequestStream>>>>);

impl Handoff {
    fn put(&self, stream: Arc<RequestStream>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
    }

    pub(super) fn take(&self) -> Option<Arc<RequestStream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A server's connection.
pub(super) struct Transport {
    connection: quinn::Connection,
    bidirectional: Accepting<(quinn::SendStream, quinn::RecvStream)>,
    unidirectional: Accepting<quinn::RecvStream>,
    opener: Opener,
    handoff: Handoff,
    header_bytes_max: u64,
}

impl Transport {
    pub(super) fn new(
        connection: quinn::Connection,
        header_bytes_max: u64,
        handoff: Handoff,
    ) -> Self {
        let bidirectional = futures_util::stream::unfold(connection.clone(), |connection| async {
            Some((connection.accept_bi().await, connection))
        });
        let unidirectional = futures_util::stream::unfold(connection.clone(), |connection| async {
            Some((connection.accept_uni().await, connection))
        });
        Self {
            opener: Opener::new(connection.clone()),
            connection,
            bidirectional: Box::pin(bidirectional),
            unidirectional: Box::pin(unidirectional),
            handoff,
            header_bytes_max,
        }
    }
}

fn next<T>(
    accepting: &mut Accepting<T>,
    cx: &mut Context<'_>,
) -> Poll<Result<T, ConnectionErrorIncoming>> {
    match ready!(accepting.as_mut().poll_next(cx)) {
        Some(Ok(stream)) => Poll::Ready(Ok(stream)),
        Some(Err(error)) => Poll::Ready(Err(connection_error(error))),
        // The streams are endless; the type does not say so.
        None => Poll::Ready(Err(ConnectionErrorIncoming::Timeout)),
    }
}

impl quic::Connection<Bytes> for Transport {
    type RecvStream = Receiver;
    type OpenStreams = Opener;

    fn poll_accept_recv(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::RecvStream, ConnectionErrorIncoming>> {
        let stream = ready!(next(&mut self.unidirectional, cx))?;
        Poll::Ready(Ok(Receiver {
            stream,
            filter: Filter::unidirectional(),
            ended: false,
        }))
    }

    fn poll_accept_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::BidiStream, ConnectionErrorIncoming>> {
        let (send, recv) = ready!(next(&mut self.bidirectional, cx))?;
        let id = stream_id(recv.id());
        let shared = Arc::new(RequestStream {
            send: Mutex::new(Some(send)),
            excess: Mutex::new(None),
        });
        self.handoff.put(Arc::clone(&shared));
        let filter = Filter::request(self.header_bytes_max);
        let receiver = Receiver {
            stream: recv,
            filter,
            ended: false,
        };
        Poll::Ready(Ok(Exchange {
            id,
            shared,
            receiver,
        }))
    }

    fn opener(&self) -> Self::OpenStreams {
        self.opener.clone()
    }
}

impl quic::OpenStreams<Bytes> for Transport {
    type BidiStream = Exchange;
    type SendStream = Sender;

    fn poll_open_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::BidiStream, StreamErrorIncoming>> {
        self.opener.poll_open_bidi(cx)
    }

    fn poll_open_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::SendStream, StreamErrorIncoming>> {
        self.opener.poll_open_send(cx)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.connection.close(var_int(code.value()), reason);
    }
}

/// Opens the control and QPACK streams.
pub(super) struct Opener {
    connection: quinn::Connection,
    opening: Option<Accepting<quinn::SendStream>>,
}

impl Opener {
    const fn new(connection: quinn::Connection) -> Self {
        Self {
            connection,
            opening: None,
        }
    }
}

impl Clone for Opener {
    fn clone(&self) -> Self {
        Self::new(self.connection.clone())
    }
}

impl quic::OpenStreams<Bytes> for Opener {
    type BidiStream = Exchange;
    type SendStream = Sender;

    /// Servers open no bidirectional streams (RFC 9114 §6.1).
    fn poll_open_bidi(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<Result<Self::BidiStream, StreamErrorIncoming>> {
        Poll::Ready(Err(StreamErrorIncoming::Unknown(
            "a server opens no requests".into(),
        )))
    }

    fn poll_open_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::SendStream, StreamErrorIncoming>> {
        let connection = &self.connection;
        let opening = self.opening.get_or_insert_with(|| {
            Box::pin(futures_util::stream::unfold(
                connection.clone(),
                |connection| async { Some((connection.open_uni().await, connection)) },
            ))
        });
        match ready!(next(opening, cx)) {
            Ok(stream) => Poll::Ready(Ok(Sender {
                stream,
                writing: None,
            })),
            Err(connection_error) => {
                Poll::Ready(Err(StreamErrorIncoming::ConnectionErrorIncoming {
                    connection_error,
                }))
            }
        }
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.connection.close(var_int(code.value()), reason);
    }
}

/// A request stream as h3 sees it: it reads requests, and what it would send is left to `answer.rs`,
/// which learns of it from h3's errors.
pub(super) struct Exchange {
    id: StreamId,
    shared: Arc<RequestStream>,
    receiver: Receiver,
}

impl quic::RecvStream for Exchange {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.receiver.poll(cx).map_err(|error| match error {
            ReceiveError::Quic(error) => read_error(error),
            ReceiveError::Excess(excess) => {
                let mut kept = self
                    .shared
                    .excess
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                *kept = Some(excess);
                StreamErrorIncoming::Unknown(Box::new(excess))
            }
        })
    }

    fn stop_sending(&mut self, error_code: u64) {
        self.receiver.stop(error_code);
    }

    fn recv_id(&self) -> StreamId {
        self.id
    }
}

impl quic::SendStream<Bytes> for Exchange {
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, _: T) -> Result<(), StreamErrorIncoming> {
        Ok(())
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        Poll::Ready(Ok(()))
    }

    fn reset(&mut self, reset_code: u64) {
        if let Some(mut send) = self.shared.take_send() {
            let _ = send.reset(var_int(reset_code));
        }
    }

    fn send_id(&self) -> StreamId {
        self.id
    }
}

/// A sending stream of h3's own: control and QPACK.
pub(super) struct Sender {
    stream: quinn::SendStream,
    writing: Option<WriteBuf<Bytes>>,
}

impl quic::SendStream<Bytes> for Sender {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        if let Some(data) = &mut self.writing {
            while data.has_remaining() {
                let stream = Pin::new(&mut self.stream);
                let written = ready!(stream.poll_write(cx, data.chunk())).map_err(write_error)?;
                data.advance(written);
            }
        }
        self.writing = None;
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        if self.writing.is_some() {
            return Err(StreamErrorIncoming::Unknown(
                "sent before it was ready".into(),
            ));
        }
        self.writing = Some(data.into());
        Ok(())
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        let finished = self.stream.finish();
        Poll::Ready(finished.map_err(|error| StreamErrorIncoming::Unknown(Box::new(error))))
    }

    fn reset(&mut self, reset_code: u64) {
        let _ = self.stream.reset(var_int(reset_code));
    }

    fn send_id(&self) -> StreamId {
        stream_id(self.stream.id())
    }
}

/// A receiving stream behind its filter.
pub(super) struct Receiver {
    stream: quinn::RecvStream,
    filter: Filter,
    ended: bool,
}

enum ReceiveError {
    Quic(quinn::ReadError),
    Excess(Excess),
}

impl Receiver {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ReceiveError>> {
        loop {
            if let Some(bytes) = self.filter.pop() {
                return Poll::Ready(Ok(Some(bytes)));
            }
            if self.ended {
                return Poll::Ready(Ok(None));
            }
            // The future keeps nothing between polls: quinn has noted who waits for the stream.
            let chunk = {
                let reading = pin!(self.stream.read_chunk(usize::MAX, true));
                ready!(reading.poll(cx)).map_err(ReceiveError::Quic)?
            };
            match chunk {
                None => self.ended = true,
                Some(chunk) => {
                    if let Err(excess) = self.filter.push(chunk.bytes) {
                        self.stop(Code::H3_EXCESSIVE_LOAD.value());
                        return Poll::Ready(Err(ReceiveError::Excess(excess)));
                    }
                }
            }
        }
    }

    fn stop(&mut self, error_code: u64) {
        self.ended = true;
        let _ = self.stream.stop(var_int(error_code));
    }
}

impl Drop for Receiver {
    /// quinn would stop an unread stream with code 0, which is no code of HTTP/3.
    fn drop(&mut self) {
        if !self.ended {
            self.stop(Code::H3_NO_ERROR.value());
        }
    }
}

impl quic::RecvStream for Receiver {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.poll(cx).map_err(|error| match error {
            ReceiveError::Quic(error) => read_error(error),
            ReceiveError::Excess(excess) => StreamErrorIncoming::ConnectionErrorIncoming {
                connection_error: ConnectionErrorIncoming::InternalError(excess.to_string()),
            },
        })
    }

    fn stop_sending(&mut self, error_code: u64) {
        self.stop(error_code);
    }

    fn recv_id(&self) -> StreamId {
        stream_id(self.stream.id())
    }
}

/// Codes of HTTP/3 are all in range; the type does not say so.
pub(super) fn var_int(code: u64) -> VarInt {
    VarInt::from_u64(code).unwrap_or(VarInt::MAX)
}

#[expect(
    clippy::expect_used,
    reason = "quinn's ids and h3's have the same 62 bits"
)]
fn stream_id(id: quinn::StreamId) -> StreamId {
    StreamId::try_from(u64::from(VarInt::from(id))).expect("62 bits")
}

fn connection_error(error: quinn::ConnectionError) -> ConnectionErrorIncoming {
    match error {
        quinn::ConnectionError::ApplicationClosed(close) => {
            ConnectionErrorIncoming::ApplicationClose {
                error_code: close.error_code.into(),
            }
        }
        quinn::ConnectionError::TimedOut => ConnectionErrorIncoming::Timeout,
        error => ConnectionErrorIncoming::Undefined(Arc::new(error)),
    }
}

fn read_error(error: quinn::ReadError) -> StreamErrorIncoming {
    match error {
        quinn::ReadError::Reset(code) => StreamErrorIncoming::StreamTerminated {
            error_code: code.into_inner(),
        },
        quinn::ReadError::ConnectionLost(error) => StreamErrorIncoming::ConnectionErrorIncoming {
            connection_error: connection_error(error),
        },
        error => StreamErrorIncoming::Unknown(Box::new(error)),
    }
}

fn write_error(error: quinn::WriteError) -> StreamErrorIncoming {
    match error {
        quinn::WriteError::Stopped(code) => StreamErrorIncoming::StreamTerminated {
            error_code: code.into_inner(),
        },
        quinn::WriteError::ConnectionLost(error) => StreamErrorIncoming::ConnectionErrorIncoming {
            connection_error: connection_error(error),
        },
        error => StreamErrorIncoming::Unknown(Box::new(error)),
    }
}
