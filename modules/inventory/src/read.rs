//! What can be asked.

use crate::model::{self, Availability, Stock};
use brink_sdk::records::{self, Key, Page, Range};
use brink_sdk::{Problem, Request, Response};
use serde::Serialize;
use serde_json::value::RawValue;

/// Most warehouses: what one `get-many` reads.
const WAREHOUSES_MAX: u32 = 100;
const PAGE_DEFAULT: u32 = 20;
const PAGE_MAX: u32 = 100;

/// The answer about an article's availability.
#[derive(Debug, Serialize)]
struct Available<'a> {
    sku: &'a str,
    available: u64,
    warehouses: Vec<Availability>,
}

/// The answer about warehouses.
#[derive(Debug, Serialize)]
struct Warehouses {
    warehouses: Vec<Box<RawValue>>,
}

/// The answer of a search.
#[derive(Debug, Serialize)]
struct Found<T> {
    items: Vec<T>,
    /// Give it as `after` to go on; none: these were the last.
    next: Option<String>,
}

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
        .filter_map(|(code, entry)| Some(entry?.value.availability().at(code)))
        .collect();
    if found.is_empty() {
        return Err(unknown());
    }
    let available: u64 = found
        .iter()
        .map(|availability| availability.available)
        .sum();
    Ok(Response::json(&Available {
        sku,
        available,
        warehouses: found,
    }))
}

/// Every warehouse.
pub(crate) fn warehouses() -> Result<Response, Problem> {
    let page = Range::of("warehouses", "all")
        .limit(WAREHOUSES_MAX)
        .read_json()?;
    Ok(Response::json(&Warehouses {
        warehouses: values(page),
    }))
}

/// Items by the beginning of their SKU; with a warehouse, its stock.
pub(crate) fn search(request: &Request) -> Result<Response, Problem> {
    let prefix = code(request, "prefix")?.unwrap_or("");
    // A bound below the prefix would let other SKUs in.
    let after = code(request, "after")?.filter(|after| *after >= prefix);
    let limit = request
        .query_as::<u32>("limit")?
        .unwrap_or(PAGE_DEFAULT)
        .clamp(1, PAGE_MAX);
    let bounded = |range: Range, folder: &str| {
        let range = range.prefix(&format!("{folder}{prefix}")).limit(limit);
        match after {
            Some(after) => range.after(format!("{folder}{after}")),
            None => range,
        }
    };
    match code(request, "warehouse")? {
        None => {
            let page = bounded(Range::of("catalog", "items"), "").read_json::<Box<RawValue>>()?;
            let next = next(&page, "");
            Ok(Response::json(&Found {
                items: values(page),
                next,
            }))
        }
        Some(warehouse) => {
            let page = bounded(Range::of("stock", warehouse), "sku/").read_json::<Stock>()?;
            let next = next(&page, "sku/");
            let items = values(page)
                .iter()
                .map(|stock| stock.availability().of(&stock.sku))
                .collect();
            Ok(Response::json(&Found { items, next }))
        }
    }
}

/// A query parameter that is a SKU, the beginning of one, or a warehouse.
fn code<'a>(request: &'a Request, name: &str) -> Result<Option<&'a str>, Problem> {
    let value = request.query(name).filter(|value| !value.is_empty());
    match value {
        Some(value) if !model::is_code(value) => Err(Problem::bad_request(format!(
            "{name}: at most 64 of A-Z, 0-9 and -"
        ))),
        value => Ok(value),
    }
}

fn values<T>(page: Page<T>) -> Vec<T> {
    page.entries.into_iter().map(|entry| entry.value).collect()
}

/// Where the next page begins.
fn next<T>(page: &Page<T>, folder: &str) -> Option<String> {
    let last = page.entries.last().filter(|_| page.more)?;
    last.sort.strip_prefix(folder).map(str::to_owned)
}
