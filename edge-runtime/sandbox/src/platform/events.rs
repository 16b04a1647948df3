//! `brink:platform/events` and `event-append`.

use crate::{
    bindings::platform::{
        event_append, event_types,
        events::{self as wit, Error},
    },
    host::Host,
};
use brink_protocol::{
    event::{Event, EventPage, check_kind, check_limit, check_payload},
    record::{LIFETIME_MS_MAX, RecordError, check_partition},
};

impl From<Event> for event_types::Event {
    fn from(event: Event) -> Self {
        Self {
            number: event.number,
            kind: event.kind,
            at_ms: event.at_ms,
            payload: event.payload.into(),
        }
    }
}

impl From<EventPage> for wit::Page {
    fn from(page: EventPage) -> Self {
        Self {
            events: page.events.into_iter().map(Into::into).collect(),
            more: page.more,
            oldest: page.oldest,
            newest: page.newest,
        }
    }
}

impl event_types::Host for Host {}

impl wit::Host for Host {
    async fn read(
        &mut self,
        collection: String,
        partition: String,
        after: u64,
        limit: u32,
    ) -> wasmtime::Result<Result<wit::Page, Error>> {
        let checked = check_partition(&collection, &partition).and_then(|()| check_limit(limit));
        if let Err(error) = checked {
            return Ok(Err(RecordError::from(error).into()));
        }
        let events = &self.context.events;
        let page = events.read(collection, partition, after, limit).await;
        Ok(page.map(Into::into).map_err(Into::into))
    }
}

impl event_append::Host for Host {
    async fn append(
        &mut self,
        kind: String,
        payload: Vec<u8>,
        lifetime_ms: Option<u64>,
    ) -> wasmtime::Result<Result<u64, Error>> {
        if let Err(error) = check_kind(&kind).and_then(|()| check_payload(&payload)) {
            return Ok(Err(RecordError::from(error).into()));
        }
        if lifetime_ms.is_some_and(|lifetime| !(1..=LIFETIME_MS_MAX).contains(&lifetime)) {
            let text = format!("the lifetime of an event is 1 to {LIFETIME_MS_MAX} ms");
            return Ok(Err(Error::Invalid(text)));
        }
        let log = &self.context.event_log;
        let appended = log.append(kind, payload.into(), lifetime_ms).await;
        Ok(appended.map_err(Into::into))
    }
}
