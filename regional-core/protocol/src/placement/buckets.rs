//! Spans of time as parts of partition keys.

use serde::{Deserialize, Serialize};

/// A span of time, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Bucket {
    /// `2026-11-21T18`.
    Hour,
    /// `2026-11-21`.
    Day,
    /// `2026-11`.
    Month,
}

impl Bucket {
    /// Such a span, for people.
    #[must_use]
    pub fn example(self) -> &'static str {
        match self {
            Self::Hour => "YYYY-MM-DDTHH",
            Self::Day => "YYYY-MM-DD",
            Self::Month => "YYYY-MM",
        }
    }

    /// Whether `text` names one: RFC 3339 §5.6, cut where the span ends.
    #[must_use]
    pub fn is_span(self, text: &str) -> bool {
        let (date, hour) = match text.split_once('T') {
            Some((date, hour)) => (date, Some(hour)),
            None => (text, None),
        };
        let mut parts = date.split('-');
        let mut next = |digits| parts.next().map(|part| number(part, digits));
        let (year, month, day) = (next(4), next(2), next(2));
        if parts.next().is_some() {
            return false;
        }
        let hour = hour.map(|hour| number(hour, 2));
        let (Some(Some(year)), Some(Some(month @ 1..=12))) = (year, month) else {
            return false;
        };
        let is_day = |day| (1..=days_of(year, month)).contains(&day);
        match (self, day, hour) {
            (Self::Month, None, None) => true,
            (Self::Day, Some(Some(day)), None) => is_day(day),
            (Self::Hour, Some(Some(day)), Some(Some(hour))) => is_day(day) && hour < 24,
            _ => false,
        }
    }
}

fn number(text: &str, digits: usize) -> Option<u32> {
    let is_number = text.len() == digits && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

fn days_of(year: u32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        for (bucket, text, is_span) in [
            (Bucket::Month, "2026-11", true),
            (Bucket::Month, "2026-13", false),
            (Bucket::Month, "2026-11-01", false),
            (Bucket::Day, "2026-11-21", true),
            (Bucket::Day, "2026-11-31", false),
            (Bucket::Day, "2024-02-29", true),
            (Bucket::Day, "2026-02-29", false),
            (Bucket::Day, "2026-1-21", false),
            (Bucket::Day, "2026-11-+1", false),
            (Bucket::Day, "2026-11-21-", false),
            (Bucket::Hour, "2026-11-21T00", true),
            (Bucket::Hour, "2026-11-21T24", false),
            (Bucket::Hour, "2026-11-21", false),
            (Bucket::Hour, "2026-11T01", false),
            (Bucket::Hour, "", false),
        ] {
            assert_eq!(bucket.is_span(text), is_span, "{bucket:?} {text}");
        }
    }
}
