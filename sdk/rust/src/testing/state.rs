//! What the platform in memory knows.

use crate::events::Event;
use crate::message::{Answer, Error, Request};
use crate::workflows;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Collection and partition key.
pub(super) type Partition = (String, String);
pub(super) type Command = Rc<dyn Fn(&[u8]) -> Result<Vec<u8>, Vec<u8>>>;
type Outbound = Rc<dyn Fn(&Request) -> Result<Answer, Error>>;

#[derive(Clone)]
pub(super) struct Stored {
    /// None: it was deleted. Its version stays, so that none is used twice.
    pub(super) value: Option<Vec<u8>>,
    pub(super) version: u64,
}

pub(super) struct Record {
    pub(super) value: Vec<u8>,
    pub(super) version: u64,
}

/// A partition's records, deleted ones too.
#[derive(Clone, Default)]
pub(super) struct Records(pub(super) BTreeMap<String, Stored>);

impl Records {
    pub(super) fn get(&self, sort: &str) -> Option<Record> {
        let stored = self.0.get(sort)?;
        Some(Record {
            value: stored.value.clone()?,
            version: stored.version,
        })
    }
}

/// A workflow that was started.
pub(super) struct Instance {
    pub(super) input: Vec<u8>,
    pub(super) state: workflows::State,
}

pub(super) struct State {
    pub(super) config: BTreeMap<String, String>,
    pub(super) partitions: BTreeMap<Partition, Records>,
    pub(super) events: BTreeMap<Partition, Vec<Event>>,
    /// The partition of the command that runs.
    pub(super) within: Option<Partition>,
    /// Events that the command has appended.
    pub(super) appended: usize,
    /// How far each projection's type has read each stream.
    pub(super) projected: BTreeMap<(&'static str, Partition), u64>,
    pub(super) commands: BTreeMap<String, Command>,
    /// Deployed workflows.
    pub(super) workflows: BTreeSet<String>,
    /// Instances by name and id.
    pub(super) instances: BTreeMap<(String, String), Instance>,
    /// Answers by idempotency key, command and partition.
    pub(super) answers: BTreeMap<(String, String, Partition), Vec<u8>>,
    pub(super) outbound: Option<Outbound>,
    pub(super) now_ms: u64,
    pub(super) random: u64,
    pub(super) subject: Option<String>,
    pub(super) tags: Vec<String>,
    pub(super) lifetime: Option<u32>,
    pub(super) no_store: bool,
    pub(super) purged: Vec<String>,
    pub(super) log: Vec<String>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            config: BTreeMap::new(),
            partitions: BTreeMap::new(),
            events: BTreeMap::new(),
            within: None,
            appended: 0,
            projected: BTreeMap::new(),
            commands: BTreeMap::new(),
            workflows: BTreeSet::new(),
            instances: BTreeMap::new(),
            answers: BTreeMap::new(),
            outbound: None,
            now_ms: 1_767_225_600_000,
            random: 0,
            subject: None,
            tags: Vec::new(),
            lifetime: None,
            no_store: false,
            purged: Vec::new(),
            log: Vec::new(),
        }
    }
}

impl State {
    pub(super) fn append(&mut self, partition: Partition, kind: &str, payload: &[u8]) -> u64 {
        let at_ms = self.now_ms;
        let stream = self.events.entry(partition).or_default();
        let number = stream.last().map_or(0, |event| event.number) + 1;
        stream.push(Event {
            number,
            kind: kind.to_owned(),
            at_ms,
            payload: payload.to_vec(),
        });
        number
    }

    pub(super) fn put(&mut self, partition: Partition, sort: &str, value: &[u8]) -> u64 {
        let stored = self
            .partitions
            .entry(partition)
            .or_default()
            .0
            .entry(sort.to_owned())
            .or_insert(Stored {
                value: None,
                version: 0,
            });
        stored.version += 1;
        stored.value = Some(value.to_vec());
        stored.version
    }
}

thread_local! {
    static STATE: RefCell<State> = RefCell::new(State::default());
}

/// Does something to the thread's platform. Not to be nested.
pub(super) fn with<T>(change: impl FnOnce(&mut State) -> T) -> T {
    STATE.with_borrow_mut(change)
}
