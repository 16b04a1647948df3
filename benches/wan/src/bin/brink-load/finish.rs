//! The end of a run: rest, last reads, the check, and the figures.

use crate::{Error, objects, registers, setup::BOUND_US, world::World};
use brink_planet::{
    checker::{self, Rules},
    history::{self, Event},
};
use serde_json::{Value, json};
use std::{collections::HashSet, fs::File, io::BufWriter, sync::PoisonError, time::Duration};
use tokio::task::JoinSet;

/// How long clients may take to end, proofs of purges included.
const CLIENTS_WITHIN: Duration = Duration::from_secs(120);
/// How long the platform may take to come to rest.
const REST_WITHIN: Duration = Duration::from_secs(60);
/// Most records of one page of the control API.
const PAGE: usize = 1_000;
/// Violations that are told in the result; the rest is in the history.
const TOLD_MAX: usize = 10;

/// How a run ended.
pub(crate) struct Outcome {
    pub(crate) is_good: bool,
    pub(crate) json: Value,
}

/// Ends the clients, waits for rest, reads everything once more, and checks.
pub(crate) async fn finish(world: &World, mut clients: JoinSet<()>) -> Result<Outcome, Error> {
    let load_us = world.recorder.now_us();
    world.end();
    let all = async { while clients.join_next().await.is_some() {} };
    if tokio::time::timeout(CLIENTS_WITHIN, all).await.is_err() {
        return Err(Error::Vain("the clients to end".to_owned()));
    }
    world
        .until("every PoP to follow the feed", REST_WITHIN, async || {
            rests(world).await
        })
        .await?;
    if !objects::purge_all(world).await {
        return Err(Error::Vain("the last purge to be proven".to_owned()));
    }
    world.recorder.add(Event::Quiesced {
        at_us: world.recorder.now_us(),
    });
    registers::read_all(world).await;
    objects::read_all(world).await;
    last_values(world).await?;

    let events = std::mem::take(&mut *world.recorder.events());
    let path = &world.setup.history;
    let file = File::create(path).map_err(|error| Error::Io(path.display().to_string(), error))?;
    history::write_lines(BufWriter::new(file), &events)?;
    let rules = Rules { bound_us: BOUND_US };
    let mut violations: Vec<String> = checker::check(&events, rules)
        .iter()
        .map(ToString::to_string)
        .collect();
    let lost = world.figures.get("orders not found after they were placed");
    if lost > 0 {
        violations.push(format!(
            "{lost} orders were not found with the token of who placed them"
        ));
    }
    if world.figures.get("reads with a session token") == 0 {
        violations.push("no read carried a session token: nothing was shown of them".to_owned());
    }
    let is_good = violations.is_empty();
    let json = result(world, &events, load_us, &violations);
    Ok(Outcome { is_good, json })
}

/// Whether every PoP follows the feed and has nothing to apply.
async fn rests(world: &World) -> Option<()> {
    let pops = world.ask("/v1/pops").await?;
    let follows = |pop: &&Value| {
        pop.get("connected") == Some(&json!(true)) && pop.get("lag_changes") == Some(&json!(0))
    };
    let count = pops.as_array()?.iter().filter(follows).count();
    (count == world.setup.pops.len()).then_some(())
}

/// Notes what the store holds.
async fn last_values(world: &World) -> Result<(), Error> {
    for partition in 0..4 {
        let path = format!("/v1/records/registers/{partition}?limit={PAGE}");
        let page = world
            .until("the registers", REST_WITHIN, async || {
                world.ask(&path).await
            })
            .await?;
        for entry in page
            .get("entries")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let sort = entry.get("sort").and_then(Value::as_str);
            let Some(key) = sort.and_then(|sort| sort.parse().ok()) else {
                continue;
            };
            world.recorder.add(Event::Final {
                key,
                value: entry.get("value").and_then(Value::as_u64),
                version: entry.get("version").and_then(Value::as_u64),
            });
        }
    }
    let orders = world
        .orders
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let customers: HashSet<String> = orders.iter().map(|order| order.customer.clone()).collect();
    let mut there = HashSet::new();
    for customer in customers {
        order_ids(world, &customer, &mut there).await?;
    }
    for order in orders {
        world.recorder.add(Event::Final {
            key: order.key,
            value: there.contains(&order.id).then_some(order.value),
            version: None,
        });
    }
    Ok(())
}

/// Ids of all orders of a customer.
async fn order_ids(world: &World, customer: &str, ids: &mut HashSet<String>) -> Result<(), Error> {
    let mut after = String::new();
    loop {
        let path = format!("/v1/records/orders/{customer}?limit={PAGE}{after}");
        let page = world
            .until("the orders", REST_WITHIN, async || world.ask(&path).await)
            .await?;
        let entries = page
            .get("entries")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let sorts = entries
            .iter()
            .filter_map(|entry| Some(entry.get("sort")?.as_str()?.to_owned()));
        let sorts: Vec<String> = sorts.collect();
        match sorts.last() {
            Some(last) if sorts.len() >= PAGE => after = format!("&after={last}"),
            _ => {
                ids.extend(sorts);
                return Ok(());
            }
        }
        ids.extend(sorts);
    }
}

fn result(world: &World, events: &[Event], load_us: u64, violations: &[String]) -> Value {
    let figures = &world.figures;
    let [hits, forwarded, stale] = [
        "reads from the cache",
        "reads forwarded",
        "reads marked stale",
    ]
    .map(|name| figures.get(name));
    let reads = events
        .iter()
        .filter(|event| matches!(event, Event::Read(_)))
        .count() as u64;
    // A PoP that is down answers nobody; everybody else is counted.
    let down = figures.get("reads at a PoP that is down");
    let answered = hits + forwarded + stale;
    let told: Vec<&String> = violations.iter().take(TOLD_MAX).collect();
    json!({
        "violations": violations.len(),
        "told": told,
        "events": events.len(),
        "load_ms": load_us / 1_000,
        "reads": reads,
        "reads_answered_ppm": answered * 1_000_000 / reads.saturating_sub(down).max(1),
        "counts": figures.all(),
        "propagation_ms": figures.percentiles("propagation"),
        "proof_ms": figures.percentiles("proof"),
        "origin_requests": world.origin.requests.load(std::sync::atomic::Ordering::Relaxed),
        "history": world.setup.history,
    })
}
