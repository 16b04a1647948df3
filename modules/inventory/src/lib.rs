//! Inventory: items, availability by SKU and warehouse, search, adjustments.
//!
//! | request | answer |
//! |---|---|
//! | `GET /inventory/items/{sku}` | the item |
//! | `GET /inventory/availability/{sku}?warehouse=` | how many can be ordered, at every warehouse or one |
//! | `GET /inventory/warehouses` | the warehouses |
//! | `GET /inventory/search?prefix=&warehouse=&limit=&after=` | items by SKU; with `warehouse`, its stock; `next` goes on |
//! | `POST /inventory/adjustments` `{sku, warehouse, delta, reason}` | the stock after it |
//!
//! `Idempotency-Key` (1 to 128 visible ASCII characters) makes a repetition of an adjustment a reading of its result; the last
//! 32 keys of each stock record are remembered, in the record itself, so that count and key change together.
//!
//! No answer has a tag and nothing is purged here: the records that were read are the tags, and a write to one of them, by
//! whatever module, takes the answers out.
//!
//! Config: `lifetime` (seconds that PoPs keep answers to `GET`, default 3600; a write to a record that was read takes them
//! out at once).

mod adjust;
mod model;
mod read;

use brink_sdk::{Method, Problem, Request, Response, cache, config};

/// Answers a request.
///
/// # Errors
/// What is asked for is not there or not possible.
pub fn handle(request: Request) -> Result<Response, Problem> {
    let segments = request
        .below("/inventory")
        .ok_or_else(|| Problem::not_found("nothing here"))?;
    match (request.method(), segments.as_slice()) {
        (Method::Get, ["items", sku]) => keep(read::item(sku)?),
        (Method::Get, ["availability", sku]) => {
            keep(read::availability(sku, request.query("warehouse"))?)
        }
        (Method::Get, ["warehouses"]) => keep(read::warehouses()?),
        (Method::Get, ["search"]) => keep(read::search(&request)?),
        (Method::Post, ["adjustments"]) => adjust::adjust(&request),
        (_, ["items" | "availability", _] | ["warehouses" | "search"]) => {
            Ok(Response::method_not_allowed(&["GET", "HEAD"]))
        }
        (_, ["adjustments"]) => Ok(Response::method_not_allowed(&["POST"])),
        _ => Err(Problem::not_found("nothing here")),
    }
}

/// An answer that PoPs keep until a record it was made of is written, and that clients ask about each time.
fn keep(response: Response) -> Result<Response, Problem> {
    cache::lifetime(config::parse("lifetime")?.unwrap_or(3600));
    Ok(response.header("cache-control", "no-cache").etag())
}

brink_sdk::module!(handle);

#[cfg(test)]
mod tests;
