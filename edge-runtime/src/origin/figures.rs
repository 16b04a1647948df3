//! What is counted of one origin.

use brink_policy::origins::Failure;
use metrics::{Counter, Histogram, counter, histogram};

/// Counters of one origin.
pub(super) struct Figures {
    pub(super) answered: Counter,
    pub(super) refused: Counter,
    pub(super) opened: Counter,
    pub(super) repeated: Counter,
    pub(super) seconds: Histogram,
    unreachable: Counter,
    late: Counter,
    broken: Counter,
    unwell: Counter,
}

impl Figures {
    pub(super) fn register(url: &str) -> Self {
        let of = |outcome: &'static str| counter!("brink_origin_requests_total", "origin" => url.to_owned(), "outcome" => outcome);
        Self {
            answered: of("answered"),
            refused: of("refused"),
            opened: counter!("brink_origin_opened_total", "origin" => url.to_owned()),
            repeated: counter!("brink_origin_repeats_total", "origin" => url.to_owned()),
            seconds: histogram!("brink_origin_seconds", "origin" => url.to_owned()),
            unreachable: of("unreachable"),
            late: of("late"),
            broken: of("broken"),
            unwell: of("unwell"),
        }
    }

    pub(super) fn failed(&self, failure: Failure) {
        let counter = match failure {
            Failure::Unreachable => &self.unreachable,
            Failure::Late => &self.late,
            Failure::Broken => &self.broken,
            Failure::Unwell => &self.unwell,
        };
        counter.increment(1);
    }
}
