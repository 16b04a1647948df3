//! Clients of the module `register`: those with a session go from PoP to PoP, those without stay.

use crate::{
    answer::{Answer, Outcome, Silence},
    world::{Carried, World},
};
use brink_planet::history::{Event, Place, Read, Seen, Source};
use brink_protocol::{
    Position,
    session::{SESSION_HEADER, unverified},
};
use brink_wan::chance::Chance;
use http::{Method, StatusCode};
use serde::Deserialize;
use std::{collections::HashMap, sync::Arc};

/// Requests of one session before the client begins another.
const SESSION_REQUESTS_MAX: u64 = 120;
/// Registers lie in so many partitions: the module's own constant.
const PARTITIONS: u64 = 4;
/// Keys of one range that is read.
const RANGE_KEYS: u64 = 20;
/// Registers that are read at once.
const MANY: u64 = 3;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Who {
    pub(crate) client: u64,
    /// 0: in no session.
    pub(crate) session: u64,
    pub(crate) pop: usize,
}

impl Who {
    /// The number of the PoP in the history.
    pub(crate) fn pop(self) -> u32 {
        u32::try_from(self.pop).unwrap_or(u32::MAX)
    }
}

#[derive(Debug, Deserialize)]
struct Register {
    key: u64,
    value: Option<u64>,
    version: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Registers {
    registers: Vec<Register>,
}

/// A client that writes and reads at any PoP and carries its token with it.
pub(crate) async fn session(world: Arc<World>) {
    let client = world.next_client();
    let mut chance = world.chance(client);
    while !world.is_over() {
        let session = world.next_client();
        let mut carried: Option<Carried> = None;
        let requests = 1 + chance.below(SESSION_REQUESTS_MAX);
        for _ in 0..requests {
            if world.is_over() {
                break;
            }
            let pop = usize::try_from(chance.below(world.pops.len() as u64)).unwrap_or(0);
            let who = Who {
                client,
                session,
                pop,
            };
            let key = chance.below(world.setup.registers);
            if chance.happens(0.35) {
                match write(&world, who, key, carried.as_ref(), &mut chance).await {
                    Written::Acknowledged(Some(token)) => carried = Some(token),
                    // Without a token the session has lost its thread: begin another.
                    Written::Acknowledged(None) => break,
                    Written::Failed => {}
                }
            } else {
                read(&world, who, carried.as_ref(), &mut chance).await;
            }
            world.pause(&mut chance).await;
        }
    }
}

/// A client that reads at one PoP, mostly without a token, at times with one that it was given.
pub(crate) async fn reader(world: Arc<World>, pop: usize) {
    let client = world.next_client();
    let mut chance = world.chance(client);
    let who = Who {
        client,
        session: 0,
        pop,
    };
    while !world.is_over() {
        let given = chance
            .happens(0.2)
            .then(|| world.shared(&mut chance))
            .flatten();
        read(&world, who, given.as_ref(), &mut chance).await;
        world.pause(&mut chance).await;
    }
}

/// How a write ended.
pub(crate) enum Written {
    /// With the token, if there was one.
    Acknowledged(Option<Carried>),
    /// Or nobody knows.
    Failed,
}

async fn write(
    world: &World,
    who: Who,
    key: u64,
    carried: Option<&Carried>,
    chance: &mut Chance,
) -> Written {
    let Some(client) = world.at(who.pop, chance) else {
        return Written::Failed;
    };
    let value = world.next_value();
    began(world, who, key, value);
    let fields = fields(carried);
    let path = format!("/register/{key}");
    let answer = client
        .send(Method::PUT, &path, &fields, value.to_string())
        .await;
    let version = |answer: &Answer| answer.json::<Register>()?.version;
    ended(world, value, carried, &answer, version)
}

/// Notes that a write is about to be sent.
pub(crate) fn began(world: &World, who: Who, key: u64, value: u64) {
    world.recorder.add(Event::WriteBegan {
        at_us: world.recorder.now_us(),
        client: who.client,
        session: who.session,
        pop: who.pop(),
        key,
        value,
    });
}

/// The field that carries a token.
pub(crate) fn fields(carried: Option<&Carried>) -> Vec<(&'static str, &str)> {
    carried
        .map(|carried| (SESSION_HEADER, carried.token.as_str()))
        .into_iter()
        .collect()
}

/// Notes how a write ended.
pub(crate) fn ended(
    world: &World,
    value: u64,
    carried: Option<&Carried>,
    answer: &Outcome,
    version: impl Fn(&Answer) -> Option<u64>,
) -> Written {
    let at_us = world.recorder.now_us();
    let done = answer.as_ref().ok();
    let Some(answer) = done.filter(|answer| answer.status.is_success()) else {
        // Only these say that nothing was done.
        let is_refusal =
            |answer: &Answer| [400, 403, 404, 405, 413, 422].contains(&answer.status.as_u16());
        let is_refused = done.is_some_and(is_refusal);
        world.figures.count(match answer {
            Ok(_) if is_refused => "writes refused",
            Ok(answer) => failed(answer.status),
            Err(Silence::Refused) => "writes to a PoP that is down",
            Err(_) => "writes without an answer",
        });
        world.recorder.add(Event::WriteFailed {
            at_us,
            value,
            is_unknown: !is_refused,
        });
        return Written::Failed;
    };
    world.figures.count("writes acknowledged");
    let token = answer.field(SESSION_HEADER).and_then(|token| {
        Some(Carried {
            token: token.to_owned(),
            position: unverified(token)?,
        })
    });
    if token.is_none() {
        world.figures.count("writes acknowledged without a token");
    }
    let position = token
        .as_ref()
        .map(|token| token.position.clone())
        .unwrap_or_default();
    world.recorder.add(Event::WriteAcked {
        at_us,
        value,
        version: version(answer),
        place: place(&position, carried.map(|carried| &carried.position)),
        token: position,
    });
    if let Some(token) = &token {
        world.share(token);
    }
    Written::Acknowledged(token)
}

/// Where the entry of a write is: the one place by which its token goes beyond what its session had.
fn place(token: &Position, before: Option<&Position>) -> Option<Place> {
    let known = |origin| before.map_or(0, |before| before.get(origin));
    let mut beyond = token
        .iter()
        .filter(|(origin, sequence)| *sequence > known(origin));
    let (origin, sequence) = beyond.next()?;
    beyond.next().is_none().then(|| Place {
        origin: origin.clone(),
        sequence,
    })
}

async fn read(world: &World, who: Who, carried: Option<&Carried>, chance: &mut Chance) {
    let Some(client) = world.at(who.pop, chance) else {
        return;
    };
    let registers = world.setup.registers;
    let key = chance.below(registers);
    let (path, keys) = match chance.below(10) {
        0..6 => (format!("/register/{key}"), vec![key]),
        6..8 => {
            let first = key / MANY * MANY;
            let keys: Vec<u64> = (first..first + MANY)
                .filter(|key| *key < registers)
                .collect();
            let names: Vec<String> = keys.iter().map(u64::to_string).collect();
            (format!("/register/many/{}", names.join(",")), keys)
        }
        _ => {
            let partition = key % PARTITIONS;
            let from = key / RANGE_KEYS * RANGE_KEYS;
            let until = from + RANGE_KEYS;
            let keys = (from..until.min(registers)).filter(|key| key % PARTITIONS == partition);
            (
                format!("/register/range/{partition}?from={from}&until={until}"),
                keys.collect(),
            )
        }
    };
    let began_us = world.recorder.now_us();
    let answer = client.get(&path, &fields(carried)).await;
    let seen = answer.as_ref().ok().and_then(|answer| seen(answer, &keys));
    note(world, who, carried, began_us, &answer, seen);
}

/// Notes a read.
pub(crate) fn note(
    world: &World,
    who: Who,
    carried: Option<&Carried>,
    began_us: u64,
    answer: &Outcome,
    seen: Option<Vec<Seen>>,
) {
    let source = match (answer, &seen) {
        (Ok(answer), Some(_)) => answer.source(),
        _ => Source::Error,
    };
    world.figures.count(match (source, answer) {
        (Source::Hit, _) => "reads from the cache",
        (Source::Forward, _) => "reads forwarded",
        (Source::Stale, _) => "reads marked stale",
        (Source::Error, Err(Silence::Refused)) => "reads at a PoP that is down",
        (Source::Error, Err(Silence::BrokeOff)) => "reads broken off",
        (Source::Error, Err(Silence::TooLate)) => "reads not answered in time",
        (Source::Error, Ok(answer)) => failed(answer.status),
    });
    if carried.is_some() && source != Source::Error {
        world.figures.count("reads with a session token");
    }
    world.recorder.add(Event::Read(Read {
        client: who.client,
        // What its session knew it carries, or it is in none.
        session: if carried.is_some() { who.session } else { 0 },
        pop: who.pop(),
        began_us,
        ended_us: world.recorder.now_us(),
        source,
        at_least: carried
            .map(|carried| carried.position.clone())
            .unwrap_or_default(),
        seen: seen.unwrap_or_default(),
    }));
}

/// A status that is no success, for counts.
fn failed(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200 => "answered 200 with something odd",
        400..=499 => "answered 4xx",
        500 => "answered 500",
        502 => "answered 502",
        503 => "answered 503",
        504 => "answered 504",
        _ => "answered with another status",
    }
}

/// What an answer shows of these registers; those that it leaves out were absent.
fn seen(answer: &Answer, keys: &[u64]) -> Option<Vec<Seen>> {
    if answer.status != StatusCode::OK {
        return None;
    }
    let found = match answer.json::<Registers>() {
        Some(several) => several.registers,
        None => vec![answer.json::<Register>()?],
    };
    let mut found: HashMap<u64, Register> = found
        .into_iter()
        .map(|register| (register.key, register))
        .collect();
    let shown = keys.iter().map(|key| {
        let register = found.remove(key);
        Seen::Record {
            key: *key,
            value: register.as_ref().and_then(|register| register.value),
            version: register.and_then(|register| register.version),
        }
    });
    let shown: Vec<Seen> = shown.collect();
    // What was not asked for makes the answer an odd one.
    found.is_empty().then_some(shown)
}

/// Reads every register at every PoP twice: the second is the cache's.
pub(crate) async fn read_all(world: &World) {
    let client = world.next_client();
    let mut chance = world.chance(client);
    for pop in 0..world.pops.len() {
        let who = Who {
            client,
            session: 0,
            pop,
        };
        for key in (0..world.setup.registers).flat_map(|key| [key, key]) {
            let Some(http) = world.at(pop, &mut chance) else {
                return;
            };
            let began_us = world.recorder.now_us();
            let answer = http.get(&format!("/register/{key}"), &[]).await;
            let seen = answer.as_ref().ok().and_then(|answer| seen(answer, &[key]));
            note(world, who, None, began_us, &answer, seen);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn places_of_writes() {
        for (token, before, expected) in [
            ("a.1=5", "", Some(5)),
            ("a.1=5", "a.1=4", Some(5)),
            ("a.1=5", "a.1=5", None),
            ("a.1=5,b.1=3", "b.1=3", Some(5)),
            ("a.1=5,b.1=3", "", None),
        ] {
            let before: Position = before.parse().unwrap_or_default();
            let found = place(&token.parse().unwrap(), Some(&before));
            assert_eq!(
                found.map(|place| place.sequence),
                expected,
                "{token} {before}"
            );
        }
    }
}
