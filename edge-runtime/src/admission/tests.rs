//! Who is let in, and what is told to who is not.
#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use crate::{reports::unix_ms, routes::DeployedMap};
use brink_listener::Protocol;
use brink_protocol::deployment::{
    DeploymentTable, Route, StaticAnswer, Target, WhenDisconnected, default_tenant,
};
use brink_protocol::session::{SESSION_HEADER, SessionKey, SessionKeys};

fn table() -> Table {
    let route = Route {
        tenant: default_tenant(),
        host: Some("example.com".into()),
        path: "/a".into(),
        target: Target::Static(StaticAnswer {
            status: 200,
            content_type: "text/plain".into(),
            body: "ok".into(),
        }),
        plugins: Vec::new(),
        when_disconnected: WhenDisconnected::ServeStale,
        show_coherence: false,
        session_cookie: false,
        cache: Default::default(),
    };
    let origin = Route {
        path: "/o".into(),
        target: Target::Origin("http://o.example".into()),
        ..route.clone()
    };
    let source = DeploymentTable {
        revision: 1,
        deployments: Vec::new(),
        routes: vec![route, origin],
    };
    Table::new(source, DeployedMap::new())
}

/// Knows one key, and a token of it for `core.1=7`.
fn sessions() -> (Arc<Sessions>, String) {
    let keys = SessionKeys::new(vec![SessionKey {
        id: 1,
        secret: [7; 32],
        from_ms: unix_ms(SystemTime::now()),
    }]);
    let keys = keys.unwrap();
    let token = keys.sign(&"core.1=7".parse().unwrap(), 0).unwrap();
    let sessions = Sessions::new(true);
    sessions.set_keys(keys);
    (Arc::new(sessions), token)
}

fn connection() -> Arc<Connection> {
    Arc::new(Connection {
        peer: "127.0.0.1:1".parse().unwrap(),
        local: "127.0.0.1:2".parse().unwrap(),
        protocol: Protocol::Http1,
        tls: None,
    })
}

fn request(method: &str, uri: &str, fields: &[(&'static str, &str)]) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

#[test]
fn requests_are_let_in_or_told_why_not() {
    let table = table();
    let (sessions, token) = sessions();
    let admission = Admission::new(1, sessions);
    let no_route = "no route leads from host example.com and path /ab to a module or an origin";
    for (method, uri, fields, refusal) in [
        ("GET", "http://example.com/a", vec![], None),
        ("GET", "http://EXAMPLE.com:80/a/b?c", vec![], None),
        ("GET", "http://example.com/%61/%7e?%7e", vec![], None),
        (
            "PATCH",
            "http://example.com/a",
            vec![(SESSION_HEADER, &*token)],
            None,
        ),
        (
            "GET",
            "http://example.com/ab",
            vec![],
            Some((404, no_route)),
        ),
        (
            "GET",
            "http://other.example/a",
            vec![],
            Some((404, "host other.example and path /a")),
        ),
        (
            "BREW",
            "http://example.com/a",
            vec![],
            Some((501, "GET, HEAD")),
        ),
        ("BREW", "http://example.com/o", vec![], None),
        (
            "TRACE",
            "http://example.com/o",
            vec![],
            Some((501, "GET, HEAD")),
        ),
        (
            "GET",
            "http://example.com/b/%2e./a",
            vec![],
            Some((400, "segments . or ..")),
        ),
        (
            "GET",
            "http://example.com/a",
            vec![(SESSION_HEADER, "core.1=7")],
            Some((400, "drop it")),
        ),
        (
            "GET",
            "http://example.com/a",
            vec![(SESSION_HEADER, &*token), (SESSION_HEADER, &*token)],
            Some((400, "drop it")),
        ),
    ] {
        let admitted = admission.admit(&table, request(method, uri, &fields), connection());
        match (admitted, refusal) {
            (Ok(_), None) => {}
            (Err(actual), Some((status, text))) => {
                assert_eq!(actual.problem.status, status, "{method} {uri}");
                let detail = actual.problem.detail.unwrap();
                assert!(detail.contains(text), "{method} {uri}: {detail}");
            }
            (actual, expected) => panic!("{method} {uri}: {:?} {expected:?}", actual.is_ok()),
        }
        assert_eq!(admission.in_flight(), 0, "every place is given back");
    }
}

#[test]
fn internal_fields_of_clients_are_taken_off() {
    let table = table();
    let (sessions, token) = sessions();
    let cookie = format!("a=1; brink-session={token}");
    let fields = [
        ("brink-subject", "root"),
        ("brink-position", "core.1=9"),
        ("brink-coherence", "?1"),
        ("cookie", &cookie),
        ("accept", "*/*"),
    ];
    let admission = Admission::new(1, sessions);
    let request = request("GET", "http://example.com/a", &fields);
    let Ok((exchange, _place)) = admission.admit(&table, request, connection()) else {
        panic!("it is let in");
    };
    assert_eq!(exchange.head.headers.len(), 2);
    assert_eq!(exchange.head.headers.get("cookie").unwrap(), "a=1");
    assert_eq!(exchange.session.unwrap().to_string(), "core.1=7");
    assert!(exchange.shows_coherence);
    assert!(exchange.caller.is_none());
}

#[test]
fn one_more_than_may_be_in_flight_is_refused() {
    let table = table();
    let admission = Admission::new(2, sessions().0);
    let admit = || {
        admission.admit(
            &table,
            request("GET", "http://example.com/a", &[]),
            connection(),
        )
    };
    let first = admit().map_err(|r| r.problem).unwrap();
    let _second = admit().map_err(|r| r.problem).unwrap();
    assert_eq!(admit().map(|_| ()).unwrap_err().problem.status, 503);
    assert_eq!(admission.in_flight(), 2);
    drop(first);
    assert!(admit().is_ok());
}

#[test]
fn a_trace_goes_on_or_begins_with_the_request() {
    let table = table();
    let admission = Admission::new(1, sessions().0);
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for (fields, sampled) in [(vec![("traceparent", parent)], true), (vec![], false)] {
        let request = request("GET", "http://example.com/a", &fields);
        let Ok((exchange, _place)) = admission.admit(&table, request, connection()) else {
            panic!("it is let in");
        };
        assert_eq!(exchange.trace.is_sampled(), sampled);
        assert_eq!(exchange.trace.to_string() == parent, sampled);
    }
}
