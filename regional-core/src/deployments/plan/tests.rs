//! Tables of deployments and routes, before and after.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;
use brink_protocol::{Digest, control::Role};

fn caller() -> Caller {
    Caller {
        id: "t".into(),
        role: Role::Publisher,
        tenant: "default".parse().unwrap(),
    }
}

fn version(number: u64) -> Version {
    Version {
        module: "hello".parse().unwrap(),
        version: number,
        digest: Digest::of(&number.to_le_bytes()),
        size_bytes: 1,
        world: World::Module,
        imports: Vec::new(),
        published_at_ms: 0,
        published_by: "t".into(),
    }
}

fn deploy(json: &str) -> Deploy {
    serde_json::from_str(json).unwrap()
}

fn planned(
    deploy: &Deploy,
    present: Option<&Deployment>,
    needed: Grants,
) -> Result<Deployment, Refusal> {
    deployment(
        &caller(),
        deploy,
        &version(1),
        present,
        needed,
        &Ceilings::default(),
    )
}

fn route(host: Option<&str>, path: &str) -> Route {
    Route {
        tenant: "default".parse().unwrap(),
        host: host.map(Into::into),
        path: path.into(),
        target: Target::Module("hello".parse().unwrap()),
        plugins: Vec::new(),
        when_disconnected: Default::default(),
        show_coherence: false,
        session_cookie: false,
        cache: Default::default(),
    }
}

#[test]
fn what_is_not_asked_for_stays() {
    let first = deploy(
        r#"{"module":"hello","config":{"a":"1"},"grants":{"clock":true},"limits":{"cpu_time_ms_max":5}}"#,
    );
    let first = planned(&first, None, Grants::default()).unwrap();
    let second = planned(
        &deploy(r#"{"module":"hello"}"#),
        Some(&first),
        Grants::default(),
    )
    .unwrap();
    assert_eq!(first, second);
}

#[test]
fn grants_limits_and_config_are_checked() {
    let needs_clock = Grants {
        clock: true,
        ..Grants::default()
    };
    let many: String = (0..257).map(|n| format!(r#""{n}":"","#)).collect();
    for (json, needed, fits) in [
        (r#"{"module":"hello"}"#.to_owned(), Grants::default(), true),
        (r#"{"module":"hello"}"#.to_owned(), needs_clock, false),
        (
            r#"{"module":"hello","grants":{"clock":true}}"#.to_owned(),
            needs_clock,
            true,
        ),
        (
            r#"{"module":"hello","limits":{"memory_bytes_max":0}}"#.to_owned(),
            Grants::default(),
            false,
        ),
        (
            r#"{"module":"hello","limits":{"wall_time_ms_max":300001}}"#.to_owned(),
            Grants::default(),
            false,
        ),
        (
            format!(r#"{{"module":"hello","config":{{{many}"x":""}}}}"#),
            Grants::default(),
            false,
        ),
        (
            r#"{"module":"hello","config":{"":"x"}}"#.to_owned(),
            Grants::default(),
            false,
        ),
    ] {
        assert_eq!(
            planned(&deploy(&json), None, needed).is_ok(),
            fits,
            "{json}"
        );
    }
}

#[test]
fn a_module_without_a_route_gets_its_name() {
    let asked = deploy(r#"{"module":"hello"}"#);
    let next = planned(&asked, None, Grants::default()).unwrap();
    let mut table = DeploymentTable::default();
    let routes = routes_of(&caller(), &asked, &next, &table).unwrap();
    assert_eq!(routes, [route(None, "/hello")]);
    put_routes(&mut table, routes).unwrap();
    assert_eq!(
        routes_of(&caller(), &asked, &next, &table).unwrap(),
        [],
        "only once"
    );
    table.routes[0].target = Target::Origin("http://x".into());
    assert!(
        routes_of(&caller(), &asked, &next, &table).is_err(),
        "taken"
    );
}

#[test]
fn new_routes_purge_what_others_answered_there() {
    let everything = Some(Selector::Everything);
    let below = |text: &str| Some(Selector::Prefix(text.into()));
    for (present, new, expected) in [
        (route(None, "/a"), route(None, "/b"), None),
        (route(None, "/a"), route(None, "/a"), None),
        (route(None, "/"), route(None, "/a"), everything.clone()),
        (route(None, "/a"), route(None, "/ab"), None),
        (route(None, "/a/b"), route(Some("h"), "/a"), below("h/a")),
        (route(Some("g"), "/a"), route(Some("h"), "/a"), None),
        (route(Some("h"), "/a"), route(None, "/a"), everything),
    ] {
        let text = format!("{present:?} {new:?}");
        let mut table = DeploymentTable {
            routes: vec![present],
            ..Default::default()
        };
        assert_eq!(
            put_routes(&mut table, vec![new]).unwrap().pop(),
            expected,
            "{text}"
        );
    }
}

#[test]
fn another_tenants_route_is_not_taken() {
    let mut table = DeploymentTable {
        routes: vec![route(None, "/a")],
        ..Default::default()
    };
    let theirs = Route {
        tenant: "other".parse().unwrap(),
        ..route(None, "/a")
    };
    assert!(put_routes(&mut table, vec![theirs]).is_err());
}

#[test]
fn targets() {
    let table = DeploymentTable::default();
    for (target, fits) in [
        (r#"{"module":"none"}"#, false),
        (r#"{"origin":"http://127.0.0.1:8080"}"#, true),
        (r#"{"origin":"https://example.com/"}"#, true),
        (r#"{"origin":"https://example.com/path"}"#, false),
        (r#"{"origin":"https://user@example.com"}"#, false),
        (r#"{"origin":"ftp://example.com"}"#, false),
        (r#"{"origin":"example.com"}"#, false),
        (
            r#"{"origins":{"members":[{"url":"http://a"},{"url":"http://b"}]}}"#,
            true,
        ),
        (r#"{"origins":{"members":[]}}"#, false),
        (
            r#"{"static":{"status":200,"content_type":"text/plain","body":"x"}}"#,
            true,
        ),
        (
            r#"{"static":{"status":100,"content_type":"text/plain","body":"x"}}"#,
            false,
        ),
        (
            r#"{"static":{"status":200,"content_type":"a\nb","body":"x"}}"#,
            false,
        ),
    ] {
        let route = Route {
            target: serde_json::from_str(target).unwrap(),
            ..route(None, "/a")
        };
        assert_eq!(check_target(&table, &route).is_ok(), fits, "{target}");
    }
}

#[test]
fn histories() {
    let asked = deploy(r#"{"module":"hello"}"#);
    let at = |number| Deployment {
        version: number,
        ..planned(&asked, None, Grants::default()).unwrap()
    };
    let history: Vec<_> = [1, 2, 1, 3].into_iter().map(at).collect();
    for (history, to, expected) in [
        (&history[..], None, Some(3)),
        (&history[..], Some(2), Some(2)),
        (&history[..], Some(1), Some(3)),
        (&history[..], Some(3), None),
        (&history[..], Some(9), None),
        (&history[..1], None, None),
        (&history[..0], None, None),
    ] {
        assert_eq!(
            history_until(history, to).map(<[_]>::len),
            expected,
            "{to:?}"
        );
    }
}
