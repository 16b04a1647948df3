//! Streams of events: reading and appending.

use super::app::App;
use super::extract::{JsonBody, Operator, Params};
use super::idempotency::idempotency_key;
use super::records::compact;
use super::reply::{Failure, Reply, Written};
use crate::{
    clock::now_ms,
    events::{Events, NewEvent},
    store::NewAudit,
};
use axum::{Json, extract::State};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use brink_protocol::{
    address::PartitionAddress,
    control::{self, AppendedEvents, NewEvents, ShownEvent, ShownEvents},
    event::Event,
};
use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// Longest wait for an event that is not there yet, in milliseconds.
const WAIT_MS_MAX: u64 = 20_000;

/// Which events.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// The collection.
    collection: String,
    /// The partition key.
    partition: String,
    /// Events after this number; from the oldest that is kept if it is left out.
    #[serde(default)]
    after: u64,
    /// 1 to 1000; 100 if it is left out.
    limit: Option<u32>,
    /// How long to wait for an event if there is none yet, in milliseconds, at most 20,000.
    #[serde(default)]
    wait_ms: u64,
}

/// Reads events of one partition, oldest first.
#[utoipa::path(get, path = "/v1/events", tag = "events", params(EventsQuery),
    responses((status = 200, body = ShownEvents)))]
pub(super) async fn read(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    Params(query): Params<EventsQuery>,
) -> Reply<Json<ShownEvents>> {
    let events = Events::new(Arc::clone(&app.store));
    let until = Instant::now() + Duration::from_millis(query.wait_ms.min(WAIT_MS_MAX));
    let mut held = app.store.held();
    held.mark_unchanged();
    let at = (query.collection.as_str(), query.partition.as_str());
    let limit = query.limit.unwrap_or(100);
    let read = async || {
        events
            .read(&caller.tenant, at, query.after, limit, now_ms())
            .await
    };
    let mut page = read().await?;
    while page.events.is_empty() {
        if !matches!(
            tokio::time::timeout_at(until, held.changed()).await,
            Ok(Ok(()))
        ) {
            break;
        }
        // Something has changed somewhere: the head says whether it is this stream.
        if events.newest(&caller.tenant, at, now_ms()).await? > query.after {
            page = read().await?;
        }
    }
    Ok(Json(ShownEvents {
        events: page.events.into_iter().map(shown).collect(),
        more: page.more,
        oldest: page.oldest,
        newest: page.newest,
    }))
}

/// An event as it is shown.
pub(super) fn shown(event: Event) -> ShownEvent {
    let payload = serde_json::from_slice(&event.payload).ok();
    let base64 = payload
        .is_none()
        .then(|| STANDARD.encode(&event.payload))
        .filter(|text| !text.is_empty());
    ShownEvent {
        number: event.number,
        kind: event.kind,
        at_ms: event.at_ms,
        payload,
        base64,
    }
}

/// Appends events to the stream of one partition: for import, and for operators. Commands append in their transactions.
#[utoipa::path(post, path = "/v1/events", tag = "events", request_body = NewEvents,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters, kept for 24 hours: \
        repeating the request appends nothing anew")),
    responses((status = 200, body = AppendedEvents),
        (status = 422, body = brink_protocol::problem::Problem, description = "A value is not valid; `idempotency-key`: the key \
            was used for another append")))]
pub(super) async fn append(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    headers: HeaderMap,
    JsonBody(new): JsonBody<NewEvents>,
) -> Reply<Written<AppendedEvents>> {
    let key = idempotency_key(&headers)?;
    if let Some(key) = &key
        && (!(1..=128).contains(&key.len()) || !key.bytes().all(|b| b.is_ascii_graphic()))
    {
        return Err(Failure::new(
            400,
            "idempotency-key",
            "The key is not valid",
            "It is 1 to 128 visible ASCII characters.",
        ));
    }
    let events = new.events.into_iter().map(parsed).collect::<Reply<_>>()?;
    let now = now_ms();
    let stream = PartitionAddress {
        tenant: caller.tenant.clone(),
        collection: new.collection,
        partition: new.partition,
    };
    // Before the events: an append whose answer is lost leaves a trace too.
    let audit = NewAudit {
        by: caller.id,
        tenant: caller.tenant,
        action: "events.append",
        subject: format!("{}/{}", stream.collection, stream.partition),
        at_ms: now,
    };
    app.store.add_audit(audit).await?;
    let appended = Events::new(Arc::clone(&app.store))
        .append(stream, events, key.as_deref(), now)
        .await?;
    Ok(Written::ok(
        appended.position,
        AppendedEvents {
            first: appended.first,
            last: appended.last,
        },
    ))
}

fn parsed(new: control::NewEvent) -> Reply<NewEvent> {
    let wrong = |detail: &str| Failure::new(422, "invalid", "An event is not valid", detail);
    let payload = match (&new.payload, &new.base64) {
        (Some(_), Some(_)) => return Err(wrong("It has both a payload and base64.")),
        (Some(json), None) => {
            compact(json.get()).ok_or_else(|| wrong("Its payload is nested too deeply."))?
        }
        (None, Some(text)) => STANDARD
            .decode(text)
            .map(Bytes::from)
            .map_err(|error| wrong(&format!("Its base64 is not valid: {error}")))?,
        (None, None) => Bytes::new(),
    };
    Ok(NewEvent {
        kind: new.kind,
        payload,
        lifetime_ms: new.lifetime_ms,
    })
}
