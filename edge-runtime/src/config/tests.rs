//! Mistakes of configuration files, as people read them.
#![allow(clippy::unwrap_used)]
#![allow(clippy::panic)]
use super::*;

fn identity() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["pop.pem", "pop.key", "ca.pem"] {
        std::fs::write(dir.path().join(name), "").unwrap();
    }
    dir
}

fn flags(identity: &Path) -> Flags {
    Flags {
        pop: Some("ams".into()),
        core: vec!["localhost:7000".into()],
        identity: Some(identity.to_owned()),
        ..Flags::default()
    }
}

#[test]
fn all_mistakes_of_a_file_are_reported_together() {
    let text = r#"
        pop = 7
        colour = "red"
        [listen]
        tcp = "nowhere"
        [limits]
        streams_max = -1
        [cache]
        memory_bytes_max = "much"
        disk_bytes = 1
        [core]
        transport = "pigeon"
        [egress]
        allow = ["10.0.0.0/8", "10.0.0.0/99"]
        [access]
        log = "some"
        [nothing]
    "#;
    let mistakes = File::parse(text).unwrap_err().join("\n");
    for (key, reason) in [
        ("pop: ", "invalid type: integer `7`, expected a string"),
        ("colour: ", "unknown field `colour`"),
        ("listen.tcp: ", "invalid socket address"),
        ("limits.streams_max: ", "invalid value: integer `-1`"),
        ("cache.memory_bytes_max: ", "invalid type: string \"much\""),
        ("cache.disk_bytes: ", "unknown field `disk_bytes`"),
        ("core.transport: ", "unknown variant `pigeon`"),
        ("egress.allow: ", "\"10.0.0.0/99\" is not ADDRESS"),
        ("access.log: ", "unknown variant `some`"),
        ("nothing: ", "unknown field `nothing`"),
    ] {
        let line = mistakes.lines().find(|line| line.starts_with(key));
        assert!(
            line.is_some_and(|line| line.contains(reason)),
            "{key} in\n{mistakes}"
        );
    }
    assert_eq!(mistakes.lines().count(), 10, "{mistakes}");
    assert!(File::parse("pop = ").is_err());
}

#[test]
fn what_is_missing_is_named() {
    let Err(Error::Config(mistakes)) = File::default().settings() else {
        panic!("nothing is missing");
    };
    assert_eq!(
        mistakes,
        [
            "pop: the PoP needs a name (or --pop)",
            "core.address: HOST:PORT of the core's link is needed, or core.addresses (or --core)",
            "core.identity: the directory with pop.pem, pop.key and ca.pem is needed (or --identity)",
        ]
    );
    let empty = tempfile::tempdir().unwrap();
    let mut file = File::default().with(flags(empty.path()));
    file.core.addresses = vec!["localhost".into()];
    file.listen.key = Some("k".into());
    file.sandbox.instances_max = 0;
    file.admission.exchanges_max = 0;
    let Err(Error::Config(mistakes)) = file.settings() else {
        panic!("nothing is missing");
    };
    assert_eq!(mistakes.len(), 7, "{mistakes:#?}");
}

#[test]
fn flags_go_before_the_file() {
    let identity = identity();
    let text = "pop = 'sfo'\n[listen]\ntcp = '127.0.0.1:1'\nquic = '127.0.0.1:2'\n[cache]\nmemory_bytes_max = 1000000\n";
    let mut given = flags(identity.path());
    given.listen = Some("127.0.0.1:0".parse().unwrap());
    let settings = File::parse(text).unwrap().with(given).settings().unwrap();
    assert_eq!(settings.pop.as_str(), "ams");
    assert_eq!(settings.listener.tcp.unwrap().port(), 0);
    assert_eq!(settings.listener.quic, None, "no certificate, no HTTP/3");
    assert_eq!(settings.cache.memory_bytes_max, 1_000_000);
    assert_eq!(settings.cache.dir.unwrap(), Path::new("data/cache"));
    assert_eq!(settings.core.unwrap().addresses, ["localhost:7000"]);
    assert!(settings.cache.follows_feed && settings.admin.is_some());
}

#[test]
fn one_core_is_named_or_several() {
    let identity = identity();
    let nine = (1..=9)
        .map(|n| format!("'c:{n}'"))
        .collect::<Vec<_>>()
        .join(",");
    let nine = format!("addresses = [{nine}]");
    for (text, flag, expected) in [
        ("address = 'a:1'", None, Ok(vec!["a:1"])),
        ("addresses = ['a:1', 'b:1']", None, Ok(vec!["a:1", "b:1"])),
        ("addresses = ['a:1', 'b:1']", Some("c:1"), Ok(vec!["c:1"])),
        ("address = 'a:1'", Some("c:1"), Ok(vec!["c:1"])),
        (
            "address = 'a:1'\naddresses = ['b:1']",
            None,
            Err("core.address and core.addresses: only one of them is allowed"),
        ),
        (
            "addresses = ['a:1', 'a:1']",
            None,
            Err("core.addresses: a:1 is there twice"),
        ),
        (
            "addresses = ['a:1', 'b']",
            None,
            Err("core.addresses: \"b\" is not written HOST:PORT"),
        ),
        (&nine, None, Err("core.addresses: at most 8 are allowed")),
        (
            "hedge_percent = 101\naddress = 'a:1'",
            None,
            Err("core.hedge_percent: at most 100"),
        ),
    ] {
        let mut given = flags(identity.path());
        given.core = flag.into_iter().map(str::to_owned).collect();
        let file = File::parse(&format!("[core]\n{text}\n")).unwrap();
        let found = file.with(given).settings();
        match (found, expected) {
            (Ok(settings), Ok(addresses)) => {
                assert_eq!(settings.core.unwrap().addresses, addresses, "{text}");
            }
            (Err(Error::Config(mistakes)), Err(mistake)) => {
                assert_eq!(mistakes, [mistake], "{text}");
            }
            (found, _) => panic!("{text}: {found:?}"),
        }
    }
}

#[test]
fn a_certificate_beside_the_identity_is_used() {
    let identity = identity();
    for name in ["server.pem", "server.key"] {
        std::fs::write(identity.path().join(name), "").unwrap();
    }
    let settings = File::default()
        .with(flags(identity.path()))
        .settings()
        .unwrap();
    let tls = settings.listener.tls.unwrap();
    assert_eq!(tls.certificate, identity.path().join("server.pem"));
    assert_eq!(settings.listener.quic, settings.listener.tcp);
}

#[test]
fn without_a_core_nothing_is_needed() {
    let settings = File::default().standalone().unwrap();
    assert_eq!(settings.pop.as_str(), "local");
    assert!(settings.core.is_none() && settings.data.is_none() && settings.cache.dir.is_none());
    assert!(!settings.cache.follows_feed && settings.listener.tls.is_none());
}
