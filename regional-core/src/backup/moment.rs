//! Moments as people write them: RFC 3339, or milliseconds since 1970.

use crate::Error;
use time::{
    OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339,
    format_description::well_known::iso8601,
};

/// `2026-11-21T08:30:00.250Z`.
const FORM: iso8601::EncodedConfig = iso8601::Config::DEFAULT
    .set_time_precision(iso8601::TimePrecision::Second {
        decimal_digits: std::num::NonZeroU8::new(3),
    })
    .encode();

/// Reads `2026-11-21T08:30:00Z`, or milliseconds since 1970.
///
/// # Errors
/// It is neither.
pub fn moment(text: &str) -> Result<u64, Error> {
    let named = || {
        let named = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        u64::try_from(named.unix_timestamp_nanos() / 1_000_000).ok()
    };
    text.parse().ok().or_else(named).ok_or_else(|| {
        Error::Backup(format!(
            "{text:?} is no moment: it is written 2026-11-21T08:30:00Z, or as milliseconds since 1970"
        ))
    })
}

/// Milliseconds since 1970 as RFC 3339 in UTC. What no calendar holds stays a number.
#[must_use]
pub fn time(ms: u64) -> String {
    let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    let text = moment.ok().and_then(|moment| {
        let form = iso8601::Iso8601::<FORM>;
        moment.to_offset(UtcOffset::UTC).format(&form).ok()
    });
    text.unwrap_or_else(|| ms.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn moments_and_back() {
        for (text, ms) in [
            ("1970-01-01T00:00:00.000Z", 0),
            ("2026-11-21T08:30:00.250Z", 1_795_249_800_250),
        ] {
            assert_eq!(moment(text).unwrap(), ms, "{text}");
            assert_eq!(time(ms), text);
        }
        assert_eq!(moment("42").unwrap(), 42);
        for wrong in ["", "now", "2026-02-30T00:00:00Z", "-1"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }
}
