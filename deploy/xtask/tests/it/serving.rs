//! The way of an answer: made, kept, served, taken out by writes and purges, over all three protocols.

use crate::{
    clients::{self, http3},
    harness::{Stack, guest, order, until},
    origins,
};
use serde_json::{Value, json};

const AVAILABILITY: &str = "/inventory/availability/A-1";

#[test]
fn from_miss_to_hit_to_write() {
    let stack = Stack::shop();
    let first = stack
        .curl(0, AVAILABILITY)
        .arg("--http1.1")
        .send()
        .expect(200)
        .miss();
    assert_eq!(
        (first.version.as_str(), first.json()["available"].as_u64()),
        ("1.1", Some(2_000))
    );
    let second = stack
        .curl(0, AVAILABILITY)
        .arg("--http2")
        .send()
        .expect(200)
        .hit();
    assert_eq!(second.version, "2");
    assert_eq!(second.json(), first.json());
    let third = http3(&stack.url(0, AVAILABILITY), stack.ca(), &[])
        .expect(200)
        .hit();
    assert_eq!(third.json(), first.json());
    assert!(first.cache_status().starts_with("brink-ams;"), "{first:?}");
    assert!(first.header("alt-svc").contains("h3="), "{first:?}");

    let other = stack.get(1, AVAILABILITY).expect(200).miss();
    assert!(other.cache_status().starts_with("brink-sfo;"), "{other:?}");
    stack.get(1, AVAILABILITY).expect(200).hit();
    // The core knows where each PoP is asked.
    for (pop, name) in [(0, "ams"), (1, "sfo")] {
        let url = stack.url(pop, AVAILABILITY);
        let told = stack.brink(&["cache", "explain", &url, "--pop", name]);
        assert!(told.starts_with(&format!("{url} at {name}")), "{told}");
        assert!(told.contains("the stored answer is served"), "{told}");
    }

    let place = |key: &str| {
        stack
            .curl(0, "/orders")
            .header(&format!("idempotency-key: {key}"))
            .json(&order("A-1", 3))
            .send()
    };
    let placed = place("k1").expect(201);
    let id = placed.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(placed.json()["total_minor"], 750);
    for pop in 0..2 {
        let new = until("the new number", || {
            Some(stack.get(pop, AVAILABILITY)).filter(|answer| answer.json()["available"] == 1_997)
        });
        new.expect(200);
        stack.get(pop, AVAILABILITY).expect(200).hit();
        let order = stack.get(pop, &format!("/orders/C1/{id}")).expect(200);
        assert_eq!(order.json()["total_minor"], 750);
    }
    assert_eq!(
        place("k1").expect(201).json()["id"],
        id.as_str(),
        "the same key gets the same order"
    );
    assert_eq!(stack.get(0, AVAILABILITY).json()["available"], 1_997);

    let short = stack
        .curl(1, "/orders")
        .json(&order("A-1", 5_000))
        .send()
        .problem(409);
    assert_eq!(short.json()["short"][0]["available"], 997);
}

#[test]
fn a_write_over_http3() {
    let stack = Stack::shop();
    stack.get(1, AVAILABILITY).expect(200).miss();
    let body = order("A-1", 2).to_string();
    let arguments = [
        "--method",
        "POST",
        "--header",
        "content-type: application/json",
        "--data",
        &body,
    ];
    http3(&stack.url(0, "/orders"), stack.ca(), &arguments).expect(201);
    until("the new number at the other PoP", || {
        (stack.get(1, AVAILABILITY).json()["available"] == 1_998).then_some(())
    });
}

#[test]
fn purges_are_complete_when_they_say_so() {
    let stack = Stack::shop();
    let urls: Vec<String> = (0..2).map(|pop| stack.url(pop, AVAILABILITY)).collect();
    let hosts: Vec<String> = stack
        .pops
        .iter()
        .map(|pop| format!("localhost:{}", pop.tcp.port()))
        .collect();
    let prefixes: Vec<String> = hosts
        .iter()
        .map(|host| format!("{host}/inventory"))
        .collect();
    // Greetings vary by it.
    let as_curl = ["--header", "accept: */*"];
    for body in [
        json!({"keys": ["greetings"]}),
        json!({"urls": urls}),
        json!({"prefixes": prefixes}),
        json!({"hosts": hosts}),
        json!({"everything": true}),
    ] {
        // The one module that gives its answers a name; the others read records.
        let is_by_key = body.get("keys").is_some();
        let path = if is_by_key { "/hello" } else { AVAILABILITY };
        for pop in 0..2 {
            stack.get(pop, path).expect(200);
            stack.get(pop, path).expect(200).hit();
            http3(&stack.url(pop, path), stack.ca(), &as_curl).hit();
        }
        let status = stack.purge(&body);
        let mut pops: Vec<_> = status["applied"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pop| pop["pop"].as_str().unwrap())
            .collect();
        pops.sort_unstable();
        assert_eq!(pops, ["ams", "sfo"], "{status}");
        // At once, on any protocol: no waiting here.
        http3(&stack.url(0, path), stack.ca(), &as_curl)
            .expect(200)
            .miss();
        stack.get(1, path).expect(200).miss();
    }
    // What a purge does not match stays.
    stack.get(0, "/hello").expect(200);
    stack.get(0, AVAILABILITY).expect(200);
    stack.purge(&json!({"urls": [stack.url(0, AVAILABILITY)]}));
    stack.get(0, "/hello").expect(200).hit();
    stack.get(0, AVAILABILITY).expect(200).miss();
}

/// An origin whose answers all have the same names.
fn origin() -> u16 {
    origins::start(|first| {
        let fields = "cache-control: max-age=300\r\nsurrogate-key: red blue";
        (fields.to_owned(), format!("you asked {first}"))
    })
}

#[test]
fn an_origin_behind_the_cache_and_purges_by_key() {
    let stack = Stack::empty();
    let origin = format!("http://127.0.0.1:{}", origin());
    stack.brink(&["routes", "set", "/site", "--origin", &origin]);
    until("the route", || {
        stack
            .curl(0, "/site/a")
            .try_send()
            .ok()
            .filter(|answer| answer.status == 200)
    });
    until("the route", || {
        stack
            .curl(1, "/site/a")
            .try_send()
            .ok()
            .filter(|answer| answer.status == 200)
    });
    for pop in 0..2 {
        let answer = stack.get(pop, "/site/a").expect(200).hit();
        assert!(
            answer.body.starts_with("you asked GET /site/a"),
            "{answer:?}"
        );
        assert_eq!(
            answer.header("surrogate-key"),
            "",
            "names are for the platform: {answer:?}"
        );
    }
    stack.purge(&json!({"keys": ["green"]}));
    stack.get(0, "/site/a").expect(200).hit();
    stack.purge(&json!({"keys": ["blue"]}));
    for pop in 0..2 {
        stack.get(pop, "/site/a").expect(200).miss();
    }
}

#[test]
fn deploy_and_roll_back() {
    let stack = Stack::empty();
    stack.publish("greeter", &guest("hello"));
    stack.brink(&["deploy", "greeter", "--wait"]);
    let body = |pop| stack.get(pop, "/greeter").expect(200).body;
    for pop in 0..2 {
        assert!(body(pop).contains("Hello, world!"));
        stack.get(pop, "/greeter").hit();
    }
    stack.publish("greeter", &guest("hostile"));
    stack.brink(&["deploy", "greeter", "--wait"]);
    for pop in 0..2 {
        assert_eq!(
            body(pop),
            "ok\n",
            "an answer of the version before must not be served"
        );
    }
    let versions: Value =
        serde_json::from_str(&stack.brink(&["versions", "greeter", "--json"])).unwrap();
    assert!(versions.to_string().contains("\"version\":2"), "{versions}");
    stack.brink(&["rollback", "greeter", "--wait"]);
    for pop in 0..2 {
        assert!(body(pop).contains("Hello, world!"));
    }
}

#[test]
fn a_page_in_a_browser() {
    let stack = Stack::with(&[("hello", &[])]);
    let Some(document) =
        clients::chromium(&stack.url(0, "/hello?name=Ada"), stack.folder("profile"))
    else {
        eprintln!("no Chromium on this machine: not tried");
        return;
    };
    assert!(
        document.contains("<h1>Hello, Ada!</h1>") && document.contains("<b>ams</b>"),
        "{document}"
    );
}

#[test]
fn a_plugin_before_a_module() {
    let stack = Stack::with(&[("hello", &[])]);
    let digest = "keys=acme:fe01ce2a7fbac8fafaed7c982a04e229"; // Not a whole digest: nobody gets in.
    stack.publish("api-key", &guest("api-key"));
    stack.brink(&["deploy", "api-key", "--wait", "--config", digest]);
    stack.brink(&[
        "routes", "set", "/partner", "--module", "hello", "--plugin", "api-key",
    ]);
    until("the route", || {
        stack
            .curl(0, "/partner")
            .try_send()
            .ok()
            .filter(|answer| answer.status == 401)
    });
    stack
        .curl(0, "/partner")
        .header("x-api-key: a key")
        .send()
        .problem(401);
    stack.get(0, "/hello").expect(200);
}
