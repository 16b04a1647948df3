//! Tables of what is accepted, what is coded, and what its fields become.
#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    map
}

fn accepted(fields: &[(&'static str, &str)]) -> String {
    let names: Vec<_> = Accepted::of(&map(fields))
        .iter()
        .map(Coding::as_str)
        .collect();
    names.join(" ")
}

#[test]
fn what_a_client_gets() {
    for (field, expected) in [
        ("gzip, deflate, br, zstd", "br zstd gzip"),
        ("gzip", "gzip"),
        ("x-GZIP", "gzip"),
        ("BR", "br"),
        ("gzip;q=1.0, br;q=0.5", "gzip br"),
        ("gzip; q=0.5 , br ;q=0.5", "br gzip"),
        ("gzip;q=0", ""),
        ("gzip;q=0.001", "gzip"),
        ("gzip;q=0.5, identity", ""),
        ("gzip;q=0.5, identity;q=0.2", "gzip"),
        ("gzip, identity;q=0", "gzip"),
        ("*", "br zstd gzip"),
        ("*;q=0.1, br;q=0", "zstd gzip"),
        ("*;q=0", ""),
        ("gzip, *;q=0", "gzip"),
        ("identity", ""),
        ("deflate", ""),
        ("", ""),
        ("gzip;q=2", ""),
        ("gzip;q=0.1234", ""),
        ("gzip;level=9", ""),
        (",,gzip,", "gzip"),
    ] {
        assert_eq!(accepted(&[("accept-encoding", field)]), expected, "{field}");
    }
    assert_eq!(accepted(&[]), "");
    let lines = [("accept-encoding", "gzip"), ("accept-encoding", "br")];
    assert_eq!(accepted(&lines), "br gzip");
    let ranged = [("accept-encoding", "gzip"), ("range", "bytes=0-1")];
    assert_eq!(accepted(&ranged), "");
    assert!(Accepted::of(&HeaderMap::new()).is_empty());
}

#[test]
fn what_is_asked_of_origins() {
    for (sent, expected) in [
        (Some("gzip, deflate, br, zstd"), Some("br, zstd, gzip")),
        (Some("br, zstd, gzip"), Some("br, zstd, gzip")),
        (Some("gzip;q=0.5, br;q=0"), Some("gzip")),
        (Some("gzip,deflate"), Some("gzip")),
        (Some("deflate"), None),
        (Some(""), None),
        (Some("identity"), None),
        (Some("*"), Some("br, zstd, gzip")),
        (Some("gzip, identity;q=0"), Some("gzip, identity;q=0")),
        (Some("*;q=0"), Some("*;q=0")),
        (Some("gzip, dcb"), Some("gzip, dcb")),
        (Some("gzip;q=no"), Some("gzip;q=no")),
        (None, None),
    ] {
        let mut request = HeaderMap::new();
        if let Some(sent) = sent {
            request.insert(ACCEPT_ENCODING, sent.parse().unwrap());
        }
        simplify(&mut request);
        let simple = request.get(ACCEPT_ENCODING).map(|v| v.to_str().unwrap());
        assert_eq!(simple, expected, "{sent:?}");
    }
}

#[test]
fn what_is_coded() {
    type Fields<'a> = &'a [(&'static str, &'a str)];
    const HTML: (&str, &str) = ("content-type", "text/html; charset=utf-8");
    let cases: [(u16, u64, Fields<'_>, Fields<'_>, bool); 28] = [
        (200, 5_000, &[HTML], &[], true),
        (404, 5_000, &[HTML], &[], true),
        (200, CODED_BYTES_MIN - 1, &[HTML], &[], false),
        (200, CODED_BYTES_MAX + 1, &[HTML], &[], false),
        (206, 5_000, &[HTML], &[], false),
        (301, 5_000, &[HTML], &[], false),
        (200, 5_000, &[], &[], false),
        (
            200,
            5_000,
            &[("content-type", "Application/JSON")],
            &[],
            true,
        ),
        (
            200,
            5_000,
            &[("content-type", "application/problem+json")],
            &[],
            true,
        ),
        (200, 5_000, &[("content-type", "image/svg+xml")], &[], true),
        (
            200,
            5_000,
            &[("content-type", "application/wasm")],
            &[],
            true,
        ),
        (200, 5_000, &[("content-type", "image/png")], &[], false),
        (200, 5_000, &[("content-type", "video/mp4")], &[], false),
        (200, 5_000, &[("content-type", "font/woff2")], &[], false),
        (
            200,
            5_000,
            &[("content-type", "application/zip")],
            &[],
            false,
        ),
        (
            200,
            5_000,
            &[("content-type", "application/octet-stream")],
            &[],
            false,
        ),
        (
            200,
            5_000,
            &[("content-type", "text/event-stream")],
            &[],
            false,
        ),
        (200, 5_000, &[("content-type", "nonsense")], &[], false),
        (
            200,
            5_000,
            &[HTML, ("content-encoding", "gzip")],
            &[],
            false,
        ),
        (
            200,
            5_000,
            &[HTML, ("content-encoding", "aws-chunked")],
            &[],
            false,
        ),
        (
            200,
            5_000,
            &[HTML, ("cache-control", "max-age=5, No-Transform")],
            &[],
            false,
        ),
        (
            200,
            5_000,
            &[HTML, ("cache-control", "private=\"x\"")],
            &[],
            false,
        ),
        (200, 5_000, &[HTML, ("set-cookie", "a=1")], &[], false),
        (200, 5_000, &[HTML, ("vary", "accept, Cookie")], &[], false),
        (200, 5_000, &[HTML, ("vary", "authorization")], &[], false),
        (
            200,
            5_000,
            &[HTML, ("vary", "accept-encoding, x")],
            &[],
            true,
        ),
        (200, 5_000, &[HTML], &[("authorization", "x")], false),
        (200, 5_000, &[HTML], &[("cookie", "a=1")], true),
    ];
    for (status, length, response, request, expected) in cases {
        let (response, request) = (map(response), map(request));
        let codable = Codable {
            status: StatusCode::from_u16(status).unwrap(),
            response: &response,
            request: &request,
            length,
        };
        assert_eq!(
            codable.is_codable(),
            expected,
            "{status} {length} {codable:?}"
        );
    }
}

#[test]
fn fields_of_a_coded_answer() {
    let mut headers = map(&[
        ("etag", "\"a\""),
        ("accept-ranges", "bytes"),
        ("repr-digest", "sha-256=:x:"),
        ("content-md5", "x"),
        ("vary", "origin"),
        ("x", "1"),
    ]);
    encode(&mut headers, Coding::Zstd);
    let expected = map(&[
        ("etag", "W/\"a\""),
        ("vary", "origin"),
        ("vary", "accept-encoding"),
        ("content-encoding", "zstd"),
        ("x", "1"),
    ]);
    assert_eq!(headers, expected);
    encode(&mut headers, Coding::Zstd);
    assert_eq!(headers, expected);
    for said in ["*", "a, Accept-Encoding"] {
        let mut headers = map(&[("vary", said)]);
        vary(&mut headers);
        assert_eq!(headers, map(&[("vary", said)]));
    }
}

proptest! {
    /// Nothing that a client refuses is on its list, and simplifying takes nothing off it.
    #[test]
    fn refused_is_refused(sent in "(br|gzip|zstd|identity|\\*|x)(;q=(0|1|0\\.[0-9]))?(, ?(br|gzip|zstd|identity|\\*)(;q=(0|1|0\\.[0-9]))?){0,4}") {
        let mut request = map(&[("accept-encoding", &sent)]);
        let accepted: Vec<_> = Accepted::of(&request).iter().collect();
        for coding in Coding::ALL {
            let own: Vec<_> = sent.split(',').map(str::trim).filter(|m| m.split(';').next() == Some(coding.as_str())).collect();
            if own.last().is_some_and(|m| m.ends_with("q=0") || m.ends_with("q=0.0")) {
                prop_assert!(!accepted.contains(&coding));
            }
            if own.is_empty() && !sent.contains('*') {
                prop_assert!(!accepted.contains(&coding));
            }
        }
        simplify(&mut request);
        let again = Accepted::of(&request);
        prop_assert!(accepted.iter().all(|coding| again.iter().any(|other| other == *coding)));
    }
}
