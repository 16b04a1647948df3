//! Objects of the origin: readers, and one who changes them and purges.

use crate::{
    registers::{Who, note},
    world::World,
};
use brink_planet::history::{Event, Seen};
use brink_wan::chance::Chance;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinSet;

/// How long each question for a purge's status waits at the core, in milliseconds.
const WAIT_MS: u64 = 3_000;
/// How long a purge's proof is waited for: faults are shorter.
const PROVEN_WITHIN: Duration = Duration::from_secs(90);
/// How often a purge is sent that has no answer.
const TRIES: u32 = 3;
/// Purges whose proof is waited for at a time.
const WATCHED_MAX: usize = 300;

#[derive(Debug, Deserialize)]
struct Object {
    object: u64,
    generation: u64,
}

/// A client that reads objects at one PoP.
pub(crate) async fn reader(world: Arc<World>, pop: usize) {
    let client = world.next_client();
    let mut chance = world.chance(client);
    let who = Who {
        client,
        session: 0,
        pop,
    };
    while !world.is_over() {
        let object = chance.below(world.setup.objects as u64);
        read(&world, who, object, &mut chance).await;
        world.pause(&mut chance).await;
    }
}

async fn read(world: &World, who: Who, object: u64, chance: &mut Chance) {
    let Some(client) = world.at(who.pop, chance) else {
        return;
    };
    let began_us = world.recorder.now_us();
    let answer = client.get(&format!("/site/obj/{object}"), &[]).await;
    let shown = answer
        .as_ref()
        .ok()
        .filter(|answer| answer.status == StatusCode::OK);
    let shown: Option<Object> = shown.and_then(|answer| answer.json());
    let shown = shown.filter(|shown| shown.object == object);
    let seen = shown.map(|Object { object, generation }| vec![Seen::Object { object, generation }]);
    note(world, who, None, began_us, &answer, seen);
}

/// Reads every object at every PoP twice.
pub(crate) async fn read_all(world: &World) {
    let client = world.next_client();
    let mut chance = world.chance(client);
    for pop in 0..world.pops.len() {
        let who = Who {
            client,
            session: 0,
            pop,
        };
        for object in (0..world.setup.objects as u64).flat_map(|object| [object, object]) {
            read(world, who, object, &mut chance).await;
        }
    }
}

/// Changes objects and purges them, in every way there is; ends when its purges are proven.
pub(crate) async fn purger(world: Arc<World>) {
    let client = world.next_client();
    let mut chance = world.chance(client);
    let mut watchers = JoinSet::new();
    let mut number = 0;
    while !world.is_over() {
        number += 1;
        let (changed, matched, body) = choice(&world, &mut chance);
        let soft = body.get("soft").is_some();
        for object in &changed {
            change(&world, *object);
        }
        if let Some(id) = purge(&world, number, matched, soft, &body).await
            && watchers.len() < WATCHED_MAX
        {
            for pop in 0..world.pops.len() {
                let changed = changed.clone();
                watchers.spawn(watch(Arc::clone(&world), number, id.clone(), pop, changed));
            }
        }
        while watchers.try_join_next().is_some() {}
        let pause = chance.below(world.setup.purge_pause_ms_max + 1);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    while watchers.join_next().await.is_some() {}
}

/// Objects to change, objects that the purge matches, and the purge.
fn choice(world: &World, chance: &mut Chance) -> (Vec<usize>, Vec<u64>, Value) {
    let objects = world.setup.objects;
    let mut one = || usize::try_from(chance.below(objects as u64)).unwrap_or(0);
    let (first, second) = (one(), one());
    let all: Vec<u64> = (0..objects as u64).collect();
    let single = |object: usize| vec![object as u64];
    let port = world
        .setup
        .pops
        .first()
        .map_or(443, |pop| pop.address.port());
    match chance.below(20) {
        0..8 => (
            vec![first],
            single(first),
            json!({"keys": [format!("obj-{first}")]}),
        ),
        8..11 => (
            vec![first, second],
            [single(first), single(second)].concat(),
            json!({"keys": [format!("obj-{first}"), format!("obj-{second}")]}),
        ),
        11..14 => (
            vec![first],
            single(first),
            json!({"keys": [format!("obj-{first}")], "soft": true}),
        ),
        14..17 => {
            let url = format!("https://localhost:{port}/site/obj/{first}");
            (vec![first], single(first), json!({"urls": [url]}))
        }
        17 => {
            let prefix = format!("localhost:{port}/site/obj");
            (vec![first, second], all, json!({"prefixes": [prefix]}))
        }
        18 => {
            let host = format!("localhost:{port}");
            (vec![first, second], all, json!({"hosts": [host]}))
        }
        _ => (vec![first, second], all, json!({"everything": true})),
    }
}

/// The origin serves a new generation.
fn change(world: &World, object: usize) {
    if let Some(generation) = world.origin.change(object) {
        world.recorder.add(Event::OriginChanged {
            at_us: world.recorder.now_us(),
            object: object as u64,
            generation,
        });
    }
}

/// Sends a purge, again while there is no answer; the id that the core gave it.
async fn purge(
    world: &World,
    number: u64,
    objects: Vec<u64>,
    soft: bool,
    body: &Value,
) -> Option<String> {
    world.recorder.add(Event::PurgeBegan {
        at_us: world.recorder.now_us(),
        id: number,
        objects,
        soft,
    });
    world.figures.count("purges tried");
    let key = format!("load-{}-{number}", world.setup.seed);
    for _ in 0..TRIES {
        if let Some(id) = world.purge(body, &key).await {
            world.recorder.add(Event::PurgeAcked {
                at_us: world.recorder.now_us(),
                id: number,
            });
            world.figures.count("purges acknowledged");
            return Some(id);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    world.figures.count("purges without an acknowledgement");
    None
}

/// Waits until a purge is proven at one PoP, and reads there at once.
async fn watch(world: Arc<World>, number: u64, id: String, pop: usize, changed: Vec<usize>) {
    let Some(name) = world.setup.pops.get(pop).map(|pop| pop.name.clone()) else {
        return;
    };
    let begun = tokio::time::Instant::now();
    let path = format!("/v1/purges/{id}?wait=pop:{name}&timeout={WAIT_MS}");
    while begun.elapsed() < PROVEN_WITHIN {
        let status = world.ask(&path).await;
        let Some(applied) = status.as_ref().and_then(|status| applied(status, &name)) else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let client = world.next_client();
        let who = Who {
            client,
            session: 0,
            pop,
        };
        world.recorder.add(Event::PurgeReported {
            at_us: world.recorder.now_us(),
            id: number,
            pop: who.pop(),
        });
        world.figures.count("purges proven at a PoP");
        let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        world.figures.took("proof", took);
        if let Some(propagation_ms) = applied.get("propagation_ms").and_then(Value::as_u64) {
            world.figures.took("propagation", propagation_ms);
        }
        let mut chance = world.chance(client);
        for object in changed {
            read(&world, who, object as u64, &mut chance).await;
        }
        return;
    }
    world.figures.count("purges not proven in time");
}

/// What a status says of a PoP that has applied the purge.
fn applied<'a>(status: &'a Value, pop: &str) -> Option<&'a Value> {
    let applied = status.get("applied")?.as_array()?;
    applied
        .iter()
        .find(|entry| entry.get("pop").and_then(Value::as_str) == Some(pop))
}

/// Purges every object and waits until that is proven everywhere.
pub(crate) async fn purge_all(world: &World) -> bool {
    let body = World::all_objects();
    let key = format!("load-{}-last", world.setup.seed);
    let Some(id) = world.purge(&body, &key).await else {
        return false;
    };
    let path = format!("/v1/purges/{id}?wait=all&timeout={WAIT_MS}");
    for _ in 0..20 {
        let status = world.ask(&path).await.unwrap_or_default();
        let names = world.setup.pops.iter().map(|pop| pop.name.as_str());
        if names
            .into_iter()
            .all(|name| applied(&status, name).is_some())
        {
            return true;
        }
    }
    false
}
