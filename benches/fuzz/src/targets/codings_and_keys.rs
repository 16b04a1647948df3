//! What a request accepts, and what of it is part of a key. The input is a target's line, then two requests' fields with an empty
//! line between.
//!
//! Two requests with one key must be passed on with the same cookies and the same device, or one's answer is the other's poison.

use super::fields::{texts, two_blocks};
use crate::Target;
use brink_policy::{
    coding::{Accepted, simplify},
    keying::Keying,
};
use brink_protocol::caching::{KeyRules, QueryRule};
use http::{HeaderMap, HeaderValue, header::COOKIE};

pub(crate) const TARGET: Target = Target {
    name: "codings_and_keys",
    seeds,
    run,
};

fn seeds() -> Vec<Vec<u8>> {
    texts(&[
        "/a?q=1&utm=2&q=%71&b\ncookie: c=1; d=2\nx-a: 1, 2\nuser-agent: iPhone Mobile\n\ncookie: d=3; c=1\nx-a: 1,2",
        "/?q\naccept-encoding: gzip;q=0.5, br, *;q=0, identity;q=0.1\n\naccept-encoding: zstd\nrange: bytes=0-1",
        "/a\ncookie: c=a; c=b\ncookie: c\nsec-ch-ua-mobile: ?1\n\nauthorization: x\nx-forwarded-host: h",
    ])
}

fn rules() -> [KeyRules; 2] {
    let names = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    [
        KeyRules {
            query: QueryRule::Only(names(&["q", "b*"])),
            sort_query: true,
            headers: Some(names(&["x-a"])),
            cookies: Some(names(&["c"])),
            device: true,
        },
        KeyRules {
            query: QueryRule::Without(names(&["utm*"])),
            headers: Some(Vec::new()),
            cookies: Some(Vec::new()),
            ..KeyRules::default()
        },
    ]
}

fn run(bytes: &[u8]) {
    let end = bytes
        .iter()
        .position(|b| *b == b'\n')
        .unwrap_or(bytes.len());
    let (line, rest) = bytes.split_at(end);
    let (one, other) = two_blocks(rest.get(1..).unwrap_or_default());
    for rules in rules() {
        let keying = Keying::new(&rules);
        if let Ok(target) = std::str::from_utf8(line) {
            let kept = keying.target(target);
            assert_eq!(keying.target(&kept), kept, "of {target}");
        }
        check_requests(&keying, one.clone(), other.clone());
    }
    for mut request in [one, other] {
        let accepted = Accepted::of(&request);
        assert!(accepted.iter().count() <= 3);
        simplify(&mut request);
        let again = request.clone();
        simplify(&mut request);
        assert_eq!(request, again, "what is simple stays as it is");
    }
}

fn check_requests(keying: &Keying, mut one: HeaderMap, mut other: HeaderMap) {
    let keys = [keying.apply(&mut one, &[]), keying.apply(&mut other, &[])];
    for name in one.keys().chain(other.keys()) {
        let name = name.as_str();
        assert!(
            !name.starts_with("x-forwarded-") && !name.starts_with("sec-ch-ua"),
            "{name} was passed on"
        );
    }
    let [Some(first), Some(second)] = keys else {
        return;
    };
    if first == second {
        let device = |request: &HeaderMap| request.get("x-device-class").cloned();
        assert_eq!(cookie(&one), cookie(&other), "under {first:?}");
        assert_eq!(device(&one), device(&other), "under {first:?}");
    }
}

fn cookie(request: &HeaderMap) -> Option<&HeaderValue> {
    request.get(COOKIE)
}
