//! The control API: HTTP/1.1 and HTTP/2 over TLS, JSON, bearer tokens, problem documents.

mod app;
mod backups;
mod cloudflare;
mod deployments;
mod dialect;
mod erasures;
mod events;
mod extract;
mod fastly;
mod idempotency;
mod large;
mod modules;
mod openapi;
mod partitions;
mod placements;
mod projections;
mod purges;
mod records;
mod reply;
mod session;
mod status;
mod tenants;
mod tokens;
mod trail;
mod workflows;

pub use app::App;
pub use large::LargeBodies;

use self::reply::{Failure, REQUEST_ID};
use crate::measure::{Measured, RequestSpan};
use axum::{
    Router,
    extract::{MatchedPath, Request},
    middleware::{self, Next},
    response::Response,
    routing::{delete, get, post, put},
};
use brink_listener::{Body, Connection};
use http::{HeaderName, HeaderValue, Method, header::HOST};
use std::sync::Arc;
use tower::ServiceExt as _;
use tracing::Instrument as _;

/// Carries a request's name back to who sent it.
const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The control API as a service of a listener.
pub struct Control {
    router: Router,
}

impl Control {
    /// Over the core.
    #[must_use]
    pub fn new(app: App) -> Self {
        let app = Arc::new(app);
        let sign = middleware::from_fn_with_state(Arc::clone(&app), session::sign);
        let router = Router::new()
            .route("/v1/health", get(status::health))
            .route("/v1/openapi.json", get(openapi::document))
            .route("/v1/status", get(status::status))
            .route("/v1/pops", get(status::pops))
            .route("/v1/pops/{pop}/admin", get(status::pop_admin))
            .route("/v1/logs", get(status::logs))
            .route("/v1/modules", get(modules::list))
            .route(
                "/v1/modules/{name}/versions",
                post(modules::publish).get(modules::versions),
            )
            .route("/v1/components/{digest}", get(modules::component))
            .route(
                "/v1/deployments",
                post(deployments::deploy).get(deployments::list),
            )
            .route(
                "/v1/deployments/{name}/rollback",
                post(deployments::rollback),
            )
            .route("/v1/deployments/{name}", delete(deployments::remove))
            .route(
                "/v1/routes",
                put(deployments::put_route)
                    .get(deployments::routes)
                    .delete(deployments::remove_route),
            )
            .route("/v1/purges", post(purges::create).get(purges::list))
            .route("/v1/purges/{id}", get(purges::status))
            .route("/v1/records/scatter", post(partitions::read))
            .route("/v1/partitions/hot", get(partitions::hot))
            .route("/v1/records/import", post(records::import))
            .route("/v1/records/audit", get(trail::read))
            .route("/v1/records/{collection}/{partition}", get(records::browse))
            .route("/v1/events", get(events::read).post(events::append))
            .route("/v1/projections", get(projections::list))
            .route(
                "/v1/projections/{name}/dead-letters",
                get(projections::letters),
            )
            .route(
                "/v1/projections/{name}/dead-letters/{id}",
                delete(projections::drop_letter),
            )
            .route(
                "/v1/projections/{name}/dead-letters/{id}/retry",
                post(projections::retry),
            )
            .route("/v1/projections/{name}/replay", post(projections::replay))
            .route(
                "/v1/projections/{name}/drop-target",
                post(projections::drop_target),
            )
            .route("/v1/workflows", get(workflows::list))
            .route("/v1/workflows/{name}", post(workflows::start))
            .route("/v1/workflows/{name}/{id}", get(workflows::get))
            .route("/v1/workflows/{name}/{id}/retry", post(workflows::retry))
            .route("/v1/workflows/{name}/{id}/cancel", post(workflows::cancel))
            .route("/v1/erasures", post(erasures::create))
            .route("/v1/erasures/{id}", get(erasures::status))
            .route("/v1/certificate-key", get(erasures::key))
            .route("/v1/tenants/{name}/export", get(tenants::export))
            .route("/v1/tenants/{name}/import", post(tenants::import))
            .route("/v1/doctor", get(backups::doctor))
            .route("/v1/backups", get(backups::list).post(backups::take))
            .route("/v1/collections", get(placements::list))
            .route(
                "/v1/collections/{name}",
                put(placements::put)
                    .get(placements::get)
                    .delete(placements::remove),
            )
            .route("/v1/regions", get(placements::regions))
            .route("/v1/regions/main", put(placements::set_main))
            .route("/v1/regions/{name}/promote", post(placements::promote))
            .route("/v1/tokens", post(tokens::create).get(tokens::list))
            .route("/v1/tokens/{id}", delete(tokens::remove))
            .route("/v1/audit", get(tokens::audit))
            .merge(fastly::routes())
            .merge(cloudflare::routes())
            .fallback(not_found)
            .method_not_allowed_fallback(method_not_allowed)
            .layer(sign)
            .layer(middleware::from_fn(observe))
            .with_state(app);
        Self { router }
    }
}

impl brink_listener::Service for Control {
    async fn call(&self, request: http::Request<Body>, _: Arc<Connection>) -> http::Response<Body> {
        let request = request.map(axum::body::Body::new);
        let request = purge_of_a_url(request);
        match self.router.clone().oneshot(request).await {
            Ok(response) => response.map(Body::stream),
            Err(never) => match never {},
        }
    }
}

/// `PURGE` of a URL is what Fastly's API takes as `POST /purge/URL`: on every path, since the URL is not ours.
fn purge_of_a_url(mut request: Request) -> Request {
    if request.method().as_str() != "PURGE" {
        return request;
    }
    let uri = request.uri();
    let field = request.headers().get(HOST);
    let host = match uri.authority() {
        Some(authority) => authority.as_str(),
        None => field
            .and_then(|field| field.to_str().ok())
            .unwrap_or_default(),
    };
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    if let Ok(uri) = format!("{}{host}{target}", fastly::URL_PATH).parse() {
        *request.uri_mut() = uri;
        *request.method_mut() = Method::POST;
    }
    request
}

async fn not_found() -> Failure {
    Failure::not_found("nothing is here; /v1/openapi.json says what is")
}

async fn method_not_allowed() -> Failure {
    Failure::new(
        405,
        "method",
        "Another method is needed",
        "The field `allow` says which methods are answered here.",
    )
}

/// Names, traces and measures a request.
async fn observe(request: Request, next: Next) -> Response {
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map_or("none", MatchedPath::as_str).to_owned();
    let RequestSpan {
        span, request_id, ..
    } = RequestSpan::begin("control", &route, request.headers());
    let measured = Measured::begin("control", route);
    let answer = REQUEST_ID.scope(request_id.clone(), next.run(request));
    let mut response = answer.instrument(span).await;
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID_HEADER, value);
    }
    measured.end(response.status());
    response
}
