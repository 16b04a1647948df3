//! Whether a client is still there, of which nothing was heard for long.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep};

/// Asks a silent client by a ping (RFC 9113 §6.7). Any byte of it is an answer.
pub(super) struct Alive {
    pings: Option<PingPong>,
    timer: Pin<Box<Sleep>>,
    /// So long nothing is heard before it is asked.
    quiet: Duration,
    /// So long it may take to answer.
    patience: Duration,
    heard: u64,
    is_asked: bool,
}

impl Alive {
    pub(super) fn new(pings: Option<PingPong>, quiet: Duration, patience: Duration) -> Self {
        Self {
            pings,
            timer: Box::pin(tokio::time::sleep(quiet)),
            quiet,
            patience,
            heard: 0,
            is_asked: false,
        }
    }

    /// Ready: the client is gone. `heard`: how many bytes came from it so far.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>, heard: impl Fn() -> u64) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let heard = heard();
            let is_silent = heard == self.heard;
            self.heard = heard;
            if is_silent && self.is_asked {
                return Poll::Ready(());
            }
            self.is_asked = is_silent;
            let mut next = self.quiet;
            if is_silent {
                next = self.patience;
                if let Some(pings) = &mut self.pings {
                    // The answer to the one before may lie there; there is one at a time.
                    let _ = pings.poll_pong(cx);
                    let _ = pings.send_ping(Ping::opaque());
                }
            }
            self.timer.as_mut().reset(Instant::now() + next);
        }
        Poll::Pending
    }
}
