//! A command that reserves stock for an order, or refuses it: all lines or none.
//!
//! It runs over the partition `stock / <warehouse>`, where every article has a record `sku/<sku>`, and writes a record
//! `hold/<order id>` beside the raised counts, and appends an event `order.placed` to the warehouse's stream. The answer is a priced order. The caller's idempotency key makes a repetition
//! get the first answer, with the first order id.
//!
//! Refusals are problem documents: 409 `Insufficient stock` with a member `short` (sku, requested, available), 422 for input
//! that cannot be.

use brink_sdk::records::{self, Entry, Key};
use brink_sdk::{Problem, clock, events, ulid};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Most lines of an order: what one `get-many` reads.
pub const LINES_MAX: usize = records::GET_MANY_MAX;
/// Most pieces of one line.
pub const QUANTITY_MAX: u64 = 10_000;

/// What to order.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The id to give the order, a ULID.
    pub order_id: String,
    /// Who orders.
    pub customer: String,
    /// Where from: the partition of the transaction.
    pub warehouse: String,
    /// ISO 4217. Every line must be priced in it.
    pub currency: String,
    /// At most [`LINES_MAX`], each SKU once.
    pub lines: Vec<Line>,
    /// Handed back as it came: tells the caller whether a stored answer belongs to the same order.
    #[serde(default)]
    pub fingerprint: String,
}

/// So many of an article.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Which.
    pub sku: String,
    /// 1 to [`QUANTITY_MAX`].
    pub quantity: u64,
}

/// The order that was placed.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Output {
    /// Its id.
    pub order_id: String,
    /// When the stock was reserved, in milliseconds since 1970.
    pub placed_ms: u64,
    /// Lines with prices.
    pub lines: Vec<PricedLine>,
    /// Sum, in minor units of the currency.
    pub total_minor: u64,
    /// As it came.
    pub fingerprint: String,
}

/// A line with its price.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct PricedLine {
    /// Which.
    pub sku: String,
    /// How many.
    pub quantity: u64,
    /// Of one piece, in minor units.
    pub price_minor: u64,
    /// Of the line, in minor units.
    pub amount_minor: u64,
}

/// The stock of an article in a warehouse. Members that this command has no business with stay as they are.
#[derive(Debug, Serialize, Deserialize)]
struct Stock {
    on_hand: u64,
    reserved: u64,
    price_minor: u64,
    currency: String,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Why the stock is reserved.
#[derive(Debug, Serialize)]
struct Hold<'a> {
    order_id: &'a str,
    customer: &'a str,
    lines: &'a [Line],
    placed_ms: u64,
}

/// What the event `order.placed` tells.
#[derive(Debug, Serialize)]
struct OrderPlaced<'a> {
    order_id: &'a str,
    customer: &'a str,
    warehouse: &'a str,
    currency: &'a str,
    lines: &'a [PricedLine],
    total_minor: u64,
}

/// A line that cannot be had.
#[derive(Debug, Serialize)]
struct Short {
    sku: String,
    requested: u64,
    available: u64,
}

/// Reserves the stock of an order.
///
/// # Errors
/// 422: the input cannot be. 409: there is not enough of something; nothing was reserved.
pub fn place(input: Input) -> Result<Output, Problem> {
    check(&input)?;
    let key = |sort: String| Key::new("stock", &*input.warehouse, sort);
    let hold = key(format!("hold/{}", input.order_id));
    if records::get(&hold)?.is_some() {
        return Err(Problem::new(409, "Order exists")
            .detail(format!("order {} was placed before", input.order_id)));
    }
    let keys: Vec<Key> = input
        .lines
        .iter()
        .map(|line| key(format!("sku/{}", line.sku)))
        .collect();
    let stock = records::get_many_json::<Stock>(&keys)?;
    let (lines, stock) = reserve(&input, stock)?;

    for (key, stock) in keys.iter().zip(&stock) {
        records::put_json(key, stock)?;
    }
    let placed_ms = clock::now_ms();
    records::put_json(
        &hold,
        &Hold {
            order_id: &input.order_id,
            customer: &input.customer,
            lines: &input.lines,
            placed_ms,
        },
    )?;
    let total_minor = lines
        .iter()
        .try_fold(0_u64, |sum, line| sum.checked_add(line.amount_minor))
        .ok_or_else(too_much)?;
    events::append_json(
        "order.placed",
        &OrderPlaced {
            order_id: &input.order_id,
            customer: &input.customer,
            warehouse: &input.warehouse,
            currency: &input.currency,
            lines: &lines,
            total_minor,
        },
    )?;
    Ok(Output {
        order_id: input.order_id,
        placed_ms,
        lines,
        total_minor,
        fingerprint: input.fingerprint,
    })
}

fn check(input: &Input) -> Result<(), Problem> {
    if !ulid::is_valid(&input.order_id) {
        return Err(Problem::unprocessable("order_id is not a ULID"));
    }
    if input.lines.is_empty() || input.lines.len() > LINES_MAX {
        return Err(Problem::unprocessable(format!(
            "an order has 1 to {LINES_MAX} lines"
        )));
    }
    let mut seen = BTreeSet::new();
    for line in &input.lines {
        if !seen.insert(&line.sku) {
            return Err(Problem::unprocessable(format!(
                "{} is on two lines",
                line.sku
            )));
        }
        if !(1..=QUANTITY_MAX).contains(&line.quantity) {
            return Err(Problem::unprocessable(format!(
                "{}: the quantity is 1 to {QUANTITY_MAX}",
                line.sku
            )));
        }
    }
    Ok(())
}

/// The priced lines, and the stock with raised counts.
fn reserve(
    input: &Input,
    stock: Vec<Option<Entry<Stock>>>,
) -> Result<(Vec<PricedLine>, Vec<Stock>), Problem> {
    let (mut priced, mut raised, mut short) = (Vec::new(), Vec::new(), Vec::new());
    for (line, entry) in input.lines.iter().zip(stock) {
        let Some(mut stock) = entry.map(|entry| entry.value) else {
            short.push(Short {
                sku: line.sku.clone(),
                requested: line.quantity,
                available: 0,
            });
            continue;
        };
        let available = stock.on_hand.saturating_sub(stock.reserved);
        if available < line.quantity {
            short.push(Short {
                sku: line.sku.clone(),
                requested: line.quantity,
                available,
            });
            continue;
        }
        if stock.currency != input.currency {
            return Err(Problem::unprocessable(format!(
                "{} is priced in {}, not in {}",
                line.sku, stock.currency, input.currency
            )));
        }
        let amount_minor = stock
            .price_minor
            .checked_mul(line.quantity)
            .ok_or_else(too_much)?;
        priced.push(PricedLine {
            sku: line.sku.clone(),
            quantity: line.quantity,
            price_minor: stock.price_minor,
            amount_minor,
        });
        stock.reserved += line.quantity;
        raised.push(stock);
    }
    if short.is_empty() {
        return Ok((priced, raised));
    }
    let detail = format!(
        "{} of {} lines cannot be had at {}",
        short.len(),
        input.lines.len(),
        input.warehouse
    );
    Err(Problem::new(409, "Insufficient stock")
        .detail(detail)
        .with("short", short))
}

fn too_much() -> Problem {
    Problem::unprocessable("the order's sum is too large")
}

brink_sdk::command!(place);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use brink_sdk::testing::Platform;
    use serde_json::json;

    const ID: &str = "01ARYZ6S41ZZZZZZZZZZZZZZZZ";

    fn platform() -> Platform {
        let platform = Platform::new();
        platform.within("stock", "AMS1");
        for (sku, on_hand, reserved, price) in [("A-1", 10, 4, 250), ("B-2", 3, 0, 999)] {
            let stock = json!({"sku": sku, "on_hand": on_hand, "reserved": reserved, "price_minor": price, "currency": "EUR", "recent": ["x"]});
            platform.record("stock", "AMS1", &format!("sku/{sku}"), &stock);
        }
        platform
    }

    fn input(lines: &[(&str, u64)]) -> Input {
        let lines = lines
            .iter()
            .map(|(sku, quantity)| Line {
                sku: (*sku).to_owned(),
                quantity: *quantity,
            })
            .collect();
        let text = str::to_owned;
        Input {
            order_id: text(ID),
            customer: text("C1"),
            warehouse: text("AMS1"),
            currency: text("EUR"),
            lines,
            fingerprint: text("f"),
        }
    }

    #[test]
    fn reserves_every_line() {
        let platform = platform();
        let output = place(input(&[("A-1", 6), ("B-2", 1)])).unwrap();
        assert_eq!(
            (
                output.order_id.as_str(),
                output.total_minor,
                output.fingerprint.as_str()
            ),
            (ID, 6 * 250 + 999, "f")
        );
        let stock: Value = platform.read("stock", "AMS1", "sku/A-1").unwrap();
        assert_eq!(
            (
                &stock["reserved"],
                &stock["on_hand"],
                &stock["sku"],
                &stock["recent"]
            ),
            (&json!(10), &json!(10), &json!("A-1"), &json!(["x"]))
        );
        let hold: Value = platform
            .read("stock", "AMS1", &format!("hold/{ID}"))
            .unwrap();
        assert_eq!(
            hold["lines"],
            json!([{"sku": "A-1", "quantity": 6}, {"sku": "B-2", "quantity": 1}])
        );
        assert_eq!(
            place(input(&[("B-2", 1)])).unwrap_err().status(),
            409,
            "the id is taken"
        );
        let events = platform.events("stock", "AMS1");
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].kind, "order.placed");
        let placed: Value = events[0].json().unwrap();
        assert_eq!(
            (&placed["customer"], &placed["total_minor"]),
            (&json!("C1"), &json!(6 * 250 + 999))
        );
    }

    #[test]
    fn a_short_line_refuses_all() {
        let platform = platform();
        let problem = place(input(&[("A-1", 7), ("B-2", 1), ("C-3", 1)])).unwrap_err();
        assert_eq!(
            (problem.status(), problem.title()),
            (409, "Insufficient stock")
        );
        let short = json!([{"sku": "A-1", "requested": 7, "available": 6}, {"sku": "C-3", "requested": 1, "available": 0}]);
        assert_eq!(problem.member("short"), Some(&short));
        let stock: Value = platform.read("stock", "AMS1", "sku/B-2").unwrap();
        assert_eq!(stock["reserved"], 0);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let _platform = platform();
        let many: Vec<String> = (0..=LINES_MAX).map(|line| format!("S-{line}")).collect();
        let many: Vec<(&str, u64)> = many.iter().map(|sku| (sku.as_str(), 1)).collect();
        for (what, input) in [
            ("no lines", input(&[])),
            ("too many lines", input(&many)),
            ("twice", input(&[("A-1", 1), ("A-1", 1)])),
            ("none of it", input(&[("A-1", 0)])),
            ("too many", input(&[("A-1", QUANTITY_MAX + 1)])),
            (
                "id",
                Input {
                    order_id: "1".to_owned(),
                    ..input(&[("A-1", 1)])
                },
            ),
            (
                "currency",
                Input {
                    currency: "USD".to_owned(),
                    ..input(&[("A-1", 1)])
                },
            ),
        ] {
            assert_eq!(place(input).unwrap_err().status(), 422, "{what}");
        }
    }
}
