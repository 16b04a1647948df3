//! Dates and ages.

use crate::models;
use brink_policy::http::{
    age::{Exchange, current_age, initial_age},
    fields::{date, date_value},
};
use http::{
    HeaderMap, HeaderValue,
    header::{AGE, DATE},
};
use proptest::prelude::*;
use std::time::{Duration, SystemTime};

pub(crate) fn at(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap())
}

fn ours(value: &str) -> Option<i64> {
    let mut headers = HeaderMap::new();
    headers.insert(DATE, HeaderValue::from_str(value).unwrap());
    let since = date(&headers, &DATE)?.duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap().as_secs()).ok()
}

#[test]
fn dates_of_all_forms_and_of_none() {
    for value in [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "Wed Nov 16 08:49:37 1994",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Thu, 29 Feb 2024 00:00:00 GMT",
        "Wed, 29 Feb 2023 00:00:00 GMT",
        "Mon, 29 Feb 2100 00:00:00 GMT",
        "Mon, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 23:60:00 GMT",
        "Sun, 06 Nov 1994 23:59:60 GMT",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun,  6 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94008:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37",
        "Sun Nov 06 08:49:37 1994",
        "Sun Nov  6 08:49:37 1994 ",
        "Sun Nov  608:49:37 1994",
        "sun, 06 nov 1994 08:49:37 gmt",
        "THU, 18 AUG 2050 02:01:18 gMT",
        "Thu Aug  8 02:01:18 2050",
        "Foo, 18 Aug 2050 02:01:18 GMT",
        "Thursday, 18 Aug 2050 02:01:18 GMT",
        "Thu, 18-Aug-50 02:01:18 GMT",
        "Thu, 18 Aug 50 02:01:18 GMT",
        "Thu, 18-Aug-2050 02:01:18 GMT",
        "Thu, 18 Aug 2050 02.01.18 GMT",
        "Thu, 18 Aug 2050 2:01:18 GMT",
        "Thu 18 Aug 2050 02:01:18 GMT",
        "Thu, 18 Aug 0050 02:01:18 GMT",
        "Wed, 31 Dec 1969 23:59:59 GMT",
        "0",
        "-1",
        "",
    ] {
        assert_eq!(ours(value), models::http_date(value), "{value}");
    }
    assert_eq!(ours("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
    // As public tests of caches have it: in any case, and of another day of the week.
    for value in [
        "THU, 18 AUG 2050 02:01:18 gmt",
        "Mon, 18 Aug 2050 02:01:18 GMT",
    ] {
        assert_eq!(ours(value), Some(2_544_400_878), "{value}");
    }
    assert_eq!(
        date_value(at(253_402_300_800)),
        None,
        "the year 10000 has no date"
    );
}

proptest! {
    #[test]
    fn there_and_back(seconds in 0i64..253_402_300_800) {
        let value = date_value(at(seconds)).unwrap();
        let text = value.to_str().unwrap();
        prop_assert_eq!(ours(text), Some(seconds));
        prop_assert_eq!(models::http_date(text), Some(seconds));
    }

    #[test]
    fn dates_as_the_model_says(
        weekday in "(Mon|Tue|Wed|Thu|Fri|Sat|Sun)", day in 0u8..33, month in "(Jan|Feb|Mar|Apr|Jun|Nov|Dec|Foo)",
        year in 1965u16..2110, hour in 0u8..26, minute in 0u8..62, second in 0u8..62,
    ) {
        let value = format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT");
        prop_assert_eq!(ours(&value), models::http_date(&value), "{}", value);
    }

    #[test]
    fn ages_as_the_model_says(
        age in prop::option::of(0i64..100_000), date in prop::option::of(1_000_000_000i64..1_000_100_000),
        requested in 1_000_000_000i64..1_000_100_000, delay in 0i64..1000, resident in 0i64..1_000_000,
    ) {
        let mut headers = HeaderMap::new();
        if let Some(age) = age {
            headers.insert(AGE, HeaderValue::from(age));
        }
        if let Some(date) = date {
            headers.insert(DATE, date_value(at(date)).unwrap());
        }
        let received = requested + delay;
        let exchange = Exchange { requested: at(requested), received: at(received) };
        let initial = initial_age(&headers, exchange);
        let now = received + resident;
        let ours = current_age(initial, at(received), at(now));
        let modelled = models::current_age(age.unwrap_or(0), date, requested, received, now);
        prop_assert_eq!(i64::try_from(ours).unwrap(), modelled);
    }
}
