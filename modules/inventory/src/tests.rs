//! The module with its records in memory.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::handle;
use brink_sdk::testing::Platform;
use brink_sdk::{Problem, Request, Response};
use serde_json::{Value, json};

fn platform() -> Platform {
    let platform = Platform::new();
    for sku in ["AB-1", "AB-2", "AB-3", "C-1"] {
        platform.record(
            "catalog",
            "items",
            sku,
            &json!({"sku": sku, "name": "a shelf"}),
        );
    }
    for (code, skus) in [
        ("AMS1", &["AB-1", "AB-2"][..]),
        ("SFO1", &["AB-1"]),
        ("ZZZ9", &[]),
    ] {
        platform.record("warehouses", "all", code, &json!({"code": code}));
        for sku in skus {
            let stock = json!({"sku": sku, "on_hand": 10, "reserved": 3, "price_minor": 250, "currency": "EUR"});
            platform.record("stock", code, &format!("sku/{sku}"), &stock);
        }
    }
    platform.record("stock", "AMS1", "hold/x", &json!({}));
    platform
}

fn get(path: &str) -> Value {
    body(&handle(Request::get(path)).unwrap())
}

fn body(response: &Response) -> Value {
    serde_json::from_slice(response.body()).unwrap()
}

fn adjust(key: Option<&str>, body: &Value) -> Result<Response, Problem> {
    let request = Request::given("POST", "/inventory/adjustments").with_body(body.to_string());
    handle(match key {
        Some(key) => request.with_header("idempotency-key", key),
        None => request,
    })
}

#[test]
fn availability_is_what_is_not_reserved() {
    let platform = platform();
    let ams = json!({"warehouse": "AMS1", "on_hand": 10, "reserved": 3, "available": 7});
    let sfo = json!({"warehouse": "SFO1", "on_hand": 10, "reserved": 3, "available": 7});
    assert_eq!(
        get("/inventory/availability/AB-1"),
        json!({"sku": "AB-1", "available": 14, "warehouses": [ams, sfo]})
    );
    assert_eq!(
        get("/inventory/availability/AB-1?warehouse=SFO1"),
        json!({"sku": "AB-1", "available": 7, "warehouses": [sfo]})
    );
    assert_eq!(platform.lifetime(), Some(3600));
}

#[test]
fn items_and_warehouses_are_answered() {
    let _platform = platform();
    assert_eq!(get("/inventory/items/C-1")["name"], "a shelf");
    assert_eq!(
        get("/inventory/warehouses")["warehouses"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
}

#[test]
fn searches_go_on() {
    let _platform = platform();
    let skus = |page: &Value| {
        page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["sku"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let first = get("/inventory/search?prefix=AB&limit=2");
    assert_eq!(
        (skus(&first), &first["next"]),
        (vec!["AB-1".to_owned(), "AB-2".to_owned()], &json!("AB-2"))
    );
    let second = get("/inventory/search?prefix=AB&limit=2&after=AB-2");
    assert_eq!(
        (skus(&second), &second["next"]),
        (vec!["AB-3".to_owned()], &Value::Null)
    );
    assert_eq!(
        skus(&get("/inventory/search?prefix=C&after=AB-2")),
        ["C-1"],
        "the prefix holds"
    );
    assert_eq!(skus(&get("/inventory/search")).len(), 4);
    let stock = get("/inventory/search?warehouse=AMS1&after=AB-1");
    assert_eq!(
        stock,
        json!({"items": [{"sku": "AB-2", "on_hand": 10, "reserved": 3, "available": 7}], "next": null})
    );
}

#[test]
fn adjustments_count_once() {
    let platform = platform();
    let wanted = json!({"sku": "AB-1", "warehouse": "AMS1", "delta": -5, "reason": "broken"});
    let once = body(&adjust(Some("k"), &wanted).unwrap());
    assert_eq!(
        once,
        json!({"sku": "AB-1", "warehouse": "AMS1", "on_hand": 5, "reserved": 3, "available": 2})
    );
    assert_eq!(body(&adjust(Some("k"), &wanted).unwrap()), once);
    assert_eq!(
        adjust(None, &wanted).unwrap_err().status(),
        409,
        "3 are reserved"
    );
    let stored: Value = platform.read("stock", "AMS1", "sku/AB-1").unwrap();
    assert_eq!(
        (&stored["on_hand"], &stored["price_minor"]),
        (&json!(5), &json!(250))
    );
    assert_eq!(
        get("/inventory/availability/AB-1?warehouse=AMS1")["available"],
        2
    );
    assert!(platform.no_store());
}

#[test]
fn what_cannot_be_is_refused() {
    let _platform = platform();
    let adjustment = |sku: &str, warehouse: &str, delta: i64, reason: &str| json!({"sku": sku, "warehouse": warehouse, "delta": delta, "reason": reason});
    for (status, key, body) in [
        (404, None, adjustment("AB-3", "AMS1", 1, "x")),
        (422, None, adjustment("ab", "AMS1", 1, "x")),
        (422, None, adjustment("AB-1", "", 1, "x")),
        (422, None, adjustment("AB-1", "AMS1", 0, "x")),
        (422, None, adjustment("AB-1", "AMS1", 1, " ")),
        (400, Some("a b"), adjustment("AB-1", "AMS1", 1, "x")),
        (422, None, json!({})),
    ] {
        assert_eq!(adjust(key, &body).unwrap_err().status(), status, "{body}");
    }
    for (path, status) in [
        ("/inventory", 404),
        ("/inventoryx/warehouses", 404),
        ("/inventory/items/none", 404),
        ("/inventory/items/NONE", 404),
        ("/inventory/availability/C-1", 404),
        ("/inventory/availability/AB-1?warehouse=x", 404),
        ("/inventory/search?prefix=a", 400),
        ("/inventory/search?limit=x", 400),
    ] {
        assert_eq!(
            handle(Request::get(path)).unwrap_err().status(),
            status,
            "{path}"
        );
    }
    assert_eq!(
        handle(Request::given("PUT", "/inventory/warehouses"))
            .unwrap()
            .status(),
        405
    );
    assert_eq!(
        handle(Request::get("/inventory/adjustments"))
            .unwrap()
            .status(),
        405
    );
}
