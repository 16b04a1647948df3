//! Which tokens are read from which fields, and what is left of the cookies.
#![allow(clippy::unwrap_used)]
use super::*;
use brink_protocol::session::{SIGNING_MS, SessionKey};
use std::time::Duration;

const NOW_MS: u64 = 10 * SIGNING_MS;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(NOW_MS)
}

fn key(id: u64, from_ms: u64) -> SessionKey {
    SessionKey {
        id,
        secret: [u8::try_from(id % 251).unwrap(); 32],
        from_ms,
    }
}

fn sessions() -> Sessions {
    let sessions = Sessions::new(true);
    let keys = vec![key(5, NOW_MS - 10), key(4, NOW_MS - SIGNING_MS)];
    sessions.set_keys(SessionKeys::new(keys).unwrap());
    sessions
}

fn token(id: u64, position: &str) -> String {
    SessionKeys::new(vec![key(id, 0)])
        .unwrap()
        .sign(&position.parse().unwrap(), NOW_MS)
        .unwrap()
}

/// What is read of these fields: `seen`, `unknown`, `drops`, or the slug of a problem; and the cookies left.
fn read(sessions: &Sessions, fields: &[(&'static str, String)]) -> (String, String) {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    let outcome = match sessions.take(&mut headers, now()) {
        Err(problem) => problem.kind.rsplit('/').next().unwrap().to_owned(),
        Ok(session) => {
            let mut words = Vec::new();
            words.extend(session.seen.map(|seen| seen.to_string()));
            words.extend(session.is_unknown.then(|| "unknown".to_owned()));
            words.extend(session.drops_cookie.then(|| "drops".to_owned()));
            words.join(" ")
        }
    };
    let cookies: Vec<_> = headers
        .get_all(COOKIE)
        .iter()
        .map(|c| c.to_str().unwrap())
        .collect();
    (outcome, cookies.join(" | "))
}

#[test]
fn tokens_are_read_and_cookies_taken_off() {
    let field = |value: &str| ("brink-session", value.to_owned());
    let cookie = |value: String| ("cookie", value);
    let good = token(5, "a.1=7");
    let older = token(4, "b.1=2");
    let ended = token(3, "a.1=9");
    // Of the core of the known keys, and of another.
    let (ahead, foreign) = (token(6, "a.1=9"), token(1 << 40, "a.1=9"));
    let other = if good.get(20..21) == Some("A") {
        "B"
    } else {
        "A"
    };
    let mut forged = good.clone();
    forged.replace_range(20..21, other);
    for (fields, outcome, cookies) in [
        (vec![], "", ""),
        (vec![field(&good)], "a.1=7", ""),
        (vec![field(&older)], "b.1=2", ""),
        (vec![field(&ended)], "", ""),
        (vec![field(&ahead)], "unknown", ""),
        (vec![field(&foreign)], "unknown", ""),
        (vec![field(&forged)], "session-invalid", ""),
        (vec![field("a.1=7")], "session-invalid", ""),
        (vec![field("")], "session-invalid", ""),
        (vec![field(&"A".repeat(9000))], "session-invalid", ""),
        (vec![field(&good), field(&good)], "session-invalid", ""),
        (vec![cookie(format!("brink-session={good}"))], "a.1=7", ""),
        (
            vec![cookie(format!("a=1; brink-session=\"{good}\" ;b=2"))],
            "a.1=7",
            "a=1; b=2",
        ),
        (
            vec![cookie(format!("a=1;brink-session = {good}"))],
            "a.1=7",
            "a=1",
        ),
        (
            vec![
                cookie("a=1".into()),
                cookie(format!("brink-session={good}")),
            ],
            "a.1=7",
            "a=1",
        ),
        (
            vec![cookie(format!("brink-session={forged}; a=1"))],
            "drops",
            "a=1",
        ),
        (vec![cookie("brink-session=".into())], "drops", ""),
        (vec![cookie(format!("brink-session={ended}"))], "", ""),
        (
            vec![cookie(format!("brink-session={ahead}"))],
            "unknown",
            "",
        ),
        (
            vec![cookie(format!(
                "brink-session=x; brink-session={good}; brink-session={older}"
            ))],
            "a.1=7,b.1=2 drops",
            "",
        ),
        // Any of many might be the newest.
        (
            vec![
                cookie(format!("brink-session={older}; ").repeat(8)),
                cookie(format!("brink-session={good}")),
            ],
            "a.1=7,b.1=2",
            "",
        ),
        // So might the cookie beside a field; it is taken off all the same.
        (
            vec![field(&older), cookie(format!("brink-session={good}; c=3"))],
            "a.1=7,b.1=2",
            "c=3",
        ),
        (
            vec![field(&ended), cookie(format!("brink-session={good}"))],
            "a.1=7",
            "",
        ),
        (
            vec![field(&good), cookie(format!("brink-session={ahead}"))],
            "a.1=7 unknown",
            "",
        ),
        (
            vec![field(&good), cookie(format!("brink-session={forged}"))],
            "a.1=7 drops",
            "",
        ),
        (
            vec![field(&forged), cookie(format!("brink-session={good}"))],
            "session-invalid",
            "",
        ),
        // Others' names that are longer stay.
        (
            vec![cookie(
                "brink-session-2=x; xbrink-session=y; brink-session".into(),
            )],
            "",
            "brink-session-2=x; xbrink-session=y; brink-session",
        ),
    ] {
        let read = read(&sessions(), &fields);
        assert_eq!(read, (outcome.into(), cookies.into()), "{fields:?}");
    }
}

#[test]
fn without_keys_no_token_can_be_read() {
    let none = Sessions::new(true);
    let good = [("brink-session", token(5, "a.1=7"))];
    assert_eq!(read(&none, &good).0, "unknown");
    assert_eq!(read(&sessions(), &good).0, "a.1=7");
    assert_eq!(read(&none, &[]).0, "");
}

#[test]
fn an_edge_without_a_core_takes_tokens_off_and_no_more() {
    let alone = Sessions::new(false);
    let fields = [
        ("brink-session", "made up".to_owned()),
        ("cookie", "brink-session=x; a=1".to_owned()),
    ];
    assert_eq!(read(&alone, &fields), (String::new(), "a=1".into()));
    assert!(alone.can_sign());
    assert!(!Sessions::new(true).can_sign());
}

#[test]
fn a_token_says_what_was_written_and_what_was_seen() {
    let sessions = sessions();
    let (written, seen) = ("a.1=7".parse().unwrap(), "a.1=3,b.1=4".parse().unwrap());
    let token = sessions.sign(&written, Some(&seen)).unwrap();
    let position = sessions.verify(token.as_bytes(), now()).unwrap();
    assert_eq!(position.to_string(), "a.1=7,b.1=4");
    assert_eq!(Sessions::new(true).sign(&written, None), None);
    assert!(!format!("{sessions:?}").contains("secret"));
}

#[test]
fn cookies_have_their_attributes() {
    let token = HeaderValue::from_static("t");
    assert_eq!(
        cookie(&token, 60, true).unwrap(),
        "brink-session=t; Path=/; HttpOnly; Secure; SameSite=Lax; Max-Age=60"
    );
    assert_eq!(
        cookie(&HeaderValue::from_static(""), 0, false).unwrap(),
        "brink-session=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0"
    );
}
