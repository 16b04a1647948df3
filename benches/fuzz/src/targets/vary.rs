//! `Vary` and what it selects by.
//!
//! The input is three blocks of fields with empty lines between: the response's, and those of two requests.

use super::fields::{texts, two_blocks};
use crate::{Target, models};
use brink_policy::http::vary::{
    FIELDS_MAX, SELECTION_BYTES_MAX, fields, is_any, language, selection, suits_language,
};
use http::{HeaderMap, HeaderName, header};

pub(crate) const TARGET: Target = Target {
    name: "vary",
    seeds,
    run,
};

fn seeds() -> Vec<Vec<u8>> {
    texts(&[
        "vary: x-a, accept-language\ncontent-language: de\n\nx-a: 1\naccept-language: de, en;q=0.5\n\nx-a: 1\naccept-language: en;q=0.5,de",
        "vary: x-a\nvary: X-B,,\n\nx-a: a, b\n\nx-a: a\nx-a: b",
        "vary: accept, *\n\n\n\n",
        "vary: accept-encoding\n\naccept-encoding: gzip;q=1.0, br\n\naccept-encoding: BR,gzip",
    ])
}

fn lines<'a>(request: &'a HeaderMap, name: &HeaderName) -> Option<Vec<&'a str>> {
    let lines = request
        .get_all(name)
        .iter()
        .map(|value| value.to_str().ok());
    lines.collect()
}

fn run(bytes: &[u8]) {
    let at = bytes
        .windows(2)
        .position(|pair| pair == b"\n\n")
        .unwrap_or(bytes.len());
    let (head, rest) = bytes.split_at(at);
    let (response, _) = two_blocks(head);
    let (one, other) = two_blocks(rest.get(2..).unwrap_or_default());
    let Some(names) = fields(&response) else {
        assert!(is_any(&response) && response.contains_key(header::VARY));
        return;
    };
    assert!(!is_any(&response) && names.len() <= FIELDS_MAX);
    assert!(
        names.is_sorted_by(|a, b| a.as_str() < b.as_str()),
        "{names:?}"
    );
    let selections = [&one, &other].map(|request| selection(&names, request));
    let [Some(first), Some(second)] = &selections else {
        return;
    };
    assert!(first.len() <= SELECTION_BYTES_MAX && second.len() <= SELECTION_BYTES_MAX);
    let negotiated = [
        header::ACCEPT,
        header::ACCEPT_CHARSET,
        header::ACCEPT_ENCODING,
        header::ACCEPT_LANGUAGE,
    ];
    let mut all = true;
    let mut known = false;
    for name in &names {
        let (Some(a), Some(b)) = (lines(&one, name), lines(&other, name)) else {
            return;
        };
        let is_there =
            |request: &HeaderMap, lines: Vec<_>| request.contains_key(name).then_some(lines);
        let (a, b) = (is_there(&one, a), is_there(&other, b));
        if a.iter().chain(&b).flatten().any(|line| line.contains('"')) {
            return;
        }
        all &= models::selects(a.as_deref(), b.as_deref());
        known |= negotiated.contains(name);
    }
    assert!(
        !all || first == second,
        "the RFC has them match: {first:?} {second:?}"
    );
    assert!(
        known || all || first != second,
        "the RFC has them differ: {first:?} {second:?}"
    );
    if let Some(language) = language(&response) {
        let _ = suits_language(first, second, language, &other);
    }
}
