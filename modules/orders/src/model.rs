//! Orders as they come, as they are kept, and as `place-order` sees them.

use brink_sdk::{Problem, clock};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};

/// Most lines of an order.
pub(crate) const LINES_MAX: usize = 100;

/// An order as a client asks for it.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrderRequest {
    pub(crate) customer: String,
    #[serde(default)]
    pub(crate) warehouse: Option<String>,
    pub(crate) currency: String,
    pub(crate) lines: Vec<Line>,
}

/// So many of an article.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    sku: String,
    quantity: u64,
}

/// What of a customer's profile is needed here.
#[derive(Debug, Deserialize)]
pub(crate) struct Profile {
    pub(crate) warehouse: String,
}

/// The answer of `place-order`.
#[derive(Debug, Deserialize)]
pub(crate) struct Placed {
    order_id: String,
    placed_ms: u64,
    lines: Vec<PricedLine>,
    total_minor: u64,
    pub(crate) fingerprint: String,
}

/// A line with its price, in minor units of the order's currency.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct PricedLine {
    sku: String,
    quantity: u64,
    price_minor: u64,
    amount_minor: u64,
}

/// An order.
#[derive(Debug, Serialize)]
pub(crate) struct Order {
    pub(crate) id: String,
    pub(crate) customer: String,
    warehouse: String,
    status: &'static str,
    placed_at: String,
    currency: String,
    pub(crate) lines: Vec<PricedLine>,
    total_minor: u64,
}

/// Orders of a customer.
#[derive(Debug, Serialize)]
pub(crate) struct Page {
    pub(crate) orders: Vec<Box<RawValue>>,
    /// Give it as `after` to go on; none: these were the last.
    pub(crate) next: Option<String>,
}

/// 1 to 64 letters, digits, `-` or `_`.
pub(crate) fn is_customer(text: &str) -> bool {
    is_name(text, |byte| {
        byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
    })
}

fn is_name(text: &str, fits: impl Fn(u8) -> bool) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(fits)
}

impl OrderRequest {
    /// Checks the form. What only the stock can tell is the command's business.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        let upper = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-';
        let fault = if !is_customer(&self.customer) {
            "customer: 1 to 64 letters, digits, - or _"
        } else if self
            .warehouse
            .as_ref()
            .is_some_and(|code| !is_name(code, upper))
        {
            "warehouse: 1 to 64 of A-Z, 0-9 and -"
        } else if self.currency.len() != 3
            || !self.currency.bytes().all(|byte| byte.is_ascii_uppercase())
        {
            "currency: three capital letters (ISO 4217)"
        } else if self.lines.is_empty() || self.lines.len() > LINES_MAX {
            "lines: 1 to 100"
        } else if self.lines.iter().any(|line| !is_name(&line.sku, upper)) {
            "sku: 1 to 64 of A-Z, 0-9 and -"
        } else {
            return Ok(());
        };
        Err(Problem::unprocessable(fault))
    }

    /// The same bytes for the same order.
    pub(crate) fn canonical(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// The input of `place-order`.
pub(crate) fn placement(
    wanted: &OrderRequest,
    warehouse: &str,
    id: &str,
    fingerprint: &str,
) -> Value {
    json!({
        "order_id": id,
        "customer": wanted.customer,
        "warehouse": warehouse,
        "currency": wanted.currency,
        "lines": wanted.lines,
        "fingerprint": fingerprint,
    })
}

impl Order {
    /// The order that was placed. Id and time are those of the command's answer, which a repetition gets again.
    pub(crate) fn of(wanted: OrderRequest, warehouse: String, placed: Placed) -> Self {
        Self {
            id: placed.order_id,
            customer: wanted.customer,
            warehouse,
            status: "placed",
            placed_at: clock::rfc3339(placed.placed_ms),
            currency: wanted.currency,
            lines: placed.lines,
            total_minor: placed.total_minor,
        }
    }
}
