//! Selecting fields: RFC 9111 §4.1.

use super::fields::{lines, members};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_ENCODING,
        CONTENT_LANGUAGE, VARY,
    },
};
use std::fmt::Write as _;

/// Most field names that are looked at; a response with more is not stored.
pub const FIELDS_MAX: usize = 32;
/// Longest text of a selection, in bytes; a response selected by more is not stored.
pub const SELECTION_BYTES_MAX: usize = 4096;

/// Whether `Vary` has the member `*`, or more than [`FIELDS_MAX`], or one that is not a field name.
#[must_use]
pub fn is_any(response: &HeaderMap) -> bool {
    response.contains_key(VARY) && fields(response).is_none()
}

/// Adds `Accept-Encoding` to the `Vary` of what has a content coding and forgets it (as servers do that code on the way, and are not
/// told to say so): it would answer those who take none. RFC 9110 §12.5.5.
pub fn complete(response: &mut HeaderMap) {
    let is_coded = lines(response, &CONTENT_ENCODING)
        .flat_map(members)
        .any(|coding| !coding.eq_ignore_ascii_case("identity"));
    if is_coded && fields(response).is_some_and(|fields| !fields.contains(&ACCEPT_ENCODING)) {
        response.append(VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// The selecting fields: in lower case, in order, each once. None if nothing can be selected by them.
#[must_use]
pub fn fields(response: &HeaderMap) -> Option<Vec<HeaderName>> {
    let mut names = Vec::new();
    for value in response.get_all(VARY) {
        for member in members(value.to_str().ok()?) {
            if member == "*" || names.len() == FIELDS_MAX {
                return None;
            }
            names.push(member.parse::<HeaderName>().ok()?);
        }
    }
    names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
    Some(names)
}

/// The request's values of `fields` as one text: equal texts select the same variant. Lines of a field are combined,
/// space around commas is dropped, and for fields whose values are without order or case, so are these. A missing field
/// differs from an empty one. None if the text is over [`SELECTION_BYTES_MAX`] or a value is not text.
#[must_use]
pub fn selection(fields: &[HeaderName], request: &HeaderMap) -> Option<String> {
    let mut text = String::new();
    for name in fields {
        text.push_str(name.as_str());
        if request.contains_key(name) {
            text.push(':');
            let mut values = Vec::new();
            for value in request.get_all(name) {
                let value = std::str::from_utf8(value.as_bytes()).ok()?;
                values.extend(members(value).map(|member| normal(name, member)));
            }
            if is_negotiated(name) {
                values.sort_unstable();
            }
            write!(text, " {}", values.join(",")).ok()?;
        }
        text.push('\n');
        if text.len() > SELECTION_BYTES_MAX {
            return None;
        }
    }
    Some(text)
}

/// One line of a selection for people: fields that hold secrets by their names alone.
#[must_use]
pub fn without_secret(line: &str) -> &str {
    let name = line.split(':').next().unwrap_or(line);
    match name {
        "authorization" | "cookie" | "proxy-authorization" => name,
        _ => line,
    }
}

/// Whether a variant answers a request though it was selected by another `Accept-Language`: its own language, `language`
/// (`Content-Language`), is what the request likes best, and all other selecting fields are the same. `stored` and `wanted` are
/// the two selections. RFC 9110 §12.5.4: no answer can suit it better.
#[must_use]
pub fn suits_language(stored: &str, wanted: &str, language: &str, request: &HeaderMap) -> bool {
    fn others(selection: &str) -> impl Iterator<Item = &str> {
        let lines = selection.split('\n');
        lines.filter(|line| !line.starts_with(ACCEPT_LANGUAGE.as_str()))
    }
    best_language(request).is_some_and(|best| best.eq_ignore_ascii_case(language))
        && others(stored).eq(others(wanted))
}

/// The one language that is liked better than all others.
fn best_language(request: &HeaderMap) -> Option<&str> {
    let mut best: Option<(&str, u16)> = None;
    let mut is_alone = false;
    for member in lines(request, &ACCEPT_LANGUAGE).flat_map(members) {
        let (language, weight) = match member.split_once(';') {
            Some((language, parameter)) => (language.trim_end(), weight(parameter)?),
            None => (member, WEIGHT_MAX),
        };
        match best {
            Some((_, highest)) if weight < highest => {}
            Some((_, highest)) if weight == highest => is_alone = false,
            _ => (best, is_alone) = (Some((language, weight)), true),
        }
    }
    best.filter(|(language, weight)| is_alone && *weight > 0 && *language != "*")
        .map(|(language, _)| language)
}

const WEIGHT_MAX: u16 = 1000;

/// `q=` and a number from 0 to 1 with at most three digits after the point, in thousandths. RFC 9110 §12.4.2.
fn weight(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.trim().split_once('=')?;
    let (whole, rest) = value.split_once('.').unwrap_or((value, ""));
    let is_number = matches!(whole, "0" | "1") && rest.bytes().all(|b| b.is_ascii_digit());
    if !name.eq_ignore_ascii_case("q") || !is_number || rest.len() > 3 {
        return None;
    }
    let thousandths: u16 = format!("{whole}{rest:0<3}").parse().ok()?;
    (thousandths <= WEIGHT_MAX).then_some(thousandths)
}

/// The language of an answer, if it is in one.
#[must_use]
pub fn language(response: &HeaderMap) -> Option<&str> {
    let mut languages = lines(response, &CONTENT_LANGUAGE).flat_map(members);
    match (languages.next(), languages.next()) {
        (Some(language), None) => Some(language),
        _ => None,
    }
}

/// Fields whose members are told apart by weight, not by their order. RFC 9110 §12.5.
fn is_negotiated(name: &HeaderName) -> bool {
    [ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE].contains(name)
}

/// Coding, language, charset and media type names are without case, space around `;` does not count, and a weight of one
/// is the same as none. RFC 9110 §12.4.2.
fn normal(name: &HeaderName, member: &str) -> String {
    if !is_negotiated(name) {
        return member.to_owned();
    }
    let parts = member
        .split(';')
        .map(|part| part.trim().to_ascii_lowercase())
        .filter(|part| !matches!(&**part, "q=1" | "q=1." | "q=1.0" | "q=1.00" | "q=1.000"));
    parts.collect::<Vec<_>>().join(";")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    #[test]
    fn any() {
        for (lines, any) in [
            (&["*"][..], true),
            (&["*, *"], true),
            (&["", "*"], true),
            (&[", *"], true),
            (&["*, foo"], true),
            (&["foo, *"], true),
            (&["a b"], true),
            (&["foo"], false),
            (&[""], false),
            (&[], false),
        ] {
            let fields: Vec<_> = lines.iter().map(|line| ("vary", *line)).collect();
            assert_eq!(is_any(&map(&fields)), any, "{lines:?}");
        }
        let many = (0..=FIELDS_MAX)
            .map(|n| format!("f{n}"))
            .collect::<Vec<_>>()
            .join(",");
        assert!(is_any(&map(&[("vary", &many)])));
    }

    #[test]
    fn codings() {
        for (coding, vary, expected) in [
            (Some("gzip"), None, Some("accept-encoding")),
            (Some("gzip"), Some("foo"), Some("foo, accept-encoding")),
            (
                Some("gzip"),
                Some("Accept-Encoding"),
                Some("Accept-Encoding"),
            ),
            (Some("gzip"), Some("*"), Some("*")),
            (Some("identity"), None, None),
            (Some(""), None, None),
            (None, Some("foo"), Some("foo")),
        ] {
            let mut response = HeaderMap::new();
            for (name, value) in [(CONTENT_ENCODING, coding), (VARY, vary)] {
                if let Some(value) = value {
                    response.append(name, value.parse().unwrap());
                }
            }
            complete(&mut response);
            let lines: Vec<_> = lines(&response, &VARY).collect();
            let found = (!lines.is_empty()).then(|| lines.join(", "));
            assert_eq!(found.as_deref(), expected, "{coding:?} {vary:?}");
        }
    }

    #[test]
    fn names() {
        let vary = map(&[("vary", "B, a"), ("vary", "b,, C")]);
        assert_eq!(fields(&vary).unwrap(), ["a", "b", "c"]);
        assert_eq!(fields(&HeaderMap::new()).unwrap(), Vec::<HeaderName>::new());
    }

    #[test]
    fn languages() {
        let fields = fields(&map(&[("vary", "accept-language, foo")])).unwrap();
        let stored = [("accept-language", "en, de"), ("foo", "1")];
        let stored = selection(&fields, &map(&stored)).unwrap();
        for (accept, foo, suits) in [
            ("fr;q=0.5, de;q=1.0", "1", true),
            ("de", "1", true),
            ("fr;q=0.5, DE;q=0.6, *;q=0.1", "1", true),
            ("de", "2", false),
            ("de, fr", "1", false),
            ("fr, de;q=0.9", "1", false),
            ("de-AT", "1", false),
            ("de;q=0", "1", false),
            ("de;q=2", "1", false),
            ("de;q=1.001", "1", false),
            ("de;x=1, fr;q=0.1", "1", false),
            ("*", "1", false),
            ("", "1", false),
        ] {
            let request = map(&[("accept-language", accept), ("foo", foo)]);
            let wanted = selection(&fields, &request).unwrap();
            let got = suits_language(&stored, &wanted, "de", &request);
            assert_eq!(got, suits, "{accept} {foo}");
        }
        for (lines, expected) in [
            (&[("content-language", "de")][..], Some("de")),
            (&[("content-language", "de, en")], None),
            (&[], None),
        ] {
            assert_eq!(language(&map(lines)), expected, "{lines:?}");
        }
    }

    #[test]
    fn selections() {
        type Fields<'a> = &'a [(&'static str, &'a str)];
        let same: [(&str, Fields<'_>, Fields<'_>, bool); 13] = [
            ("foo", &[("foo", "1")], &[("foo", "1")], true),
            ("foo", &[("foo", "1")], &[("foo", "2")], false),
            ("foo", &[("foo", "1")], &[("foo", "1"), ("bar", "2")], true),
            ("foo", &[], &[("foo", "")], false),
            (
                "foo",
                &[("foo", "1, 2")],
                &[("foo", "1"), ("foo", "2")],
                true,
            ),
            ("foo", &[("foo", "1,2")], &[("foo", " 1 ,  2")], true),
            ("foo", &[("foo", "a")], &[("foo", "A")], false),
            (
                "accept-language",
                &[("accept-language", "en-GB;q=0.5")],
                &[("accept-language", "EN-gb ; q=0.5")],
                true,
            ),
            (
                "accept-language",
                &[("accept-language", "en, de")],
                &[("accept-language", "de;q=1.0, en")],
                true,
            ),
            (
                "accept-language",
                &[("accept-language", "en, de;q=0.9")],
                &[("accept-language", "de, en;q=0.9")],
                false,
            ),
            (
                "accept",
                &[("accept", "text/html, a/b;q=0.1")],
                &[("accept", "a/b;q=0.1"), ("accept", "text/HTML")],
                true,
            ),
            ("foo", &[("foo", "a, b")], &[("foo", "b, a")], false),
            (
                "accept-encoding",
                &[("accept-encoding", "gzip, br")],
                &[("accept-encoding", "br,gzip")],
                true,
            ),
        ];
        for (name, one, other, equal) in same {
            let names = [name.parse().unwrap()];
            let [one, other] = [one, other].map(|fields| selection(&names, &map(fields)).unwrap());
            assert_eq!(one == other, equal, "{one:?} {other:?}");
        }
        let long = "x".repeat(SELECTION_BYTES_MAX);
        assert_eq!(
            selection(&["foo".parse().unwrap()], &map(&[("foo", &long)])),
            None
        );
    }
}
