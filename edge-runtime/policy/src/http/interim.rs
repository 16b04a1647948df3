//! Interim answers: which of them go on to a client, and with which fields.

use super::freshen::remove_own;
use http::{
    HeaderMap, HeaderName, StatusCode,
    header::{CONTENT_LENGTH, TRAILER},
};

/// Prefix of fields between parts of the platform.
const INTERNAL_PREFIX: &str = "brink-";

/// What of an interim answer a client gets. None: it is not for the client. RFC 9110 §15.2: all go on but what belongs
/// to one hop, which are 100 (it answers our own `Expect`) and 101 (`Upgrade` is not passed on).
#[must_use]
pub fn forwarded(status: StatusCode, headers: &HeaderMap) -> Option<HeaderMap> {
    let is_hops = [StatusCode::CONTINUE, StatusCode::SWITCHING_PROTOCOLS].contains(&status);
    if !status.is_informational() || is_hops {
        return None;
    }
    let mut headers = headers.clone();
    remove_own(&mut headers);
    // RFC 9110 §8.6: there is no content whose length it could be.
    headers.remove(CONTENT_LENGTH);
    headers.remove(TRAILER);
    remove_internal(&mut headers);
    Some(headers)
}

/// Takes off what means something between parts of the platform.
pub(super) fn remove_internal(headers: &mut HeaderMap) {
    let names = headers.keys();
    let internal = names.filter(|name| name.as_str().starts_with(INTERNAL_PREFIX));
    let internal: Vec<HeaderName> = internal.cloned().collect();
    for name in internal {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_not_of_one_hop_goes_on() {
        for (status, goes_on) in [
            (100, false),
            (101, false),
            (102, true),
            (103, true),
            (104, true),
            (199, true),
            (200, false),
            (503, false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let forwarded = forwarded(status, &HeaderMap::new());
            assert_eq!(forwarded.is_some(), goes_on, "{status}");
        }
    }

    #[test]
    fn fields_of_one_hop_and_our_own_stay() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("link", "</a.css>; rel=preload"),
            ("link", "</b.css>; rel=preload"),
            ("set-cookie", "a=1"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("content-length", "10"),
            ("trailer", "x"),
            ("brink-position", "core.1=1"),
            ("surrogate-key", "a"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        let forwarded = forwarded(StatusCode::from_u16(103).unwrap(), &headers).unwrap();
        let mut names: Vec<_> = forwarded.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["link", "set-cookie"]);
        assert_eq!(forwarded.get_all("link").iter().count(), 2);
    }
}
