//! Request targets as tables.
#![allow(clippy::unwrap_used)]

use http::HeaderValue;

use super::*;

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn check_target(version: Version, target: &str, hosts: &[&str], expected: Result<&str, Refusal>) {
    let mut uri: Uri = target.parse().unwrap();
    let fields: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
    let local = Authority::from_static("192.0.2.1:443");
    let defaults = Defaults {
        scheme: &Scheme::HTTPS,
        local: &local,
    };
    let mut known = None;
    for _ in 0..2 {
        let mut again = uri.clone();
        let found = normalise(
            &mut again,
            &headers(&fields),
            version,
            &defaults,
            &mut known,
        );
        let found = found.map(|()| again.to_string());
        assert_eq!(
            found.as_deref().map_err(|refusal| *refusal),
            expected,
            "{target} {hosts:?}"
        );
    }
    if expected.is_ok() {
        normalise(&mut uri, &headers(&fields), version, &defaults, &mut known).unwrap();
        assert!(uri.host().is_some());
    }
}

#[test]
fn targets_of_all_protocols_become_one_form() {
    use Version as V;
    for (version, target, hosts, expected) in [
        (
            V::HTTP_11,
            "/a?b",
            &["example.org"][..],
            Ok("https://example.org/a?b"),
        ),
        (
            V::HTTP_11,
            "/",
            &["example.org:8443"],
            Ok("https://example.org:8443/"),
        ),
        (
            V::HTTP_11,
            "/",
            &["[2001:db8::1]:1"],
            Ok("https://[2001:db8::1]:1/"),
        ),
        (
            V::HTTP_11,
            "/",
            &["[2001:db8::1]"],
            Ok("https://[2001:db8::1]/"),
        ),
        (V::HTTP_11, "foo", &["example.org"], Err(Refusal::Target)),
        (V::HTTP_11, "foo:80", &["foo:80"], Err(Refusal::Target)),
        // RFC 9112 §3.2.2.
        (
            V::HTTP_11,
            "https://example.org/a",
            &["other.example"],
            Ok("https://example.org/a"),
        ),
        (
            V::HTTP_11,
            "http://example.org/a",
            &["example.org"],
            Ok("https://example.org/a"),
        ),
        (
            V::HTTP_11,
            "http://example.org",
            &["example.org"],
            Ok("https://example.org/"),
        ),
        (V::HTTP_11, "/", &[], Err(Refusal::Host)),
        (V::HTTP_11, "https://example.org/", &[], Err(Refusal::Host)),
        (
            V::HTTP_11,
            "/",
            &["a.example", "a.example"],
            Err(Refusal::Host),
        ),
        (V::HTTP_11, "/", &[""], Err(Refusal::Host)),
        (V::HTTP_11, "/", &["a b"], Err(Refusal::Host)),
        (V::HTTP_11, "/", &["user@a.example"], Err(Refusal::Host)),
        (V::HTTP_11, "/", &["a.example/b"], Err(Refusal::Host)),
        (V::HTTP_11, "/", &["a.example:99999"], Err(Refusal::Host)),
        (V::HTTP_11, "/", &["a.example:x"], Err(Refusal::Host)),
        (V::HTTP_11, "/", &[":443"], Err(Refusal::Host)),
        (
            V::HTTP_11,
            "https://u@example.org/",
            &["example.org"],
            Err(Refusal::Host),
        ),
        // HTTP/1.0 may lack a Host: the address that was connected to stands for it.
        (V::HTTP_10, "/a", &[], Ok("https://192.0.2.1:443/a")),
        (
            V::HTTP_10,
            "/a",
            &["example.org"],
            Ok("https://example.org/a"),
        ),
        (
            V::HTTP_2,
            "https://example.org/a",
            &[],
            Ok("https://example.org/a"),
        ),
        (
            V::HTTP_2,
            "http://example.org/a",
            &[],
            Ok("https://example.org/a"),
        ),
        (
            V::HTTP_2,
            "https://example.org/a",
            &["EXAMPLE.org"],
            Ok("https://example.org/a"),
        ),
        (
            V::HTTP_2,
            "https://example.org/a",
            &["b.example"],
            Err(Refusal::HostDiffers),
        ),
        (V::HTTP_2, "/a", &["b.example"], Ok("https://b.example/a")),
        (
            V::HTTP_3,
            "https://u:p@example.org/",
            &[],
            Err(Refusal::Host),
        ),
    ] {
        check_target(version, target, hosts, expected);
    }
}

#[test]
fn heads_are_held_against_the_limits() {
    let limits = HeadLimits {
        fields_max: 3,
        body_bytes_max: 100,
    };
    let field = ("x-a", "1");
    for (method, fields, expected) in [
        (Method::GET, &[][..], Ok(())),
        (Method::CONNECT, &[], Err(Refusal::Connect)),
        (Method::TRACE, &[], Err(Refusal::Trace)),
        (Method::GET, &[field, field, field], Ok(())),
        (
            Method::GET,
            &[field, field, field, field],
            Err(Refusal::Fields),
        ),
        (
            Method::GET,
            &[("transfer-encoding", "chunked")],
            Err(Refusal::ConnectionField),
        ),
        (
            Method::GET,
            &[("te", "gzip")],
            Err(Refusal::ConnectionField),
        ),
        (Method::GET, &[("te", "trailers")], Ok(())),
        (Method::POST, &[("content-length", "100")], Ok(())),
        (
            Method::POST,
            &[("content-length", "101")],
            Err(Refusal::BodyBytes),
        ),
        (
            Method::POST,
            &[("content-length", "99999999999999999999")],
            Err(Refusal::ContentLength),
        ),
        (
            Method::POST,
            &[("content-length", "+1")],
            Err(Refusal::ContentLength),
        ),
        (
            Method::POST,
            &[("content-length", "1, 1")],
            Err(Refusal::ContentLength),
        ),
        (
            Method::POST,
            &[("content-length", "")],
            Err(Refusal::ContentLength),
        ),
        (
            Method::POST,
            &[("content-length", "1"), ("content-length", "1")],
            Err(Refusal::ContentLength),
        ),
    ] {
        assert_eq!(
            check(&method, &headers(fields), Version::HTTP_3, limits),
            expected,
            "{method} {fields:?}"
        );
    }
}

#[test]
fn chunked_is_the_only_transfer_coding_and_comes_once() {
    let limits = HeadLimits {
        fields_max: 10,
        body_bytes_max: 10,
    };
    for (lines, expected) in [
        (&[][..], Ok(())),
        (&["chunked"], Ok(())),
        (&["Chunked"], Ok(())),
        (&["gzip, chunked"], Err(Refusal::TransferCoding)),
        (&["chunked, chunked"], Err(Refusal::TransferCoding)),
        (&["chunked", "chunked"], Err(Refusal::TransferCoding)),
        (&["identity"], Err(Refusal::TransferCoding)),
    ] {
        let fields: Vec<_> = lines.iter().map(|l| ("transfer-encoding", *l)).collect();
        let found = check(&Method::POST, &headers(&fields), Version::HTTP_11, limits);
        assert_eq!(found, expected, "{lines:?}");
    }
}

#[test]
fn every_refusal_is_a_client_or_server_error() {
    for refusal in [
        Refusal::TransferCoding,
        Refusal::Host,
        Refusal::HostDiffers,
        Refusal::Target,
        Refusal::Fields,
        Refusal::HeaderBytes,
        Refusal::BodyBytes,
        Refusal::ContentLength,
        Refusal::ConnectionField,
        Refusal::Connect,
        Refusal::Trace,
    ] {
        let status = refusal.status();
        assert!(
            status.is_client_error() || status.is_server_error(),
            "{refusal:?}"
        );
        assert!(!refusal.detail().is_empty());
    }
}

proptest::proptest! {
    /// A host that is taken is one: no user information, no path, and a URI that says the same.
    #[test]
    fn any_host_is_one_or_refused(host in "[ -~]{0,20}|[a-z@:/?#.\\[\\]]{0,12}") {
        let Ok(value) = HeaderValue::from_str(&host) else { return Ok(()) };
        let mut headers = HeaderMap::new();
        headers.insert(HOST, value);
        let mut uri = Uri::from_static("/p?q");
        let local = Authority::from_static("192.0.2.1");
        let defaults = Defaults { scheme: &Scheme::HTTPS, local: &local };
        if normalise(&mut uri, &headers, Version::HTTP_11, &defaults, &mut None).is_ok() {
            proptest::prop_assert_eq!(uri.to_string(), format!("https://{host}/p?q"));
            proptest::prop_assert!(!host.contains(['@', '/', '?', '#', ' ']));
            proptest::prop_assert!(uri.host().is_some_and(|host| !host.is_empty()));
        }
    }
}
