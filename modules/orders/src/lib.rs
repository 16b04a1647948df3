//! Orders: place, get, list by customer.
//!
//! | request | answer |
//! |---|---|
//! | `POST /orders` `{customer, warehouse?, currency, lines: [{sku, quantity}]}` | 201, the order, `Location` |
//! | `GET /orders/{customer}/{id}` | the order |
//! | `GET /orders/{customer}?limit=&after=` | newest first; `next` goes on |
//! | `GET /orders/{customer}/summary` | how many, and what they came to: `{orders, spent_minor: {EUR: ...}}` |
//!
//! `Idempotency-Key` (1 to 255 visible ASCII characters) makes a repetition of the `POST` get the same order; the same key
//! with another body is refused with 422. Without it every `POST` is an order of its own. A repetition also completes an order
//! whose first request was cut off after the stock was reserved. Keys are kept for 24 hours, for each customer and warehouse.
//!
//! The summary is what the projection `orders-by-customer` makes of the events of all warehouses: it follows an order a moment later, and
//! by itself, in every PoP's cache.
//!
//! An order is a record in the collection `orders`, partition = customer, sort key = id (a ULID, so in order of time).
//! Without `warehouse` it is served from the one in the customer's profile. Config: `lifetime` (seconds that PoPs keep
//! answers to `GET`, default 3600; a new order takes the list out of the caches at once).

mod model;

use brink_sdk::commands::Call;
use brink_sdk::records::{self, Key, Range};
use brink_sdk::{Method, Problem, Request, Response, cache, config, log, ulid};
use model::{Order, OrderRequest, Page, Placed, Profile};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::fmt::Write;

const KEY_BYTES_MAX: usize = 255;
const PAGE_DEFAULT: u32 = 20;
const PAGE_MAX: u32 = 100;

/// Answers a request.
///
/// # Errors
/// What is asked for is not there or not possible.
pub fn handle(request: Request) -> Result<Response, Problem> {
    let segments = request
        .below("/orders")
        .ok_or_else(|| Problem::not_found("nothing here"))?;
    match (request.method(), segments.as_slice()) {
        (Method::Post, []) => place(&request),
        (Method::Get, [customer]) => list(&request, customer),
        (Method::Get, [customer, "summary"]) => summary(customer),
        (Method::Get, [customer, id]) => get(customer, id),
        (_, []) => Ok(Response::method_not_allowed(&["POST"])),
        (_, [_] | [_, _]) => Ok(Response::method_not_allowed(&["GET", "HEAD"])),
        _ => Err(Problem::not_found("nothing here")),
    }
}

fn place(request: &Request) -> Result<Response, Problem> {
    let key = idempotency_key(request.header("idempotency-key"))?;
    let wanted: OrderRequest = request.json()?;
    wanted.check()?;
    let profile =
        records::get_json::<Profile>(&Key::new("customers", &*wanted.customer, "profile"))?;
    let profile = profile
        .ok_or_else(|| Problem::unprocessable(format!("no customer {}", wanted.customer)))?
        .value;
    let warehouse = wanted.warehouse.clone().unwrap_or(profile.warehouse);

    let fingerprint = hash(&[&wanted.canonical()]);
    let placed: Placed = Call::new("place-order")
        .partition("stock", &*warehouse)
        .idempotency_key(hash(&[wanted.customer.as_bytes(), key.as_bytes()]))
        .json(&model::placement(
            &wanted,
            &warehouse,
            &ulid::generate(),
            &fingerprint,
        ))?
        .execute_json()?;
    if placed.fingerprint != fingerprint {
        return Err(Problem::unprocessable(
            "this Idempotency-Key was used for another order",
        ));
    }
    let order = Order::of(wanted, warehouse, placed);
    // If the record is there, an earlier request with the same key wrote the same.
    match records::compare_and_set_json(
        &Key::new("orders", &*order.customer, &*order.id),
        None,
        &order,
    ) {
        Ok(_) => log::info!("order placed", order = order.id, lines = order.lines.len()),
        Err(records::Error::Conflict { .. }) => log::info!("order repeated", order = order.id),
        Err(error) => return Err(error.into()),
    }
    cache::no_store();
    let location = format!("/orders/{}/{}", order.customer, order.id);
    Ok(Response::json(&order)
        .with_status(201)
        .header("location", &location)
        .header("cache-control", "no-store"))
}

/// The caller's key, or one that nobody else has.
fn idempotency_key(sent: Option<String>) -> Result<String, Problem> {
    let Some(key) = sent else {
        return Ok(ulid::generate());
    };
    // The draft makes it a quoted string; clients send it with and without quotes.
    let key = key
        .strip_prefix('"')
        .and_then(|key| key.strip_suffix('"'))
        .unwrap_or(&key);
    if key.is_empty()
        || key.len() > KEY_BYTES_MAX
        || !key.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(Problem::bad_request(format!(
            "Idempotency-Key: 1 to {KEY_BYTES_MAX} visible ASCII characters"
        )));
    }
    Ok(key.to_owned())
}

fn get(customer: &str, id: &str) -> Result<Response, Problem> {
    let order = if model::is_customer(customer) && ulid::is_valid(id) {
        records::get(&Key::new("orders", customer, id))?
    } else {
        None
    };
    let order = order.ok_or_else(|| Problem::not_found(format!("no order {id} of {customer}")))?;
    keep(Response::new("application/json", order.value))
}

fn list(request: &Request, customer: &str) -> Result<Response, Problem> {
    if !model::is_customer(customer) {
        return Err(Problem::not_found(format!("no customer {customer}")));
    }
    let limit = request
        .query_as::<u32>("limit")?
        .unwrap_or(PAGE_DEFAULT)
        .clamp(1, PAGE_MAX);
    let mut range = Range::of("orders", customer).limit(limit).descending();
    if let Some(after) = request.query("after").filter(|after| !after.is_empty()) {
        if !ulid::is_valid(after) {
            return Err(Problem::bad_request("after: not an order's id"));
        }
        range = range.after(after);
    }
    let page = range.read_json::<Box<RawValue>>()?;
    let next = page
        .entries
        .last()
        .filter(|_| page.more)
        .map(|entry| entry.sort.clone());
    let orders = page.entries.into_iter().map(|entry| entry.value).collect();
    keep(Response::json(&Page { orders, next }))
}

fn summary(customer: &str) -> Result<Response, Problem> {
    if !model::is_customer(customer) {
        return Err(Problem::not_found(format!("no customer {customer}")));
    }
    let summary = records::get(&Key::new("orders-by-customer", customer, "summary"))?;
    let none = || br#"{"orders":0,"spent_minor":{}}"#.to_vec();
    let summary = summary.map_or_else(none, |entry| entry.value);
    keep(Response::new("application/json", summary))
}

/// An answer that PoPs keep until a record it was made of is written, and that clients ask about each time.
fn keep(response: Response) -> Result<Response, Problem> {
    cache::lifetime(config::parse("lifetime")?.unwrap_or(3600));
    Ok(response.header("cache-control", "no-cache").etag())
}

/// SHA-256 in hexadecimal, over parts that cannot run into each other.
fn hash(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        hasher.update(part);
    }
    hasher
        .finalize()
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

brink_sdk::module!(handle);

#[cfg(test)]
mod tests;
