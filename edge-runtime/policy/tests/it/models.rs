//! Naive models, written from the text of the RFCs and not from the code: slow, plain, and of the standard library alone.
//!
//! The fuzzers (`benches/fuzz`) hold the code against them too.

/// What a request for one range gets of a representation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Range {
    /// The whole: it is not one range of bytes, or not well-formed.
    Whole,
    /// 416.
    Unsatisfiable,
    /// From the first byte to the last, both included.
    Bytes(u128, u128),
}

/// RFC 9110 §14.1.2: `bytes=first-[last]` or `bytes=-suffix`, of `length` bytes.
#[must_use]
pub(crate) fn range(value: &str, length: u128) -> Range {
    let Some(eq) = value.find('=') else {
        return Range::Whole;
    };
    let (unit, set) = (&value[..eq], &value[eq + 1..]);
    let Some(dash) = set.find('-') else {
        return Range::Whole;
    };
    let (first, last) = (&set[..dash], &set[dash + 1..]);
    let is_number = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let number = |text: &str| {
        text.chars().fold(0u128, |sum, c| {
            sum.saturating_mul(10)
                .saturating_add(u128::from(c as u8 - b'0'))
        })
    };
    if !unit.eq_ignore_ascii_case("bytes") {
        return Range::Whole;
    }
    if first.is_empty() && is_number(last) {
        // "If the selected representation is shorter than the specified suffix-length, the entire representation is used."
        return match (number(last), length) {
            (0, _) | (_, 0) => Range::Unsatisfiable,
            (suffix, _) => Range::Bytes(length.saturating_sub(suffix), length - 1),
        };
    }
    if !is_number(first) || !(last.is_empty() || is_number(last)) {
        return Range::Whole;
    }
    // "An int-range is invalid if the last-pos value is present and less than first-pos."
    if is_number(last) && number(last) < number(first) {
        return Range::Whole;
    }
    if number(first) >= length {
        return Range::Unsatisfiable;
    }
    let end = match last {
        "" => length - 1,
        last => number(last).min(length - 1),
    };
    Range::Bytes(number(first), end)
}

const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const LONG_DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

fn days_in(month: usize, year: i64) -> i64 {
    match month {
        2 if (year % 4 == 0 && year % 100 != 0) || year % 400 == 0 => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn digits(text: &str, count: usize) -> Option<i64> {
    (text.len() == count && text.chars().all(|c| c.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Seconds since 1970 of `hour:minute:second` on a day, if there is such a day.
fn moment(day: i64, month: &str, year: i64, time: &str) -> Option<i64> {
    let month = MONTHS
        .iter()
        .position(|name| name.to_lowercase() == month)?
        + 1;
    let parts: Vec<&str> = time.split(':').collect();
    let [hour, minute, second] = parts.as_slice() else {
        return None;
    };
    let [hour, minute, second] = [digits(hour, 2)?, digits(minute, 2)?, digits(second, 2)?];
    if year < 1970 || day < 1 || day > days_in(month, year) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut days = 0;
    for before in 1970..year {
        days += if days_in(2, before) == 29 { 366 } else { 365 };
    }
    for before in 1..month {
        days += days_in(before, year);
    }
    days += day - 1;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// RFC 9110 §5.6.7: an HTTP-date in any of its three forms, in seconds since 1970. A date before 1970, or of a day that there
/// is not, is none. Case does not count (RFC 9111 §4.2), nor does which day of the week is named. Years of two digits are those from 1970 to 2069.
#[must_use]
pub(crate) fn http_date(value: &str) -> Option<i64> {
    let value = value.trim().to_ascii_lowercase();
    let words: Vec<&str> = value.split(' ').collect();
    let is_day = |name: &str, all: &[&str], end: &str| {
        let same = |day: &&str| format!("{}{end}", day.to_lowercase()) == name;
        all.iter().any(same).then_some(())
    };
    match words.as_slice() {
        [weekday, day, month, year, time, "gmt"] => {
            is_day(weekday, &DAYS, ",")?;
            moment(digits(day, 2)?, month, digits(year, 4)?, time)
        }
        [weekday, date, time, "gmt"] => {
            is_day(weekday, &LONG_DAYS, ",")?;
            let parts: Vec<&str> = date.split('-').collect();
            let [day, month, year] = parts.as_slice() else {
                return None;
            };
            let year = match digits(year, 2)? {
                year if year < 70 => 2000 + year,
                year => 1900 + year,
            };
            moment(digits(day, 2)?, month, year, time)
        }
        [weekday, month, "", day, time, year] => {
            is_day(weekday, &DAYS, "")?;
            moment(digits(day, 1)?, month, digits(year, 4)?, time)
        }
        [weekday, month, day, time, year] => {
            is_day(weekday, &DAYS, "")?;
            moment(digits(day, 2)?, month, digits(year, 4)?, time)
        }
        _ => None,
    }
}

/// One directive: its name in lower case, and its value without quotes.
pub(crate) type Directive = (String, Option<String>);

/// RFC 9111 §5.2: `1#( token [ "=" ( token / quoted-string ) ] )`. None if the text is not that.
#[must_use]
pub(crate) fn cache_control(value: &str) -> Option<Vec<Directive>> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let text: Vec<char> = value.chars().collect();
    let mut at = 0;
    let mut directives = Vec::new();
    let spaces = |at: &mut usize| {
        while matches!(text.get(*at), Some(' ' | '\t')) {
            *at += 1;
        }
    };
    loop {
        spaces(&mut at);
        let begun = at;
        while text.get(at).copied().is_some_and(is_token) {
            at += 1;
        }
        if begun < at {
            let name: String = text[begun..at].iter().collect();
            let mut argument = None;
            if text.get(at) == Some(&'=') {
                at += 1;
                let mut read = String::new();
                if text.get(at) == Some(&'"') {
                    at += 1;
                    loop {
                        match text.get(at)? {
                            '"' => break,
                            '\\' => {
                                at += 1;
                                read.push(*text.get(at)?);
                            }
                            other => read.push(*other),
                        }
                        at += 1;
                    }
                    at += 1;
                } else {
                    while text.get(at).copied().is_some_and(is_token) {
                        read.push(text[at]);
                        at += 1;
                    }
                    if read.is_empty() {
                        return None;
                    }
                }
                argument = Some(read);
            }
            directives.push((name.to_ascii_lowercase(), argument));
        }
        spaces(&mut at);
        match text.get(at) {
            None => return Some(directives),
            Some(',') => at += 1,
            Some(_) => return None,
        }
    }
}

/// RFC 9111 §1.2.2: seconds; "if a cache receives a delta-seconds value greater than the greatest integer it can represent, or
/// if any of its subsequent calculations overflows, the cache MUST consider the value to be 2147483648".
#[must_use]
pub(crate) fn delta_seconds(value: &str) -> Option<u64> {
    if value.is_empty() || value.chars().any(|c| !c.is_ascii_digit()) {
        return None;
    }
    let mut seconds: u64 = 0;
    for c in value.chars() {
        seconds = (seconds * 10 + u64::from(c as u8 - b'0')).min(2_147_483_648);
    }
    Some(seconds)
}

/// A response, as far as its freshness goes. Times are seconds since 1970.
#[derive(Debug, Clone, Default)]
pub(crate) struct Response {
    /// The value of `Cache-Control`.
    pub cache_control: Option<String>,
    /// `Expires`: a date, or something that is none.
    pub expires: Option<Result<i64, ()>>,
    /// `Date`.
    pub date: Option<i64>,
    /// `Last-Modified`.
    pub modified: Option<i64>,
    /// When it came.
    pub received: i64,
}

/// RFC 9111 §4.2.1 of a 200 for a shared cache that takes a tenth, at most a day, for heuristic freshness (§4.2.2). None: the
/// value of `Cache-Control` is malformed, and nothing is said.
#[must_use]
pub(crate) fn freshness_lifetime(response: &Response) -> Option<u64> {
    let directives = match &response.cache_control {
        Some(value) => cache_control(value)?,
        None => Vec::new(),
    };
    let first = |name: &str| directives.iter().find(|(own, _)| own == name);
    let from = response.date.unwrap_or(response.received);
    for name in ["s-maxage", "max-age"] {
        if let Some((_, value)) = first(name) {
            // "If directives conflict ... the most restrictive"; what is no number "ought to be considered stale".
            return Some(value.as_deref().and_then(delta_seconds).unwrap_or(0));
        }
    }
    if let Some(expires) = response.expires {
        return Some(u64::try_from(expires.unwrap_or(0) - from).unwrap_or(0));
    }
    let since = response.modified.map_or(0, |modified| from - modified);
    Some((u64::try_from(since).unwrap_or(0) / 10).min(86_400))
}

/// RFC 9111 §4.2.3, all in seconds since 1970.
#[must_use]
pub(crate) fn current_age(
    age_value: i64,
    date_value: Option<i64>,
    request_time: i64,
    response_time: i64,
    now: i64,
) -> i64 {
    let apparent_age = match date_value {
        Some(date_value) if response_time > date_value => response_time - date_value,
        _ => 0,
    };
    let response_delay = response_time - request_time;
    let corrected_age_value = age_value + response_delay;
    let corrected_initial_age = apparent_age.max(corrected_age_value);
    let resident_time = now - response_time;
    corrected_initial_age + resident_time
}

/// RFC 9111 §4.1: "the selecting header fields ... match": both requests have no such field, or the values are the same after
/// "combining multiple header field lines ... and whitespace". `None`: the field is absent.
#[must_use]
pub(crate) fn selects(stored: Option<&[&str]>, request: Option<&[&str]>) -> bool {
    let members = |lines: &[&str]| -> Vec<String> {
        let joined = lines.join(",");
        let members = joined.split(',').map(|member| member.trim().to_owned());
        members.filter(|member| !member.is_empty()).collect()
    };
    match (stored, request) {
        (None, None) => true,
        (Some(stored), Some(request)) => members(stored) == members(request),
        _ => false,
    }
}
