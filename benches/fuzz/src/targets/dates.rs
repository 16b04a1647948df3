//! Dates: any text is one of the three forms of HTTP-date, read as the model reads it, or none. The input's first line is a
//! date, the other lines are `Age`.

use super::fields::{texts, values};
use crate::{Target, models};
use brink_policy::http::{
    age::{Exchange, age_value, current_age, initial_age},
    directives::DELTA_SECONDS_MAX,
    fields::{date, date_value},
};
use http::{HeaderMap, HeaderValue, header::DATE};
use std::time::{Duration, SystemTime};

pub(crate) const TARGET: Target = Target {
    name: "dates",
    seeds,
    run,
};

fn seeds() -> Vec<Vec<u8>> {
    texts(&[
        "Sun, 06 Nov 1994 08:49:37 GMT\n30",
        "Sunday, 06-Nov-94 08:49:37 GMT\n99999999999999999999",
        "Sun Nov  6 08:49:37 1994\n7200, 0",
        "Thu, 29 Feb 2024 23:59:59 GMT\n-1",
        "Fri, 31 Dec 9999 23:59:59 GMT\n1;a=b",
        "0",
    ])
}

fn run(bytes: &[u8]) {
    let end = bytes
        .iter()
        .position(|b| *b == b'\n')
        .unwrap_or(bytes.len());
    let (line, rest) = bytes.split_at(end);
    let mut headers = values("age", rest.get(1..).unwrap_or_default());
    if let Ok(value) = HeaderValue::from_bytes(line) {
        headers.insert(DATE, value);
    }
    check_date(&headers);
    assert!(age_value(&headers) <= DELTA_SECONDS_MAX);
    for (requested, received, now) in [
        (0, 0, 0),
        (5, 3, 1),
        (784_111_777, 784_111_780, 1_790_000_000),
    ] {
        let [requested, received, now] = [requested, received, now].map(at);
        let initial = initial_age(
            &headers,
            Exchange {
                requested,
                received,
            },
        );
        assert!(current_age(initial, received, now) >= initial);
    }
    let mut seconds = [0; 8];
    for (place, byte) in seconds.iter_mut().zip(bytes) {
        *place = *byte;
    }
    // What an entry on disk says of its time.
    let time =
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(u64::from_le_bytes(seconds)));
    let _ = time.and_then(date_value);
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn check_date(headers: &HeaderMap) {
    let ours = date(headers, &DATE);
    let since = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).ok();
    let ours = ours
        .and_then(since)
        .and_then(|since| i64::try_from(since.as_secs()).ok());
    let text = headers.get(DATE).and_then(|value| value.to_str().ok());
    assert_eq!(ours, text.and_then(models::http_date), "{text:?}");
    if let Some(seconds) = ours {
        let value = u64::try_from(seconds)
            .ok()
            .and_then(|seconds| date_value(at(seconds)));
        let value = value.as_ref().and_then(|value| value.to_str().ok());
        assert_eq!(value.and_then(models::http_date), Some(seconds), "{text:?}");
    }
}
