//! What can be asked.

use crate::model::{self, Stock};
use brink_sdk::records::{self, Key, Range};
use brink_sdk::{Problem, Request, Response};
use serde_json::{Value, json};

/// Most warehouses: what one `get-many` reads.
const WAREHOUSES_MAX: u32 = 100;
const PAGE_DEFAULT: u32 = 20;
const PAGE_MAX: u32 = 100;

/// The item as the catalog has it.
pub(crate) fn item(sku: &str) -> Result<Response, Problem> {
    let unknown = || Problem::not_found(format!("no item {sku}"));
    if !model::is_code(sku) {
        return Err(unknown());
    }
    let item = records::get(&Key::new("catalog", "items", sku))?.ok_or_else(unknown)?;
    Ok(Response::new("application/json", item.value))
}

/// How many pieces can be ordered, at every warehouse or at one.
pub(crate) fn availability(sku: &str, warehouse: Option<&str>) -> Result<Response, Problem> {
    let unknown = || Problem::not_found(format!("no stock of {sku}"));
    if !model::is_code(sku) || warehouse.is_some_and(|code| !model::is_code(code)) {
        return Err(unknown());
    }
    let codes: Vec<String> = match warehouse {
        Some(code) => vec![code.to_owned()],
        None => Range::of("warehouses", "all")
            .limit(WAREHOUSES_MAX)
            .read()?
            .entries
            .into_iter()
            .map(|entry| entry.sort)
            .collect(),
    };
    let keys: Vec<Key> = codes
        .iter()
        .map(|code| model::stock_key(code, sku))
        .collect();
    let stock = records::get_many_json::<Stock>(&keys)?;
    let found: Vec<_> = codes
        .iter()
        .zip(stock)
        .filter_map(|(code, entry)| Some(entry?.value.availability(code)))
        .collect();
    if found.is_empty() {
        return Err(unknown());
    }
    let available: u64 = found
        .iter()
        .map(|availability| availability.available)
        .sum();
    Ok(Response::json(
        &json!({"sku": sku, "available": available, "warehouses": found}),
    ))
}

/// Every warehouse.
pub(crate) fn warehouses() -> Result<Response, Problem> {
    let page = Range::of("warehouses", "all")
        .limit(WAREHOUSES_MAX)
        .read_json::<Value>()?;
    let warehouses: Vec<Value> = page.entries.into_iter().map(|entry| entry.value).collect();
    Ok(Response::json(&json!({"warehouses": warehouses})))
}

/// Items by the beginning of their SKU; with a warehouse, its stock.
pub(crate) fn search(request: &Request) -> Result<Response, Problem> {
    let code = |name: &str| {
        let value = request.query(name).filter(|value| !value.is_empty());
        match value {
            Some(value) if !model::is_code(value) => Err(Problem::bad_request(format!(
                "{name}: at most 64 of A-Z, 0-9 and -"
            ))),
            value => Ok(value),
        }
    };
    let (prefix, after, warehouse) = (
        code("prefix")?.unwrap_or(""),
        code("after")?,
        code("warehouse")?,
    );
    let limit = request
        .query_as::<u32>("limit")?
        .unwrap_or(PAGE_DEFAULT)
        .clamp(1, PAGE_MAX);
    let (range, folder) = match warehouse {
        Some(warehouse) => (Range::of("stock", warehouse), "sku/"),
        None => (Range::of("catalog", "items"), ""),
    };
    let mut range = range.prefix(&format!("{folder}{prefix}")).limit(limit);
    // A bound below the prefix would let other SKUs in.
    if let Some(after) = after.filter(|after| *after >= prefix) {
        range = range.after(format!("{folder}{after}"));
    }
    let page = range.read_json::<Value>()?;
    let last = page.entries.last().filter(|_| page.more);
    let next = last
        .and_then(|entry| entry.sort.strip_prefix(folder))
        .map(str::to_owned);
    let items: Vec<Value> = page
        .entries
        .into_iter()
        .map(|entry| shown(entry.value, warehouse))
        .collect();
    Ok(Response::json(&json!({"items": items, "next": next})))
}

/// A catalog item as it is; of stock, what is of interest outside.
fn shown(value: Value, warehouse: Option<&str>) -> Value {
    let Some(warehouse) = warehouse else {
        return value;
    };
    match serde_json::from_value::<Stock>(value) {
        Ok(stock) => {
            let availability = stock.availability(warehouse);
            json!({"sku": stock.sku, "on_hand": availability.on_hand, "reserved": availability.reserved, "available": availability.available})
        }
        Err(_) => Value::Null,
    }
}
