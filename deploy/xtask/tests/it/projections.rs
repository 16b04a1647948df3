//! Events, from the command that tells of an order to the answer at a PoP that counts it: nobody purges, and a core that is
//! killed again and again counts each order once.

use crate::harness::{Stack, order, records, until};
use serde_json::Value;

const SUMMARY: &str = "/orders/C1/summary";

fn shop() -> Stack {
    let stack = Stack::with(&[
        ("place-order", &["--grant", "clock"]),
        ("orders", &["--grant", "clock", "--grant", "random"]),
        (
            "orders-by-customer",
            &[
                "--config",
                "source=stock",
                "--config",
                "target=orders-by-customer",
            ],
        ),
    ]);
    stack.import(&records());
    stack
}

fn place(stack: &Stack, pop: usize, key: &str) -> bool {
    let key = format!("idempotency-key: {key}");
    let order = stack
        .curl(pop, "/orders")
        .header(&key)
        .json(&order("A-1", 1));
    order.try_send().is_ok_and(|answer| answer.status == 201)
}

/// The newest number of the warehouse's stream, as the core has it.
fn newest(stack: &Stack) -> u64 {
    let page = "/v1/events?collection=stock&partition=AMS1&after=0&limit=1";
    let page = stack.ask(page).send().expect(200).json();
    page["newest"].as_u64().unwrap()
}

fn summary(stack: &Stack, pop: usize) -> Value {
    stack.get(pop, SUMMARY).expect(200).json()
}

#[test]
fn an_answer_made_of_events_follows_them_by_itself() {
    let stack = shop();
    stack.get(1, SUMMARY).expect(200).miss();
    stack.get(1, SUMMARY).expect(200).hit();
    assert_eq!(summary(&stack, 1)["orders"], 0);
    for number in 1..=3 {
        assert!(place(&stack, 0, &number.to_string()));
        until("the summary counts the order", || {
            (summary(&stack, 1)["orders"] == number).then_some(())
        });
        until("the summary is kept", || {
            stack.get(1, SUMMARY).expect(200).is_hit().then_some(())
        });
        let spent = &summary(&stack, 1)["spent_minor"]["EUR"];
        assert_eq!(spent.as_u64(), Some(250 * number));
    }
    assert_eq!(newest(&stack), 3);
}

#[test]
fn each_order_counts_once_however_often_the_core_is_killed() {
    let mut stack = shop();
    for round in 0..4 {
        for number in 0..10 {
            assert!(place(&stack, number % 2, &format!("{round}-{number}")));
        }
        // In the midst of its work on what was just placed.
        let ports = stack.kill_core();
        stack.start_core(ports);
        stack.settled();
    }
    let events = newest(&stack);
    assert_eq!(events, 40, "each acknowledged order is told of, once");
    for pop in 0..2 {
        until("the summary counts every order", || {
            let orders = summary(&stack, pop)["orders"].as_u64().unwrap();
            assert!(orders <= events, "{orders} of {events}");
            (orders == events).then_some(())
        });
    }
}
