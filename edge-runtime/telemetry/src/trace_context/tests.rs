//! Trace contexts as tables.
#![allow(clippy::unwrap_used)]

use super::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn headers(parents: &[&str], states: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in parents {
        headers.append(TRACEPARENT, HeaderValue::from_str(value).unwrap());
    }
    for value in states {
        headers.append(TRACESTATE, HeaderValue::from_str(value).unwrap());
    }
    headers
}

#[test]
fn traceparent_is_read_strictly() {
    let good = format!("00-{TRACE}-{SPAN}-01");
    for (value, expected) in [
        (good.clone(), Some(good.clone())),
        (
            format!("00-{TRACE}-{SPAN}-00"),
            Some(format!("00-{TRACE}-{SPAN}-00")),
        ),
        // Flags that we do not know are not passed on.
        (
            format!("00-{TRACE}-{SPAN}-ff"),
            Some(format!("00-{TRACE}-{SPAN}-03")),
        ),
        // A later version may have more.
        (format!("cc-{TRACE}-{SPAN}-01"), Some(good.clone())),
        (
            format!("cc-{TRACE}-{SPAN}-01-what-ever"),
            Some(good.clone()),
        ),
        (format!("cc-{TRACE}-{SPAN}-01."), None),
        (format!("00-{TRACE}-{SPAN}-01-more"), None),
        (format!("ff-{TRACE}-{SPAN}-01"), None),
        (format!("0-{TRACE}-{SPAN}-01"), None),
        (format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), None),
        (format!("00-{}-{SPAN}-01", "0".repeat(32)), None),
        (format!("00-{TRACE}-{}-01", "0".repeat(16)), None),
        (format!("00-{TRACE}-{SPAN}-0x"), None),
        (format!("00-{TRACE}-{SPAN}-1"), None),
        (format!("00_{TRACE}_{SPAN}_01"), None),
        (format!("00-+{}-{SPAN}-01", TRACE.split_at(1).1), None),
        (format!(" {good}"), None),
        (String::new(), None),
    ] {
        let found = TraceContext::from_headers(&headers(&[&value], &[]));
        assert_eq!(found.map(|it| it.to_string()), expected, "{value:?}");
    }
    assert_eq!(TraceContext::from_headers(&headers(&[], &["a=1"])), None);
    assert_eq!(
        TraceContext::from_headers(&headers(&[&good, &good], &[])),
        None
    );
}

#[test]
fn tracestate_is_passed_on_or_dropped_alone() {
    let many = (0..33)
        .map(|n| format!("k{n}=v"))
        .collect::<Vec<_>>()
        .join(",");
    let long = format!("a={}", "x".repeat(257));
    let huge = (0..5)
        .map(|n| format!("k{n}={}", "x".repeat(250)))
        .collect::<Vec<_>>()
        .join(",");
    for (states, expected) in [
        (
            &["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"][..],
            Some("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        ),
        (&["a=1", "b=2"], Some("a=1,b=2")),
        (&[" a=1 ,\t,b=2"], Some("a=1,b=2")),
        (&["1a-_*/@z=x y"], Some("1a-_*/@z=x y")),
        (&[], None),
        (&[""], None),
        (&["a"], None),
        (&["a="], None),
        (&["A=1"], None),
        (&["_a=1"], None),
        (&["a=1=2"], None),
        (&["a=1,a=2"], None),
        (&[&many], None),
        (&[&long], None),
        (&[&huge], None),
    ] {
        let headers = headers(&[&format!("00-{TRACE}-{SPAN}-01")], states);
        let context = TraceContext::from_headers(&headers).unwrap();
        let mut out = headers.clone();
        context.inject(&mut out);
        let found = out.get(TRACESTATE).map(|value| value.to_str().unwrap());
        assert_eq!(found, expected, "{states:?}");
        assert_eq!(out.get_all(TRACEPARENT).iter().count(), 1);
    }
}

#[test]
fn children_share_the_trace() {
    let root = TraceContext::root();
    let child = root.child();
    assert_eq!(child.trace_id(), root.trace_id());
    assert_ne!(child.span_id(), root.span_id());
    assert!(!root.is_sampled());
    assert_ne!(TraceContext::root().trace_id(), root.trace_id());
    let again = TraceContext::from_headers(&headers(&[root.traceparent().to_str().unwrap()], &[]));
    assert_eq!(again, Some(root));
}

#[test]
fn a_disabled_span_still_has_a_place() {
    let parent = TraceContext::root();
    let here = TraceContext::begin(Some(&parent), &tracing::Span::none());
    assert_eq!(here.trace_id(), parent.trace_id());
    assert_ne!(here.span_id(), parent.span_id());
}

proptest::proptest! {
    /// What is taken can be said again and is then taken as the same.
    #[test]
    fn any_fields_are_read_or_dropped(
        parent in "[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.{0,5})?|[ -~]{0,60}",
        state in "([a-z0-9_@*/=, -]{0,12}[,=]){0,6}|[ -~]{0,40}",
    ) {
        let mut headers = HeaderMap::new();
        if let (Ok(parent), Ok(state)) = (HeaderValue::from_str(&parent), HeaderValue::from_str(&state)) {
            headers.insert(TRACEPARENT, parent);
            headers.insert(TRACESTATE, state);
        }
        if let Some(context) = TraceContext::from_headers(&headers) {
            context.inject(&mut headers);
            proptest::prop_assert_eq!(TraceContext::from_headers(&headers), Some(context));
        }
    }
}
