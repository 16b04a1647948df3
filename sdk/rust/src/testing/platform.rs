//! The platform's interfaces in memory: the same functions as the generated imports.

/// `brink:platform/records`.
pub(crate) mod records {
    use crate::bindings::module::brink::platform::records::{
        Bound, Entry, Error, Key, Page, Range,
    };
    use crate::testing::state::{Partition, Record, with};

    const GET_MANY_MAX: usize = 100;
    const SCAN_LIMIT_MAX: u32 = 1000;
    const VALUE_BYTES_MAX: usize = 1 << 20;

    pub(super) fn partition(collection: &str, partition: &str) -> Result<Partition, Error> {
        let name = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-'
        };
        if !(1..=64).contains(&collection.len()) || !collection.bytes().all(name) {
            return Err(Error::Invalid(format!("collection {collection:?}")));
        }
        if !(1..=512).contains(&partition.len()) || partition.chars().any(char::is_control) {
            return Err(Error::Invalid(format!("partition key {partition:?}")));
        }
        Ok((collection.to_owned(), partition.to_owned()))
    }

    fn parts(key: &Key) -> Result<(Partition, &str), Error> {
        let partition = partition(&key.collection, &key.partition)?;
        if key.sort.len() > 512 || key.sort.chars().any(char::is_control) {
            return Err(Error::Invalid(format!("sort key {:?}", key.sort)));
        }
        Ok((partition, &key.sort))
    }

    fn read(key: &Key) -> Result<Option<Record>, Error> {
        let (partition, sort) = parts(key)?;
        Ok(with(|state| state.partitions.get(&partition)?.get(sort)))
    }

    pub(crate) fn get(key: &Key) -> Result<Option<Entry>, Error> {
        Ok(read(key)?.map(|record| Entry {
            sort: key.sort.clone(),
            value: record.value,
            version: record.version,
        }))
    }

    pub(crate) fn get_many(keys: &[Key]) -> Result<Vec<Option<Entry>>, Error> {
        if keys.len() > GET_MANY_MAX {
            return Err(Error::Invalid(format!(
                "{} keys, at most {GET_MANY_MAX}",
                keys.len()
            )));
        }
        keys.iter().map(get).collect()
    }

    pub(crate) fn scan(range: &Range) -> Result<Page, Error> {
        let partition = partition(&range.collection, &range.partition)?;
        if !(1..=SCAN_LIMIT_MAX).contains(&range.limit) {
            return Err(Error::Invalid(format!("limit {}", range.limit)));
        }
        let inside = |sort: &str| {
            let above = match &range.lower {
                Bound::Unbounded => true,
                Bound::Inclusive(bound) => sort >= bound.as_str(),
                Bound::Exclusive(bound) => sort > bound.as_str(),
            };
            let below = match &range.upper {
                Bound::Unbounded => true,
                Bound::Inclusive(bound) => sort <= bound.as_str(),
                Bound::Exclusive(bound) => sort < bound.as_str(),
            };
            above && below
        };
        let mut entries: Vec<Entry> = with(|state| {
            let Some(records) = state.partitions.get(&partition) else {
                return Vec::new();
            };
            let present = records.0.iter().filter(|(sort, _)| inside(sort));
            present
                .filter_map(|(sort, stored)| {
                    Some(Entry {
                        sort: sort.clone(),
                        value: stored.value.clone()?,
                        version: stored.version,
                    })
                })
                .collect()
        });
        if range.descending {
            entries.reverse();
        }
        let limit = usize::try_from(range.limit).unwrap_or(usize::MAX);
        let more = entries.len() > limit;
        entries.truncate(limit);
        Ok(Page { entries, more })
    }

    pub(crate) fn put(key: &Key, value: &[u8], _lifetime_ms: Option<u64>) -> Result<u64, Error> {
        let (partition, sort) = parts(key)?;
        if value.len() > VALUE_BYTES_MAX {
            return Err(Error::Invalid(format!("a value of {} bytes", value.len())));
        }
        Ok(with(|state| state.put(partition, sort, value)))
    }

    pub(crate) fn delete(key: &Key) -> Result<(), Error> {
        let (partition, sort) = parts(key)?;
        with(|state| {
            if let Some(stored) = state
                .partitions
                .get_mut(&partition)
                .and_then(|records| records.0.get_mut(sort))
            {
                stored.value = None;
            }
        });
        Ok(())
    }

    pub(crate) fn compare_and_set(
        key: &Key,
        expected: Option<u64>,
        value: &[u8],
        lifetime_ms: Option<u64>,
    ) -> Result<u64, Error> {
        let present = read(key)?.map(|record| record.version);
        if present == expected {
            put(key, value, lifetime_ms)
        } else {
            Err(Error::Conflict(present))
        }
    }
}

/// `brink:platform/events`.
pub(crate) mod events {
    use super::records::partition;
    use crate::bindings::module::brink::platform::{
        event_types::Event, events::Page, records::Error,
    };
    use crate::events::PAGE_MAX;
    use crate::testing::state::with;

    pub(crate) fn read(
        collection: &str,
        partition_key: &str,
        after: u64,
        limit: u32,
    ) -> Result<Page, Error> {
        let key = partition(collection, partition_key)?;
        if !(1..=PAGE_MAX).contains(&limit) {
            return Err(Error::Invalid(format!("limit {limit}")));
        }
        let stream = with(|state| state.events.get(&key).cloned().unwrap_or_default());
        let (oldest, newest) = (stream.first(), stream.last());
        let (oldest, newest) = (
            oldest.map_or(0, |e| e.number),
            newest.map_or(0, |e| e.number),
        );
        let mut events: Vec<Event> = stream
            .into_iter()
            .filter(|event| event.number > after)
            .map(|event| Event {
                number: event.number,
                kind: event.kind,
                at_ms: event.at_ms,
                payload: event.payload,
            })
            .collect();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = events.len() > limit;
        events.truncate(limit);
        Ok(Page {
            events,
            more,
            oldest,
            newest,
        })
    }
}

/// `brink:platform/event-append`.
pub(crate) mod event_append {
    use crate::bindings::module::brink::platform::records::Error;
    use crate::events::{APPENDS_MAX, PAYLOAD_BYTES_MAX};
    use crate::testing::state::with;

    pub(crate) fn append(
        kind: &str,
        payload: &[u8],
        _lifetime_ms: Option<u64>,
    ) -> Result<u64, Error> {
        if !(1..=128).contains(&kind.len()) || !kind.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::Invalid(format!("kind {kind:?}")));
        }
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Error::Invalid(format!(
                "a payload of {} bytes",
                payload.len()
            )));
        }
        with(|state| {
            let Some(within) = state.within.clone() else {
                let text = "no command runs here: say where with `Platform::within`";
                return Err(Error::Denied(text.to_owned()));
            };
            if state.appended >= APPENDS_MAX {
                return Err(Error::Invalid(format!("more than {APPENDS_MAX} events")));
            }
            state.appended += 1;
            Ok(state.append(within, kind, payload))
        })
    }
}

/// `brink:platform/workflows`.
pub(crate) mod workflows {
    use crate::bindings::module::brink::platform::workflows::{Error, State};
    use crate::testing::state::{Instance, with};
    use crate::workflows;

    const INPUT_BYTES_MAX: usize = 256 << 10;

    fn check(id: &str) -> Result<(), Error> {
        if (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(())
        } else {
            Err(Error::Invalid(format!("id {id:?}")))
        }
    }

    pub(crate) fn start(name: &str, id: &str, input: &[u8]) -> Result<bool, Error> {
        check(id)?;
        if input.len() > INPUT_BYTES_MAX {
            return Err(Error::Invalid(format!("an input of {} bytes", input.len())));
        }
        with(|state| {
            if !state.workflows.contains(name) {
                return Err(Error::Denied(format!("no workflow {name:?}")));
            }
            let key = (name.to_owned(), id.to_owned());
            match state.instances.get(&key) {
                Some(before) if before.input != input => Err(Error::Invalid(format!(
                    "id {id:?} was used with another input"
                ))),
                Some(_) => Ok(false),
                None => {
                    let instance = Instance {
                        input: input.to_vec(),
                        state: workflows::State::Running,
                    };
                    state.instances.insert(key, instance);
                    Ok(true)
                }
            }
        })
    }

    pub(crate) fn get(name: &str, id: &str) -> Result<Option<State>, Error> {
        check(id)?;
        let key = (name.to_owned(), id.to_owned());
        Ok(with(|state| {
            let instance = state.instances.get(&key)?;
            Some(match instance.state.clone() {
                workflows::State::Running => State::Running,
                workflows::State::Compensating => State::Compensating,
                workflows::State::Completed(bytes) => State::Completed(bytes),
                workflows::State::Failed(bytes) => State::Failed(bytes),
            })
        }))
    }
}

/// `brink:platform/commands`.
pub(crate) mod commands {
    use crate::bindings::module::brink::platform::commands::{Call, Error};
    use crate::testing::state::with;

    pub(crate) fn execute(call: &Call) -> Result<Vec<u8>, Error> {
        let partition = (call.collection.clone(), call.partition.clone());
        let stored = call
            .idempotency_key
            .clone()
            .map(|key| (key, call.command.clone(), partition.clone()));
        if let Some(key) = &stored
            && !((1..=128).contains(&key.0.len())
                && key.0.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(Error::Invalid(format!("idempotency key {:?}", key.0)));
        }
        if let Some(answer) = stored
            .as_ref()
            .and_then(|key| with(|state| state.answers.get(key).cloned()))
        {
            return Ok(answer);
        }
        let Some(command) = with(|state| state.commands.get(&call.command).cloned()) else {
            return Err(Error::Denied(format!("no command {:?}", call.command)));
        };
        let before = with(|state| {
            state.appended = 0;
            let within = state.within.replace(partition);
            (state.partitions.clone(), state.events.clone(), within)
        });
        let answer = command(&call.input);
        with(|state| state.within = before.2);
        match answer {
            Ok(answer) => {
                if let Some(key) = stored {
                    with(|state| state.answers.insert(key, answer.clone()));
                }
                Ok(answer)
            }
            Err(refusal) => {
                with(|state| (state.partitions, state.events) = (before.0, before.1));
                Err(Error::Refused(refusal))
            }
        }
    }
}

/// `brink:platform/cache`.
pub(crate) mod cache {
    use crate::bindings::module::brink::platform::cache::Error;
    use crate::testing::state::with;

    const TAGS_MAX: usize = 128;

    fn check(names: &[String]) -> Result<(), Error> {
        let fits = |name: &String| {
            (1..=1024).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
        };
        match names.iter().find(|name| !fits(name)) {
            Some(name) => Err(Error::Invalid(format!("tag {name:?}"))),
            None => Ok(()),
        }
    }

    pub(crate) fn tag(names: &[String]) -> Result<(), Error> {
        check(names)?;
        with(|state| {
            if state.tags.len() + names.len() > TAGS_MAX {
                return Err(Error::Invalid(format!("more than {TAGS_MAX} tags")));
            }
            state.tags.extend_from_slice(names);
            Ok(())
        })
    }

    pub(crate) fn set_lifetime(seconds: u32) {
        with(|state| state.lifetime = Some(seconds));
    }

    pub(crate) fn no_store() {
        with(|state| state.no_store = true);
    }

    pub(crate) fn purge(names: &[String]) -> Result<String, Error> {
        check(names)?;
        Ok(with(|state| {
            state.purged.extend_from_slice(names);
            format!("purge-{}", state.purged.len())
        }))
    }
}

/// `brink:platform/config`.
pub(crate) mod config {
    use crate::testing::state::with;

    pub(crate) fn get(name: &str) -> Option<String> {
        with(|state| state.config.get(name).cloned())
    }

    pub(crate) fn all() -> Vec<(String, String)> {
        with(|state| state.config.clone().into_iter().collect())
    }
}

/// `brink:platform/log`.
pub(crate) mod log {
    use crate::bindings::module::brink::platform::log::Level;
    use crate::testing::state::with;

    pub(crate) fn emit(level: Level, message: &str, fields: &[(String, String)]) {
        let level = match level {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        };
        let fields: String = fields
            .iter()
            .map(|(name, value)| format!(" {name}={value}"))
            .collect();
        with(|state| state.log.push(format!("{level} {message}{fields}")));
    }
}

/// `brink:platform/identity`.
pub(crate) mod identity {
    use crate::testing::state::with;

    pub(crate) fn tenant() -> String {
        "default".to_owned()
    }

    pub(crate) fn subject() -> Option<String> {
        with(|state| state.subject.clone())
    }

    pub(crate) fn claims() -> Vec<(String, String)> {
        Vec::new()
    }

    pub(crate) fn region() -> String {
        "local".to_owned()
    }

    pub(crate) fn pop() -> String {
        "test".to_owned()
    }
}

/// `brink:platform/clock`.
pub(crate) mod clock {
    use crate::testing::state::with;

    pub(crate) fn now_ms() -> u64 {
        with(|state| state.now_ms)
    }
}

/// `brink:platform/random`.
pub(crate) mod random {
    use crate::testing::state::with;

    /// SplitMix64: the same bytes in every run.
    pub(crate) fn bytes(length: u32) -> Vec<u8> {
        let next = || {
            with(|state| {
                state.random = state.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mixed = (state.random ^ state.random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
                mixed ^ mixed >> 31
            })
        };
        let length = usize::try_from(length.min(4096)).unwrap_or_default();
        std::iter::repeat_with(next)
            .flat_map(u64::to_le_bytes)
            .take(length)
            .collect()
    }
}

/// `wasi:http/outgoing-handler`.
pub(crate) mod outbound {
    use crate::message::{Answer, Error, Request};
    use crate::testing::state::with;

    pub(crate) fn send(request: Request) -> Result<Answer, Error> {
        let Some(server) = with(|state| state.outbound.clone()) else {
            return Err(Error::Failed(
                "the platform has no outbound server".to_owned(),
            ));
        };
        let answer = server(&request)?;
        if answer.body.len() > request.answer_bytes_max {
            Err(Error::TooLarge(request.answer_bytes_max))
        } else {
            Ok(answer)
        }
    }
}
