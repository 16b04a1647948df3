//! Steps one by one, and all of them by the workflow's order.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;
use brink_sdk::testing::Platform;
use serde_json::json;

fn platform(minor: u64, free: u64) -> Platform {
    let platform = Platform::new();
    platform
        .record(
            "stock",
            "AMS-1",
            "sku/AB-1",
            &json!({"on_hand": 5, "reserved": 1, "price_minor": 7}),
        )
        .record("transport", "AMS-1", "capacity", &json!({"free": free}))
        .record("accounts", "ada", "balance", &json!({"minor": minor}));
    platform
}

fn run(step: Step, quantity: u64) -> Result<Output, u16> {
    let partition = match step {
        Step::Charge | Step::Refund => "ada",
        _ => "AMS-1",
    };
    fulfilment(Input {
        step,
        partition: partition.into(),
        order: "o-1".into(),
        lines: vec![Line {
            sku: "AB-1".into(),
            quantity,
        }],
        amount_minor: 300,
    })
    .map_err(|problem| problem.status())
}

/// On hand, reserved, free room, balance.
fn counts() -> (u64, u64, u64, u64) {
    let of = |collection: &str, partition: &str, sort: &str| {
        let key = Key::new(collection, partition, sort);
        records::get_json::<Value>(&key).unwrap().unwrap().value
    };
    let number = |value: &Value, member: &str| value[member].as_u64().unwrap();
    let stock = of("stock", "AMS-1", "sku/AB-1");
    assert_eq!(number(&stock, "price_minor"), 7, "it stays");
    (
        number(&stock, "on_hand"),
        number(&stock, "reserved"),
        number(&of("transport", "AMS-1", "capacity"), "free"),
        number(&of("accounts", "ada", "balance"), "minor"),
    )
}

#[test]
fn each_step_is_undone() {
    let _platform = platform(500, 1);
    for (step, undo, after) in [
        (Step::Reserve, Step::Release, (5, 3, 1, 500)),
        (Step::Book, Step::Unbook, (5, 1, 0, 500)),
        (Step::Charge, Step::Refund, (5, 1, 1, 200)),
    ] {
        // It may be called although the step never ran.
        run(undo, 2).unwrap();
        assert_eq!(counts(), (5, 1, 1, 500), "{undo:?}");
        run(step, 2).unwrap();
        assert_eq!(counts(), after, "{step:?}");
        assert_eq!(run(step, 2), Err(409), "{step:?}: once for an order");
        for _ in 0..2 {
            run(undo, 2).unwrap();
            assert_eq!(counts(), (5, 1, 1, 500), "{undo:?}");
        }
    }
}

#[test]
fn what_there_is_not_enough_of_is_refused() {
    for (step, quantity, status) in [
        (Step::Reserve, 5, 409),
        (Step::Book, 1, 409),
        (Step::Charge, 1, 402),
        (Step::Ship, 1, 409),
        (Step::Confirm, 1, 409),
    ] {
        // A refused command leaves nothing at the core; here its writes are still to be seen.
        let _platform = platform(299, 0);
        assert_eq!(run(step, quantity), Err(status), "{step:?}");
    }
}

#[test]
fn the_whole_way() {
    let _platform = platform(500, 1);
    for step in [Step::Reserve, Step::Book, Step::Charge] {
        run(step, 4).unwrap();
    }
    let shipped = run(Step::Ship, 4).unwrap();
    assert_eq!(shipped.tracking.as_deref(), Some("T-o-1"));
    run(Step::Confirm, 4).unwrap();
    assert_eq!(counts(), (1, 1, 0, 200));
}
