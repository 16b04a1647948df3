//! `Cache-Control` of requests and responses: what is well-formed is read as the grammar has it; nothing that forbids storing
//! is overlooked in what is not.

use super::fields::{texts, values};
use crate::{Target, models};
use brink_policy::http::{
    RequestDirectives, ResponseDirectives,
    directives::{DELTA_SECONDS_MAX, SURROGATE_CONTROL},
    freshen::retain_storable,
};
use http::{HeaderMap, header::CACHE_CONTROL};

pub(crate) const TARGET: Target = Target {
    name: "cache_control",
    seeds,
    run,
};

fn seeds() -> Vec<Vec<u8>> {
    texts(&[
        "max-age=60, s-maxage=5, stale-while-revalidate=30, stale-if-error=60",
        "private=\"set-cookie, x-a\", no-cache=\"x-b\", public",
        "no-store\nmust-understand, must-revalidate, proxy-revalidate",
        "max-age=\"60\", foo=\"a\\\"b, no-store\", max-stale, min-fresh=1, only-if-cached",
        "max-age=60+30;brink, content=\"ESI/1.0\", no-store-remote",
        "max-age=99999999999999999999, max-age = 1, MAX-AGE=2, \"open, no-store",
    ])
}

fn run(bytes: &[u8]) {
    let headers = values("cache-control", bytes);
    let ours = ResponseDirectives::of(&headers);
    for seconds in [
        ours.max_age,
        ours.s_maxage,
        ours.stale_while_revalidate,
        ours.stale_if_error,
    ] {
        assert!(seconds.is_none_or(|seconds| seconds <= DELTA_SECONDS_MAX));
    }
    check_model(&headers, &ours);
    let mut stored = headers.clone();
    for name in &ours.fields {
        stored.append(name, http::HeaderValue::from_static("secret"));
    }
    retain_storable(&mut stored);
    assert!(
        ours.fields.iter().all(|name| !stored.contains_key(name)),
        "a named field was stored"
    );
    let surrogate = values("surrogate-control", bytes);
    assert_eq!(
        surrogate.contains_key(SURROGATE_CONTROL),
        !surrogate.is_empty()
    );
    let _ = ResponseDirectives::of(&surrogate);
}

fn check_model(headers: &HeaderMap, ours: &ResponseDirectives) {
    let lines = headers.get_all(CACHE_CONTROL).iter();
    let Some(lines) = lines
        .map(|value| value.to_str().ok())
        .collect::<Option<Vec<&str>>>()
    else {
        return;
    };
    let text = lines.join(",");
    let asked = RequestDirectives::of(headers);
    let bare = |name: &str| {
        text.split(',')
            .take(100)
            .any(|member| member.trim_matches([' ', '\t']).eq_ignore_ascii_case(name))
    };
    // Each line for itself: no string goes on in the next.
    let directives = lines.into_iter().map(models::cache_control);
    let Some(directives) = directives.collect::<Option<Vec<_>>>() else {
        // Without quotes there is nothing that a member could be hidden in.
        if !text.contains('"') {
            assert!(ours.no_store || !bare("no-store"), "{text}");
            assert!(ours.private || !bare("private"), "{text}");
            assert!(ours.no_cache || !bare("no-cache"), "{text}");
            assert!(asked.no_cache || !bare("no-cache"), "{text}");
        }
        return;
    };
    let directives = directives.concat();
    if directives.len() > 100 {
        return;
    }
    let has = |name: &str| directives.iter().any(|(own, _)| own == name);
    assert_eq!(ours.no_store, has("no-store"), "{text}");
    assert_eq!(ours.public, has("public"), "{text}");
    assert_eq!(ours.must_understand, has("must-understand"), "{text}");
    assert_eq!(
        ours.must_revalidate,
        has("must-revalidate") || has("proxy-revalidate"),
        "{text}"
    );
    assert_eq!(asked.no_store, has("no-store"), "{text}");
    assert_eq!(asked.only_if_cached, has("only-if-cached"), "{text}");
    for (name, own) in [("max-age", ours.max_age), ("s-maxage", ours.s_maxage)] {
        let first = directives.iter().find(|(own, _)| own == name);
        let expected = first.map(|(_, value)| {
            value
                .as_deref()
                .and_then(models::delta_seconds)
                .unwrap_or(0)
        });
        assert_eq!(own, expected, "{name} in {text}");
    }
    for (name, is_whole) in [("private", ours.private), ("no-cache", ours.no_cache)] {
        let without_fields = directives
            .iter()
            .any(|(own, value)| own == name && value.is_none());
        assert!(is_whole || !without_fields, "{name} in {text}");
    }
}
