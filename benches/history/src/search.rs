//! Looks for an order of operations that explains a history.
//!
//! After Wing and Gong, with Lowe's memory of what was tried: operations are taken in one by one, each only while none of
//! the others that are left has ended before it began; where nothing fits, the last one is taken back. What has been taken
//! in and the state that came of it are never tried twice. An operation that changes nothing is never taken back alone:
//! wherever it fits, nothing is lost by taking it in at once. (A deletion that finds nothing may find something elsewhere:
//! it is not one of those.)

use crate::{
    history::{Call, Operation, Outcome},
    model::{Partition, Step},
};
use rustc_hash::FxHashSet;

/// Steps of a search that is to decide. A history that needs more is left undecided.
pub const STEPS_MAX: u64 = 3_000_000;

/// What a search found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order.
    Linearizable,
    /// There is none.
    Impossible,
    /// It takes too long to say.
    Undecided,
}

/// Ends of the list of events.
const HEAD: usize = 0;

/// A place in the list of events.
#[derive(Debug, Clone, Copy)]
struct Event {
    operation: usize,
    is_end: bool,
    before: usize,
    after: usize,
}

/// What can be taken back.
struct Taken {
    /// Its beginning in the list.
    at: usize,
    /// The state before it; none: it changes nothing, whatever the state.
    before: Option<Partition>,
}

struct Search<'a> {
    operations: &'a [&'a Operation],
    /// In the order of time, linked; the first is the head, and a link to it is the end.
    events: Vec<Event>,
    /// For each operation, where its end is in the list; the head: nowhere.
    ends: Vec<usize>,
    open_ends: usize,
    state: Partition,
    taken: Vec<Taken>,
    bits: Vec<u64>,
    tried: FxHashSet<(Vec<u64>, Partition)>,
}

/// Whether there is an order of the operations of one partition that explains their outcomes and contradicts no clock.
/// Reads without an outcome, and what was refused, say nothing. Takes at most `steps` steps.
#[must_use]
pub fn search(operations: &[&Operation], steps: u64) -> Verdict {
    let told: Vec<&Operation> = operations
        .iter()
        .copied()
        .filter(|operation| says_something(operation))
        .collect();
    Search::new(&told).run(steps)
}

fn says_something(operation: &Operation) -> bool {
    match operation.outcome {
        Outcome::Refused => false,
        Outcome::Unknown => matches!(operation.call, Call::Commit(_)),
        _ => true,
    }
}

impl<'a> Search<'a> {
    fn new(operations: &'a [&'a Operation]) -> Self {
        // Where two moments are one, beginnings come first: then nothing is said of the order of the two.
        let mut moments = Vec::with_capacity(operations.len() * 2);
        for (number, operation) in operations.iter().enumerate() {
            moments.push((operation.began_ns, false, number));
            if let Some(ended_ns) = operation.ended_ns
                && !operation.is_open()
            {
                moments.push((ended_ns.max(operation.began_ns), true, number));
            }
        }
        moments.sort_unstable();
        let mut ends = vec![HEAD; operations.len()];
        let count = moments.len() + 1;
        let mut events = vec![Event {
            operation: 0,
            is_end: false,
            before: count - 1,
            after: 1 % count,
        }];
        for ((_, is_end, operation), at) in moments.into_iter().zip(1..) {
            if is_end && let Some(end) = ends.get_mut(operation) {
                *end = at;
            }
            events.push(Event {
                operation,
                is_end,
                before: at - 1,
                after: (at + 1) % count,
            });
        }
        Self {
            operations,
            events,
            open_ends: ends.iter().filter(|end| **end != HEAD).count(),
            ends,
            state: Partition::default(),
            taken: Vec::new(),
            bits: vec![0; operations.len().div_ceil(64)],
            tried: FxHashSet::default(),
        }
    }

    fn event(&self, at: usize) -> Option<Event> {
        self.events.get(at).copied().filter(|_| at != HEAD)
    }

    fn first(&self) -> usize {
        self.events.first().map_or(HEAD, |head| head.after)
    }

    fn run(&mut self, steps: u64) -> Verdict {
        let mut at = self.first();
        for _ in 0..steps {
            if self.open_ends == 0 {
                return Verdict::Linearizable;
            }
            at = match self.event(at) {
                Some(event) if !event.is_end => match self.take(at, event) {
                    true => self.first(),
                    false => event.after,
                },
                // Something has ended here that could not be taken in.
                _ => match self.take_back() {
                    Some(next) => next,
                    None => return Verdict::Impossible,
                },
            };
        }
        Verdict::Undecided
    }

    /// Takes an operation in, if it can come next and that was not tried yet.
    fn take(&mut self, at: usize, event: Event) -> bool {
        let Some(operation) = self.operations.get(event.operation) else {
            return false;
        };
        let next = match self.state.step(&operation.call, &operation.outcome) {
            Step::Never => return false,
            Step::Next(next) => Some(next),
            Step::Same if matches!(operation.outcome, Outcome::Done { .. }) => {
                Some(self.state.clone())
            }
            Step::Same => None,
        };
        self.flip(event.operation);
        let mut before = None;
        if let Some(next) = next {
            if !self.tried.insert((self.bits.clone(), next.clone())) {
                self.flip(event.operation);
                return false;
            }
            before = Some(std::mem::replace(&mut self.state, next));
        }
        self.unlink(at);
        let end = self.end_of(event.operation);
        if end != HEAD {
            self.unlink(end);
            self.open_ends -= 1;
        }
        self.taken.push(Taken { at, before });
        true
    }

    /// Takes back the last operation that might have come later, and gives where to go on.
    fn take_back(&mut self) -> Option<usize> {
        loop {
            let taken = self.taken.pop()?;
            let event = self.event(taken.at)?;
            let end = self.end_of(event.operation);
            if end != HEAD {
                self.link(end);
                self.open_ends += 1;
            }
            self.link(taken.at);
            self.flip(event.operation);
            if let Some(before) = taken.before {
                self.state = before;
                return Some(event.after);
            }
        }
    }

    fn end_of(&self, operation: usize) -> usize {
        self.ends.get(operation).copied().unwrap_or(HEAD)
    }

    fn flip(&mut self, operation: usize) {
        if let Some(word) = self.bits.get_mut(operation / 64) {
            *word ^= 1 << (operation % 64);
        }
    }

    fn unlink(&mut self, at: usize) {
        if let Some(event) = self.event(at) {
            self.set_after(event.before, event.after);
            self.set_before(event.after, event.before);
        }
    }

    /// Undoes the last [`Search::unlink`]: its own links are still there.
    fn link(&mut self, at: usize) {
        if let Some(event) = self.event(at) {
            self.set_after(event.before, at);
            self.set_before(event.after, at);
        }
    }

    fn set_after(&mut self, at: usize, after: usize) {
        if let Some(event) = self.events.get_mut(at) {
            event.after = after;
        }
    }

    fn set_before(&mut self, at: usize, before: usize) {
        if let Some(event) = self.events.get_mut(at) {
            event.before = before;
        }
    }
}
