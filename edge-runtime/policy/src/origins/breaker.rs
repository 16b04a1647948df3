//! The circuit breaker of one origin.
//!
//! It opens when an origin cannot be reached a few times in a row, or when most of what it was asked lately failed. While
//! it is open nothing is asked; then one request is a trial. Clients choose what is asked, so that what they alone can bring
//! about must not take away an origin that answers others: see [`Neighbours::None`].

use super::Failure;

/// Failures to connect in a row that open it.
const UNREACHABLE_MAX: u32 = 5;
/// Requests in the window below which no share is taken.
const REQUESTS_MIN: u32 = 20;
/// Failures of a hundred requests that open it.
const FAILED_PERCENT: u32 = 50;
/// Seconds of the window.
const WINDOW_S: usize = 10;
/// An origin without neighbours that has answered within so long stays in use, whatever else failed, in milliseconds.
const ANSWERED_MS: u64 = 2_000;
/// How long it is open the first time, in milliseconds; twice as long each time after.
const OPEN_MS_MIN: u64 = 1_000;
/// How long it is open at most, in milliseconds.
const OPEN_MS_MAX: u64 = 30_000;
/// When it was closed for so long, it opens for the shortest time again, in milliseconds.
const FORGIVEN_MS: u64 = 30_000;
/// A trial of which nothing was heard for so long is over, in milliseconds.
const TRIAL_MS_MAX: u64 = 120_000;

/// Whether there are others that are well, and may be asked instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Neighbours {
    /// It is the only one, or the last: it is left alone when it cannot be reached, or when nothing at all comes from it.
    None,
    /// There are: it is left alone sooner.
    Some,
}

/// How a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Requests go to the origin.
    Closed,
    /// None go before that moment.
    Open {
        /// When the next trial may be.
        until_ms: u64,
    },
    /// One at a time goes, as a trial.
    HalfOpen {
        /// Since when one is under way; none: none is.
        trial_ms: Option<u64>,
    },
}

/// Whether a request may go to the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// It may.
    Granted,
    /// It may, as a trial: what becomes of it must be told.
    Trial,
    /// It may not.
    Refused,
}

#[derive(Debug, Clone, Copy, Default)]
struct Second {
    at: u64,
    all: u32,
    failed: u32,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Breaker {
    state: State,
    unreachable: u32,
    /// How often it opened without having been closed for long.
    opened: u32,
    closed_ms: u64,
    answered_ms: Option<u64>,
    window: [Second; WINDOW_S],
}

impl Default for Breaker {
    /// A closed one.
    fn default() -> Self {
        Self {
            state: State::Closed,
            unreachable: 0,
            opened: 0,
            closed_ms: 0,
            answered_ms: None,
            window: [Second::default(); WINDOW_S],
        }
    }
}

impl Breaker {
    /// How it stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// What [`Breaker::ask`] would say; takes no trial.
    #[must_use]
    pub fn look(&self, now_ms: u64) -> Permit {
        match self.state {
            State::Closed => Permit::Granted,
            State::Open { until_ms } if now_ms < until_ms => Permit::Refused,
            State::HalfOpen { trial_ms: Some(at) } if now_ms < at + TRIAL_MS_MAX => Permit::Refused,
            State::Open { .. } | State::HalfOpen { .. } => Permit::Trial,
        }
    }

    /// Whether a request may go to the origin now.
    pub fn ask(&mut self, now_ms: u64) -> Permit {
        let permit = self.look(now_ms);
        if permit == Permit::Trial {
            self.state = State::HalfOpen {
                trial_ms: Some(now_ms),
            };
        }
        permit
    }

    /// The origin has answered one that had `permit`.
    pub fn succeeded(&mut self, permit: Permit, now_ms: u64) {
        match self.state {
            State::Closed => {}
            State::HalfOpen { .. } if permit == Permit::Trial => {
                self.state = State::Closed;
                self.closed_ms = now_ms;
                self.window = [Second::default(); WINDOW_S];
            }
            // It was sent before the breaker opened.
            State::Open { .. } | State::HalfOpen { .. } => return,
        }
        self.unreachable = 0;
        self.answered_ms = Some(now_ms);
        if self.opened > 0 && now_ms.saturating_sub(self.closed_ms) >= FORGIVEN_MS {
            self.opened = 0;
        }
        self.second(now_ms).all += 1;
    }

    /// One that had `permit` failed; whether the breaker opens with it.
    pub fn failed(
        &mut self,
        permit: Permit,
        failure: Failure,
        neighbours: Neighbours,
        now_ms: u64,
        chance: u64,
    ) -> bool {
        match self.state {
            State::Closed => {}
            State::HalfOpen { .. } if permit == Permit::Trial => {
                self.open(now_ms, chance);
                return true;
            }
            State::Open { .. } | State::HalfOpen { .. } => return false,
        }
        if failure == Failure::Unwell && neighbours == Neighbours::None {
            // It has answered: what it says is for the client.
            self.succeeded(permit, now_ms);
            return false;
        }
        let second = self.second(now_ms);
        second.all += 1;
        second.failed += 1;
        if failure == Failure::Unreachable {
            self.unreachable += 1;
        }
        let opens = self.unreachable >= UNREACHABLE_MAX || self.fails_mostly(neighbours, now_ms);
        if opens {
            self.open(now_ms, chance);
        }
        opens
    }

    /// Nobody waits any more for what had `permit`, or it was not sent: nothing is known.
    pub fn abandoned(&mut self, permit: Permit) {
        if let (Permit::Trial, State::HalfOpen { trial_ms }) = (permit, &mut self.state) {
            *trial_ms = None;
        }
    }

    fn fails_mostly(&self, neighbours: Neighbours, now_ms: u64) -> bool {
        let has_answered = self
            .answered_ms
            .is_some_and(|at| now_ms.saturating_sub(at) < ANSWERED_MS);
        if neighbours == Neighbours::None && has_answered {
            return false;
        }
        let now = now_ms / 1_000;
        let (mut all, mut failed) = (0u32, 0u32);
        for second in &self.window {
            if second.at + WINDOW_S as u64 > now {
                all = all.saturating_add(second.all);
                failed = failed.saturating_add(second.failed);
            }
        }
        all >= REQUESTS_MIN && failed.saturating_mul(100) >= all.saturating_mul(FAILED_PERCENT)
    }

    fn open(&mut self, now_ms: u64, chance: u64) {
        let length = (OPEN_MS_MIN << self.opened.min(10)).min(OPEN_MS_MAX);
        self.opened = self.opened.saturating_add(1);
        self.unreachable = 0;
        // A fifth more or less: PoPs should not come back all at once.
        let length = length * 4 / 5 + chance % (length * 2 / 5);
        self.state = State::Open {
            until_ms: now_ms + length,
        };
    }

    fn second(&mut self, now_ms: u64) -> &mut Second {
        let at = now_ms / 1_000;
        let place = usize::try_from(at % WINDOW_S as u64).unwrap_or(0);
        let [first, rest @ ..] = &mut self.window;
        let second = match place.checked_sub(1).and_then(|place| rest.get_mut(place)) {
            Some(second) => second,
            None => first,
        };
        if second.at != at {
            *second = Second {
                at,
                ..Second::default()
            };
        }
        second
    }
}

#[cfg(test)]
mod tests;
