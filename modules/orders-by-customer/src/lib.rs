//! A projection: what each customer has ordered, made of the events `order.placed` of all warehouses.
//!
//! `place-order` appends an event to the stream of its warehouse (`stock / <warehouse>`). Here each becomes a record in the partition of
//! its customer, sort key `order/<order id>`, and is counted in the record `summary` beside it.
//!
//! Deployed with `source = "stock"` and `target = "orders-by-customer"`.

use brink_sdk::events::Event;
use brink_sdk::{Problem, Projection, Target, records};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The kind of event that is of interest.
pub const ORDER_PLACED: &str = "order.placed";

/// An order, as `place-order` tells of it. What else it tells is not kept.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its id.
    pub order_id: String,
    /// Who ordered.
    pub customer: String,
    /// Where from.
    pub warehouse: String,
    /// ISO 4217.
    pub currency: String,
    /// Sum, in minor units of the currency.
    pub total_minor: u64,
}

/// All orders of a customer.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// How many.
    pub orders: u64,
    /// What they came to, in minor units by currency.
    pub spent_minor: BTreeMap<String, u64>,
}

/// What each customer has ordered.
#[derive(Debug)]
pub struct OrdersByCustomer;

impl Projection for OrdersByCustomer {
    fn target(_warehouse: &str, event: &Event) -> Option<String> {
        #[derive(Deserialize)]
        struct Customer {
            customer: String,
        }
        if event.kind != ORDER_PLACED {
            return None;
        }
        event.json().ok().map(|Customer { customer }| customer)
    }

    fn apply(target: &Target, events: &[Event]) -> Result<(), Problem> {
        let key = target.key("summary");
        let summary = records::get_json::<Summary>(&key)?;
        let mut summary = summary.map(|entry| entry.value).unwrap_or_default();
        for event in events {
            let order: Order = event.json()?;
            records::put_json(&target.key(format!("order/{}", order.order_id)), &order)?;
            summary.orders += 1;
            let spent = summary.spent_minor.entry(order.currency).or_default();
            *spent = spent.saturating_add(order.total_minor);
        }
        records::put_json(&key, &summary)?;
        Ok(())
    }
}

brink_sdk::projection!(OrdersByCustomer);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use brink_sdk::testing::Platform;
    use serde_json::json;

    #[test]
    fn orders_are_counted_once() {
        let platform = Platform::new();
        platform.config("target", "orders-by-customer");
        let order = |id: &str, customer: &str, total: u64| json!({"order_id": id, "customer": customer, "warehouse": "AMS1", "currency": "EUR", "total_minor": total, "lines": []});
        platform
            .event("stock", "AMS1", ORDER_PLACED, &order("1", "ada", 250))
            .event("stock", "AMS1", "stock.counted", &json!({}))
            .event("stock", "AMS1", ORDER_PLACED, &order("2", "grace", 100))
            .event("stock", "AMS1", ORDER_PLACED, &order("3", "ada", 50))
            .event("stock", "SFO1", ORDER_PLACED, &order("4", "ada", 1));
        for warehouse in ["AMS1", "SFO1", "AMS1"] {
            platform
                .project::<OrdersByCustomer>("stock", warehouse)
                .unwrap();
        }
        let summary =
            |customer| platform.read::<Summary>("orders-by-customer", customer, "summary");
        let ada = summary("ada").unwrap();
        assert_eq!((ada.orders, ada.spent_minor.get("EUR")), (3, Some(&301)));
        assert_eq!(summary("grace").unwrap().orders, 1);
        let kept: Order = platform
            .read("orders-by-customer", "ada", "order/3")
            .unwrap();
        assert_eq!((kept.total_minor, kept.warehouse.as_str()), (50, "AMS1"));
    }

    #[test]
    fn what_names_no_customer_is_of_no_interest() {
        let platform = Platform::new();
        platform.config("target", "orders-by-customer");
        platform.event("stock", "AMS1", ORDER_PLACED, &json!({"order_id": "1"}));
        platform
            .project::<OrdersByCustomer>("stock", "AMS1")
            .unwrap();
        platform.event("stock", "AMS1", ORDER_PLACED, &json!({"customer": "ada"}));
        let problem = platform
            .project::<OrdersByCustomer>("stock", "AMS1")
            .unwrap_err();
        assert_eq!(problem.status(), 500, "{problem}");
    }
}
