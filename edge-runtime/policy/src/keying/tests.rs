//! Tables of keys, and of the ways by which others were deceived.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;
use brink_protocol::caching::RouteCache;
use proptest::prelude::*;

fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    map
}

fn keying(json: &str) -> Keying {
    let cache: RouteCache = serde_json::from_str(&format!("{{\"key\": {json}}}")).unwrap();
    Keying::new(&cache.normal().unwrap().key)
}

#[test]
fn targets() {
    let all = "{}";
    let sorted = r#"{"sort_query": true}"#;
    let only = r#"{"query": {"only": ["page", "q*"]}}"#;
    let none = r#"{"query": {"only": []}}"#;
    let without = r#"{"query": {"without": ["utm_*", "fbclid"]}, "sort_query": true}"#;
    for (rules, target, expected) in [
        (all, "/a?b=1&a=2&&", "/a?b=1&a=2&&"),
        (sorted, "/a?b=1&a=2&b=0&&a=1", "/a?a=2&a=1&b=1&b=0"),
        (sorted, "/a?%62=1&a=2", "/a?a=2&%62=1"),
        (sorted, "/a", "/a"),
        (sorted, "/a?", "/a"),
        (only, "/a?x=1&page=2&query=3&Page=4", "/a?page=2&query=3"),
        (only, "/a?%70age=2", "/a?%70age=2"),
        (only, "/a?x=1", "/a"),
        (none, "/a?x=1?y=2", "/a"),
        (without, "/a?utm_source=1&x=1&fbclid", "/a?x=1"),
        (without, "/a?%75tm_source=1&utm%5Fx=2&x=1", "/a?x=1"),
        // A parameter within one that is left out goes with it.
        (without, "/a?utm_x=1;x=evil", "/a"),
        (without, "/a?x=1;utm_x=evil", "/a?x=1;utm_x=evil"),
        (without, "/a?x=1&x=2", "/a?x=1&x=2"),
        (without, "/a?x=2&x=1", "/a?x=2&x=1"),
        (without, "/a?utm_x=%26x%3D1", "/a"),
        (without, "/a?\u{fffd}=%ff&%ff=1", "/a?%ff=1&\u{fffd}=%ff"),
        // A path is never shortened: what it ends with says nothing of what it is.
        (none, "/account/x.css?y", "/account/x.css"),
        (none, "/account;x.css", "/account;x.css"),
        (none, "/a%3Fx=1", "/a%3Fx=1"),
    ] {
        assert_eq!(keying(rules).target(target), expected, "{rules} {target}");
    }
}

#[test]
fn fields() {
    let headers = r#"{"headers": ["Accept-Language", "X-Tier"]}"#;
    let no_headers = r#"{"headers": []}"#;
    let cookies = r#"{"cookies": ["lang", "ab"]}"#;
    let device = r#"{"device": true, "headers": []}"#;
    type Fields<'a> = &'a [(&'static str, &'a str)];
    let cases: [(&str, Fields<'_>, Fields<'_>, Option<&str>); 14] = [
        ("{}", &[("x-evil", "1")], &[("x-evil", "1")], Some("")),
        (
            headers,
            &[
                ("x-tier", "gold"),
                ("x-forwarded-host", "evil"),
                ("accept-language", "EN , de"),
                ("range", "bytes=0-1"),
                ("x-evil", "1"),
            ],
            &[
                ("x-tier", "gold"),
                ("accept-language", "EN , de"),
                ("range", "bytes=0-1"),
            ],
            Some("haccept-language: de,en\u{1f}x-tier: gold"),
        ),
        (headers, &[], &[], Some("haccept-language\u{1f}x-tier")),
        (
            headers,
            &[("x-tier", "")],
            &[("x-tier", "")],
            Some("haccept-language\u{1f}x-tier:"),
        ),
        (
            headers,
            &[("x-tier", "\u{ff}")],
            &[("x-tier", "\u{ff}")],
            Some("haccept-language\u{1f}x-tier: \u{ff}"),
        ),
        (
            no_headers,
            &[("x-evil", "1"), ("cookie", "a=1")],
            &[("cookie", "a=1")],
            Some(""),
        ),
        (
            cookies,
            &[
                ("cookie", "sid=1; lang=de;ab=2; langx=3"),
                ("cookie", "lang=en"),
                ("x", "1"),
            ],
            &[("x", "1"), ("cookie", "ab=2; lang=de; lang=en")],
            Some("cab=2; lang=de; lang=en"),
        ),
        (cookies, &[("cookie", "sid=1")], &[], Some("c")),
        (
            cookies,
            &[("cookie", "=; ;;lang")],
            &[("cookie", "lang")],
            Some("clang"),
        ),
        (r#"{"cookies": []}"#, &[("cookie", "sid=1")], &[], Some("c")),
        (
            device,
            &[
                ("user-agent", "Mozilla (iPhone) Mobile"),
                ("sec-ch-ua", "x"),
                ("x-device-class", "bot"),
            ],
            &[("x-device-class", "mobile")],
            Some("dmobile"),
        ),
        (
            r#"{"device": true}"#,
            &[("sec-ch-ua-mobile", "?1"), ("x", "1")],
            &[("x", "1"), ("x-device-class", "mobile")],
            Some("dmobile"),
        ),
        (
            r#"{"device": true, "headers": ["user-agent"], "cookies": ["a"]}"#,
            &[("user-agent", "curl"), ("cookie", "a=1")],
            &[
                ("user-agent", "curl"),
                ("cookie", "a=1"),
                ("x-device-class", "desktop"),
            ],
            Some("ddesktop\u{1f}ca=1\u{1f}huser-agent: curl"),
        ),
        (
            headers,
            &[("authorization", "x")],
            &[("authorization", "x")],
            Some("haccept-language\u{1f}x-tier"),
        ),
    ];
    for (rules, sent, passed, extra) in cases {
        let mut request = map(sent);
        let got = keying(rules).apply(&mut request, &[]);
        assert_eq!(got.as_deref(), extra, "{rules} {sent:?}");
        assert_eq!(request, map(passed), "{rules} {sent:?}");
    }
}

#[test]
fn what_has_no_key() {
    let rules = keying(r#"{"headers": ["x-tier"]}"#);
    let long = "x".repeat(vary::SELECTION_BYTES_MAX);
    for value in [long.as_bytes(), b"\xff"] {
        let mut request = HeaderMap::new();
        request.insert("x-tier", HeaderValue::from_bytes(value).unwrap());
        assert_eq!(rules.apply(&mut request, &[]), None);
    }
    let long = format!("a={long}");
    let mut request = map(&[("cookie", &long)]);
    assert_eq!(
        keying(r#"{"cookies": ["a"]}"#).apply(&mut request, &[]),
        None
    );
}

#[test]
fn what_plugins_set_stays() {
    let rules = keying(r#"{"headers": [], "cookies": [], "device": true}"#);
    let sent = [("x-user", "1"), ("cookie", "a=1"), ("user-agent", "u")];
    let mut request = map(&sent);
    let set: Vec<HeaderName> = ["x-user", "cookie", "user-agent"]
        .map(|n| n.parse().unwrap())
        .into();
    assert_eq!(rules.apply(&mut request, &set).as_deref(), Some("ddesktop"));
    assert_eq!(request.keys().count(), 4);
}

#[test]
fn claims_are_taken_off() {
    let mut request = map(&[
        ("x-forwarded-host", "evil"),
        ("x-forwarded-anything", "evil"),
        ("forwarded", "host=evil"),
        ("x-original-url", "/admin"),
        ("x-http-method-override", "DELETE"),
        ("x-method-override", "DELETE"),
        // CGI and WSGI make the same of these.
        ("x_forwarded_host", "evil"),
        ("x-forwarded_for", "6.6.6.6"),
        ("x_http_method_override", "DELETE"),
        ("accept_language", "evil"),
        ("user_agent", "evil"),
        ("if_none_match", "evil"),
        ("content_length", "3"),
        ("api_key", "1"),
        ("accept", "*/*"),
    ]);
    remove_claims(&mut request);
    assert_eq!(request, map(&[("api_key", "1"), ("accept", "*/*")]));
    for (name, is) in [
        ("forwarded", true),
        ("x_forwarded_for", true),
        ("true_client-ip", true),
        ("x_api_key", false),
        ("forwarded_", false),
    ] {
        assert_eq!(is_claim(&HeaderName::from_static(name)), is, "{name}");
    }
}

#[test]
fn devices() {
    for (agent, hint, expected) in [
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/140 Safari/537.36",
            "?0",
            "desktop",
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Safari/605.1.15",
            "",
            "desktop",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Mobile/15E148",
            "",
            "mobile",
        ),
        (
            "Mozilla/5.0 (Linux; Android 15; Pixel 9) Chrome/140 Mobile Safari/537.36",
            "?1",
            "mobile",
        ),
        (
            "Mozilla/5.0 (Linux; Android 15; SM-X910) Chrome/140 Safari/537.36",
            "?0",
            "tablet",
        ),
        (
            "Mozilla/5.0 (iPad; CPU OS 15_0 like Mac OS X) Mobile/15E148",
            "",
            "tablet",
        ),
        (
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "",
            "bot",
        ),
        (
            "Mozilla/5.0 (Linux; Android 6) Mobile (compatible; Googlebot/2.1)",
            "",
            "bot",
        ),
        ("curl/8.0", "", "desktop"),
        ("", "", "desktop"),
    ] {
        let request = map(&[("user-agent", agent), ("sec-ch-ua-mobile", hint)]);
        assert_eq!(Device::of(&request).as_str(), expected, "{agent}");
    }
}

proptest! {
    /// Requests with one key are one request to whoever answers: nothing passes that is not in the key.
    #[test]
    fn what_passes_is_in_the_key(
        one in "(/a)?\\?((utm_x|x|y|%79|z)(=[0-9;&]{0,3})?&?){0,4}",
        other in "(/a)?\\?((utm_x|x|y|%79|z)(=[0-9;&]{0,3})?&?){0,4}",
        cookies in proptest::collection::vec("(a|b|c)(=[0-9])?(; (a|b|c)=[0-9]){0,2}", 2),
        fields in proptest::collection::vec("[a-c]{0,2}", 4),
    ) {
        let rules = keying(r#"{"query": {"without": ["utm_x", "z"]}, "sort_query": true, "headers": ["x-a"], "cookies": ["a", "b"], "device": true}"#);
        let request = |target: &str, cookie: &str, a: &str, b: &str| {
            let mut headers = map(&[("cookie", cookie), ("x-a", a), ("x-b", b)]);
            let extra = rules.apply(&mut headers, &[]);
            ((rules.target(target).into_owned(), extra), headers)
        };
        let (one_key, one_passed) = request(&one, &cookies[0], &fields[0], &fields[1]);
        let (other_key, other_passed) = request(&other, &cookies[1], &fields[2], &fields[3]);
        if one_key == other_key {
            prop_assert_eq!(&one_passed, &other_passed);
        }
        prop_assert_eq!(rules.target(&one_key.0), one_key.0.as_str());
    }
}

#[test]
fn described_without_secrets() {
    let rules = KeyRules {
        headers: Some(vec!["accept-language".into(), "authorization".into()]),
        cookies: Some(vec!["lang".into(), "sid".into()]),
        device: true,
        ..KeyRules::default()
    };
    let mut request = HeaderMap::new();
    for (name, value) in [
        ("cookie", "sid=secret; lang=de; other=1"),
        ("authorization", "Bearer secret"),
        ("accept-language", "de"),
        ("user-agent", "curl/8"),
    ] {
        request.insert(name, HeaderValue::from_static(value));
    }
    let extra = Keying::new(&rules).apply(&mut request, &[]).unwrap();
    let words = described(&extra);
    assert!(!format!("{words:?}").contains("secret"), "{words:?}");
    let kinds: Vec<_> = words
        .iter()
        .map(|(kind, text)| format!("{kind} {text}"))
        .collect();
    let expected = [
        "device desktop",
        "cookie lang",
        "cookie sid",
        "header accept-language: de",
        "header authorization",
    ];
    assert_eq!(kinds, expected);
    assert_eq!(described(""), []);
}

#[test]
fn behind_a_pop_the_kind_of_device_is_what_it_says() {
    let rules = keying(r#"{"device": true, "headers": []}"#);
    for (agent, class) in [
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0)", "mobile"),
        ("Mozilla/5.0 (iPad; CPU OS 18_0)", "tablet"),
        ("Googlebot/2.1", "bot"),
        ("Mozilla/5.0 (X11; Linux x86_64)", "desktop"),
    ] {
        let mut request = map(&[("user-agent", agent)]);
        let extra = rules.apply(&mut request, &[]);
        assert_eq!(request["x-device-class"], class);
        // What it was read from is gone by then.
        assert!(!request.contains_key("user-agent"));
        assert_eq!(rules.apply_again(&mut request, &[]), extra, "{agent}");
        assert_eq!(request["x-device-class"], class);
    }
    let mut made_up = map(&[("x-device-class", "mainframe")]);
    let extra = rules.apply_again(&mut made_up, &[]);
    assert_eq!(extra.as_deref(), Some("ddesktop"));
}
