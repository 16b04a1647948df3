//! Events that are given up: they are kept as dead letters first, then passed over.

use super::{Standing, Turn, Work, chance, cut};
use crate::{
    Error,
    clock::now_ms,
    projections::{
        apply::{Applied, put},
        letters,
        retry::{Failure, Failures, Verdict},
        rows::{self, Letter, Passed, Place},
    },
};
use brink_protocol::{event::Event, link::Condition};

/// How long an event waits for room among the dead letters, in milliseconds; then it is tried again.
const ROOM_WAIT_MS: u64 = 60_000;

impl Work {
    /// An event failed, for a target that may not be known: when it is tried again, or none: it is among the dead letters.
    pub(super) async fn failed(
        &self,
        (stream, target): (&str, Option<&str>),
        event: &Event,
        (failure, text): (Failure, String),
        failures: &mut Failures,
    ) -> Result<Option<u64>, Error> {
        self.count("brink_core_projection_failed_total", 1);
        let number = event.number;
        let (verdict, attempts) =
            failures.failed((target, number), failure, self.attempts_max, chance());
        tracing::warn!(projection = %self.label(), stream, number, attempts, error = %text,
            "a projection failed at an event");
        if let Verdict::Again(wait) = verdict {
            return Ok(Some(wait));
        }
        let letter = Letter {
            source: self.names.source.clone(),
            stream: stream.to_owned(),
            target: target.map(str::to_owned),
            event: event.clone(),
            error: cut(text),
            attempts,
            at_ms: now_ms(),
        };
        // Before the event is passed over: a letter too many says nothing wrong, one too few would lose the event.
        if !letters::keep(&*self.store, &self.names, &letter, self.letters_max).await? {
            tracing::error!(projection = %self.label(), stream, number, letters_max = self.letters_max,
                "a projection has as many dead letters as it may: the stream waits; retry or drop letters");
            return Ok(Some(ROOM_WAIT_MS));
        }
        self.count("brink_core_projection_dead_total", 1);
        tracing::error!(projection = %self.label(), stream, number, error = %letter.error,
            "a projection has given an event up: it is among the dead letters");
        Ok(None)
    }

    /// Passes over an event at its target; how long to wait then (0: not at all).
    pub(super) async fn pass_over(
        &self,
        (stream, target): (&str, &str),
        number: u64,
        place: Place,
        failures: &mut Failures,
    ) -> u64 {
        let application = self.application(stream, target, place);
        match application.pass_over(number).await {
            Applied::Unavailable(_) => failures.unavailable(chance()),
            _ => 0,
        }
    }

    /// The projection could not say which target the first event of the batch is for.
    pub(super) async fn without_target(
        &self,
        stream: &str,
        standing: &Standing,
        event: Event,
        failed: (Failure, String),
        failures: &mut Failures,
    ) -> Result<Option<Turn>, Error> {
        if let Some(wait) = self
            .failed((stream, None), &event, failed, failures)
            .await?
        {
            return Ok(Some(Turn::Later(wait)));
        }
        let place = Place {
            number: event.number,
            ..standing.place
        };
        let mark = Passed {
            at_ms: now_ms(),
            target: None,
        };
        let sort = self.names.passed_sort(stream, event.number);
        let mark = put(sort, rows::encode(&mark)?, Condition::Always);
        self.keep_place(stream, standing, place, vec![mark]).await?;
        Ok(None)
    }
}
