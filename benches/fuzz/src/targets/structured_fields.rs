//! Structured fields: targeted cache control (RFC 9213), cache groups (RFC 9875), `Cache-Status` (RFC 9211), and names.

use super::fields::{texts, values};
use crate::Target;
use brink_policy::{
    cache_status::{CacheStatus, ForwardReason, Outcome},
    http::ResponseDirectives,
    names,
};
use brink_protocol::purge::TAG_NAMES_MAX;

pub(crate) const TARGET: Target = Target {
    name: "structured_fields",
    seeds,
    run,
};

fn seeds() -> Vec<Vec<u8>> {
    texts(&[
        "max-age=60, must-revalidate, no-cache=\"a, b\"",
        "max-age=\"60\"",
        "max-age=60;ttl=5, s-maxage=?0, private=?0, x=(1 2), y=:YQ==:, z=@1, w=%\"%c3%bc\"",
        "no-store\nmax-age=1, &&&",
        "\"scripts\", \"a b\";x=1, (\"inner\")",
        "one two  three, four",
    ])
}

fn run(bytes: &[u8]) {
    for name in ["cdn-cache-control", "brink-cache-control"] {
        check_targeted(&values(name, bytes), name);
    }
    for name in ["surrogate-key", "cache-tag"] {
        let names = names::names(&values(name, bytes));
        assert!(names.map_or(0, |names| names.len()) <= TAG_NAMES_MAX);
    }
    let groups = names::groups(&values("cache-groups", bytes));
    assert!(groups.map_or(0, |groups| groups.len()) <= TAG_NAMES_MAX);
    let invalidated = names::invalidated_groups(&values("cache-group-invalidation", bytes));
    assert!(invalidated.len() <= 32);
    check_status(bytes);
}

/// A field counts as a whole or not at all; what it forbids is forbidden.
fn check_targeted(headers: &http::HeaderMap, name: &str) {
    let ours = ResponseDirectives::of(headers);
    let lines: Option<Vec<&str>> = headers
        .get_all(name)
        .iter()
        .map(|value| value.to_str().ok())
        .collect();
    let text = lines.unwrap_or_default().join(",");
    let read = sfv::Parser::new(&text).parse::<sfv::Dictionary>();
    let Ok(dictionary) = read else {
        assert!(!ours.targeted, "{name}: {text}");
        return;
    };
    if !ours.targeted {
        assert_eq!(ours, ResponseDirectives::default(), "{name}: {text}");
        return;
    }
    for (key, entry) in &dictionary {
        let is_true = matches!(
            entry,
            sfv::ListEntry::Item(sfv::Item {
                bare_item: sfv::BareItem::Boolean(true),
                ..
            })
        );
        match key.as_str() {
            "no-store" if is_true => assert!(ours.no_store, "{name}: {text}"),
            "private" if is_true => assert!(ours.private, "{name}: {text}"),
            "no-cache" if is_true => assert!(ours.no_cache, "{name}: {text}"),
            _ => {}
        }
    }
}

/// Whatever the figures are, the line is a list of one item.
fn check_status(bytes: &[u8]) {
    let mut numbers = bytes.chunks(8).map(|chunk| {
        let mut number = [0; 8];
        for (place, byte) in number.iter_mut().zip(chunk) {
            *place = *byte;
        }
        i64::from_le_bytes(number)
    });
    let mut number = || numbers.next().unwrap_or(0);
    let limit = 999_999_999_999_999;
    let status = CacheStatus {
        outcome: Outcome::Forward {
            reason: ForwardReason::Stale,
            status: u16::try_from(number() % 1000).ok(),
            stored: number() % 2 == 0,
            collapsed: number() % 2 == 0,
        },
        ttl_seconds: Some(number().clamp(-limit, limit)),
        detail: Some("memory"),
    };
    if let Some(line) = status.to_value("brink-ams") {
        let list = sfv::Parser::new(line.as_bytes()).parse::<sfv::List>();
        assert_eq!(list.ok().map(|list| list.len()), Some(1), "{line:?}");
    }
}
