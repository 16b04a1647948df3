//! What names the same place: paths with empty segments, hosts with a port.

use std::borrow::Cow;

/// `path` with one slash where it has several, or encoded ones. An origin that takes these for one must not be reached
/// around a route.
#[must_use]
pub fn merged(path: &str) -> Cow<'_, str> {
    if !path.contains("//") && !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let path = path.replace("%2F", "/").replace("%5C", "/");
    let mut merged = String::with_capacity(path.len());
    for character in path.chars() {
        if character != '/' || !merged.ends_with('/') {
            merged.push(character);
        }
    }
    Cow::Owned(merged)
}

/// `host` without its port, if it has one.
#[must_use]
pub fn without_port(host: &str) -> Option<&str> {
    let (name, port) = host.rsplit_once(':')?;
    let is_port = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    is_port.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_are_merged() {
        for (path, expected) in [
            ("/a/b", "/a/b"),
            ("//a///b//", "/a/b/"),
            ("//", "/"),
            ("/a%2Fb%5Cc/%2F", "/a/b/c/"),
            ("/%C3%A9", "/%C3%A9"),
            ("", ""),
        ] {
            assert_eq!(merged(path), expected);
        }
    }

    #[test]
    fn ports_are_cut() {
        for (host, expected) in [
            ("h:8443", Some("h")),
            ("[::1]:1", Some("[::1]")),
            ("[::1]", None),
            ("h", None),
            ("h:", None),
        ] {
            assert_eq!(without_port(host), expected, "{host}");
        }
    }
}
