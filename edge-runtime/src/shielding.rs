//! A PoP as a shield: questions of other PoPs, on a listener of their own.
//!
//! The way of a question is shorter than a client's: plugins have seen the request at the PoP that asks, and will see the
//! answer there. Routes that lead to origins are answered, and those to modules that say so.

use crate::{
    exchange::{ForPop, problem_response},
    pipeline::{Edge, look_up},
    routes::Target,
    shield::{Asked, Told},
};
use brink_listener::{Body, Connection, Service, TlsPeer};
use brink_policy::shield::BEHIND_MS_MAX;
use brink_protocol::{
    link::POP_SUFFIX,
    log::{Reach, reach},
    problem::Problem,
};
use http::{HeaderName, Request, Response, Uri, uri::Scheme};
use std::{sync::Arc, time::Duration};

/// The edge as other PoPs see it.
pub struct Shield(pub Arc<Edge>);

impl Service for Shield {
    async fn call(
        &self,
        mut request: Request<Body>,
        connection: Arc<Connection>,
    ) -> Response<Body> {
        let is_pop = |tls: &TlsPeer| {
            let mut names = tls.client_names.iter();
            names.any(|name| name.ends_with(POP_SUFFIX))
        };
        if !connection.tls.as_ref().is_some_and(is_pop) {
            return refused(403, "the certificate names no PoP");
        }
        match Asked::take(request.headers_mut()) {
            Some(asked) => answer(&self.0, request, connection, asked).await,
            None => refused(421, "the question is not understood here"),
        }
    }
}

/// Answers another PoP for an origin or a module, with nothing older than what that PoP has applied.
async fn answer(
    edge: &Arc<Edge>,
    mut request: Request<Body>,
    connection: Arc<Connection>,
    asked: Asked,
) -> Response<Body> {
    let table = edge.table.load_full();
    if table.source().revision != asked.revision {
        return refused(421, "other deployments are active here");
    }
    let Some(uri) = with_scheme(request.uri().clone(), &asked.scheme) else {
        return refused(421, "the URL is not understood here");
    };
    *request.uri_mut() = uri;
    let admitted = edge.admission.admit(&table, request, connection);
    let Ok((mut exchange, _place)) = admitted else {
        return refused(421, "the request is not taken here");
    };
    let by_origin = match &exchange.entry.target {
        Target::Origin(_) => true,
        Target::Module(_) if exchange.entry.route.cache.shield => false,
        Target::Module(_) | Target::Static(_) | Target::Missing(_) => {
            return refused(421, "the route's answers do not come by way of a shield");
        }
    };
    if *exchange.tenant() != asked.tenant {
        return refused(421, "the route is another tenant's here");
    }
    exchange.caller = asked.caller.map(Arc::new);
    let names = asked.fields_set.iter();
    exchange.fields_set = names
        .filter_map(|name| name.parse::<HeaderName>().ok())
        .collect();
    // From here on what is found untouched is as new as the PoP's own knowledge; else only what was made of as new things.
    let has_reached = || {
        matches!(
            reach(&edge.cache.position(), &asked.at_least),
            Reach::Reached
        )
    };
    let progress = &edge.platform.progress;
    let waited = Duration::from_millis(BEHIND_MS_MAX);
    if !progress.wait_until(waited, has_reached).await {
        exchange.session = Some(Box::new(asked.at_least));
    }
    exchange.for_pop = Some(Box::new(ForPop {
        outdated: Duration::from_millis(asked.outdated_ms),
        client: asked.client,
        widens: by_origin,
        kept: None,
    }));
    let mut response = look_up(edge, &mut exchange).await;
    edge.sums.answered();
    // Without a word of the cache nobody has answered: the PoP asks the origin itself.
    if exchange.cache.is_some() {
        let kept = exchange.for_pop.and_then(|pop| pop.kept);
        Told::new(kept, exchange.written).put(response.headers_mut());
    }
    response
}

fn with_scheme(uri: Uri, scheme: &str) -> Option<Uri> {
    let mut parts = uri.into_parts();
    parts.scheme = Some(match scheme {
        "https" => Scheme::HTTPS,
        "http" => Scheme::HTTP,
        _ => return None,
    });
    Uri::from_parts(parts).ok()
}

/// Without the field of a shield: the PoP goes past this one.
fn refused(status: u16, detail: &str) -> Response<Body> {
    problem_response(Problem::new(
        status,
        "shield-passes",
        "The shield does not answer this",
        detail,
    ))
}
