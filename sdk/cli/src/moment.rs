//! Moments as people write and read them.

use crate::error::Error;
use time::{
    OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339,
    format_description::well_known::iso8601,
};

const DIGITS: u8 = 3;
/// `2026-11-21T08:30:00.250Z`.
const FORM: iso8601::EncodedConfig = iso8601::Config::DEFAULT
    .set_time_precision(iso8601::TimePrecision::Second {
        decimal_digits: std::num::NonZeroU8::new(DIGITS),
    })
    .encode();

/// Milliseconds since 1970 as RFC 3339 in UTC: `2026-11-21T08:30:00.250Z`. What no calendar holds stays a number.
pub(crate) fn time(ms: u64) -> String {
    let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    let text = moment.ok().and_then(|moment| {
        let form = iso8601::Iso8601::<FORM>;
        moment.to_offset(UtcOffset::UTC).format(&form).ok()
    });
    text.unwrap_or_else(|| ms.to_string())
}

/// A moment that somebody names: RFC 3339, or how long ago (`90s`, `15m`, `2h`, `7d`), in milliseconds since 1970.
///
/// # Errors
/// It is neither.
pub(crate) fn moment(text: &str, now_ms: u64) -> Result<u64, Error> {
    if let Some(ago) = ago_ms(text) {
        return Ok(now_ms.saturating_sub(ago));
    }
    let named = OffsetDateTime::parse(text, &Rfc3339).ok();
    let ms = named.and_then(|named| u64::try_from(named.unix_timestamp_nanos() / 1_000_000).ok());
    ms.ok_or_else(|| {
        Error::Usage(format!(
            "{text:?} is no moment: 2026-11-21T08:30:00Z, or how long ago: 90s, 15m, 2h, 7d"
        ))
    })
}

fn ago_ms(text: &str) -> Option<u64> {
    let unit_ms = match text.as_bytes().last()? {
        b's' => 1_000,
        b'm' => 60_000,
        b'h' => 3_600_000,
        b'd' => 86_400_000,
        _ => return None,
    };
    let count: u64 = text.get(..text.len() - 1)?.parse().ok()?;
    count.checked_mul(unit_ms)
}

/// A span of time (`90s`, `15m`, `2h`, `7d`), in milliseconds.
///
/// # Errors
/// It is none.
pub(crate) fn span_ms(text: &str) -> Result<u64, String> {
    ago_ms(text).ok_or_else(|| "a span of time is written 90s, 15m, 2h or 7d".to_owned())
}

/// Now, in milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    u64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_249_800_250, "2026-11-21T08:30:00.250Z"),
            (4_102_444_799_999, "2099-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(time(ms), text);
            assert_eq!(moment(text, 7).ok(), Some(ms));
        }
        assert_eq!(time(u64::MAX), u64::MAX.to_string());
    }

    #[test]
    fn moments() {
        let now = 1_000_000_000;
        for (text, expected) in [
            ("0s", Some(now)),
            ("90s", Some(now - 90_000)),
            ("15m", Some(now - 900_000)),
            ("2h", Some(now - 7_200_000)),
            ("7d", Some(now - 604_800_000)),
            ("99999999d", Some(0)),
            ("2026-11-21T09:30:00.25+01:00", Some(1_795_249_800_250)),
            ("1969-12-31T23:59:59Z", None),
            ("yesterday", None),
            ("s", None),
            ("", None),
            ("5", None),
        ] {
            assert_eq!(moment(text, now).ok(), expected, "{text}");
        }
    }
}
