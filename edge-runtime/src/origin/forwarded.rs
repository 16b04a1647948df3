//! What an origin is told about the client: `Via` (RFC 9110 §7.6.3), `CDN-Loop` (RFC 8586), `Forwarded` (RFC 7239),
//! `X-Forwarded-*`.

use brink_policy::{
    http::fields::{lines, members},
    keying::is_claim,
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Uri, Version,
    header::{EXPECT, FORWARDED, HOST, VIA},
};
use std::net::{IpAddr, SocketAddr};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Edge Architecture Specification 1.0 §3.2: what `Surrogate-Control` may ask of us.
const SURROGATE_CAPABILITY: HeaderName = HeaderName::from_static("surrogate-capability");
const CAPABILITY: &str = "brink=\"Surrogate/1.0\"";
/// RFC 8586: whom the request has passed. Clients and other networks leave it as it is.
const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");
const CDN_ID: &str = "brink";
/// Most PoPs that a request may have passed. One before another is meant; more are a circle.
pub(super) const PASSED_MAX: usize = 4;

/// How often the request has passed a PoP.
pub(super) fn passed(headers: &HeaderMap) -> usize {
    let is_own = |member: &&str| {
        let id = member.split(';').next().unwrap_or_default();
        id.trim().eq_ignore_ascii_case(CDN_ID)
    };
    lines(headers, &CDN_LOOP)
        .flat_map(members)
        .filter(is_own)
        .count()
}

/// Sets the fields for a request that came by `version` for `uri` from `client`. What the client said of these things
/// itself is dropped: this is the first place that can be believed. `Host` becomes the origin's own.
pub(super) fn set(
    headers: &mut HeaderMap,
    uri: &Uri,
    version: Version,
    client: Option<SocketAddr>,
) {
    let said: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_claim(name))
        .cloned()
        .collect();
    for name in said {
        headers.remove(name);
    }
    headers.remove(HOST);
    // Answered by the listener.
    headers.remove(EXPECT);
    // A client is no surrogate: what it says of itself here would change the answer and not the key.
    put(headers, SURROGATE_CAPABILITY, CAPABILITY);
    headers.append(CDN_LOOP, HeaderValue::from_static(CDN_ID));
    headers.append(VIA, HeaderValue::from_static(via(version)));
    let host = uri.authority().map(http::uri::Authority::as_str);
    let mut members = Vec::new();
    if let Some(address) = client {
        let address = address.ip().to_canonical();
        put(headers, X_FORWARDED_FOR, &address.to_string());
        members.push(match address {
            IpAddr::V4(address) => format!("for={address}"),
            IpAddr::V6(address) => format!("for=\"[{address}]\""),
        });
    }
    if let Some(host) = host {
        put(headers, X_FORWARDED_HOST, host);
        members.push(format!("host=\"{host}\""));
    }
    if let Some(scheme) = uri.scheme_str() {
        put(headers, X_FORWARDED_PROTO, scheme);
        members.push(format!("proto={scheme}"));
    }
    if !members.is_empty() {
        put(headers, FORWARDED, &members.join(";"));
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn via(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 | Version::HTTP_10 => "1.0 brink",
        Version::HTTP_2 => "2.0 brink",
        Version::HTTP_3 => "3.0 brink",
        _ => "1.1 brink",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use brink_policy::http::directives::SURROGATE_DEVICE;

    #[test]
    fn circles() {
        for (lines, times) in [
            (&[][..], 0),
            (&["brink"], 1),
            (&["other, Brink ; x=1", "brink"], 2),
            (&["brinkman, \"brink\""], 0),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(CDN_LOOP, HeaderValue::from_static(line));
            }
            assert_eq!(passed(&headers), times, "{lines:?}");
        }
    }

    #[test]
    fn what_the_origin_is_told() {
        let spoofed = [
            ("x-forwarded-for", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6"),
            ("via", "1.1 other"),
            ("x-forwarded-server", "evil"),
            ("x-original-url", "/admin"),
            ("surrogate-capability", "other=\"ESI/1.0\""),
        ];
        for (uri, version, client, forwarded, via) in [
            (
                "https://h:8443/a",
                Version::HTTP_2,
                Some("[::ffff:10.0.0.1]:5"),
                Some("for=10.0.0.1;host=\"h:8443\";proto=https"),
                "2.0 brink",
            ),
            (
                "http://h/a",
                Version::HTTP_11,
                Some("[2001:db8::1]:5"),
                Some("for=\"[2001:db8::1]\";host=\"h\";proto=http"),
                "1.1 brink",
            ),
            ("/a", Version::HTTP_3, None, None, "3.0 brink"),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in spoofed {
                headers.insert(name, value.parse().unwrap());
            }
            headers.insert(HOST, "h".parse().unwrap());
            set(
                &mut headers,
                &uri.parse().unwrap(),
                version,
                client.map(|c| c.parse().unwrap()),
            );
            assert_eq!(
                headers.get(FORWARDED).map(|v| v.to_str().unwrap()),
                forwarded
            );
            assert_eq!(headers.contains_key(X_FORWARDED_FOR), client.is_some());
            let capabilities: Vec<_> = headers.get_all(SURROGATE_CAPABILITY).iter().collect();
            assert_eq!(capabilities, [CAPABILITY]);
            assert!(CAPABILITY.starts_with(SURROGATE_DEVICE));
            for name in ["x-forwarded-server", "x-original-url", "host"] {
                assert!(!headers.contains_key(name), "{name}");
            }
            let vias: Vec<_> = headers.get_all(VIA).iter().collect();
            assert_eq!(vias, ["1.1 other", via]);
        }
    }
}
