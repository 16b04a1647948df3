//! What is asked for, and how the outcome is read.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use crate::args::{Cli, Command};
use clap::Parser as _;
use serde_json::json;

fn check(line: &str, defaults: &str, expected: serde_json::Value) {
    let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
    let Command::Deploy(args) = cli.command else {
        panic!("{line}")
    };
    let defaults: DeployDefaults = toml::from_str(defaults).unwrap();
    let actual = request(&args, "shop".parse().unwrap(), &defaults).unwrap();
    let mut expected_whole = json!({
        "module": "shop", "version": null, "config": null, "limits": null, "grants": null, "routes": []
    });
    for (name, value) in expected.as_object().unwrap() {
        expected_whole[name] = value.clone();
    }
    assert_eq!(
        serde_json::to_value(actual).unwrap(),
        expected_whole,
        "{line}"
    );
}

fn route(host: Option<&str>, path: &str, plugins: &[&str]) -> serde_json::Value {
    json!({
        "host": host, "path": path, "plugins": plugins, "when_disconnected": "serve-stale", "show_coherence": false,
        "session_cookie": false, "cache": RouteCache::default()
    })
}

#[test]
fn requests() {
    let project = "routes = [\"/s\"]\nconfig = { A = \"1\" }\ngrants = { clock = true }";
    check("brink deploy", "", json!({}));
    check(
        "brink deploy",
        project,
        json!({
            "routes": [route(None, "/s", &[])],
            "config": { "A": "1" },
            "grants": { "clock": true, "random": false, "outbound_http": false, "purge": false }
        }),
    );
    check(
        "brink deploy --route a.example/b --plugin api-key --config B=2 --grant purge --version 3",
        project,
        json!({
            "version": 3,
            "routes": [route(Some("a.example"), "/b", &["api-key"])],
            "config": { "B": "2" },
            "grants": { "clock": false, "random": false, "outbound_http": false, "purge": true }
        }),
    );
    check(
        "brink deploy --plugin api-key",
        "",
        json!({ "routes": [route(None, "/shop", &["api-key"])] }),
    );
    let mut shown = route(None, "/shop", &[]);
    shown["show_coherence"] = true.into();
    shown["session_cookie"] = true.into();
    check(
        "brink deploy --show-coherence --session-cookie",
        "",
        json!({ "routes": [shown] }),
    );
    let mut cached = route(None, "/shop", &[]);
    cached["cache"]["key"]["query"] = json!({ "only": ["page"] });
    let cache = "cache = { key = { query = { only = [\"page\"] } } }";
    check("brink deploy", cache, json!({ "routes": [cached] }));
    cached["cache"]["key"]["query"] = json!({ "only": [] });
    let line = "brink deploy --no-query";
    check(line, cache, json!({ "routes": [cached] }));
    check(
        "brink deploy --grant none",
        project,
        json!({
            "routes": [route(None, "/s", &[])],
            "config": { "A": "1" },
            "grants": { "clock": false, "random": false, "outbound_http": false, "purge": false }
        }),
    );
    assert!(grants(&[Grant::None, Grant::Clock]).is_err());
}

#[test]
fn as_people_read_it() {
    let deployed: Deployed = serde_json::from_value(json!({
        "tenant": "default", "name": "shop", "version": 3, "digest": brink_protocol::Digest::of(b""), "world": "module",
        "config": {}, "limits": {}, "grants": {}, "previous_version": 2, "position": { "core.1": 7 },
        "routes": [
            { "path": "/shop", "target": { "module": "shop" } },
            { "host": "shop.example", "path": "/", "target": { "module": "shop" } }
        ]
    }))
    .unwrap();
    let pops = vec![PopRun {
        name: "ams".parse().unwrap(),
        connected: true,
        runs: true,
    }];
    let outcome = Outcome { deployed, pops };
    assert_eq!(
        describe(&outcome, true),
        "Deployed  shop version 3 (was 2)\nRoutes    /shop, shop.example/\nPoPs      ams runs it\n"
    );
    let json = serde_json::to_value(&outcome).unwrap();
    assert_eq!(json["version"], 3);
    assert_eq!(
        json["pops"][0],
        json!({ "name": "ams", "connected": true, "runs": true })
    );
}
