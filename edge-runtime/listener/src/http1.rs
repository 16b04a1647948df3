//! HTTP/1.1: plain requests that the service can answer at once are answered here, all else goes to hyper.
//!
//! A request is *plain* if nothing in it needs more than its one line and its fields: `GET` of a path, HTTP/1.1, one
//! `Host`, no body, nothing that says how the connection is to be used. [`plain`] is strict: whatever it does not know is
//! not plain. What is not answered at once:
//!
//! - a plain request that the service has to wait for: hyper gets its bytes, answers, and gives the connection back;
//! - everything else, good or bad: hyper gets the bytes that were read and the rest of the connection.

mod gate;

use std::io;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::dispatch::{Dispatcher, Service};
use crate::plain::{self, Head, plain};
pub(crate) use gate::Gate;

/// Bytes of one read.
const READ_BYTES: usize = 8 * 1024;
/// Bytes of a head that is looked at here; a longer one is hyper's.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Answers to pipelined requests are written together up to so many bytes.
const GATHERED_BYTES_MAX: usize = 64 * 1024;
/// A body up to this is copied behind its head: one piece is cheaper to write than two.
const COPIED_BODY_BYTES_MAX: usize = 16 * 1024;

/// Where a connection goes on.
#[derive(Debug)]
pub(crate) enum Next {
    /// It is over.
    Ended,
    /// hyper answers one request, which is these bytes.
    One(Bytes),
    /// hyper answers all that follows, beginning with these bytes.
    Rest(Bytes),
}

/// A connection between its requests.
pub(crate) struct Plain<'a, S> {
    dispatcher: &'a Dispatcher<S>,
    read: BytesMut,
    out: Vec<u8>,
}

/// What became of one request.
enum Step {
    /// Its answer is in `out`, but for this body.
    Answered(Bytes),
    /// It is not whole yet.
    More,
    Next(Next),
}

impl<'a, S: Service> Plain<'a, S> {
    pub(crate) fn new(dispatcher: &'a Dispatcher<S>) -> Self {
        Self {
            dispatcher,
            read: BytesMut::new(),
            out: Vec::new(),
        }
    }

    /// Answers what it can, until it comes to what it cannot.
    pub(crate) async fn serve<I>(&mut self, stream: &mut I) -> io::Result<Next>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let mut began = Instant::now();
        loop {
            match self.step(began) {
                Step::Answered(body) => {
                    let _answering = self.dispatcher.activity.begin();
                    self.put(stream, body).await?;
                    if self.read.is_empty() {
                        self.put_out(stream).await?;
                        self.dispatcher.shared.service.written(began.elapsed());
                    } else {
                        began = Instant::now();
                    }
                    if self.dispatcher.activity.is_over() {
                        self.put_out(stream).await?;
                        return Ok(Next::Ended);
                    }
                }
                Step::More => {
                    self.put_out(stream).await?;
                    self.read.reserve(READ_BYTES);
                    let count = stream.read_buf(&mut self.read).await?;
                    began = Instant::now();
                    if count == 0 {
                        // A head that breaks off is for hyper to judge.
                        return Ok(match self.read.is_empty() {
                            true => Next::Ended,
                            false => Next::Rest(self.read.split().freeze()),
                        });
                    }
                }
                Step::Next(next) => {
                    self.put_out(stream).await?;
                    return Ok(next);
                }
            }
        }
    }

    fn step(&mut self, began: Instant) -> Step {
        if self.read.is_empty() {
            return Step::More;
        }
        let mut room = plain::room();
        let (request, length) = match plain(&self.read, &mut room, began) {
            Head::Partial if self.read.len() < HEAD_BYTES_MAX => return Step::More,
            Head::Partial | Head::Other => {
                return Step::Next(Next::Rest(self.read.split().freeze()));
            }
            Head::Bodiless(length) => {
                return Step::Next(Next::One(self.read.split_to(length).freeze()));
            }
            Head::Plain(request, length) => (request, length),
        };
        let Dispatcher {
            shared, connection, ..
        } = self.dispatcher;
        if !self.dispatcher.knows(request.host) {
            return Step::Next(Next::One(self.read.split_to(length).freeze()));
        }
        let before = self.out.len();
        let out = &mut self.out;
        // A panic is hyper's way to answer: the service is asked again there.
        let call = AssertUnwindSafe(|| shared.service.at_once(&request, connection, out));
        let Ok(Some(body)) = std::panic::catch_unwind(call) else {
            self.out.truncate(before);
            return Step::Next(Next::One(self.read.split_to(length).freeze()));
        };
        if let Some(alt_svc) = self.dispatcher.shared.alt_svc() {
            self.out.extend_from_slice(b"alt-svc: ");
            self.out.extend_from_slice(alt_svc.as_bytes());
            self.out.extend_from_slice(b"\r\n");
        }
        self.out.extend_from_slice(b"\r\n");
        self.read.advance(length);
        Step::Answered(body)
    }

    /// Puts a body behind its head, and writes if there is much.
    async fn put<I: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut I,
        mut body: Bytes,
    ) -> io::Result<()> {
        if body.len() <= COPIED_BODY_BYTES_MAX {
            self.out.extend_from_slice(&body);
            if self.out.len() < GATHERED_BYTES_MAX {
                return Ok(());
            }
            return self.put_out(stream).await;
        }
        let mut head = self.out.as_slice();
        while !head.is_empty() {
            let pieces = [io::IoSlice::new(head), io::IoSlice::new(&body)];
            let written = stream.write_vectored(&pieces).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            let of_head = written.min(head.len());
            head = head.get(of_head..).unwrap_or_default();
            body.advance(written - of_head);
        }
        self.out.clear();
        stream.write_all(&body).await?;
        stream.flush().await
    }

    async fn put_out<I: AsyncWrite + Unpin>(&mut self, stream: &mut I) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        stream.write_all(&self.out).await?;
        self.out.clear();
        stream.flush().await
    }
}
