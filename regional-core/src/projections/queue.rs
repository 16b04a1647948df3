//! Which stream is worked on next. Pure: the time is an argument, in milliseconds of any clock that never goes back.

use std::collections::{BTreeSet, HashMap, VecDeque};

/// Streams that wait at most; those beyond are found again by looking through all.
const STREAMS_MAX: usize = 100_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In `ready`.
    Ready,
    /// Being worked on; `again`: something happened meanwhile.
    Busy { again: bool },
    /// In `later`.
    Later(u64),
}

/// Streams with something to do, each once.
#[derive(Debug)]
pub(super) struct Queue {
    max: usize,
    states: HashMap<String, State>,
    ready: VecDeque<String>,
    later: BTreeSet<(u64, String)>,
}

impl Default for Queue {
    fn default() -> Self {
        Self::with_room_for(STREAMS_MAX)
    }
}

impl Queue {
    /// An empty one that takes so many streams.
    pub(super) fn with_room_for(max: usize) -> Self {
        Self {
            max,
            states: HashMap::new(),
            ready: VecDeque::new(),
            later: BTreeSet::new(),
        }
    }

    /// How many more streams it takes.
    pub(super) fn room(&self) -> usize {
        self.max.saturating_sub(self.states.len())
    }

    /// There is something to do. A stream that waits after a failure goes on waiting. `false`: there is no room, and the
    /// stream was not noted.
    pub(super) fn push(&mut self, stream: &str) -> bool {
        let has_room = self.room() > 0;
        match self.states.get_mut(stream) {
            Some(State::Busy { again }) => *again = true,
            Some(State::Ready | State::Later(_)) => {}
            None if !has_room => return false,
            None => {
                self.states.insert(stream.to_owned(), State::Ready);
                self.ready.push_back(stream.to_owned());
            }
        }
        true
    }

    /// The next one, which is worked on from now on.
    pub(super) fn take(&mut self, now: u64) -> Option<String> {
        while let Some((due, _)) = self.later.first()
            && *due <= now
        {
            if let Some((_, stream)) = self.later.pop_first() {
                self.states.insert(stream.clone(), State::Ready);
                self.ready.push_back(stream);
            }
        }
        let stream = self.ready.pop_front()?;
        self.states
            .insert(stream.clone(), State::Busy { again: false });
        Some(stream)
    }

    /// It was worked on. `is_done`: up to what was there when it was looked at.
    pub(super) fn put_back(&mut self, stream: &str, is_done: bool) {
        match self.states.remove(stream) {
            Some(State::Busy { again: false }) if is_done => {}
            Some(State::Busy { .. }) => {
                self.states.insert(stream.to_owned(), State::Ready);
                self.ready.push_back(stream.to_owned());
            }
            Some(other) => {
                self.states.insert(stream.to_owned(), other);
            }
            None => {}
        }
    }

    /// It failed, and is tried again from `due` on.
    pub(super) fn retry_at(&mut self, stream: &str, due: u64) {
        if matches!(self.states.get(stream), Some(State::Busy { .. })) {
            self.states.insert(stream.to_owned(), State::Later(due));
            self.later.insert((due, stream.to_owned()));
        }
    }

    /// When the next one becomes due that waits after a failure.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.later.first().map(|(due, _)| *due)
    }

    /// Streams with something to do.
    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    /// Streams that wait after a failure.
    pub(super) fn failing(&self) -> usize {
        self.later.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_is_worked_on_once_at_a_time() {
        let mut queue = Queue::default();
        assert!(queue.push("a") && queue.push("b") && queue.push("a"));
        assert_eq!(queue.take(0).as_deref(), Some("a"));
        queue.push("a");
        assert_eq!(queue.take(0).as_deref(), Some("b"));
        assert_eq!(queue.take(0), None, "a is being worked on");
        // Something happened meanwhile: once more.
        queue.put_back("a", true);
        assert_eq!(queue.take(0).as_deref(), Some("a"));
        queue.put_back("a", true);
        queue.put_back("b", false);
        assert_eq!(queue.take(0).as_deref(), Some("b"));
        queue.put_back("b", true);
        assert_eq!((queue.take(0), queue.len()), (None, 0));
    }

    #[test]
    fn failures_wait() {
        let mut queue = Queue::default();
        for stream in ["a", "b"] {
            queue.push(stream);
            queue.take(0).unwrap();
        }
        queue.retry_at("a", 20);
        queue.retry_at("b", 10);
        queue.push("a");
        assert_eq!((queue.take(9), queue.next_due()), (None, Some(10)));
        assert_eq!(queue.failing(), 2);
        assert_eq!(queue.take(10).as_deref(), Some("b"));
        assert_eq!(queue.take(10), None);
        assert_eq!(queue.take(30).as_deref(), Some("a"));
        assert_eq!((queue.next_due(), queue.len()), (None, 2));
    }

    #[test]
    fn there_is_no_room_for_ever_more() {
        let mut queue = Queue::with_room_for(3);
        for n in 0..3 {
            assert_eq!(queue.room(), 3 - n);
            assert!(queue.push(&n.to_string()));
        }
        assert!(!queue.push("one more"));
        assert!(queue.push("0"));
        queue.take(0).unwrap();
        assert_eq!(queue.room(), 0, "it is still being worked on");
        queue.put_back("0", true);
        assert!(queue.push("one more"));
    }
}
