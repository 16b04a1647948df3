//! Responses and whether they are stored.
#![allow(clippy::unwrap_used)]
use super::*;
use http::HeaderName;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        let value = match value.strip_prefix('@') {
            Some(offset) => {
                let offset: i64 = offset.parse().unwrap();
                let at = u64::try_from(1_700_000_000 + offset).unwrap();
                httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(at))
            }
            None => (*value).to_owned(),
        };
        map.append(HeaderName::from_static(name), value.parse().unwrap());
    }
    map
}

fn check(
    status: u16,
    request: &[(&'static str, &str)],
    response: &[(&'static str, &str)],
) -> Result<u64, NoStoreReason> {
    let (request, response) = (map(request), map(response));
    storable(&Candidate {
        method: &Method::GET,
        request: &request,
        request_no_store: false,
        status: StatusCode::from_u16(status).unwrap(),
        response: &response,
        by_origin: false,
        lifetime: None,
        negative: Negative::default(),
        received: now(),
    })
    .map(|lifetime| lifetime.fresh_seconds)
}

#[test]
fn by_response() {
    use NoStoreReason as No;
    for (status, response, expected) in [
        (200, &[("cache-control", "max-age=60")][..], Ok(60)),
        (200, &[("cache-control", "s-maxage=5, max-age=60")], Ok(5)),
        (
            200,
            &[("cache-control", "max-age=60"), ("expires", "@10")],
            Ok(60),
        ),
        (200, &[("expires", "@30"), ("date", "@0")], Ok(30)),
        (200, &[("expires", "@30"), ("date", "@20")], Ok(10)),
        (200, &[("expires", "@-30"), ("etag", "\"a\"")], Ok(0)),
        (200, &[("expires", "0")], Err(No::NotReusable)),
        (200, &[], Err(No::NotReusable)),
        (200, &[("last-modified", "@-1000")], Ok(100)),
        (
            200,
            &[("last-modified", "@-100000000")],
            Ok(HEURISTIC_SECONDS_MAX),
        ),
        (
            200,
            &[("last-modified", "@-1000"), ("set-cookie", "a=b")],
            Err(No::SetCookie),
        ),
        (
            200,
            &[("cache-control", "max-age=1"), ("set-cookie", "a=b")],
            Err(No::SetCookie),
        ),
        (
            200,
            &[
                ("cache-control", "public, max-age=1"),
                ("set-cookie", "a=b"),
            ],
            Ok(1),
        ),
        (
            200,
            &[("cache-control", "s-maxage=1"), ("set-cookie", "a=b")],
            Ok(1),
        ),
        (201, &[("last-modified", "@-1000")], Err(No::NoLifetime)),
        (
            201,
            &[("last-modified", "@-1000"), ("cache-control", "public")],
            Ok(100),
        ),
        (299, &[("cache-control", "max-age=60")], Ok(60)),
        (503, &[("cache-control", "max-age=60")], Ok(60)),
        (206, &[("cache-control", "max-age=60")], Err(No::Status)),
        (304, &[("cache-control", "max-age=60")], Err(No::Status)),
        (
            200,
            &[("cache-control", "max-age=60, no-store")],
            Err(No::NoStore),
        ),
        (
            200,
            &[("cache-control", "max-age=60, private")],
            Err(No::Private),
        ),
        (
            200,
            &[("cache-control", "max-age=60, private=\"a\"")],
            Ok(60),
        ),
        (
            200,
            &[("cache-control", "max-age=60, no-store, must-understand")],
            Ok(60),
        ),
        (
            299,
            &[("cache-control", "max-age=60, must-understand")],
            Err(No::Status),
        ),
        (
            200,
            &[("cache-control", "max-age=60"), ("vary", "a, *")],
            Err(No::VaryAny),
        ),
        (200, &[("cache-control", "no-cache")], Err(No::NotReusable)),
        (
            200,
            &[("cache-control", "no-cache"), ("etag", "\"a\"")],
            Ok(0),
        ),
        (
            200,
            &[("cache-control", "max-age=0, stale-if-error=60")],
            Ok(0),
        ),
        (
            200,
            &[("cdn-cache-control", "max-age=9"), ("expires", "@-1")],
            Ok(9),
        ),
        (
            200,
            &[("cdn-cache-control", "foo"), ("expires", "@100")],
            Err(No::NotReusable),
        ),
    ] {
        assert_eq!(
            check(status, &[], response),
            expected,
            "{status} {response:?}"
        );
    }
}

#[test]
fn by_authorization() {
    let authorized = [("authorization", "Basic x")];
    for (cache_control, stored) in [
        ("max-age=60", false),
        ("max-age=60, public", true),
        ("max-age=60, must-revalidate", true),
        ("s-maxage=60", true),
    ] {
        let got = check(200, &authorized, &[("cache-control", cache_control)]);
        let expected = if stored {
            Ok(60)
        } else {
            Err(NoStoreReason::Authorization)
        };
        assert_eq!(got, expected, "{cache_control}");
    }
}

#[test]
fn by_request_and_handler() {
    let empty = HeaderMap::new();
    let private = map(&[("cache-control", "private")]);
    let base = Candidate {
        method: &Method::GET,
        request: &empty,
        request_no_store: false,
        status: StatusCode::OK,
        response: &empty,
        by_origin: false,
        lifetime: Some(60),
        negative: Negative::default(),
        received: now(),
    };
    assert_eq!(storable(&base), Ok(Lifetime::fresh_for(60)));
    for (candidate, reason) in [
        (
            Candidate {
                method: &Method::HEAD,
                ..base
            },
            NoStoreReason::Method,
        ),
        (
            Candidate {
                method: &Method::POST,
                ..base
            },
            NoStoreReason::Method,
        ),
        (
            Candidate {
                request_no_store: true,
                ..base
            },
            NoStoreReason::RequestNoStore,
        ),
        (
            Candidate {
                response: &private,
                ..base
            },
            NoStoreReason::Private,
        ),
    ] {
        assert_eq!(storable(&candidate), Err(reason));
    }
}

#[test]
fn by_who_made_it() {
    use NoStoreReason as No;
    let part = ("content-range", "bytes 0-1/9");
    let fresh = ("cache-control", "max-age=60");
    let cookie = ("set-cookie", "a=b");
    let empty = HeaderMap::new();
    for (status, response, by_module, by_origin) in [
        (206, &[fresh, part][..], Err(No::Status), Ok(60)),
        (206, &[fresh], Err(No::Status), Err(No::Status)),
        (206, &[fresh, part, part], Err(No::Status), Err(No::Status)),
        (200, &[fresh, cookie], Err(No::SetCookie), Ok(60)),
        (200, &[("expires", "@9"), cookie], Err(No::SetCookie), Ok(9)),
        (
            200,
            &[("last-modified", "@-1000"), cookie],
            Err(No::SetCookie),
            Err(No::SetCookie),
        ),
        (
            200,
            &[
                ("cache-control", "max-age=60, no-cache=\"Set-Cookie\""),
                cookie,
            ],
            Ok(60),
            Ok(60),
        ),
    ] {
        for (made_by_origin, expected) in [(false, by_module), (true, by_origin)] {
            let got = storable(&Candidate {
                method: &Method::GET,
                request: &empty,
                request_no_store: false,
                status: StatusCode::from_u16(status).unwrap(),
                response: &map(response),
                by_origin: made_by_origin,
                lifetime: None,
                negative: Negative::default(),
                received: now(),
            });
            let got = got.map(|lifetime| lifetime.fresh_seconds);
            assert_eq!(got, expected, "{status} {response:?} {made_by_origin}");
        }
    }
}

#[test]
fn errors_by_the_word_of_the_route() {
    use NoStoreReason as No;
    let negative = Negative {
        seconds: 30,
        failure_seconds: 5,
    };
    type Fields<'a> = &'a [(&'static str, &'a str)];
    let cases: [(u16, Fields<'_>, Fields<'_>, Result<u64, No>); 14] = [
        (404, &[], &[], Ok(30)),
        (410, &[], &[("last-modified", "@-1000")], Ok(30)),
        (501, &[], &[], Ok(30)),
        (503, &[], &[], Ok(5)),
        (404, &[], &[("cache-control", "max-age=1")], Ok(1)),
        (
            404,
            &[],
            &[("cache-control", "max-age=0")],
            Err(No::NotReusable),
        ),
        (404, &[], &[("expires", "0")], Err(No::NotReusable)),
        (404, &[], &[("cache-control", "no-store")], Err(No::NoStore)),
        (
            404,
            &[],
            &[("cache-control", "no-cache")],
            Err(No::NotReusable),
        ),
        (404, &[], &[("cache-control", "private")], Err(No::Private)),
        (404, &[], &[("set-cookie", "a=b")], Err(No::SetCookie)),
        (404, &[], &[("vary", "*")], Err(No::VaryAny)),
        (404, &[("authorization", "x")], &[], Err(No::Authorization)),
        // It may be shared, but not for as long as the route says.
        (
            404,
            &[("authorization", "x")],
            &[("cache-control", "public")],
            Err(No::NotReusable),
        ),
    ];
    for (status, request, response, expected) in cases {
        let (request, response) = (map(request), map(response));
        let candidate = Candidate {
            method: &Method::GET,
            request: &request,
            request_no_store: false,
            status: StatusCode::from_u16(status).unwrap(),
            response: &response,
            by_origin: true,
            lifetime: None,
            negative,
            received: now(),
        };
        let got = storable(&candidate).map(|lifetime| lifetime.fresh_seconds);
        assert_eq!(got, expected, "{status} {request:?} {response:?}");
        // Without a word of the route nothing of it is stored for as long.
        let plain = Candidate {
            negative: Negative::default(),
            ..candidate
        };
        assert!(storable(&plain).map(|lifetime| lifetime.fresh_seconds) != Ok(30));
    }
    assert_eq!(check(403, &[], &[]), Err(No::NoLifetime));
}

#[test]
fn what_answers_an_unkeyed_field_is_not_stored() {
    let lifetime = ("cache-control", "public, max-age=60");
    for status in [304, 412, 416, 417] {
        assert_eq!(
            check(status, &[("range", "bytes=9-")], &[lifetime]),
            Err(NoStoreReason::Status),
            "{status}"
        );
    }
    let stored = |vary: &str, by_origin| {
        storable(&Candidate {
            method: &Method::GET,
            request: &HeaderMap::new(),
            request_no_store: false,
            status: StatusCode::OK,
            response: &map(&[lifetime, ("vary", vary)]),
            by_origin,
            lifetime: None,
            negative: Negative::default(),
            received: now(),
        })
        .map(|lifetime| lifetime.fresh_seconds)
    };
    for (vary, expected) in [
        ("x-forwarded-host, X-Forwarded-Proto", Ok(60)),
        ("accept, X-Forwarded-For", Err(NoStoreReason::VaryAny)),
        ("forwarded", Err(NoStoreReason::VaryAny)),
        ("x-real-ip", Err(NoStoreReason::VaryAny)),
    ] {
        assert_eq!(stored(vary, true), expected, "{vary}");
        assert_eq!(stored(vary, false), Ok(60), "{vary}");
    }
}
