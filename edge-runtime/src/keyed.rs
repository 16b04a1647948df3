//! A request as its cache key has it: what is no part of the key is taken off before anything is looked for, and before any
//! module or origin sees it.

use crate::{cache::Ruled, exchange::Exchange};
use brink_policy::coding::{Accepted, simplify};
use http::{Method, Uri, uri::PathAndQuery};

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
    let entry = &exchange.entry;
    let (keying, compresses) = (&entry.keying, entry.route.cache.compress);
    let may_answer = matches!(exchange.head.method, Method::GET | Method::HEAD);
    let headers = &mut exchange.head.headers;
    let mut ruled = Ruled {
        compresses: compresses && !keying.keys_secrets(),
        is_keyed: !keying.is_plain(),
        changes_query: keying.changes_query(),
        ..Ruled::default()
    };
    if compresses && may_answer {
        if ruled.compresses {
            ruled.accepts = Accepted::of(headers);
        }
        simplify(headers);
    }
    if keying.is_plain() {
        return Keyed {
            target: None,
            extra: Some(String::new()),
            ruled,
        };
    }
    let uri = &exchange.head.uri;
    let sent = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let target = keying.target(sent);
    let target = (target != sent).then(|| target.into_owned());
    if !may_answer {
        return Keyed {
            target,
            extra: Some(String::new()),
            ruled,
        };
    }
    let extra = keying.apply(headers, &exchange.fields_set);
    if let Some(target) = target.and_then(|target| replaced(uri, &target)) {
        exchange.head.uri = target;
    }
    Keyed {
        target: None,
        extra,
        ruled,
    }
}

/// A URI with another target.
fn replaced(uri: &Uri, target: &str) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target.parse().ok()?);
    Uri::from_parts(parts).ok()
}
