//! The module with a stand-in for `place-order`, which has tests of its own.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::handle;
use brink_sdk::testing::Platform;
use brink_sdk::{Problem, Request, Response, execute, ulid};
use serde_json::{Value, json};

fn platform() -> Platform {
    let platform = Platform::new();
    platform.record(
        "customers",
        "C1",
        "profile",
        &json!({"id": "C1", "name": "Ada", "warehouse": "AMS1"}),
    );
    platform.command("place-order", |input| {
        execute(input, |input: Value| {
            if input["lines"][0]["sku"] == "NONE" {
                return Err(Problem::new(409, "Insufficient stock").with("short", [1]));
            }
            let lines = json!([{"sku": input["lines"][0]["sku"], "quantity": 2, "price_minor": 250, "amount_minor": 500}]);
            Ok(json!({"order_id": input["order_id"], "placed_ms": 1_767_225_600_000_u64, "lines": lines, "total_minor": 500, "fingerprint": input["fingerprint"]}))
        })
    });
    platform
}

fn post(key: Option<&str>, body: &Value) -> Result<Response, Problem> {
    let request = Request::given("POST", "/orders").with_body(body.to_string());
    handle(match key {
        Some(key) => request.with_header("idempotency-key", key),
        None => request,
    })
}

fn wanted(sku: &str) -> Value {
    json!({"customer": "C1", "currency": "EUR", "lines": [{"sku": sku, "quantity": 2}]})
}

fn body(response: &Response) -> Value {
    serde_json::from_slice(response.body()).unwrap()
}

#[test]
fn an_order_is_placed_and_found_again() {
    let platform = platform();
    let response = post(Some("k"), &wanted("A-1")).unwrap();
    let order = body(&response);
    let id = order["id"].as_str().unwrap();
    assert_eq!(response.status(), 201);
    assert!(ulid::is_valid(id));
    assert_eq!(
        response.get("location"),
        Some(format!("/orders/C1/{id}").as_str())
    );
    assert_eq!(
        (
            &order["warehouse"],
            &order["total_minor"],
            &order["placed_at"]
        ),
        (
            &json!("AMS1"),
            &json!(500),
            &json!("2026-01-01T00:00:00.000Z")
        )
    );
    assert!(platform.no_store());
    assert_eq!(
        body(&handle(Request::get(&format!("/orders/C1/{id}"))).unwrap()),
        order
    );
    assert_eq!(
        body(&handle(Request::get("/orders/C1")).unwrap()),
        json!({"orders": [order], "next": null})
    );
    assert_eq!(platform.lifetime(), Some(3600));
}

#[test]
fn a_repetition_gets_the_same_order() {
    let _platform = platform();
    let first = body(&post(Some("k"), &wanted("A-1")).unwrap());
    let quoted = body(&post(Some("\"k\""), &wanted("A-1")).unwrap());
    assert_eq!(first, quoted);
    assert_eq!(
        post(Some("k"), &wanted("B-2")).unwrap_err().status(),
        422,
        "another order under the same key"
    );
    assert_ne!(
        body(&post(Some("l"), &wanted("A-1")).unwrap())["id"],
        first["id"]
    );
    assert_ne!(
        body(&post(None, &wanted("A-1")).unwrap())["id"],
        body(&post(None, &wanted("A-1")).unwrap())["id"]
    );
}

#[test]
fn a_refusal_of_the_command_reaches_the_client() {
    let _platform = platform();
    let problem = post(Some("k"), &wanted("NONE")).unwrap_err();
    assert_eq!(
        (problem.status(), problem.title()),
        (409, "Insufficient stock")
    );
    assert_eq!(problem.member("short"), Some(&json!([1])));
}

#[test]
fn lists_go_on_from_page_to_page() {
    let platform = platform();
    let mut ids = Vec::new();
    for moment in 0..5 {
        platform.now_ms(1_767_225_600_000 + moment);
        ids.push(body(&post(None, &wanted("A-1")).unwrap())["id"].clone());
    }
    ids.reverse();
    let (mut listed, mut path) = (Vec::new(), "/orders/C1?limit=2".to_owned());
    loop {
        let page = body(&handle(Request::get(&path)).unwrap());
        listed.extend(
            page["orders"]
                .as_array()
                .unwrap()
                .iter()
                .map(|order| order["id"].clone()),
        );
        match page["next"].as_str() {
            Some(next) => path = format!("/orders/C1?limit=2&after={next}"),
            None => break,
        }
    }
    assert_eq!(listed, ids);
}

#[test]
fn what_cannot_be_is_refused() {
    let _platform = platform();
    let with = |name: &str, value: Value| {
        let mut body = wanted("A-1");
        body[name] = value;
        body
    };
    for (status, body) in [
        (422, json!([])),
        (422, with("customer", json!("C2"))),
        (422, with("customer", json!("../x"))),
        (422, with("warehouse", json!("ams 1"))),
        (422, with("currency", json!("eur"))),
        (422, with("lines", json!([]))),
        (422, with("lines", json!([{"sku": "a", "quantity": 1}]))),
        (422, with("lines", json!([{"sku": "A", "quantity": -1}]))),
        (
            422,
            with(
                "lines",
                json!(vec![json!({"sku": "A", "quantity": 1}); 101]),
            ),
        ),
        (422, with("surprise", json!(1))),
    ] {
        assert_eq!(
            post(Some("k"), &body).unwrap_err().status(),
            status,
            "{body}"
        );
    }
    for key in ["", "\u{e9}", "a b", &"x".repeat(256)] {
        assert_eq!(
            post(Some(key), &wanted("A-1")).unwrap_err().status(),
            400,
            "{key:?}"
        );
    }
    for (path, status) in [
        ("/", 404),
        ("/orders/C1/x", 404),
        ("/orders/C1/01ARYZ6S41ZZZZZZZZZZZZZZZZ", 404),
        ("/orders/C1?after=x", 400),
        ("/orders/C1?limit=x", 400),
        ("/orders/C1/x/y", 404),
    ] {
        assert_eq!(
            handle(Request::get(path)).unwrap_err().status(),
            status,
            "{path}"
        );
    }
    assert_eq!(handle(Request::get("/orders")).unwrap().status(), 405);
    assert_eq!(
        handle(Request::given("DELETE", "/orders/C1"))
            .unwrap()
            .status(),
        405
    );
}

#[test]
fn the_summary_is_what_the_projection_wrote() {
    let platform = platform();
    let summary = || handle(Request::get("/orders/C1/summary")).unwrap();
    assert_eq!(body(&summary()), json!({"orders": 0, "spent_minor": {}}));
    let wrote = json!({"orders": 2, "spent_minor": {"EUR": 750}});
    platform.record("orders-by-customer", "C1", "summary", &wrote);
    assert_eq!(body(&summary()), wrote);
    assert_eq!(platform.lifetime(), Some(3600));
    let unknown = handle(Request::get("/orders/a%20b/summary"));
    assert_eq!(unknown.unwrap_err().status(), 404);
}
