//! A workflow that fulfils an order over three partitions: it reserves stock, books transport, charges the customer, makes the
//! shipment and takes the goods out of stock. If a step refuses, those before it are undone, the last first.
//!
//! | step | partition | undone by |
//! |---|---|---|
//! | `reserve` | `stock / <warehouse>` | `release` |
//! | `book` | `transport / <warehouse>` | `unbook` |
//! | `charge` | `accounts / <customer>` | `refund` |
//! | `ship` | `transport / <warehouse>` | `unship` |
//! | `confirm` | `stock / <warehouse>` | nothing: it is the last |
//!
//! Each is the command `fulfilment` with the step's name in its input. The workflow's id should be the order's.

use brink_sdk::{Halt, Problem, StepCall, Steps};
use serde::{Deserialize, Serialize};

/// Most lines of an order.
pub const LINES_MAX: usize = 50;

/// What to fulfil.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Its id, 1 to 64 letters, digits, `-` and `_`.
    pub order: String,
    /// Who pays: the partition of the account.
    pub customer: String,
    /// Where from: the partition of stock and transport.
    pub warehouse: String,
    /// At most [`LINES_MAX`].
    pub lines: Vec<Line>,
    /// What it costs, in minor units.
    pub total_minor: u64,
    /// How long it may still be called off before it is shipped, in milliseconds.
    #[serde(default)]
    pub grace_ms: u64,
}

/// So many of an article.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Which.
    pub sku: String,
    /// How many.
    pub quantity: u64,
}

/// An order that is on its way.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Fulfilled {
    /// Its id.
    pub order: String,
    /// Under what the carrier has it.
    pub tracking: String,
}

/// What the step `ship` answers.
#[derive(Debug, Deserialize)]
struct Shipped {
    tracking: String,
}

/// What a step is called with.
#[derive(Debug, Serialize)]
struct Input<'a> {
    step: &'a str,
    partition: &'a str,
    order: &'a str,
    lines: &'a [Line],
    amount_minor: u64,
}

/// Fulfils an order.
///
/// # Errors
/// What comes next, or why it fails.
pub fn fulfil(order: Order, steps: &mut Steps) -> Result<Fulfilled, Halt> {
    let is_name = |text: &str| {
        (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if !(is_name(&order.order) && is_name(&order.customer) && is_name(&order.warehouse)) {
        let detail = "order, customer, warehouse: 1 to 64 letters, digits, - and _";
        return Err(Problem::unprocessable(detail).into());
    }
    if !(1..=LINES_MAX).contains(&order.lines.len()) {
        return Err(Problem::unprocessable("lines: 1 to 50").into());
    }
    let step = |collection: &str, partition: &str, name: &str| {
        let input = Input {
            step: name,
            partition,
            order: &order.order,
            lines: &order.lines,
            amount_minor: order.total_minor,
        };
        StepCall::new("fulfilment", collection, partition).json(&input)
    };
    let stock = |name| step("stock", &order.warehouse, name);
    let transport = |name| step("transport", &order.warehouse, name);
    let account = |name| step("accounts", &order.customer, name);

    steps.call(stock("reserve")?.undone_by(stock("release")?))?;
    steps.call(transport("book")?.undone_by(transport("unbook")?))?;
    steps.call(account("charge")?.undone_by(account("refund")?))?;
    if order.grace_ms > 0 {
        steps.wait(order.grace_ms)?;
    }
    let shipped: Shipped = steps.call_json(transport("ship")?.undone_by(transport("unship")?))?;
    steps.call(stock("confirm")?)?;
    Ok(Fulfilled {
        order: order.order,
        tracking: shipped.tracking,
    })
}

brink_sdk::workflow!(fulfil);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use brink_sdk::{Decision, Outcome, decide};
    use serde_json::{Value, json};

    fn input() -> Value {
        json!({"order": "o-1", "customer": "ada", "warehouse": "AMS-1", "total_minor": 900, "grace_ms": 60_000,
            "lines": [{"sku": "AB-1", "quantity": 2}]})
    }

    fn next(input: &Value, outcomes: &[Outcome]) -> Decision {
        decide(input.to_string().as_bytes(), outcomes.to_vec(), fulfil)
    }

    #[test]
    fn five_steps_over_three_partitions() {
        let mut outcomes = Vec::new();
        let mut seen = Vec::new();
        let end = loop {
            match next(&input(), &outcomes) {
                Decision::Call(step) => {
                    let name = |bytes: &[u8]| {
                        let input: Value = serde_json::from_slice(bytes).unwrap();
                        input["step"].as_str().unwrap().to_owned()
                    };
                    let undo = step.compensation.map(|call| {
                        let place = (call.collection, call.partition);
                        assert_eq!(
                            place,
                            (step.call.collection.clone(), step.call.partition.clone())
                        );
                        name(&call.input)
                    });
                    seen.push((
                        name(&step.call.input),
                        step.call.collection,
                        undo.unwrap_or_default(),
                    ));
                    outcomes.push(Outcome::Done(b"{\"tracking\":\"T-1\"}".to_vec()));
                }
                Decision::Wait(ms) => {
                    assert_eq!((ms, seen.len()), (60_000, 3));
                    outcomes.push(Outcome::Elapsed);
                }
                end => break end,
            }
        };
        let seen: Vec<_> = seen
            .iter()
            .map(|(a, b, c)| (a.as_str(), b.as_str(), c.as_str()))
            .collect();
        assert_eq!(
            seen,
            [
                ("reserve", "stock", "release"),
                ("book", "transport", "unbook"),
                ("charge", "accounts", "refund"),
                ("ship", "transport", "unship"),
                ("confirm", "stock", ""),
            ]
        );
        assert_eq!(
            end,
            Decision::Complete(b"{\"order\":\"o-1\",\"tracking\":\"T-1\"}".to_vec())
        );
    }

    #[test]
    fn what_cannot_be_fails_before_anything_is_done() {
        for (member, value) in [
            ("order", json!("a b")),
            ("customer", json!("")),
            ("lines", json!([])),
            ("lines", json!(vec![json!({"sku": "A", "quantity": 1}); 51])),
            ("total_minor", json!(-1)),
            ("unknown", json!(1)),
        ] {
            let mut wrong = input();
            wrong[member] = value;
            assert!(matches!(next(&wrong, &[]), Decision::Fail(_)), "{wrong}");
        }
        let refused = [Outcome::Refused(b"no".to_vec())];
        assert_eq!(next(&input(), &refused), Decision::Fail(b"no".to_vec()));
    }
}
