//! From what a module set as its response to an HTTP response: checked, counted, and streamed if it is not whole yet.

use crate::{
    Body, BoxError, RunError,
    pool::{GiveBack, Live},
    run::{Fault, Run},
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header::CONTENT_LENGTH, response::Parts};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
};
use tokio::{sync::oneshot, task::AbortHandle};
use wasmtime_wasi_http::p2::{bindings::http::types::ErrorCode, body::HyperOutgoingBody};

/// Answers up to this size are given as one piece.
const JOIN_BYTES_MAX: usize = 64 << 10;

/// Turns (of a millisecond) that a module gets to finish an answer that it has begun, before the answer is streamed.
const WHOLE_TURNS_MAX: u64 = 10;

/// What the module gave to `response-outparam.set`.
type Outcome = Result<http::Response<HyperOutgoingBody>, ErrorCode>;

/// Where the module's answer appears.
#[derive(Clone, Default)]
pub(crate) struct Cell(Arc<Mutex<Option<Outcome>>>);

impl Cell {
    pub(crate) fn set(&self, outcome: Outcome) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }

    fn take(&self) -> Option<Outcome> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A run that answers a request.
pub(crate) struct Answering {
    pub(crate) run: Run<Live>,
    pub(crate) cell: Cell,
    pub(crate) fault: Fault,
    pub(crate) method: Method,
    pub(crate) response_bytes_max: u64,
    pub(crate) give_back: GiveBack,
}

impl Answering {
    /// Runs until the answer is there: whole, if the module ends without waiting for its reader; else as a stream that
    /// the module goes on writing in a task of its own.
    pub(crate) async fn answer(mut self) -> Result<http::Response<Body>, RunError> {
        let mut begun = None;
        let mut turns_max = u64::MAX;
        let ended = std::future::poll_fn(|cx| {
            let turns = self.run.turns();
            let polled = Pin::new(&mut self.run).poll(cx);
            if let Poll::Ready(ended) = polled {
                return Poll::Ready(Some(ended));
            }
            if begun.is_none() {
                begun = self.cell.take();
                turns_max = turns.saturating_add(WHOLE_TURNS_MAX);
            }
            let could_go_on = turns < self.run.turns() && turns < turns_max;
            match &mut begun {
                // Nobody will read this body, and the module waits for a reader.
                Some(Ok(response)) if bodiless(&self.method, response.status()) => {
                    while let Poll::Ready(Some(Ok(_))) = poll_body(response.body_mut(), cx) {}
                    Poll::Pending
                }
                Some(_) if could_go_on => Poll::Pending,
                Some(_) => Poll::Ready(None),
                None => Poll::Pending,
            }
        })
        .await;
        let ended = ended.transpose()?;
        let outcome = begun
            .or_else(|| self.cell.take())
            .ok_or(RunError::NoResponse)?;
        let response = outcome.map_err(|code| RunError::BadResponse {
            reason: format!("it gave the error {code:?} instead of a response"),
        })?;
        let (mut parts, body) = response.into_parts();
        let declared = check_head(&parts, &self.method, self.response_bytes_max)?;
        match ended {
            Some(live) => self.whole(parts, body, declared, live),
            None => {
                let body = self.stream(body, declared);
                parts.extensions.clear();
                Ok(http::Response::from_parts(parts, body.boxed_unsync()))
            }
        }
    }

    /// The run has ended: so has its body, or it never will.
    fn whole(
        self,
        mut parts: Parts,
        mut body: HyperOutgoingBody,
        declared: Option<u64>,
        live: Live,
    ) -> Result<http::Response<Body>, RunError> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut whole = Whole::default();
        let mut live = Some(live);
        loop {
            match poll_body(&mut body, &mut cx) {
                Poll::Ready(Some(Ok(frame))) => whole.push(frame, self.response_bytes_max)?,
                Poll::Ready(Some(Err(_))) => return Err(unfinished()),
                Poll::Ready(None) => break,
                // Returned without finishing the body: it ends with the instance.
                Poll::Pending if live.is_some() => drop(live.take()),
                Poll::Pending => break,
            }
        }
        if let Some(live) = live {
            self.give_back.give(live);
        }
        if bodiless(&self.method, parts.status) {
            head_only(&mut parts, &self.method, declared, whole.bytes);
            return Ok(http::Response::from_parts(parts, empty()));
        }
        if declared.is_some_and(|declared| declared != whole.bytes) {
            return Err(wrong_length(declared, whole.bytes));
        }
        Ok(http::Response::from_parts(parts, whole.into_body()))
    }

    /// The module goes on writing.
    fn stream(self, body: HyperOutgoingBody, declared: Option<u64>) -> Streaming {
        let (done, ended) = oneshot::channel();
        let (run, fault) = (self.run, Arc::clone(&self.fault));
        let task = tokio::spawn(async move {
            let result = run.await;
            if let Err(error) = &result {
                let _ = fault.set(error.clone());
            }
            if let Err(Err(error)) = done.send(result) {
                tracing::debug!(error = %error, "a module failed after its answer had been sent");
            }
        });
        Streaming {
            body,
            ended: Some(ended),
            live: None,
            give_back: Some(self.give_back),
            fault: self.fault,
            task: task.abort_handle(),
            declared,
            bytes: 0,
            bytes_max: self.response_bytes_max,
            finished: false,
        }
    }
}

fn poll_body(
    body: &mut HyperOutgoingBody,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, wasmtime_wasi_http::Error>>> {
    // Without tokio's budget: an empty channel must be told from a reader that had its turn.
    let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx));
    std::pin::pin!(tokio::task::unconstrained(frame)).poll(cx)
}

/// RFC 9110 §6.4.1: these have no content, whatever their header says.
fn bodiless(method: &Method, status: StatusCode) -> bool {
    *method == Method::HEAD
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

/// Checks what can be checked before the body; the declared length.
fn check_head(
    parts: &Parts,
    method: &Method,
    response_bytes_max: u64,
) -> Result<Option<u64>, RunError> {
    if !(200..600).contains(&parts.status.as_u16()) {
        return Err(RunError::BadResponse {
            reason: format!(
                "its status is {}, it must be 200 to 599",
                parts.status.as_u16()
            ),
        });
    }
    let Some(value) = parts.headers.get(CONTENT_LENGTH) else {
        return Ok(None);
    };
    let declared = value
        .to_str()
        .ok()
        .filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|text| text.parse::<u64>().ok())
        .ok_or_else(|| RunError::BadResponse {
            reason: "its content-length is not a number".into(),
        })?;
    if declared > response_bytes_max && !bodiless(method, parts.status) {
        return Err(RunError::ResponseTooLarge {
            limit: response_bytes_max,
        });
    }
    Ok(Some(declared))
}

/// Brings the head of an answer without content in order: RFC 9110 §8.6.
fn head_only(parts: &mut Parts, method: &Method, declared: Option<u64>, bytes: u64) {
    if parts.status == StatusCode::NO_CONTENT {
        parts.headers.remove(CONTENT_LENGTH);
    } else if *method == Method::HEAD && declared.is_none() && bytes > 0 {
        parts
            .headers
            .insert(CONTENT_LENGTH, HeaderValue::from(bytes));
    }
}

fn unfinished() -> RunError {
    RunError::BadResponse {
        reason:
            "it dropped its body before it was finished, or wrote another length than it declared"
                .into(),
    }
}

fn wrong_length(declared: Option<u64>, bytes: u64) -> RunError {
    RunError::BadResponse {
        reason: format!(
            "its content-length is {}, its body {bytes} bytes",
            declared.unwrap_or_default()
        ),
    }
}

fn empty() -> Body {
    http_body_util::Empty::new()
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A body that is all there.
#[derive(Default)]
struct Whole {
    chunks: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    bytes: u64,
}

impl Whole {
    fn push(&mut self, frame: Frame<Bytes>, bytes_max: u64) -> Result<(), RunError> {
        match frame.into_data() {
            Ok(data) => {
                self.bytes = self.bytes.saturating_add(data.len() as u64);
                if self.bytes > bytes_max {
                    return Err(RunError::ResponseTooLarge { limit: bytes_max });
                }
                if !data.is_empty() {
                    self.chunks.push_back(data);
                }
            }
            Err(frame) => self.trailers = frame.into_trailers().ok(),
        }
        Ok(())
    }

    fn into_body(mut self) -> Body {
        if self.chunks.len() > 1 && self.bytes <= JOIN_BYTES_MAX as u64 {
            let mut joined = BytesMut::with_capacity(usize::try_from(self.bytes).unwrap_or(0));
            self.chunks
                .iter()
                .for_each(|chunk| joined.extend_from_slice(chunk));
            self.chunks = VecDeque::from([joined.freeze()]);
        }
        if self.trailers.is_none() && self.chunks.len() <= 1 {
            let bytes = self.chunks.pop_front().unwrap_or_default();
            return http_body_util::Full::new(bytes)
                .map_err(|never| match never {})
                .boxed_unsync();
        }
        self.boxed_unsync()
    }
}

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = match self.chunks.pop_front() {
            Some(chunk) => {
                self.bytes -= chunk.len() as u64;
                Some(Frame::data(chunk))
            }
            None => self.trailers.take().map(Frame::trailers),
        };
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes)
    }
}

/// A body that the module is still writing.
struct Streaming {
    body: HyperOutgoingBody,
    ended: Option<oneshot::Receiver<Result<Live, RunError>>>,
    /// The run has ended well; its body may not have.
    live: Option<Live>,
    give_back: Option<GiveBack>,
    fault: Fault,
    task: AbortHandle,
    declared: Option<u64>,
    bytes: u64,
    bytes_max: u64,
    finished: bool,
}

impl Streaming {
    fn fail(&mut self, error: RunError) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.finished = true;
        self.task.abort();
        self.live = None;
        Poll::Ready(Some(Err(error.into())))
    }

    fn frame(&mut self, frame: Frame<Bytes>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let length = frame.data_ref().map_or(0, Bytes::len);
        self.bytes = self.bytes.saturating_add(length as u64);
        if self.bytes > self.bytes_max {
            let limit = self.bytes_max;
            return self.fail(RunError::ResponseTooLarge { limit });
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn end(&mut self) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        // A body whose instance is gone ends too: it may have ended early.
        if let Some(fault) = self.fault.get() {
            let fault = fault.clone();
            return self.fail(fault);
        }
        if self.declared.is_some_and(|declared| declared != self.bytes) {
            let error = wrong_length(self.declared, self.bytes);
            return self.fail(error);
        }
        self.finished = true;
        self.release();
        Poll::Ready(None)
    }

    /// The answer is complete: the run may finish what it does after it, within its limits.
    fn release(&mut self) {
        let Some(give_back) = self.give_back.take() else {
            return;
        };
        let late = || self.ended.as_mut()?.try_recv().ok()?.ok();
        if let Some(live) = self.live.take().or_else(late) {
            give_back.give(live);
        }
    }
}

impl http_body::Body for Streaming {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if this.finished {
            return Poll::Ready(None);
        }
        loop {
            match poll_body(&mut this.body, cx) {
                Poll::Ready(Some(Ok(frame))) => return this.frame(frame),
                Poll::Ready(Some(Err(_))) => {
                    let fault = this.fault.get().cloned().unwrap_or_else(unfinished);
                    return this.fail(fault);
                }
                Poll::Ready(None) => return this.end(),
                Poll::Pending => {}
            }
            // Nothing to read, and the run has ended: an unfinished body ends with its instance.
            if this.live.take().is_some() {
                continue;
            }
            let Some(ended) = &mut this.ended else {
                return Poll::Pending;
            };
            match Pin::new(ended).poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(result) => {
                    this.ended = None;
                    match result {
                        Ok(Ok(live)) => this.live = Some(live),
                        Ok(Err(error)) => return this.fail(error),
                        Err(_) => return this.fail(unfinished()),
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.finished
    }

    fn size_hint(&self) -> SizeHint {
        match self.declared {
            Some(declared) => SizeHint::with_exact(declared.saturating_sub(self.bytes)),
            None => SizeHint::new(),
        }
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        // All that was declared was read: a reader that knows the length does not ask for the end.
        let complete = self.finished || self.declared == Some(self.bytes);
        if complete && self.fault.get().is_none() {
            self.release();
        } else {
            self.task.abort();
        }
    }
}
