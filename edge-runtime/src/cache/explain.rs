//! What is stored for a URL, and what would become of a request, for people.

use super::{
    request::CacheRequest,
    shared::{Entry, Found, Shared},
    stored::{Key, Slot, Stored, to_ms},
    tiers::Tier,
    way::Way,
};
use brink_policy::{
    cache_status::ForwardReason,
    coherence::Verdict,
    http::{
        Reuse,
        explain::{Reason, explain_reuse, lifetime_source, would_be_stored},
        fields::date,
        reuse::{self, ttl},
        storable, vary,
    },
    key::CacheKey,
};
use brink_protocol::{deployment::default_tenant, purge::normal_url};
use http::{Method, header::DATE};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Instant, SystemTime},
};

/// Most keys in memory that are looked through for tenants of the URL.
const KEYS_MAX: usize = 1000;

pub(super) async fn explain(shared: &Shared, url: &str, now: SystemTime) -> Value {
    let normal = match normal_url(url) {
        Ok(normal) => normal,
        Err(error) => return json!({ "url": url, "error": error.to_string() }),
    };
    let (host, path) = normal.split_at(normal.find('/').unwrap_or(normal.len()));
    let same = |key: &CacheKey| {
        key.parts()
            .is_some_and(|(_, _, h, p)| h == host && p == path)
    };
    let known = shared.tiers.keys(KEYS_MAX, same);
    let mut tenants: BTreeSet<_> = known
        .iter()
        .filter_map(|key| key.parts()?.0.parse::<brink_protocol::TenantName>().ok())
        .collect();
    tenants.insert(default_tenant());
    let mut entries = Vec::new();
    for tenant in &tenants {
        for scheme in ["https", "http"] {
            let key = Key(CacheKey::new(tenant, scheme, host, path));
            let of_key = explain_key(shared, &key, now).await;
            entries.extend(of_key.into_iter().map(|mut entry| {
                if let Some(entry) = entry.as_object_mut() {
                    entry.insert("tenant".into(), json!(tenant.as_str()));
                    entry.insert("scheme".into(), json!(scheme));
                }
                entry
            }));
        }
    }
    json!({ "url": normal, "entries": entries, "applied": applied(shared) })
}

/// How far this PoP is with the changes.
fn applied(shared: &Shared) -> Value {
    let (index, floor, tags) = shared.ledger.extent();
    let bound = shared.ledger.staleness_bound(Instant::now());
    json!({
        "index": index,
        "floor": floor,
        "tags": tags,
        "position": shared.ledger.position().to_string(),
        "connected": shared.ledger.connected(Instant::now()),
        "staleness_bound_ms": bound.map(|bound| u64::try_from(bound.as_millis()).unwrap_or(u64::MAX)),
    })
}

/// What would become of a request. It is looked for as any request is, by the same functions; nobody is asked, and nothing
/// stored.
pub(super) async fn explain_request(
    shared: &Arc<Shared>,
    request: &CacheRequest<'_>,
    now: SystemTime,
) -> Value {
    let way = Way::new(shared, request, now);
    let key = way.key();
    let entries = explain_key(shared, &key, now).await;
    let (decision, chosen) = match way.bypasses(&key) {
        Some((_, unkept)) => {
            let forward = match way.directives.only_if_cached {
                true => "unavailable",
                false => "fetch",
            };
            (decided(forward, &[would_be_stored(unkept)]), None)
        }
        None => of_found(&way, shared.find(&key, request).await),
    };
    let lately = shared.unstored.of(shared.tiers.hash(&key.0));
    let lately = lately.map(|unstored| {
        let ago = now.duration_since(unstored.at).unwrap_or_default();
        json!({
            "reason": unstored.reason.as_str(),
            "status": unstored.status.as_u16(),
            "seconds_ago": ago.as_secs(),
            "to_be_stored": told(&would_be_stored(unstored.reason)),
        })
    });
    json!({
        "decision": decision,
        "chosen": chosen,
        "entries": entries,
        "lately_not_stored": lately,
        "applied": applied(shared),
    })
}

fn decided(verdict: &str, reasons: &[Reason]) -> Value {
    json!({ "verdict": verdict, "reasons": reasons.iter().map(told).collect::<Vec<_>>() })
}

fn told(reason: &Reason) -> Value {
    json!({ "text": reason.text, "source": reason.source })
}

/// The decision on what was found, and the entry that it is about.
fn of_found(way: &Way<'_>, found: Found) -> (Value, Option<Value>) {
    let Some(entry) = found.entry else {
        return (nothing(way, found.reason), None);
    };
    let headers = way.request.headers;
    let selection = entry.stored.selecting().filter(|fields| !fields.is_empty());
    let variant = selection.and_then(|fields| vary::selection(&fields, headers));
    let mut chosen = self::entry(
        way.shared,
        &entry.stored,
        entry.tier,
        variant.as_deref(),
        way.now,
    );
    if let Some(chosen) = chosen.as_object_mut() {
        chosen.insert("freshness".into(), freshness(&entry.stored, way.now));
    }
    let decision = match entry.stored.answers(way.request.method, headers) {
        true => of_entry(way, &entry),
        false => {
            let text = "only a part of it is stored, and the request asks for more";
            decided("fetch", &[Reason::new(text, "RFC 9111 §3.3")])
        }
    };
    (decision, Some(chosen))
}

fn of_entry(way: &Way<'_>, entry: &Entry) -> Value {
    let (verdict, age) = way.decide(entry, way.has_applied());
    let stored = reuse::Stored {
        lifetime: &entry.stored.lifetime,
        age_seconds: age,
        soft_purged: entry.soft,
    };
    let connection = way
        .shared
        .connection(entry.vouched, way.request.when_disconnected);
    let (_, reasons) = explain_reuse(&way.directives, &stored, connection);
    let verdict = match verdict {
        Reuse::Serve => "serve",
        Reuse::ServeStale(_) => "serve-stale",
        Reuse::Validate | Reuse::ValidateForRequest => "validate",
        Reuse::OnlyIfCached | Reuse::Disconnected => "unavailable",
    };
    decided(verdict, &reasons)
}

fn nothing(way: &Way<'_>, reason: ForwardReason) -> Value {
    let text = match reason {
        ForwardReason::VaryMiss => {
            "what is stored for the URL was selected by other values of the fields that its Vary names"
        }
        _ => "nothing that may be used is stored under this key",
    };
    let mut reasons = vec![Reason::new(text, "RFC 9111 §4, §4.1")];
    let is_kept = *way.request.method == Method::GET && !way.directives.no_store;
    if !is_kept {
        let text = "its answer will not be stored: the request is no GET, or says no-store";
        reasons.push(Reason::new(text, "RFC 9111 §3, §5.2.1.5"));
    }
    if way.directives.only_if_cached {
        let text = "the request says only-if-cached, so that nobody is asked: 504";
        reasons.push(Reason::new(text, "RFC 9111 §5.2.1.7"));
        return decided("unavailable", &reasons);
    }
    decided("fetch", &reasons)
}

/// The arithmetic of freshness, step by step. RFC 9111 §4.2.
fn freshness(stored: &Stored, now: SystemTime) -> Value {
    let seconds = |later: SystemTime, earlier: SystemTime| {
        later.duration_since(earlier).unwrap_or_default().as_secs()
    };
    let date = date(&stored.headers, &DATE);
    let lifetime = stored.lifetime;
    let age = stored.age(now);
    let left = ttl(&lifetime, age);
    let until = |window: u64| match window {
        0 => None,
        window => Some(left.saturating_add(i64::try_from(window).unwrap_or(i64::MAX))),
    };
    let source = storable::lifetime_source(&lifetime, &stored.headers, stored.received);
    json!({
        "date_ms": date.map(to_ms),
        "received_ms": to_ms(stored.received),
        "apparent_age_seconds": date.map(|date| seconds(stored.received, date)),
        "initial_age_seconds": stored.initial_age,
        "resident_seconds": seconds(now, stored.received),
        "age_seconds": age,
        "lifetime_seconds": lifetime.fresh_seconds,
        "lifetime_from": told(&lifetime_source(source)),
        "left_seconds": left,
        "while_revalidate_left_seconds": until(lifetime.while_revalidate_seconds),
        "if_error_left_seconds": until(lifetime.if_error_seconds),
        "must_revalidate": lifetime.must_revalidate,
        "always_validate": lifetime.always_validate,
    })
}

/// A selection in lines, without secrets.
fn variant_lines(selection: &str) -> String {
    let lines: Vec<&str> = selection
        .trim_end()
        .lines()
        .map(vary::without_secret)
        .collect();
    lines.join("\n")
}

async fn explain_key(shared: &Shared, key: &Key, now: SystemTime) -> Vec<Value> {
    match shared.tiers.find(key).await {
        None | Some((Slot::Piece(_), _)) => Vec::new(),
        Some((Slot::Answer(stored), tier)) => vec![entry(shared, &stored, tier, None, now)],
        Some((Slot::Variants(list), _)) => {
            let mut entries = Vec::new();
            for variant in list.iter() {
                let own = Key(key.0.variant(&variant.selection));
                if let Some((Slot::Answer(stored), tier)) = shared.tiers.find(&own).await {
                    entries.push(entry(shared, &stored, tier, Some(&variant.selection), now));
                }
            }
            entries
        }
    }
}

fn entry(
    shared: &Shared,
    stored: &Stored,
    tier: Tier,
    variant: Option<&str>,
    now: SystemTime,
) -> Value {
    let age = stored.age(now);
    let state = match shared.ledger.verdict(stored) {
        Verdict::Ended => "ended-by-a-change",
        Verdict::Unknown => "not-vouched-for",
        Verdict::Soft => "purged-softly",
        Verdict::Valid if ttl(&stored.lifetime, age) > 0 => "fresh",
        Verdict::Valid => "stale",
    };
    let field = |name| {
        stored
            .headers
            .get(name)
            .and_then(|value: &http::HeaderValue| value.to_str().ok())
    };
    json!({
        "state": state,
        "tier": match tier { Tier::Memory => "memory", Tier::Disk => "disk" },
        "variant": variant.map(variant_lines),
        "status": stored.status.as_u16(),
        "body_bytes": stored.body.len(),
        "pieces": stored.body.pieces().map(|pieces| pieces.count()),
        "stored_at_ms": to_ms(stored.received),
        "age_seconds": age,
        "ttl_seconds": ttl(&stored.lifetime, age),
        "lifetime": stored.lifetime,
        "etag": field(http::header::ETAG),
        "last_modified": field(http::header::LAST_MODIFIED),
        "tags": stored.described.split(' ').filter(|tag| !tag.is_empty()).collect::<Vec<_>>(),
        "tag_count": stored.on.len(),
        "index": stored.index,
        "position": stored.position.to_string(),
    })
}
