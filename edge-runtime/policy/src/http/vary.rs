//! Selecting fields: RFC 9111 §4.1.

use super::fields::members;
use http::{
    HeaderMap, HeaderName,
    header::{ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, VARY},
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
            if *name == ACCEPT_ENCODING {
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

/// Coding, language, charset and media type names are without case, and space around `;` does not count.
fn normal(name: &HeaderName, member: &str) -> String {
    if [ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE].contains(name) {
        let parts = member
            .split(';')
            .map(|part| part.trim().to_ascii_lowercase());
        parts.collect::<Vec<_>>().join(";")
    } else {
        member.to_owned()
    }
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
    fn names() {
        let vary = map(&[("vary", "B, a"), ("vary", "b,, C")]);
        assert_eq!(fields(&vary).unwrap(), ["a", "b", "c"]);
        assert_eq!(fields(&HeaderMap::new()).unwrap(), Vec::<HeaderName>::new());
    }

    #[test]
    fn selections() {
        type Fields<'a> = &'a [(&'static str, &'a str)];
        let same: [(&str, Fields<'_>, Fields<'_>, bool); 9] = [
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
