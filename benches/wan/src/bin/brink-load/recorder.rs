//! The history: every event with the time of one clock.

use brink_planet::history::Event;
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// Most events of one history: what memory is for.
const EVENTS_MAX: usize = 20_000_000;

/// Takes events from every client.
#[derive(Debug)]
pub(crate) struct Recorder {
    started: Instant,
    events: Mutex<Vec<Event>>,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            events: Mutex::default(),
        }
    }

    /// Microseconds since the run began.
    pub(crate) fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub(crate) fn add(&self, event: Event) {
        let mut events = self.events();
        if events.len() < EVENTS_MAX {
            events.push(event);
        }
    }

    /// Notes what happened to the platform.
    pub(crate) fn fault(&self, text: String) {
        let at_us = self.now_us();
        self.add(Event::Fault { at_us, text });
    }

    /// All events. Nobody panics while holding them.
    pub(crate) fn events(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
