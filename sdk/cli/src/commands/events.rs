//! `brink events`.

use crate::{
    args::{EventsAction, Stream},
    client::{Client, Content, REQUEST_TIME_MAX, encoded},
    error::Error,
    moment::time,
    output::Output,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use brink_protocol::control::{AppendedEvents, NewEvent, NewEvents, ShownEvent, ShownEvents};
use http::Method;
use serde_json::value::RawValue;

/// How long one request waits for events, in milliseconds: less than a request may take.
const WAIT_MS: u64 = 15_000;

/// Reads, follows, appends.
pub(super) async fn run(
    action: EventsAction,
    client: &Client,
    output: Output,
) -> Result<(), Error> {
    match action {
        EventsAction::Read {
            stream,
            after,
            limit,
        } => {
            let page: ShownEvents = client.get(&path(&stream, after, limit, 0)).await?;
            output.result(&page, list)
        }
        EventsAction::Tail { stream, mut after } => loop {
            let page: ShownEvents = client.get(&path(&stream, after, 100, WAIT_MS)).await?;
            for event in &page.events {
                output.line(event, line)?;
                after = after.max(event.number);
            }
        },
        EventsAction::Append {
            stream,
            kind,
            payload,
            file,
            lifetime,
            key,
        } => {
            let (payload, base64) = match (payload, file) {
                (Some(json), _) => (Some(json_of(json)?), None),
                (None, Some(file)) => {
                    let bytes = std::fs::read(&file).map_err(|error| {
                        Error::failed(format!("{} was not read", file.display()), error)
                    })?;
                    (None, Some(STANDARD.encode(bytes)))
                }
                (None, None) => (None, None),
            };
            let new = NewEvents {
                collection: stream.collection,
                partition: stream.partition,
                events: vec![NewEvent {
                    kind,
                    payload,
                    base64,
                    lifetime_ms: lifetime,
                }],
            };
            append(client, &new, key.as_deref(), output).await
        }
    }
}

async fn append(
    client: &Client,
    new: &NewEvents,
    key: Option<&str>,
    output: Output,
) -> Result<(), Error> {
    let content = Content::json(new)?;
    let appended = client
        .send_keyed::<AppendedEvents>(Method::POST, "/v1/events", content, REQUEST_TIME_MAX, key)
        .await?;
    output.result(&appended.body, |appended| {
        format!("Appended as number {}.\n", appended.last)
    })
}

fn json_of(text: String) -> Result<Box<RawValue>, Error> {
    RawValue::from_string(text).map_err(|error| Error::Usage(format!("--payload: {error}")))
}

fn path(stream: &Stream, after: u64, limit: u32, wait_ms: u64) -> String {
    format!(
        "/v1/events?collection={}&partition={}&after={after}&limit={limit}&wait_ms={wait_ms}",
        encoded(&stream.collection),
        encoded(&stream.partition)
    )
}

/// What an event carries, as people read it.
pub(super) fn payload(event: &ShownEvent) -> String {
    match (&event.payload, &event.base64) {
        (Some(json), _) => json.get().to_owned(),
        (None, Some(text)) => format!("base64 {text}"),
        (None, None) => String::new(),
    }
}

fn line(event: &ShownEvent) -> String {
    let text = format!(
        "{}  {}  {}  {}",
        event.number,
        time(event.at_ms),
        event.kind,
        payload(event)
    );
    text.trim_end().to_owned()
}

fn list(page: &ShownEvents) -> String {
    let mut text = String::new();
    for event in &page.events {
        text.push_str(&line(event));
        text.push('\n');
    }
    if page.events.is_empty() {
        text.push_str("No events there.\n");
    }
    match page.events.last() {
        Some(last) if page.more => {
            text.push_str(&format!("There are more: --after {}\n", last.number));
        }
        _ => text.push_str(&format!(
            "The stream has {} to {}.\n",
            page.oldest, page.newest
        )),
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn as_people_read_it() {
        let event = |number, payload: Option<&str>, base64: Option<&str>| ShownEvent {
            number,
            kind: "order.placed".into(),
            at_ms: 0,
            payload: payload.map(|json| RawValue::from_string(json.to_owned()).unwrap()),
            base64: base64.map(str::to_owned),
        };
        let mut page = ShownEvents {
            events: vec![
                event(3, Some("{\"a\":1}"), None),
                event(4, None, Some("AA==")),
                event(5, None, None),
            ],
            more: true,
            oldest: 2,
            newest: 9,
        };
        assert_eq!(
            list(&page),
            "3  1970-01-01T00:00:00.000Z  order.placed  {\"a\":1}\n\
             4  1970-01-01T00:00:00.000Z  order.placed  base64 AA==\n\
             5  1970-01-01T00:00:00.000Z  order.placed\n\
             There are more: --after 5\n"
        );
        page.events.clear();
        page.more = false;
        assert_eq!(list(&page), "No events there.\nThe stream has 2 to 9.\n");
    }

    #[test]
    fn what_is_asked_for() {
        let stream = Stream {
            collection: "orders".into(),
            partition: "o 1/2".into(),
        };
        assert_eq!(
            path(&stream, 7, 10, 0),
            "/v1/events?collection=orders&partition=o%201%2F2&after=7&limit=10&wait_ms=0"
        );
        assert!(json_of("{".into()).is_err());
    }
}
