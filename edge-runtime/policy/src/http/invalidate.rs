//! What a successful unsafe request invalidates: RFC 9111 §4.4.

use brink_protocol::purge::normal_url;
use http::{
    HeaderMap, HeaderName, Method, StatusCode,
    header::{CONTENT_LOCATION, LOCATION},
};

/// Whether a method may change what is stored. RFC 9110 §9.2.1: those not known to be safe.
#[must_use]
pub fn is_unsafe(method: &Method) -> bool {
    !matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE
    )
}

/// The URLs, in the form of [`normal_url`], that the answer to an unsafe request invalidates: the request's own, and
/// those of `Location` and `Content-Location` if they are of the same host. None after an error.
#[must_use]
pub fn invalidated(
    method: &Method,
    host: &str,
    path_and_query: &str,
    status: StatusCode,
    response: &HeaderMap,
) -> Vec<String> {
    if !is_unsafe(method) || !(status.is_success() || status.is_redirection()) {
        return Vec::new();
    }
    let mut urls = vec![format!("{host}{path_and_query}")];
    for name in [LOCATION, CONTENT_LOCATION] {
        urls.extend(resolved(response, &name, host, path_and_query));
    }
    urls.sort_unstable();
    urls.dedup();
    urls
}

/// Whether the content of the answer to a `POST` is what `GET` of the same URL would give: its `Content-Location` names it.
/// RFC 9110 §9.3.3.
#[must_use]
pub fn represents_target(response: &HeaderMap, host: &str, path_and_query: &str) -> bool {
    resolved(response, &CONTENT_LOCATION, host, path_and_query)
        .is_some_and(|url| url.strip_prefix(host) == Some(path_and_query))
}

/// RFC 3986 §5.2, without dot segments: a reference that has them names nothing that is stored under it.
fn resolved(
    response: &HeaderMap,
    name: &HeaderName,
    host: &str,
    path_and_query: &str,
) -> Option<String> {
    let reference = response.get(name)?.to_str().ok()?;
    let reference = reference.split('#').next().unwrap_or(reference);
    let url = if reference.contains("://") {
        normal_url(reference).ok()?
    } else if let Some(rest) = reference.strip_prefix("//") {
        normal_url(rest).ok()?
    } else {
        let path = path_and_query.split('?').next().unwrap_or("/");
        let directory = path
            .rfind('/')
            .and_then(|at| path.get(..=at))
            .unwrap_or("/");
        match reference.as_bytes().first() {
            None => return None,
            Some(b'/') => format!("{host}{reference}"),
            Some(b'?') => format!("{host}{path}{reference}"),
            Some(_) => format!("{host}{directory}{reference}"),
        }
    };
    let (own, _) = url.split_once('/')?;
    (own == host).then_some(url)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_a_post_gives() {
        for location in ["/a/b?c", "b?c", "?c", "http://h/a/b?c#d", "//h/a/b?c"] {
            let mut response = HeaderMap::new();
            response.insert(CONTENT_LOCATION, location.parse().unwrap());
            assert!(represents_target(&response, "h", "/a/b?c"), "{location}");
            assert!(!represents_target(&response, "h", "/a/b"), "{location}");
            assert!(!represents_target(&response, "g", "/a/b?c") || !location.contains("//"));
        }
    }

    #[test]
    fn urls() {
        for (method, status, location, expected) in [
            (Method::POST, 200, None, &["h/a/b?c"][..]),
            (Method::PUT, 204, None, &["h/a/b?c"]),
            (Method::DELETE, 302, Some("/x"), &["h/a/b?c", "h/x"]),
            (Method::POST, 201, Some("c"), &["h/a/b?c", "h/a/c"]),
            (Method::POST, 201, Some("?d"), &["h/a/b?c", "h/a/b?d"]),
            (
                Method::POST,
                201,
                Some("https://h:443/x#y"),
                &["h/a/b?c", "h/x"],
            ),
            (Method::POST, 201, Some("//h/x"), &["h/a/b?c", "h/x"]),
            (Method::POST, 201, Some("https://other/x"), &["h/a/b?c"]),
            (Method::POST, 201, Some(""), &["h/a/b?c"]),
            (Method::POST, 404, None, &[]),
            (Method::POST, 500, Some("/x"), &[]),
            (Method::GET, 200, Some("/x"), &[]),
            (Method::OPTIONS, 200, None, &[]),
            (
                Method::from_bytes(b"M-SEARCH").unwrap(),
                200,
                None,
                &["h/a/b?c"],
            ),
        ] {
            let mut response = HeaderMap::new();
            if let Some(location) = location {
                response.insert(CONTENT_LOCATION, location.parse().unwrap());
            }
            assert!(!represents_target(&response, "h", "/a/b?c"), "{location:?}");
            for name in [LOCATION, CONTENT_LOCATION] {
                let mut response = HeaderMap::new();
                if let Some(location) = location {
                    response.insert(name, location.parse().unwrap());
                }
                let status = StatusCode::from_u16(status).unwrap();
                let got = invalidated(&method, "h", "/a/b?c", status, &response);
                assert_eq!(got, expected, "{method} {status} {location:?}");
            }
        }
    }
}
