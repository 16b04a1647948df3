//! The work on one stream: read events in order, apply them by target, note how far.

mod given_up;

use super::{
    apply::{Application, Applied, Mark, commit, put},
    module::{Fault, Projection},
    retry::{Failure, Failures},
    rows::{self, Control, ERROR_BYTES_MAX, Names, Place, key_in},
};
use crate::{
    Error,
    clock::now_ms,
    store::{Commit, Seen, Store, Transaction},
};
use brink_protocol::{
    event::{self, Event, head_key, range_after},
    link::Condition,
    record::{Bound, Entry, Range, Version},
};
use futures_util::{StreamExt as _, stream};
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

/// Events of one batch.
const BATCH_MAX: u32 = 100;
/// Batches of one turn: then others have theirs.
const BATCHES_MAX: u32 = 8;
/// Targets of one batch that are applied to at a time.
const TARGETS_AT_ONCE: usize = 8;
/// Targets that are remembered as noted in the index.
const NOTED_MAX: usize = 10_000;

/// How a turn ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Turn {
    /// All that was there is applied.
    Done,
    /// There is more.
    More,
    /// Something failed: go on after so many milliseconds.
    Later(u64),
}

/// A projection at work.
pub(super) struct Work {
    pub(super) store: Arc<dyn Store>,
    pub(super) projection: Arc<dyn Projection>,
    pub(super) names: Names,
    /// Failures after which an event is given up.
    pub(super) attempts_max: u32,
    /// Dead letters beyond which no event is given up.
    pub(super) letters_max: u64,
    /// Targets that are in the index.
    pub(super) noted: Mutex<HashSet<String>>,
}

/// Where a stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) place: Place,
    /// The version of the place's record.
    version: Option<Version>,
    /// The newest event.
    pub(super) newest: u64,
}

impl Standing {
    /// Events that are not applied yet.
    pub(super) fn behind(&self) -> u64 {
        self.newest.saturating_sub(self.place.number)
    }

    /// From a stream's records.
    pub(super) fn of(
        control: Control,
        place: Option<&Entry>,
        head: Option<&Entry>,
    ) -> Result<Self, Error> {
        let newest = head.map_or(Ok(0), |head| event::decode_head(&head.value))?;
        let found = place.map_or(Ok(Place::default()), |entry| rows::decode(&entry.value))?;
        Ok(Self {
            place: found.under(control),
            version: place.map(|entry| entry.version),
            newest,
        })
    }
}

/// A piece of text that is not longer than is kept.
pub(super) fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(ERROR_BYTES_MAX));
    text
}

/// Any number.
fn chance() -> u64 {
    let mut bytes = [0; 8];
    // Without it all wait for equally long, which is no harm.
    let _ = getrandom::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

impl Work {
    fn label(&self) -> String {
        format!("{}/{}", self.names.tenant, self.names.name)
    }

    fn count(&self, name: &'static str, by: usize) {
        metrics::counter!(name, "projection" => self.label()).increment(by as u64);
    }

    /// Where a stream stands.
    pub(super) async fn standing(&self, stream: &str) -> Result<Standing, Error> {
        let keys = [
            key_in(&self.names.control(), ""),
            key_in(&self.names.places(stream), stream),
            head_key(&self.names.source, stream),
        ];
        let found = self
            .store
            .get_many(&self.names.tenant, &keys, now_ms())
            .await?;
        let at = |index: usize| found.get(index).and_then(Option::as_ref);
        let control = at(0).map_or(Ok(Control::default()), |entry| rows::decode(&entry.value))?;
        Standing::of(control, at(1), at(2))
    }

    /// Works on a stream.
    pub(super) async fn turn(&self, stream: &str, failures: &mut Failures) -> Turn {
        match self.batches(stream, failures).await {
            Ok(turn) => turn,
            Err(error) => {
                tracing::warn!(projection = %self.label(), stream, %error, "a projection waits for the store");
                Turn::Later(failures.unavailable(chance()))
            }
        }
    }

    async fn batches(&self, stream: &str, failures: &mut Failures) -> Result<Turn, Error> {
        let mut standing = self.standing(stream).await?;
        for _ in 0..BATCHES_MAX {
            if standing.behind() == 0 {
                failures.clear();
                return Ok(Turn::Done);
            }
            let range = range_after(&self.names.source, stream, standing.place.number, BATCH_MAX);
            let page = self
                .store
                .scan(&self.names.tenant, &range, now_ms())
                .await?;
            let events = page
                .entries
                .iter()
                .map(|entry| event::decode(&entry.sort, &entry.value))
                .collect::<Result<Vec<_>, _>>()?;
            let events = gapless(events);
            let turn = match events.first() {
                None => self.nothing_left(stream, &standing).await?,
                Some(first)
                    if first.number != standing.place.number + 1
                        && !self
                            .is_empty_before(stream, &standing, first.number)
                            .await? =>
                {
                    return Ok(Turn::Later(failures.unavailable(chance())));
                }
                Some(_) => self.batch(stream, &standing, events, failures).await?,
            };
            if let Some(turn) = turn {
                return Ok(turn);
            }
            failures.clear();
            standing = self.standing(stream).await?;
        }
        Ok(Turn::More)
    }

    /// The head names events that are not seen. They have ended by their lifetime, or the head of a commit that is
    /// half-way was seen and its events were not: a commit that asks whether it is still so tells the two apart.
    async fn nothing_left(&self, stream: &str, standing: &Standing) -> Result<Option<Turn>, Error> {
        let range = range_after(&self.names.source, stream, standing.place.number, 1);
        if !self.is_empty(stream, range).await? {
            return Ok(Some(Turn::More));
        }
        let place = Place {
            number: standing.newest,
            ..standing.place
        };
        self.keep_place(stream, standing, place, Vec::new()).await?;
        Ok(None)
    }

    /// Numbers are missing before the first event that is seen. They have ended by their lifetime, or they are not seen
    /// *yet*: where a read is answered from another data centre than the commit, a later event may be there first.
    async fn is_empty_before(
        &self,
        stream: &str,
        standing: &Standing,
        first: u64,
    ) -> Result<bool, Error> {
        let range = Range {
            upper: Bound::Exclusive(event::event_sort(first)),
            ..range_after(&self.names.source, stream, standing.place.number, 1)
        };
        self.is_empty(stream, range).await
    }

    /// Whether a range of the stream is empty where its commits are made.
    async fn is_empty(&self, stream: &str, range: Range) -> Result<bool, Error> {
        let transaction = Transaction {
            partition: self.names.stream(stream),
            seen: vec![Seen::Range {
                range,
                entries: Vec::new(),
                more: false,
            }],
            writes: Vec::new(),
            answer: None,
            now_ms: now_ms(),
        };
        let commit = self.store.commit(transaction).await?;
        Ok(matches!(commit, Commit::Done { .. }))
    }

    /// Applies a batch; how the turn ends, or none: it goes on.
    async fn batch(
        &self,
        stream: &str,
        standing: &Standing,
        events: Vec<Event>,
        failures: &mut Failures,
    ) -> Result<Option<Turn>, Error> {
        let mut groups: Vec<(String, Vec<Event>)> = Vec::new();
        let mut until = standing.place.number;
        for event in events {
            match self.projection.target(stream, &event).await {
                Ok(None) => {}
                Ok(Some(target)) => match groups.iter_mut().find(|group| group.0 == target) {
                    Some(group) => group.1.push(event.clone()),
                    None => groups.push((target, vec![event.clone()])),
                },
                // Those before it first.
                Err(_) if until > standing.place.number => break,
                Err(Fault::Unavailable(text)) => {
                    return Ok(Some(self.unavailable(stream, &text, failures)));
                }
                Err(Fault::Failed(text)) => {
                    let failed = (Failure::OfEvent, text);
                    return self
                        .without_target(stream, standing, event, failed, failures)
                        .await;
                }
                Err(Fault::Late(text)) => {
                    let failed = (Failure::OfTime, text);
                    return self
                        .without_target(stream, standing, event, failed, failures)
                        .await;
                }
            }
            until = event.number;
        }
        let applying: Vec<_> = groups
            .iter()
            .map(|(target, events)| self.applied(stream, target, events, standing.place))
            .collect();
        let applied: Vec<_> = stream::iter(applying)
            .buffer_unordered(TARGETS_AT_ONCE)
            .collect()
            .await;
        let mut later = None;
        for (target, events, outcome) in applied {
            let turn = self
                .judge(stream, target, events, outcome, standing.place, failures)
                .await?;
            later = later.max(turn);
        }
        if let Some(wait) = later {
            return Ok(Some(if wait == 0 {
                Turn::More
            } else {
                Turn::Later(wait)
            }));
        }
        let place = Place {
            number: until,
            ..standing.place
        };
        // Another core may have come further: then its place counts.
        self.keep_place(stream, standing, place, Vec::new()).await?;
        Ok(None)
    }

    async fn applied<'a>(
        &self,
        stream: &str,
        target: &'a str,
        events: &'a [Event],
        place: Place,
    ) -> (&'a str, &'a [Event], (usize, Applied)) {
        let outcome = self.group(stream, target, events, place).await;
        (target, events, outcome)
    }

    /// Of what comes next from a stream to a target.
    pub(super) fn application<'a>(
        &'a self,
        stream: &'a str,
        target: &'a str,
        place: Place,
    ) -> Application<'a> {
        Application {
            store: &self.store,
            projection: &*self.projection,
            names: &self.names,
            stream,
            target,
            place,
            mark: Mark::Checkpoint,
        }
    }

    /// Applies events of one target: all at once, or one by one if that fails, so that it is known which one fails.
    /// Gives what failed: its place among the events, and why.
    async fn group(
        &self,
        stream: &str,
        target: &str,
        events: &[Event],
        place: Place,
    ) -> (usize, Applied) {
        if let Err(error) = self.note_target(target).await {
            return (0, Applied::Unavailable(error.to_string()));
        }
        let application = self.application(stream, target, place);
        let applied = application.run(events).await;
        if events.len() == 1 || !matches!(applied, Applied::Failed(..)) {
            return (0, applied);
        }
        let mut sum = 0;
        for (index, event) in events.iter().enumerate() {
            match application.run(std::slice::from_ref(event)).await {
                Applied::Done(applied) => sum += applied,
                other => {
                    self.count("brink_core_projection_applied_total", sum);
                    return (index, other);
                }
            }
        }
        (events.len(), Applied::Done(sum))
    }

    /// What comes of an application: none, or how long to wait (0: at once).
    async fn judge(
        &self,
        stream: &str,
        target: &str,
        events: &[Event],
        (index, outcome): (usize, Applied),
        place: Place,
        failures: &mut Failures,
    ) -> Result<Option<u64>, Error> {
        let failed = match outcome {
            Applied::Done(applied) => {
                self.count("brink_core_projection_applied_total", applied);
                return Ok(None);
            }
            Applied::Late => return Ok(Some(0)),
            Applied::Unavailable(text) => {
                return Ok(match self.unavailable(stream, &text, failures) {
                    Turn::Later(wait) => Some(wait),
                    Turn::Done | Turn::More => Some(0),
                });
            }
            Applied::Failed(failure, text) => (failure, text),
        };
        let Some(event) = events.get(index) else {
            return Ok(Some(0));
        };
        let wait = self
            .failed((stream, Some(target)), event, failed, failures)
            .await?;
        let passed = (stream, target);
        Ok(Some(match wait {
            Some(wait) => wait,
            None => self.pass_over(passed, event.number, place, failures).await,
        }))
    }

    fn unavailable(&self, stream: &str, text: &str, failures: &mut Failures) -> Turn {
        tracing::warn!(projection = %self.label(), stream, error = text, "a projection waits");
        Turn::Later(failures.unavailable(chance()))
    }

    /// Notes how far a stream was read, unless another core has done so meanwhile.
    async fn keep_place(
        &self,
        stream: &str,
        standing: &Standing,
        place: Place,
        mut writes: Vec<crate::store::Write>,
    ) -> Result<(), Error> {
        let condition = standing
            .version
            .map_or(Condition::Absent, Condition::Version);
        writes.push(put(stream.to_owned(), rows::encode(&place)?, condition));
        commit(&*self.store, self.names.places(stream), writes).await?;
        Ok(())
    }

    /// Notes a target in the index, once for each run of the process.
    async fn note_target(&self, target: &str) -> Result<(), Error> {
        let is_known = |noted: &mut HashSet<String>| noted.contains(target);
        if is_known(&mut self.noted.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(());
        }
        let write = put(target.to_owned(), bytes::Bytes::new(), Condition::Absent);
        commit(&*self.store, self.names.targets(target), vec![write]).await?;
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.len() >= NOTED_MAX {
            noted.clear();
        }
        noted.insert(target.to_owned());
        Ok(())
    }
}

/// Events up to the first number that is missing.
fn gapless(events: Vec<Event>) -> Vec<Event> {
    let first = events.first().map_or(0, |event| event.number);
    let numbers = first..;
    let follows = |(event, number): &(Event, u64)| event.number == *number;
    events
        .into_iter()
        .zip(numbers)
        .take_while(follows)
        .map(|(event, _)| event)
        .collect()
}
