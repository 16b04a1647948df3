//! The steps of the workflow `fulfil`, and what undoes them: one command, with the step's name in its input.
//!
//! Each step leaves a record of what it did under the order's id, in its partition. What undoes it takes that record away,
//! and does nothing if it is not there: a compensation may be called although its step never ran.
//!
//! | partition | records |
//! |---|---|
//! | `stock / <warehouse>` | `sku/<sku>`: `on_hand`, `reserved`; `hold/<order>`, `gone/<order>` |
//! | `transport / <warehouse>` | `capacity`: `free`; `booking/<order>`, `shipment/<order>` |
//! | `accounts / <customer>` | `balance`: `minor`; `charge/<order>` |
//!
//! Refusals are problem documents: 409 for what there is not enough of, 402 for a balance that does not suffice, 422 for what
//! cannot be.

use brink_sdk::Problem;
use brink_sdk::records::{self, Key};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// Which step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Reserves the lines' articles.
    Reserve,
    /// Gives them back.
    Release,
    /// Books room with the carrier.
    Book,
    /// Gives it back.
    Unbook,
    /// Takes money from the account.
    Charge,
    /// Gives it back.
    Refund,
    /// Makes a shipment of the booking.
    Ship,
    /// Calls the shipment off.
    Unship,
    /// Takes the reserved articles out of stock.
    Confirm,
}

/// What a step is called with.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Which step.
    pub step: Step,
    /// The warehouse or the customer: the key of the step's partition.
    pub partition: String,
    /// The order's id.
    pub order: String,
    /// What is ordered.
    pub lines: Vec<Line>,
    /// What it costs, in minor units.
    pub amount_minor: u64,
}

/// So many of an article.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Line {
    /// Which.
    pub sku: String,
    /// How many.
    pub quantity: u64,
}

/// What a step answers.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Output {
    /// The order's id.
    pub order: String,
    /// Under what the carrier has it: of the step `ship`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracking: Option<String>,
}

/// The stock of an article. Members that this command has no business with stay as they are.
#[derive(Debug, Serialize, Deserialize)]
struct Stock {
    on_hand: u64,
    reserved: u64,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Capacity {
    free: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Balance {
    minor: u64,
}

/// What a step did for an order.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    lines: Vec<Line>,
    amount_minor: u64,
}

/// Does a step.
///
/// # Errors
/// It cannot be done; nothing was written.
pub fn fulfilment(input: Input) -> Result<Output, Problem> {
    match input.step {
        Step::Reserve => reserve(&input)?,
        Step::Release => release(&input)?,
        Step::Book => book(&input)?,
        Step::Unbook => unbook(&input)?,
        Step::Charge => charge(&input)?,
        Step::Refund => refund(&input)?,
        Step::Ship => ship(&input)?,
        Step::Unship => records::delete(&mark(&input, "transport", "shipment"))?,
        Step::Confirm => confirm(&input)?,
    }
    let tracking = (input.step == Step::Ship).then(|| format!("T-{}", input.order));
    Ok(Output {
        order: input.order,
        tracking,
    })
}

/// Where the step's mark is.
fn mark(input: &Input, collection: &str, kind: &str) -> Key {
    Key::new(
        collection,
        &*input.partition,
        format!("{kind}/{}", input.order),
    )
}

/// Leaves a mark that must not be there yet.
fn leave(input: &Input, key: &Key) -> Result<(), Problem> {
    if records::get(key)?.is_some() {
        return Err(Problem::new(409, "Order exists")
            .detail(format!("order {} was here before", input.order)));
    }
    let mark = Mark {
        lines: input.lines.clone(),
        amount_minor: input.amount_minor,
    };
    records::put_json(key, &mark)?;
    Ok(())
}

/// Takes a mark away; none: the step never ran, or was undone.
fn take(key: &Key) -> Result<Option<Mark>, Problem> {
    let found = records::get_json::<Mark>(key)?;
    if found.is_some() {
        records::delete(key)?;
    }
    Ok(found.map(|entry| entry.value))
}

fn read<T: DeserializeOwned>(key: &Key, what: &str) -> Result<T, Problem> {
    let found = records::get_json::<T>(key)?;
    let found = found.ok_or_else(|| Problem::new(409, "Not there").detail(what.to_owned()))?;
    Ok(found.value)
}

/// Changes the stock of each line.
fn stock(
    input: &Input,
    lines: &[Line],
    change: impl Fn(&mut Stock, u64) -> Option<()>,
) -> Result<(), Problem> {
    for line in lines {
        let key = Key::new("stock", &*input.partition, format!("sku/{}", line.sku));
        let mut stock: Stock = read(&key, &format!("no stock of {}", line.sku))?;
        let changed = change(&mut stock, line.quantity);
        changed.ok_or_else(|| {
            Problem::new(409, "Insufficient stock")
                .detail(format!("{} of {}", line.quantity, line.sku))
        })?;
        records::put_json(&key, &stock)?;
    }
    Ok(())
}

fn reserve(input: &Input) -> Result<(), Problem> {
    leave(input, &mark(input, "stock", "hold"))?;
    stock(input, &input.lines, |stock, quantity| {
        let reserved = stock.reserved.checked_add(quantity)?;
        (reserved <= stock.on_hand).then(|| stock.reserved = reserved)
    })
}

fn release(input: &Input) -> Result<(), Problem> {
    let Some(mark) = take(&mark(input, "stock", "hold"))? else {
        return Ok(());
    };
    stock(input, &mark.lines, |stock, quantity| {
        stock.reserved = stock.reserved.saturating_sub(quantity);
        Some(())
    })
}

fn confirm(input: &Input) -> Result<(), Problem> {
    let held = take(&mark(input, "stock", "hold"))?;
    let held = held.ok_or_else(|| Problem::new(409, "Not reserved"))?;
    leave(input, &mark(input, "stock", "gone"))?;
    stock(input, &held.lines, |stock, quantity| {
        stock.reserved = stock.reserved.checked_sub(quantity)?;
        stock.on_hand = stock.on_hand.checked_sub(quantity)?;
        Some(())
    })
}

fn capacity(input: &Input) -> Key {
    Key::new("transport", &*input.partition, "capacity")
}

fn book(input: &Input) -> Result<(), Problem> {
    leave(input, &mark(input, "transport", "booking"))?;
    let key = capacity(input);
    let mut capacity: Capacity = read(&key, "no carrier comes here")?;
    capacity.free = capacity
        .free
        .checked_sub(1)
        .ok_or_else(|| Problem::new(409, "No room"))?;
    records::put_json(&key, &capacity)?;
    Ok(())
}

fn unbook(input: &Input) -> Result<(), Problem> {
    if take(&mark(input, "transport", "booking"))?.is_some() {
        let key = capacity(input);
        let mut capacity: Capacity = read(&key, "no carrier comes here")?;
        capacity.free = capacity.free.saturating_add(1);
        records::put_json(&key, &capacity)?;
    }
    Ok(())
}

fn ship(input: &Input) -> Result<(), Problem> {
    read::<Mark>(&mark(input, "transport", "booking"), "it is not booked")?;
    leave(input, &mark(input, "transport", "shipment"))
}

fn balance(input: &Input) -> Key {
    Key::new("accounts", &*input.partition, "balance")
}

fn charge(input: &Input) -> Result<(), Problem> {
    leave(input, &mark(input, "accounts", "charge"))?;
    let key = balance(input);
    let mut balance: Balance = read(&key, "there is no such account")?;
    let rest = balance.minor.checked_sub(input.amount_minor);
    balance.minor = rest.ok_or_else(|| Problem::new(402, "Balance too low"))?;
    records::put_json(&key, &balance)?;
    Ok(())
}

fn refund(input: &Input) -> Result<(), Problem> {
    if let Some(mark) = take(&mark(input, "accounts", "charge"))? {
        let key = balance(input);
        let mut balance: Balance = read(&key, "there is no such account")?;
        balance.minor = balance.minor.saturating_add(mark.amount_minor);
        records::put_json(&key, &balance)?;
    }
    Ok(())
}

brink_sdk::command!(fulfilment);

#[cfg(test)]
mod tests;
