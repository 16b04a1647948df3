//! A host that remembers what it was asked, and shorthands.

use crate::guest;
use async_trait::async_trait;
use brink_protocol::{
    ModuleName,
    event::{Event, EventPage},
    link::CommandError,
    record::{Entry, Key, Page, Range, RecordError, Version},
    workflow::{WorkflowError, WorkflowState},
};
use brink_sandbox::{
    Body, CacheError, CommandCall, Commands, Component, Config, Context, Egress, EgressError,
    EgressTimeouts, Error, EventLog, Events, Grants, Identity, Level, Limits, LogSink, Records,
    ResponseCache, RunError, Sandbox, Witness, Workflows,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// Notes every call as text.
#[derive(Default)]
pub(crate) struct Notes(Mutex<Vec<String>>);

impl Notes {
    pub(crate) fn note(&self, text: impl Into<String>) {
        self.0.lock().unwrap().push(text.into());
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

fn key(key: &Key) -> String {
    format!("{}/{}/{}", key.collection, key.partition, key.sort)
}

fn entry(sort: &str, version: Version) -> Entry {
    Entry {
        sort: sort.into(),
        value: Bytes::from(format!("value of {sort}")),
        version,
        lifetime_ms: None,
    }
}

#[async_trait]
impl Records for Notes {
    async fn get(&self, k: Key) -> Result<Option<Entry>, RecordError> {
        self.note(format!("get {}", key(&k)));
        match k.sort.as_str() {
            "absent" => Ok(None),
            "away" => Err(RecordError::Unavailable("the core is away".into())),
            sort => Ok(Some(entry(sort, 7))),
        }
    }

    async fn get_many(&self, keys: Vec<Key>) -> Result<Vec<Option<Entry>>, RecordError> {
        let keys: Vec<_> = keys.iter().map(key).collect();
        self.note(format!("get-many {}", keys.join(" ")));
        Ok(vec![Some(entry("a", 1)), None])
    }

    async fn scan(&self, range: Range) -> Result<Page, RecordError> {
        self.note(format!("scan {range:?}"));
        Ok(Page {
            entries: vec![entry("a", 1), entry("b", 2)],
            more: true,
        })
    }

    async fn put(&self, k: Key, v: Bytes, lifetime: Option<u64>) -> Result<Version, RecordError> {
        self.note(format!("put {} {v:?} {lifetime:?}", key(&k)));
        Ok(41)
    }

    async fn delete(&self, k: Key) -> Result<(), RecordError> {
        self.note(format!("delete {}", key(&k)));
        Ok(())
    }

    async fn compare_and_set(
        &self,
        k: Key,
        expected: Option<Version>,
        v: Bytes,
        lifetime: Option<u64>,
    ) -> Result<Version, RecordError> {
        self.note(format!("cas {} {expected:?} {v:?} {lifetime:?}", key(&k)));
        Err(RecordError::Conflict(Some(9)))
    }
}

#[async_trait]
impl Commands for Notes {
    async fn execute(&self, call: CommandCall) -> Result<Vec<u8>, CommandError> {
        self.note(format!("{call:?}"));
        Err(CommandError::Refused(Bytes::from_static(b"not enough")))
    }
}

#[async_trait]
impl Events for Notes {
    async fn read(
        &self,
        collection: String,
        partition: String,
        after: u64,
        limit: u32,
    ) -> Result<EventPage, RecordError> {
        self.note(format!("read {collection}/{partition} {after} {limit}"));
        let event = Event {
            number: after + 1,
            kind: "order.placed".into(),
            at_ms: 5,
            payload: Bytes::from_static(b"payload"),
        };
        Ok(EventPage {
            events: vec![event],
            more: true,
            oldest: 2,
            newest: 9,
        })
    }
}

#[async_trait]
impl EventLog for Notes {
    async fn append(&self, kind: String, v: Bytes, ms: Option<u64>) -> Result<u64, RecordError> {
        self.note(format!("append {kind} {v:?} {ms:?}"));
        Ok(10)
    }
}

#[async_trait]
impl Workflows for Notes {
    async fn start(&self, name: ModuleName, id: String, v: Bytes) -> Result<bool, WorkflowError> {
        self.note(format!("start {name} {id} {v:?}"));
        match id.as_str() {
            "away" => Err(WorkflowError::Unavailable("the core is away".into())),
            _ => Ok(true),
        }
    }

    async fn get(
        &self,
        name: ModuleName,
        id: String,
    ) -> Result<Option<WorkflowState>, WorkflowError> {
        self.note(format!("where {name} {id}"));
        Ok(match id.as_str() {
            "absent" => None,
            "open" => Some(WorkflowState::Compensating),
            _ => Some(WorkflowState::Failed(Bytes::from_static(b"no stock"))),
        })
    }
}

#[async_trait]
impl ResponseCache for Notes {
    fn tag(&self, names: Vec<String>) -> Result<(), CacheError> {
        self.note(format!("tag {names:?}"));
        Ok(())
    }
    fn set_lifetime(&self, seconds: u32) {
        self.note(format!("lifetime {seconds}"));
    }
    fn no_store(&self) {
        self.note("no-store");
    }
    async fn purge(&self, names: Vec<String>) -> Result<String, CacheError> {
        self.note(format!("purge {names:?}"));
        Ok("01PURGE".into())
    }
}

impl Identity for Notes {
    fn tenant(&self) -> String {
        "acme".into()
    }
    fn subject(&self) -> Option<String> {
        self.note("subject");
        Some("alice".into())
    }
    fn claims(&self) -> Vec<(String, String)> {
        self.note("claims");
        vec![("role".into(), "buyer".into())]
    }
    fn region(&self) -> String {
        "eu".into()
    }
    fn pop(&self) -> String {
        "ams".into()
    }
}

impl Witness for Notes {
    fn credential(&self, name: &http::HeaderName) {
        self.note(format!("looks for {name}"));
    }
    fn unnamed(&self) {
        self.note("unnamed");
    }
}

impl LogSink for Notes {
    fn emit(&self, level: Level, message: String, fields: Vec<(String, String)>) {
        let mut text = format!("{}: {message}", level.as_str());
        for (name, value) in fields {
            text.push_str(&format!(" {name}={value}"));
        }
        self.note(text);
    }
}

#[async_trait]
impl Egress for Notes {
    async fn send(
        &self,
        request: http::Request<Body>,
        timeouts: EgressTimeouts,
    ) -> Result<http::Response<Body>, EgressError> {
        self.note(format!(
            "{} {} {timeouts:?}",
            request.method(),
            request.uri()
        ));
        let mut response = http::Response::new(empty());
        *response.status_mut() = http::StatusCode::IM_A_TEAPOT;
        Ok(response)
    }
}

/// A context of which everything is noted in one place, with all grants.
pub(crate) fn context() -> (Arc<Notes>, Context) {
    let notes = Arc::new(Notes::default());
    let config = BTreeMap::from([("currency".to_owned(), "EUR".to_owned())]);
    let context = Context {
        records: notes.clone(),
        events: notes.clone(),
        event_log: notes.clone(),
        commands: notes.clone(),
        workflows: notes.clone(),
        cache: notes.clone(),
        identity: notes.clone(),
        witness: notes.clone(),
        log: notes.clone(),
        egress: notes.clone(),
        config: Arc::new(config),
        grants: Grants {
            clock: true,
            random: true,
            outbound_http: true,
            purge: true,
        },
        now: None,
    };
    (notes, context)
}

pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

pub(crate) fn get(path: &str) -> http::Request<Body> {
    http::Request::get(format!("https://shop.example{path}"))
        .body(empty())
        .unwrap()
}

/// A small sandbox of its own.
pub(crate) fn sandbox() -> Sandbox {
    with(Config {
        instances_max: 8,
        ..Config::default()
    })
}

pub(crate) fn with(config: Config) -> Sandbox {
    Sandbox::new(config).unwrap()
}

pub(crate) async fn load(sandbox: &Sandbox, bytes: &Bytes) -> Component {
    try_load(sandbox, bytes).await.unwrap()
}

pub(crate) async fn try_load(sandbox: &Sandbox, bytes: &Bytes) -> Result<Component, Error> {
    let given = bytes.clone();
    sandbox
        .load(&guest::digest(bytes), || async { Ok(given) })
        .await
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
}

pub(crate) async fn read(response: http::Response<Body>) -> Result<Answer, RunError> {
    let (parts, body) = response.into_parts();
    let body = match body.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) => return Err(error.downcast_ref::<RunError>().unwrap().clone()),
    };
    Ok(Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: String::from_utf8(body.into()).unwrap(),
    })
}

pub(crate) async fn ask(component: &Component, limits: &Limits) -> Result<Answer, RunError> {
    let response = component.handle(get("/"), Context::denied(), limits).await;
    read(response?).await
}

/// Short limits, for guests that reach them.
pub(crate) fn tight() -> Limits {
    Limits {
        memory_bytes_max: 4 << 20,
        wall_time_ms_max: 2_000,
        cpu_time_ms_max: 50,
        response_bytes_max: 256 << 10,
        ..Limits::default()
    }
}
