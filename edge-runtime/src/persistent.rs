//! A future that is not ended by being dropped.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// The future itself, in one place.
pub type Rest<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A future whose rest is handed on when this is dropped before its end.
pub struct Persistent<T, F: FnOnce(Rest<T>)> {
    rest: Option<Rest<T>>,
    hand_on: Option<F>,
}

impl<T, F: FnOnce(Rest<T>)> Persistent<T, F> {
    /// `hand_on` gets what is left of `future`.
    pub fn new(future: impl Future<Output = T> + Send + 'static, hand_on: F) -> Self {
        Self {
            rest: Some(Box::pin(future)),
            hand_on: Some(hand_on),
        }
    }
}

impl<T, F: FnOnce(Rest<T>) + Unpin> Future for Persistent<T, F> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Some(rest) = &mut self.rest else {
            return Poll::Pending;
        };
        let polled = rest.as_mut().poll(cx);
        if polled.is_ready() {
            self.rest = None;
        }
        polled
    }
}

impl<T, F: FnOnce(Rest<T>)> Drop for Persistent<T, F> {
    fn drop(&mut self) {
        if let (Some(rest), Some(hand_on)) = (self.rest.take(), self.hand_on.take()) {
            hand_on(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn what_is_dropped_goes_on() {
        let (go, may_go) = oneshot::channel::<()>();
        let (done, is_done) = oneshot::channel::<u32>();
        let asking = async move {
            may_go.await.unwrap();
            done.send(7).unwrap();
        };
        let mut persistent = Persistent::new(asking, |rest| {
            tokio::spawn(rest);
        });
        let polled = futures_util::poll!(&mut persistent);
        assert!(polled.is_pending());
        drop(persistent);
        go.send(()).unwrap();
        assert_eq!(is_done.await.unwrap(), 7);
    }

    #[tokio::test]
    async fn what_has_ended_is_not_handed_on() {
        let persistent = Persistent::new(async { 7 }, |_| panic!("it has ended"));
        assert_eq!(persistent.await, 7);
    }
}
