//! Customers of the sample modules: they place orders at one PoP and look at them at another.

use crate::{
    answer::Answer,
    registers::{Who, Written, began, ended, fields, note},
    world::{Carried, Placed, World},
};
use brink_planet::history::Seen;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::sync::{Arc, PoisonError};

/// Records of orders have numbers from here on; those below are registers.
const ORDERS_FROM: u64 = 1_000_000;

/// What the sample modules need, as lines to import.
pub(crate) fn records(customers: u32) -> String {
    let line = |collection: &str, partition: &str, sort: &str, value: Value| {
        let line =
            json!({"collection": collection, "partition": partition, "sort": sort, "value": value});
        format!("{line}\n")
    };
    let mut lines = line(
        "warehouses",
        "all",
        "AMS1",
        json!({"code": "AMS1", "name": "Amsterdam"}),
    );
    let stock = json!({"sku": "A-1", "on_hand": 100_000_000, "reserved": 0, "price_minor": 250, "currency": "EUR"});
    lines += &line("stock", "AMS1", "sku/A-1", stock);
    for number in 0..customers {
        let customer = name(number);
        let profile = json!({"id": customer, "name": customer, "warehouse": "AMS1"});
        lines += &line("customers", &customer, "profile", profile);
    }
    lines
}

fn name(number: u32) -> String {
    format!("C{number}")
}

/// Places orders, and looks at each at once somewhere else.
pub(crate) async fn customer(world: Arc<World>, number: u32) {
    let client = world.next_client();
    let mut chance = world.chance(client);
    let customer = name(number);
    let mut carried: Option<Carried> = None;
    let mut session = client;
    while !world.is_over() {
        if carried.is_none() {
            session = world.next_client();
        }
        let mut pop = || usize::try_from(chance.below(world.pops.len() as u64)).unwrap_or(0);
        let (here, there) = (pop(), pop());
        let who = Who {
            client,
            session,
            pop: here,
        };
        let Some(http) = world.at(here, &mut chance) else {
            return;
        };
        let value = world.next_value();
        let key = ORDERS_FROM + value;
        began(&world, who, key, value);
        let mut sent = fields(carried.as_ref());
        sent.push(("content-type", "application/json"));
        let order = json!({"customer": customer, "currency": "EUR", "lines": [{"sku": "A-1", "quantity": 1}]});
        let answer = http
            .send(Method::POST, "/orders", &sent, order.to_string())
            .await;
        let written = ended(&world, value, carried.as_ref(), &answer, |_| Some(1));
        if let Written::Acknowledged(token) = written {
            world.figures.count("orders placed");
            carried = token;
            let placed = answer
                .as_ref()
                .ok()
                .and_then(|answer| placed(answer, key, value, &customer));
            if let Some(placed) = placed {
                let who = Who { pop: there, ..who };
                look(&world, who, &placed, carried.as_ref()).await;
                world
                    .orders
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(placed);
            }
        }
        world.pause(&mut chance).await;
        world.pause(&mut chance).await;
    }
}

fn placed(answer: &Answer, key: u64, value: u64, customer: &str) -> Option<Placed> {
    let order: Value = answer.json()?;
    Some(Placed {
        key,
        value,
        customer: customer.to_owned(),
        id: order.get("id")?.as_str()?.to_owned(),
    })
}

async fn look(world: &World, who: Who, placed: &Placed, carried: Option<&Carried>) {
    let mut chance = world.chance(placed.value);
    let Some(http) = world.at(who.pop, &mut chance) else {
        return;
    };
    let path = format!("/orders/{}/{}", placed.customer, placed.id);
    let began_us = world.recorder.now_us();
    let answer = http.get(&path, &fields(carried)).await;
    let value = answer
        .as_ref()
        .ok()
        .and_then(|answer| shown(answer, placed));
    let seen = value.map(|value| {
        vec![Seen::Record {
            key: placed.key,
            value,
            version: None,
        }]
    });
    if value == Some(None) && carried.is_some() {
        // Reads of status 404 count as errors; this one is an answer, and a wrong one.
        world
            .figures
            .count("orders not found after they were placed");
    }
    note(world, who, carried, began_us, &answer, seen);
}

/// The order's value, or that there is none; none: the answer says neither.
fn shown(answer: &Answer, placed: &Placed) -> Option<Option<u64>> {
    match answer.status {
        StatusCode::NOT_FOUND => Some(None),
        StatusCode::OK => {
            let order: Value = answer.json()?;
            (order.get("id")?.as_str()? == placed.id).then_some(Some(placed.value))
        }
        _ => None,
    }
}
