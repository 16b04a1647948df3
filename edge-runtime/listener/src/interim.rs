//! Interim answers (RFC 9110 §15.2) on their way to the client of one request.
//!
//! Whoever answers a request finds an [`Interim`] in its extensions, where the client's protocol can be sent some. What is
//! sent there goes out before the final answer; nobody waits for it but the final answer, and not longer than for any
//! other byte of a client that reads slowly.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use http::{HeaderMap, StatusCode};

/// Interim answers to one request; what comes after these is dropped.
const HEADS_MAX: u32 = 16;
/// Bytes of names and values of all of them; what does not fit is dropped.
const BYTES_MAX: usize = 32 * 1024;

/// Takes interim answers for the client. Clones lead to the same client.
#[derive(Clone)]
pub struct Interim(Arc<Mutex<State>>);

/// A status and its fields.
pub(crate) type Head = (StatusCode, HeaderMap);

struct State {
    /// The final answer has not begun.
    is_open: bool,
    taken: u32,
    bytes: usize,
    waiting: VecDeque<Head>,
    /// One was given to who writes, and may not be out.
    is_writing: bool,
    /// Who writes them.
    writer: Option<Waker>,
    /// Who has the final answer.
    closer: Option<Waker>,
}

impl fmt::Debug for Interim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interim")
            .field("is_open", &self.state().is_open)
            .finish_non_exhaustive()
    }
}

impl Interim {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            is_open: true,
            taken: 0,
            bytes: 0,
            waiting: VecDeque::new(),
            is_writing: false,
            writer: None,
            closer: None,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends an interim answer, without waiting. It is dropped if it is not one (1xx, but neither 100 nor 101, which are
    /// the connection's own), if the final answer has begun, and beyond 16 or 32 KiB for one request. Whether it was taken.
    pub fn send(&self, status: StatusCode, fields: HeaderMap) -> bool {
        let is_connections =
            [StatusCode::CONTINUE, StatusCode::SWITCHING_PROTOCOLS].contains(&status);
        let length = fields.iter().fold(0_usize, |length, (name, value)| {
            length.saturating_add(name.as_str().len() + value.len() + 4)
        });
        let mut state = self.state();
        let bytes = state.bytes.saturating_add(length);
        if !status.is_informational()
            || is_connections
            || !state.is_open
            || state.taken >= HEADS_MAX
            || bytes > BYTES_MAX
        {
            return false;
        }
        state.taken += 1;
        state.bytes = bytes;
        state.waiting.push_back((status, fields));
        wake(state, |state| &mut state.writer);
        true
    }

    /// The client may send the request's body (RFC 9110 §15.2.1).
    pub(crate) fn proceed(&self) {
        let mut state = self.state();
        if state.is_open {
            let head = (StatusCode::CONTINUE, HeaderMap::new());
            state.waiting.push_back(head);
            wake(state, |state| &mut state.writer);
        }
    }

    /// The next one to write. Who asks says that those before are written.
    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Head> {
        let mut state = self.state();
        if let Some(head) = state.waiting.pop_front() {
            state.is_writing = true;
            return Poll::Ready(head);
        }
        if !state
            .writer
            .as_ref()
            .is_some_and(|writer| writer.will_wake(cx.waker()))
        {
            state.writer = Some(cx.waker().clone());
        }
        if std::mem::take(&mut state.is_writing) {
            wake(state, |state| &mut state.closer);
        }
        Poll::Pending
    }

    /// The final answer begins: takes no more, and gives those that wait.
    pub(crate) fn close(&self) -> VecDeque<Head> {
        let mut state = self.state();
        state.is_open = false;
        std::mem::take(&mut state.waiting)
    }

    /// The final answer begins when all that was taken is written. Nothing more is taken.
    pub(crate) fn poll_settled(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        state.is_open = false;
        if state.waiting.is_empty() && !state.is_writing {
            return Poll::Ready(());
        }
        state.closer = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Wakes who waits at this place, after the lock was let go.
fn wake(mut state: MutexGuard<'_, State>, place: impl FnOnce(&mut State) -> &mut Option<Waker>) {
    let waker = place(&mut state).take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// A head as HTTP/1.1 sends it (RFC 9112 §4, §5).
pub(crate) fn encode(head: &Head) -> Vec<u8> {
    let (status, fields) = head;
    let mut text = Vec::with_capacity(128);
    let reason = status.canonical_reason().unwrap_or("");
    text.extend_from_slice(b"HTTP/1.1 ");
    text.extend_from_slice(status.as_str().as_bytes());
    text.push(b' ');
    text.extend_from_slice(reason.as_bytes());
    text.extend_from_slice(b"\r\n");
    for (name, value) in fields {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::HeaderValue;

    use super::*;

    fn status(code: u16) -> StatusCode {
        StatusCode::from_u16(code).unwrap()
    }

    fn fields(length: usize) -> HeaderMap {
        let value = HeaderValue::try_from("x".repeat(length)).unwrap();
        HeaderMap::from_iter([(http::header::LINK, value)])
    }

    fn cx() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    #[test]
    fn only_interim_answers_are_taken_and_only_before_the_final_one() {
        let interim = Interim::new();
        for (code, taken) in [
            (100, false),
            (101, false),
            (102, true),
            (103, true),
            (200, false),
        ] {
            assert_eq!(interim.send(status(code), fields(1)), taken, "{code}");
        }
        assert_eq!(interim.close().len(), 2);
        assert!(!interim.send(status(103), fields(1)));
        assert!(interim.close().is_empty());
    }

    #[test]
    fn they_are_bounded_in_number_and_in_bytes() {
        let interim = Interim::new();
        let taken = (0..1000).filter(|_| interim.send(status(103), fields(1)));
        assert_eq!(taken.count(), 16);
        let interim = Interim::new();
        assert!(!interim.send(status(103), fields(BYTES_MAX)));
        assert!(interim.send(status(103), fields(BYTES_MAX / 2)));
        assert!(!interim.send(status(103), fields(BYTES_MAX / 2)));
    }

    #[test]
    fn the_final_answer_waits_until_they_are_written() {
        let interim = Interim::new();
        assert!(interim.poll_settled(&mut cx()).is_ready());
        let interim = Interim::new();
        assert!(interim.poll_next(&mut cx()).is_pending());
        interim.send(status(103), fields(1));
        assert!(interim.poll_settled(&mut cx()).is_pending());
        assert!(interim.poll_next(&mut cx()).is_ready());
        assert!(interim.poll_settled(&mut cx()).is_pending());
        assert!(interim.poll_next(&mut cx()).is_pending());
        assert!(interim.poll_settled(&mut cx()).is_ready());
    }

    #[test]
    fn heads_are_lines() {
        let head = (status(103), fields(2));
        assert_eq!(
            encode(&head),
            b"HTTP/1.1 103 Early Hints\r\nlink: xx\r\n\r\n"
        );
        let head = (status(199), HeaderMap::new());
        assert_eq!(encode(&head), b"HTTP/1.1 199 \r\n\r\n");
    }
}
