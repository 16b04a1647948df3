//! Age: RFC 9111 §4.2.3.

use super::{directives::DELTA_SECONDS_MAX, fields::date};
use http::{
    HeaderMap,
    header::{AGE, DATE},
};
use std::time::{Duration, SystemTime};

/// When a response was asked for and when it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// `request_time`.
    pub requested: SystemTime,
    /// `response_time`.
    pub received: SystemTime,
}

/// `corrected_initial_age`, in seconds.
#[must_use]
pub fn initial_age(headers: &HeaderMap, exchange: Exchange) -> u64 {
    let since = |later: SystemTime, earlier: SystemTime| {
        later
            .duration_since(earlier)
            .unwrap_or(Duration::ZERO)
            .as_secs()
    };
    let apparent = date(headers, &DATE).map_or(0, |date| since(exchange.received, date));
    let corrected = age_value(headers).saturating_add(since(exchange.received, exchange.requested));
    apparent.max(corrected).min(DELTA_SECONDS_MAX)
}

/// `Age`: the first member of the first line; one that is not a number is ignored. RFC 9111 §5.1. Parameters are dropped,
/// as those of any structured integer are that means nothing by them (RFC 9651 §1.2).
#[must_use]
pub fn age_value(headers: &HeaderMap) -> u64 {
    let text = headers
        .get(AGE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    let first = text.split([',', ';']).next().unwrap_or("").trim();
    if first.is_empty() || !first.bytes().all(|b| b.is_ascii_digit()) {
        return 0;
    }
    first
        .parse()
        .unwrap_or(DELTA_SECONDS_MAX)
        .min(DELTA_SECONDS_MAX)
}

/// `current_age`, in seconds: `initial_age` and the time since `received`. A clock that went back adds nothing.
#[must_use]
pub fn current_age(initial_age: u64, received: SystemTime, now: SystemTime) -> u64 {
    let resident = now
        .duration_since(received)
        .unwrap_or(Duration::ZERO)
        .as_secs();
    initial_age.saturating_add(resident).min(DELTA_SECONDS_MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    fn age(value: Option<&str>, date: Option<u64>, requested: u64, received: u64) -> u64 {
        let mut headers = HeaderMap::new();
        if let Some(value) = value {
            headers.insert(AGE, value.parse().unwrap());
        }
        if let Some(date) = date {
            headers.insert(DATE, httpdate::fmt_http_date(at(date)).parse().unwrap());
        }
        initial_age(
            &headers,
            Exchange {
                requested: at(requested),
                received: at(received),
            },
        )
    }

    #[test]
    fn initial() {
        for (value, date, requested, received, expected) in [
            (None, None, 0, 0, 0),
            (Some("30"), None, 0, 0, 30),
            (Some("30"), None, 0, 5, 35),
            (Some("30"), Some(0), 100, 100, 100),
            (Some("7200,0"), None, 0, 0, 7200),
            (Some("0, 7200"), None, 0, 0, 0),
            (Some("abc"), None, 0, 0, 0),
            (Some("-7200"), None, 0, 0, 0),
            (Some("7200.0"), None, 0, 0, 0),
            (Some("7200;a=b"), None, 0, 0, 7200),
            (
                Some("99999999999999999999999"),
                None,
                0,
                0,
                DELTA_SECONDS_MAX,
            ),
            (None, Some(50), 0, 0, 0),
        ] {
            assert_eq!(
                age(value, date, requested, received),
                expected,
                "{value:?} {date:?}"
            );
        }
    }

    proptest! {
        /// A naive model in signed numbers agrees.
        #[test]
        fn as_the_formula(value in 0i64..10_000, date in 0i64..10_000, requested in 0i64..10_000, delay in 0i64..100, resident in -100i64..10_000) {
            let received = requested + delay;
            let apparent = (received - date).max(0);
            let expected = apparent.max(value + delay);
            let text = value.to_string();
            let [d, q, r] = [date, requested, received].map(|n| u64::try_from(n).unwrap());
            let initial = age(Some(&text), Some(d), q, r);
            prop_assert_eq!(i64::try_from(initial).unwrap(), expected);
            let now = at(u64::try_from((received + resident).max(0)).unwrap());
            let current = current_age(initial, at(r), now);
            let elapsed = (received + resident).max(0) - received;
            prop_assert_eq!(i64::try_from(current).unwrap(), expected + elapsed.max(0));
        }
    }
}
