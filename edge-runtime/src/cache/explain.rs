//! What is stored for a URL, for people.

use super::{
    shared::Shared,
    stored::{Key, Slot, Stored, to_ms},
    tiers::Tier,
};
use brink_policy::{coherence::Verdict, http::reuse::ttl, key::CacheKey};
use brink_protocol::{deployment::default_tenant, purge::normal_url};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
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
    let (index, floor, tags) = shared.ledger.extent();
    json!({
        "url": normal,
        "entries": entries,
        "applied": {
            "index": index,
            "floor": floor,
            "tags": tags,
            "position": shared.ledger.position().to_string(),
            "connected": shared.ledger.connected(Instant::now()),
        },
    })
}

async fn explain_key(shared: &Shared, key: &Key, now: SystemTime) -> Vec<Value> {
    match shared.tiers.find(key).await {
        None => Vec::new(),
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
        "variant": variant.map(str::trim_end),
        "status": stored.status.as_u16(),
        "body_bytes": stored.body.len(),
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
