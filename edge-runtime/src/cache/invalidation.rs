//! What a successful unsafe request invalidates here: RFC 9111 §4.4, RFC 9875 §3.

use super::{judgement::Subject, outdated, shared::Shared, stored::Key, tiers::remove_ended};
use brink_policy::{
    coherence::{Touch, tags},
    http::invalidate::invalidated,
    key::CacheKey,
    names::invalidated_groups,
};
use http::{HeaderMap, StatusCode};

/// Ends what the answer to an unsafe request says has changed. Touches nothing if nothing can be stored or on its way:
/// otherwise every `POST` would cost the table of last changes a place.
pub(super) fn invalidate(
    shared: &Shared,
    subject: &Subject,
    status: StatusCode,
    response: &HeaderMap,
) {
    let Subject {
        tenant,
        host,
        path_and_query,
        method,
        ..
    } = subject;
    let urls = invalidated(method, host, path_and_query, status, response);
    if urls.is_empty() {
        return;
    }
    let groups = invalidated_groups(response);
    if shared.config.asks_shields {
        outdated::note(shared, tenant, &urls, !groups.is_empty());
    }
    for key in urls.iter().flat_map(|url| keys(subject, url)) {
        shared.flights.ended(shared.tiers.hash(&key));
    }
    let known = urls.iter().filter(|url| is_known(shared, subject, url));
    let mut touched: Vec<_> = known.map(|url| tags::url(tenant, url)).collect();
    touched.extend(groups.iter().map(|group| tags::group(tenant, host, group)));
    if !touched.is_empty() {
        let touch = Touch::hard(&touched);
        shared.ledger.touch(&touch);
        remove_ended(&shared.tiers, &touch);
    }
}

/// Whether an answer of this URL is or may soon be stored.
fn is_known(shared: &Shared, subject: &Subject, url: &str) -> bool {
    // By rules a URL has keys that cannot be known from here.
    subject.ruled.is_keyed
        || keys(subject, url).into_iter().any(|key| {
            shared.flights.is_open(shared.tiers.hash(&key)) || shared.tiers.may_contain(&Key(key))
        })
}

/// The same of the request's own URL.
pub(super) fn is_target_known(shared: &Shared, subject: &Subject) -> bool {
    is_known(shared, subject, &target(subject))
}

/// Ends what is stored for the request's own URL.
pub(super) fn end_target(shared: &Shared, subject: &Subject) {
    let touch = Touch::hard(&[tags::url(&subject.tenant, &target(subject))]);
    shared.ledger.touch(&touch);
    remove_ended(&shared.tiers, &touch);
}

fn target(subject: &Subject) -> String {
    format!("{}{}", subject.host, subject.path_and_query)
}

fn keys(subject: &Subject, url: &str) -> [CacheKey; 2] {
    let (host, path) = url.split_at(url.find('/').unwrap_or(url.len()));
    ["https", "http"].map(|scheme| CacheKey::new(&subject.tenant, scheme, host, path))
}
