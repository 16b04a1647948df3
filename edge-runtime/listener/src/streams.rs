//! The answers of one HTTP/2 connection, without a task for each that is at hand.
//!
//! The HTTP library gives each request's answer to an executor. Here they wait until the library has taken in what the
//! client has sent, and are then tried once, one after the other, by the connection's own task: what is stored is
//! answered so, all in one write. What has to wait for something goes on in a task of its own.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

type Answer = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Answers that were not tried yet. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Streams(Arc<Mutex<Vec<Answer>>>);

impl Streams {
    /// Tries each answer that waits; those that are not done go on in tasks. Whether there were any: the connection
    /// then has something to send.
    pub(crate) fn begin(&self) -> bool {
        let waiting = {
            let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *waiting)
        };
        let any = !waiting.is_empty();
        for mut answer in waiting {
            // Whoever takes it on asks anew, and is woken then.
            let mut cx = Context::from_waker(Waker::noop());
            match answer.as_mut().poll(&mut cx) {
                Poll::Ready(()) => {}
                Poll::Pending => drop(tokio::spawn(answer)),
            }
        }
        any
    }
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, answer: F) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(Box::pin(answer));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use hyper::rt::Executor;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_is_at_hand_is_done_and_the_rest_goes_on() {
        let done = Arc::new(AtomicU32::new(0));
        let streams = Streams::default();
        assert!(!streams.begin());
        let counted = Arc::clone(&done);
        streams.execute(async move {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let (release, released) = oneshot::channel::<()>();
        let (ended, end) = oneshot::channel::<()>();
        streams.execute(async move {
            let _ = released.await;
            let _ = ended.send(());
        });
        assert_eq!(done.load(Ordering::Relaxed), 0);
        assert!(streams.begin());
        assert_eq!(done.load(Ordering::Relaxed), 1);
        assert!(!streams.begin());
        assert!(release.send(()).is_ok());
        assert!(end.await.is_ok());
    }
}
