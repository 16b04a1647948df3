//! Selecting fields.

use crate::models;
use brink_policy::http::vary::{fields, selection};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

fn request(name: &'static str, lines: Option<&[&str]>) -> HeaderMap {
    let mut request = HeaderMap::new();
    for line in lines.unwrap_or_default() {
        request.append(name, HeaderValue::from_str(line).unwrap());
    }
    request
}

fn as_given(lines: &Option<Vec<String>>) -> Option<Vec<&str>> {
    lines
        .as_ref()
        .map(|lines| lines.iter().map(String::as_str).collect())
}

fn lines() -> impl Strategy<Value = Option<Vec<String>>> {
    prop::option::of(prop::collection::vec("[ab]{0,1}[, ]{0,2}[ab;=]{0,2}", 1..3))
}

proptest! {
    /// A field that we know nothing of selects exactly as the RFC has it.
    #[test]
    fn unknown_fields_as_the_model_says(one in lines(), other in lines()) {
        let (one, other) = (as_given(&one), as_given(&other));
        let name = [HeaderName::from_static("x-a")];
        let ours = [&one, &other].map(|lines| selection(&name, &request("x-a", lines.as_deref())).unwrap());
        prop_assert_eq!(ours[0] == ours[1], models::selects(one.as_deref(), other.as_deref()), "{:?} {:?}", one, other);
    }

    /// Normalisation of a field that we know never tells apart what the RFC has match, and is stable.
    #[test]
    fn known_fields_match_at_least_as_much(one in lines(), other in lines()) {
        let (one, other) = (as_given(&one), as_given(&other));
        let name = [HeaderName::from_static("accept-language")];
        let ours = [&one, &other]
            .map(|lines| selection(&name, &request("accept-language", lines.as_deref())).unwrap());
        if models::selects(one.as_deref(), other.as_deref()) {
            prop_assert_eq!(&ours[0], &ours[1]);
        }
        prop_assert_eq!(one.is_none() && other.is_none(), ours.iter().all(|text| text == "accept-language\n"));
    }

    /// Two fields never run into one another.
    #[test]
    fn fields_stand_apart(a in "[ab:\\- ]{0,6}", b in "[ab:\\- ]{0,6}", c in "[ab:\\- ]{0,6}", d in "[ab:\\- ]{0,6}") {
        let names = [HeaderName::from_static("a"), HeaderName::from_static("b")];
        let of = |a: &str, b: &str| {
            let mut request = HeaderMap::new();
            request.insert("a", HeaderValue::from_str(a).unwrap());
            request.insert("b", HeaderValue::from_str(b).unwrap());
            selection(&names, &request).unwrap()
        };
        let is_same = a.trim() == c.trim() && b.trim() == d.trim();
        prop_assert_eq!(of(&a, &b) == of(&c, &d), is_same);
    }

    #[test]
    fn names_in_one_form(order in Just(vec!["b", "A", "c-d", "a"]).prop_shuffle(), gap in "(,|, |,,| , )") {
        let mut response = HeaderMap::new();
        response.insert("vary", HeaderValue::from_str(&order.join(&gap)).unwrap());
        prop_assert_eq!(fields(&response).unwrap(), ["a", "b", "c-d"]);
    }
}
