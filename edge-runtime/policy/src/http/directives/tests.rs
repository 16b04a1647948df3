//! Field values as the public cache tests send them, and worse.
#![allow(clippy::unwrap_used)]
use super::*;
use http::HeaderValue;
use proptest::prelude::*;

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let fields = fields.iter();
    fields
        .map(|(n, v)| {
            (
                HeaderName::from_static(n),
                HeaderValue::from_str(v).unwrap(),
            )
        })
        .collect()
}

fn of(fields: &[(&'static str, &str)]) -> ResponseDirectives {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(*name, value.parse().unwrap());
    }
    ResponseDirectives::of(&map)
}

#[test]
fn max_age_as_the_public_tests_expect() {
    for (value, max_age) in [
        ("max-age=3600", Some(3600)),
        ("MaX-aGe=3600", Some(3600)),
        ("max-age=\"3600\"", Some(3600)),
        ("max-age=003600", Some(3600)),
        ("max-age=99999999999999999999", Some(DELTA_SECONDS_MAX)),
        ("max-age=1800, max-age=1", Some(1800)),
        ("max-age=1, max-age=1800", Some(1)),
        ("extension=\"max-age=3600\", max-age=1", Some(1)),
        ("max-age=1, extension=\"max-age=3600\"", Some(1)),
        ("extension=\"a\\\", max-age=3600\", max-age=1", Some(1)),
        ("extension=\"max-age=3600", None),
        ("max-age =3600", None),
        ("max-age= 3600", Some(0)),
        ("max-age='3600'", Some(0)),
        ("max-age=3600.5", Some(0)),
        ("max-age=a3600", Some(0)),
        ("max-age=-1", Some(0)),
        ("max-age", Some(0)),
        (",, max-age=5 ,", Some(5)),
        ("s-maxage=5", None),
        ("", None),
    ] {
        assert_eq!(of(&[("cache-control", value)]).max_age, max_age, "{value}");
    }
    assert_eq!(
        of(&[
            ("cache-control", "max-age=9"),
            ("cache-control", "max-age=1")
        ])
        .max_age,
        Some(9)
    );
}

#[test]
fn field_names() {
    let named = of(&[(
        "cache-control",
        "private=\"set-cookie, X-A\", no-cache=b, max-age=1",
    )]);
    assert_eq!(named.fields, ["set-cookie", "x-a", "b"]);
    assert!(!named.private && !named.no_cache);
    let whole = of(&[("cache-control", "private=\"\", no-cache=\"a b\"")]);
    assert!(whole.private && whole.no_cache && whole.fields.is_empty());
}

#[test]
fn precedence() {
    for (fields, max_age, no_store) in [
        (
            &[
                ("cdn-cache-control", "max-age=3600"),
                ("cache-control", "no-store"),
            ][..],
            Some(3600),
            false,
        ),
        (
            &[
                ("cdn-cache-control", "max-age=0"),
                ("cache-control", "max-age=9"),
            ],
            Some(0),
            false,
        ),
        (
            &[("cdn-cache-control", "foobar, max-age=3600")],
            Some(3600),
            false,
        ),
        (
            &[("cdn-cache-control", "max-age=99999999999")],
            Some(DELTA_SECONDS_MAX),
            false,
        ),
        (
            &[
                ("cdn-cache-control", "max-age=10000, &&&&&"),
                ("cache-control", "no-store"),
            ],
            None,
            true,
        ),
        (
            &[
                ("cdn-cache-control", "max-age=\"10000\""),
                ("cache-control", "no-store"),
            ],
            None,
            true,
        ),
        (
            &[
                ("cdn-cache-control", "max-age =100"),
                ("cache-control", "max-age=1"),
            ],
            Some(1),
            false,
        ),
        (
            &[("cdn-cache-control", ""), ("cache-control", "max-age=1")],
            Some(1),
            false,
        ),
        (
            &[
                ("cdn-cache-control", "no-store"),
                ("cache-control", "max-age=1"),
            ],
            None,
            true,
        ),
        (
            &[
                ("surrogate-control", "max-age=7"),
                ("cache-control", "private"),
            ],
            Some(7),
            false,
        ),
        (
            &[
                ("surrogate-control", "content=\"ESI/1.0\""),
                ("cache-control", "max-age=1"),
            ],
            Some(1),
            false,
        ),
        (
            &[
                ("surrogate-control", "no-store"),
                ("cache-control", "max-age=1"),
            ],
            None,
            true,
        ),
        (
            &[
                ("surrogate-control", "max-age= 100"),
                ("cache-control", "max-age=1"),
            ],
            Some(0),
            false,
        ),
        (
            &[
                ("cdn-cache-control", "max-age=5"),
                ("surrogate-control", "max-age=7"),
            ],
            Some(5),
            false,
        ),
    ] {
        let directives = of(fields);
        assert_eq!(
            (directives.max_age, directives.no_store),
            (max_age, no_store),
            "{fields:?}"
        );
    }
    for (ours, max_age) in [("max-age=9", 9), ("&", 5), ("", 5), ("max-age=9.0", 5)] {
        let directives = of(&[
            ("brink-cache-control", ours),
            ("cdn-cache-control", "max-age=5"),
        ]);
        assert_eq!(directives.max_age, Some(max_age), "{ours}");
    }
    for (value, max_age, no_store) in [
        ("max-age=9;brink", Some(9), false),
        ("max-age=9; brink", Some(9), false),
        ("max-age=5, max-age=9;brink", Some(9), false),
        ("max-age=9;other", Some(1), false),
        ("no-store;other", Some(1), false),
        ("no-store;brink", None, true),
        ("no-store-remote", None, true),
    ] {
        let directives = of(&[("surrogate-control", value), ("cache-control", "max-age=1")]);
        assert_eq!(
            (directives.max_age, directives.no_store),
            (max_age, no_store),
            "{value}"
        );
    }
    let graced = of(&[("surrogate-control", "max-age=10+5")]);
    assert_eq!(
        (graced.max_age, graced.stale_while_revalidate),
        (Some(10), Some(5))
    );
}

#[test]
fn requests() {
    let of = |value: &str| RequestDirectives::of(&headers(&[("cache-control", value)]));
    assert_eq!(of("max-stale").max_stale, Some(DELTA_SECONDS_MAX));
    assert_eq!(of("max-stale=5, min-fresh=2, max-age=3").max_stale, Some(5));
    assert_eq!(of("max-age=x").max_age, None);
    assert!(of("No-Cache, only-if-cached").only_if_cached);
    assert_eq!(
        RequestDirectives::of(&HeaderMap::new()),
        RequestDirectives::default()
    );
}

proptest! {
    #[test]
    fn any_value_is_read(a in "[ -~]{0,60}", b in "[a-z=,\" 0-9\\\\-]{0,60}") {
        for value in [a, b] {
            for name in ["cache-control", "cdn-cache-control", "surrogate-control"] {
                let map = headers(&[(name, value.as_str())]);
                let _ = ResponseDirectives::of(&map);
                let _ = RequestDirectives::of(&map);
            }
        }
    }
}
