//! HTTP-dates: RFC 9110 §5.6.7.

use std::time::{Duration, SystemTime};

const DAYS: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];
const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

/// The three forms, behind the name of the day: `0` for a digit, `A` for a letter.
const IMF: &str = ", 00 AAA 0000 00:00:00 GMT";
const RFC850: &str = ", 00-AAA-00 00:00:00 GMT";
const ASCTIME: &str = " AAA 00 00:00:00 0000";

/// A date from 1970 on in any of the three forms; whatever is not exactly one of them, or names a day or an hour that there is
/// not, is none. Upper and lower case are not told apart (RFC 9111 §4.2), and the name of the day need not be that day's: it says
/// nothing that the rest does not say. Years of two digits are those from 1970 to 2069.
#[must_use]
pub fn parse(text: &str) -> Option<SystemTime> {
    let (day_name, rest) = text.split_at(text.find([',', ' '])?);
    let is_short = day_name.len() == 3;
    let is_day = |day: &&str| match is_short {
        true => day
            .get(..3)
            .is_some_and(|day| day.eq_ignore_ascii_case(day_name)),
        false => day.eq_ignore_ascii_case(day_name),
    };
    if !DAYS.iter().any(is_day) {
        return None;
    }
    let (year, month, day, time) = if is_short && has_form(rest, IMF) {
        (9..13, 5..8, 2..4, 14..22)
    } else if !is_short && has_form(rest, RFC850) {
        (9..11, 5..8, 2..4, 12..20)
    } else if is_short && has_form(rest, ASCTIME) {
        (17..21, 1..4, 5..7, 8..16)
    } else {
        return None;
    };
    let year = rest.get(year)?;
    let year = match (year.len(), number(year)?) {
        (2, year @ 0..70) => 2000 + year,
        (2, year) => 1900 + year,
        (_, year) => year,
    };
    let days = day_number(year, rest.get(month)?, number(rest.get(day)?)?)?;
    let mut time = rest.get(time)?.split(':');
    let mut next = |end: u64| number(time.next()?).filter(|number| *number < end);
    let (hour, minute, second) = (next(24)?, next(60)?, next(60)?);
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Whether `text` is of a form; a day of one digit has a space before it in the form of `asctime` alone.
fn has_form(text: &str, form: &str) -> bool {
    let fits = |(at, (byte, wanted)): (usize, (u8, u8))| match wanted {
        b'A' => byte.is_ascii_alphabetic(),
        b'0' => byte.is_ascii_digit() || (byte == b' ' && at == 5 && form == ASCTIME),
        other => byte.eq_ignore_ascii_case(&other),
    };
    text.len() == form.len() && text.bytes().zip(form.bytes()).enumerate().all(fits)
}

fn number(text: &str) -> Option<u64> {
    text.trim_start().parse().ok()
}

/// Days from 1970 to this one, if there is such a day.
fn day_number(year: u64, month: &str, day: u64) -> Option<u64> {
    let month = MONTHS
        .iter()
        .position(|name| name.eq_ignore_ascii_case(month))?;
    let is_leap = |year: u64| {
        (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400)
    };
    let length = |at: usize| match at {
        1 if is_leap(year) => 29,
        1 => 28,
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    };
    if year < 1970 || !(1..=length(month)).contains(&day) {
        return None;
    }
    let leaps = |year: u64| year / 4 - year / 100 + year / 400;
    let years = (year - 1970) * 365 + leaps(year - 1) - leaps(1969);
    let months: u64 = (0..month).map(length).sum();
    Some(years + months + day - 1)
}
