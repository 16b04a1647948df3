//! A request as its cache key has it: what is no part of the key is taken off before anything is looked for, and before any
//! module or origin sees it.

use crate::{cache::Ruled, exchange::Exchange, routes::Entry};
use brink_policy::coding::{Accepted, simplify};
use http::{HeaderMap, HeaderName, Method, Uri, uri::PathAndQuery};

/// What of a request is part of its key.
#[derive(Debug)]
pub(crate) struct Keyed {
    /// The target, where it is another than that of the request.
    pub(crate) target: Option<String>,
    /// See [`crate::cache::CacheRequest::extra`].
    pub(crate) extra: Option<String>,
    /// See [`crate::cache::CacheRequest::ruled`].
    pub(crate) ruled: Ruled,
}

/// Applies the rules of the route. A request that may be answered from the cache loses what is no part of its key; others go
/// on whole, and end what is stored under the key that they would have.
pub(crate) fn apply(exchange: &mut Exchange) -> Keyed {
    let is_again = exchange.for_pop.is_some();
    let head = &mut exchange.head;
    let mut keyed = of(
        &exchange.entry,
        &head.method,
        &head.uri,
        &mut head.headers,
        (&exchange.fields_set, is_again),
    );
    if matches!(head.method, Method::GET | Method::HEAD)
        && let Some(target) = keyed.target.take()
        && let Some(uri) = replaced(&head.uri, &target)
    {
        head.uri = uri;
    }
    keyed
}

/// What of a request is part of its key. Takes of the fields what is not; `is_again`: another PoP has done so.
pub(crate) fn of(
    entry: &Entry,
    method: &Method,
    uri: &Uri,
    headers: &mut HeaderMap,
    (fields_set, is_again): (&[HeaderName], bool),
) -> Keyed {
    let (keying, compresses) = (&entry.keying, entry.route.cache.compress);
    let may_answer = matches!(*method, Method::GET | Method::HEAD);
    let mut ruled = Ruled {
        compresses: compresses && !keying.keys_secrets(),
        is_keyed: !keying.is_plain(),
        changes_query: keying.changes_query(),
        negative: entry.route.cache.negative,
        ..Ruled::default()
    };
    if compresses && may_answer {
        if ruled.compresses {
            ruled.accepts = Accepted::of(headers);
        }
        simplify(headers);
    }
    let mut keyed = Keyed {
        target: None,
        extra: Some(String::new()),
        ruled,
    };
    if keying.is_plain() {
        return keyed;
    }
    let sent = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let target = keying.target(sent);
    keyed.target = (target != sent).then(|| target.into_owned());
    if may_answer {
        keyed.extra = match is_again {
            true => keying.apply_again(headers, fields_set),
            false => keying.apply(headers, fields_set),
        };
    }
    keyed
}

/// A URI with another target.
fn replaced(uri: &Uri, target: &str) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target.parse().ok()?);
    Uri::from_parts(parts).ok()
}
