//! Adjustments of stock, by compare-and-set.

use crate::model::{self, Stock};
use brink_sdk::{Problem, Request, Response, cache, log, records};
use serde::Deserialize;

/// How often an adjustment is tried when others change the same record at the same time.
const ATTEMPTS_MAX: usize = 8;
/// Longest reason, in characters.
const REASON_CHARS_MAX: usize = 200;
/// Longest idempotency key, in bytes.
const KEY_BYTES_MAX: usize = 128;

/// What to change, and why.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Adjustment {
    sku: String,
    warehouse: String,
    /// Pieces more or, if negative, fewer on hand.
    delta: i64,
    reason: String,
}

/// Adjusts the stock of an article in a warehouse.
pub(crate) fn adjust(request: &Request) -> Result<Response, Problem> {
    cache::no_store();
    let key = request.header("idempotency-key");
    if key.as_ref().is_some_and(|key| {
        key.is_empty()
            || key.len() > KEY_BYTES_MAX
            || !key.bytes().all(|byte| byte.is_ascii_graphic())
    }) {
        return Err(Problem::bad_request(format!(
            "Idempotency-Key: 1 to {KEY_BYTES_MAX} visible ASCII characters"
        )));
    }
    let adjustment: Adjustment = request.json()?;
    let fault = if !model::is_code(&adjustment.sku) || !model::is_code(&adjustment.warehouse) {
        Some("sku, warehouse: 1 to 64 of A-Z, 0-9 and -")
    } else if adjustment.delta == 0 {
        Some("delta: not 0")
    } else if adjustment.reason.trim().is_empty()
        || adjustment.reason.chars().count() > REASON_CHARS_MAX
    {
        Some("reason: 1 to 200 characters")
    } else {
        None
    };
    match fault {
        Some(fault) => Err(Problem::unprocessable(fault)),
        None => apply(&adjustment, key.as_deref()),
    }
}

fn apply(adjustment: &Adjustment, key: Option<&str>) -> Result<Response, Problem> {
    let Adjustment {
        sku,
        warehouse,
        delta,
        reason,
    } = adjustment;
    let record = model::stock_key(warehouse, sku);
    for _ in 0..ATTEMPTS_MAX {
        let present = records::get_json::<Stock>(&record)?
            .ok_or_else(|| Problem::not_found(format!("no stock of {sku} at {warehouse}")))?;
        let Some(adjusted) = present.value.clone().adjusted(*delta, key)? else {
            return Ok(answer(&present.value, warehouse));
        };
        match records::compare_and_set_json(&record, Some(present.version), &adjusted) {
            Ok(_) => {
                log::info!(
                    "stock adjusted",
                    sku = sku,
                    warehouse = warehouse,
                    delta = delta,
                    reason = reason
                );
                return Ok(answer(&adjusted, warehouse));
            }
            Err(records::Error::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Problem::new(503, "Too many writers").detail(format!(
        "{sku} at {warehouse} was changed {ATTEMPTS_MAX} times meanwhile; try again"
    )))
}

fn answer(stock: &Stock, warehouse: &str) -> Response {
    Response::json(&stock.availability().of(&stock.sku).at(warehouse))
        .header("cache-control", "no-store")
}
