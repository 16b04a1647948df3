//! What plugins may change.
#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use crate::{admission::Admission, routes::Table, session::Sessions};
use brink_listener::{Connection, Protocol};
use brink_protocol::deployment::{
    DeploymentTable, Route, StaticAnswer, Target, WhenDisconnected, default_tenant,
};
use http::{HeaderValue, Request, header::COOKIE};

fn exchange(fields: &[(&'static str, &'static str)]) -> Exchange {
    let route = Route {
        tenant: default_tenant(),
        host: None,
        path: "/".into(),
        target: Target::Static(StaticAnswer {
            status: 200,
            content_type: "text/plain".into(),
            body: String::new(),
        }),
        plugins: Vec::new(),
        when_disconnected: WhenDisconnected::ServeStale,
        show_coherence: false,
        session_cookie: false,
        cache: Default::default(),
    };
    let source = DeploymentTable {
        revision: 1,
        deployments: Vec::new(),
        routes: vec![route],
    };
    let table = Table::new(source, Default::default());
    let mut request = Request::builder()
        .method("POST")
        .uri("https://example.com/a?b");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let connection = Arc::new(Connection {
        peer: "[::ffff:192.0.2.7]:1".parse().unwrap(),
        local: "127.0.0.1:2".parse().unwrap(),
        protocol: Protocol::Http2,
        tls: None,
    });
    let admission = Admission::new(1, Arc::new(Sessions::new(true)));
    let request = request.body(Body::empty()).unwrap();
    let Ok((exchange, _place)) = admission.admit(&table, request, connection) else {
        panic!("it is let in");
    };
    exchange
}

#[test]
fn plugins_see_the_head_as_the_client_sent_it() {
    let head = request_head(&exchange(&[("accept", "*/*"), ("brink-subject", "root")]));
    assert_eq!(head.method, "POST");
    assert_eq!(
        (head.scheme.as_str(), head.authority.as_str()),
        ("https", "example.com")
    );
    assert_eq!(head.path_and_query, "/a?b");
    assert_eq!(head.client_address, "192.0.2.7");
    assert_eq!(head.headers.len(), 1, "{:?}", head.headers);
}

#[test]
fn a_changed_head_is_taken_over_but_for_its_framing() {
    let mut exchange = exchange(&[
        ("host", "example.com"),
        ("content-length", "5"),
        ("accept", "*/*"),
        ("cookie", "a=1"),
    ]);
    let mut set = HeaderMap::new();
    for (name, value) in [
        ("host", "evil.example"),
        ("content-length", "50"),
        ("transfer-encoding", "chunked"),
        ("x-plan", "gold"),
        ("brink-subject", "ann"),
        ("brink-claim-role", "admin"),
    ] {
        set.insert(name, HeaderValue::from_static(value));
    }
    let change = RequestChange {
        path_and_query: Some("/c".parse().unwrap()),
        set,
        remove: vec![COOKIE, HOST],
    };
    change_request(&mut exchange, change).unwrap();
    take_caller(&mut exchange);
    assert_eq!(exchange.head.uri, "https://example.com/c");
    let mut fields: Vec<_> = exchange
        .head
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    fields.sort();
    assert_eq!(
        fields,
        [
            "accept: */*",
            "content-length: 5",
            "host: example.com",
            "x-plan: gold"
        ]
    );
    let mut changed = exchange.fields_set.clone();
    changed.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    assert_eq!(
        changed,
        ["cookie", "x-plan"],
        "what it set and took off joins the answer's Vary"
    );
    let caller = exchange.caller.unwrap();
    assert_eq!(caller.subject.as_deref(), Some("ann"));
    assert_eq!(caller.claims, [("role".to_owned(), "admin".to_owned())]);
}

fn no_change() -> RequestChange {
    RequestChange {
        path_and_query: None,
        set: HeaderMap::new(),
        remove: Vec::new(),
    }
}

#[test]
fn what_a_plugin_speaks_of_counts_whatever_the_client_sent() {
    for sent in [&[][..], &[("x-user", "bob")], &[("x-user", "ann")]] {
        let mut exchange = exchange(sent);
        let mut change = no_change();
        change.set.insert("x-user", HeaderValue::from_static("bob"));
        change.remove.push(HeaderName::from_static("x-key"));
        change_request(&mut exchange, change.clone()).unwrap();
        change_request(&mut exchange, change).unwrap();
        let values: Vec<_> = exchange.head.headers.get_all("x-user").iter().collect();
        assert_eq!(values, ["bob"], "{sent:?}");
        assert_eq!(exchange.fields_set, ["x-key", "x-user"], "{sent:?}");
    }
    let mut exchange = exchange(&[("x-user", "bob")]);
    change_request(&mut exchange, no_change()).unwrap();
    assert!(exchange.fields_set.is_empty());
}

#[test]
fn heads_beyond_the_limits_are_refused() {
    let many = (0..=FIELDS_MAX)
        .map(|n| (format!("x-{n}"), "1".to_owned()))
        .collect::<Vec<_>>();
    let long = vec![("x".to_owned(), "1".repeat(FIELD_BYTES_MAX))];
    for (fields, text) in [(many, "128 fields"), (long, "64 KiB")] {
        let mut exchange = exchange(&[]);
        let mut change = no_change();
        for (name, value) in fields {
            let name: HeaderName = name.parse().unwrap();
            change.set.insert(name, value.parse().unwrap());
        }
        let reason = change_request(&mut exchange, change).unwrap_err();
        assert!(reason.contains(text), "{reason}");
    }
    let mut change = no_change();
    change.remove = (0..=FIELDS_MAX)
        .map(|n| format!("x-{n}").parse().unwrap())
        .collect();
    assert!(change_request(&mut exchange(&[]), change).is_err());
    let mut change = no_change();
    let path = format!("/{}", "a".repeat(TARGET_BYTES_MAX));
    change.path_and_query = Some(path.parse().unwrap());
    assert!(change_request(&mut exchange(&[]), change).is_err());
}

#[test]
fn a_plugins_own_answer_frames_nothing_itself() {
    let answer = Response::builder()
        .status(403)
        .header("content-length", "999")
        .header("connection", "close")
        .header("brink-position", "a.1=1")
        .header("content-type", "text/plain")
        .body(Bytes::from_static(b"no"))
        .unwrap();
    let answer = own_answer(answer);
    assert_eq!(answer.headers().len(), 1);
    assert_eq!(http_body::Body::size_hint(answer.body()).exact(), Some(2));
}
