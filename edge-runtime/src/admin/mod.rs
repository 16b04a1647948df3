//! What operators see, over plain HTTP on an address of its own: health, readiness, metrics, cache look-up, routes.

use crate::{
    cache::Cache,
    error::Error,
    explaining::{self, Asked},
    figures::Sums,
    link::Link,
    origin::OriginView,
    pipeline::Edge,
    progress::{Progress, lag},
    routes::{Entry, Target},
};
use axum::{
    Json, Router,
    extract::{Query, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use brink_protocol::{PopName, problem::Problem};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    future::IntoFuture as _,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Renders all metrics in Prometheus' text format.
pub type Render = Arc<dyn Fn() -> String + Send + Sync>;

/// What is shown.
#[derive(Clone)]
pub struct View {
    /// The PoP's name.
    pub pop: PopName,
    /// What answers requests.
    pub edge: Arc<Edge>,
    /// The cache.
    pub cache: Cache,
    /// What the feed has brought.
    pub progress: Arc<Progress>,
    /// The way to the cores; none: standalone.
    pub link: Option<Link>,
    /// Sums.
    pub sums: Arc<Sums>,
    /// Metrics.
    pub render: Render,
}

/// The listener of operators, bound.
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
}

impl Admin {
    /// Binds `address`.
    ///
    /// # Errors
    /// It is taken, or not ours.
    pub async fn bind(address: SocketAddr) -> Result<Self, Error> {
        let failed = |source| Error::Admin { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Where it is bound.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop`.
    pub async fn serve(self, view: View, stop: CancellationToken) {
        let router = Router::new()
            .route("/health", get(health))
            .route("/ready", get(ready))
            .route("/metrics", get(metrics))
            .route("/cache", get(cache).post(explained))
            .route("/status", get(status))
            .route("/routes", get(routes))
            .route("/cores", get(cores))
            .route("/origins", get(origins))
            .fallback(nothing)
            .with_state(view);
        let serving = axum::serve(self.listener, router).into_future();
        tokio::select! {
            outcome = serving => {
                if let Err(error) = outcome {
                    tracing::error!(%error, "the admin listener ended");
                }
            }
            () = stop.cancelled() => {}
        }
    }
}

fn problem(status: u16, slug: &str, title: &str, detail: impl Into<String>) -> Response {
    let document = Problem::new(status, slug, title, detail).to_json();
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = [(CONTENT_TYPE, brink_protocol::problem::MEDIA_TYPE)];
    (status, content_type, document).into_response()
}

async fn nothing() -> Response {
    let paths =
        "served are /health, /ready, /metrics, /cache?url=, /status, /cores, /origins and /routes";
    problem(404, "no-page", "There is no such page", paths)
}

async fn health() -> Json<serde_json::Value> {
    Json(json!({ "status": "alive" }))
}

async fn ready(State(view): State<View>) -> Response {
    match unready(&view) {
        None => Json(json!({ "status": "ready" })).into_response(),
        Some(reason) => problem(503, "not-ready", "The PoP is not ready", reason),
    }
}

/// Why the PoP should not get requests yet.
#[must_use]
pub fn unready(view: &View) -> Option<&'static str> {
    let progress = &view.progress;
    if view.link.is_none() {
        None
    } else if !progress.is_live() {
        Some("the feed is not running: the core cannot be reached")
    } else if *progress.revision_wanted().borrow() > 0
        && view.edge.table.load().source().revision == 0
    {
        Some("the deployments are not loaded yet")
    } else {
        None
    }
}

async fn metrics(State(view): State<View>) -> Response {
    gauges(&view);
    let text = (view.render)();
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
        .into_response()
}

/// Figures that are looked up when someone asks.
fn gauges(view: &View) {
    let in_flight = view.edge.admission.in_flight();
    metrics::gauge!("brink_requests_in_flight").set(in_flight);
    metrics::gauge!("brink_deployments_revision").set(as_gauge(view.progress.revision_active()));
    for origin in view.edge.origins.views() {
        let url = || origin.url().to_owned();
        metrics::gauge!("brink_origin_in_flight", "origin" => url()).set(origin.in_flight());
        let is_well = u32::from(origin.is_well());
        metrics::gauge!("brink_origin_well", "origin" => url()).set(is_well);
    }
    let behind = lag(&view.cache.position(), &view.progress.head());
    metrics::gauge!("brink_feed_lag_changes").set(as_gauge(behind));
    let bound = view.cache.staleness_bound(Instant::now());
    metrics::gauge!("brink_staleness_bound_seconds")
        .set(bound.map_or(f64::INFINITY, |bound| bound.as_secs_f64()));
    let figures = view.cache.figures();
    metrics::counter!("brink_fence_refusals_total").absolute(figures.fenced);
    metrics::counter!("brink_lease_expiries_total").absolute(figures.lease_expiries);
}

fn as_gauge(number: u64) -> f64 {
    u32::try_from(number).unwrap_or(u32::MAX).into()
}

#[derive(Deserialize)]
struct LookUp {
    url: Option<String>,
}

async fn cache(State(view): State<View>, Query(look_up): Query<LookUp>) -> Response {
    match look_up.url.filter(|url| !url.is_empty()) {
        Some(url) => Json(view.cache.explain(&url).await).into_response(),
        None => problem(
            400,
            "url-missing",
            "Which URL?",
            "ask /cache?url=https://HOST/PATH",
        ),
    }
}

async fn explained(State(view): State<View>, Json(asked): Json<Asked>) -> Response {
    match explaining::explain(&view.edge, &asked).await {
        Ok(mut told) => {
            if let Some(told) = told.as_object_mut() {
                told.insert("pop".into(), json!(view.pop));
            }
            Json(told).into_response()
        }
        Err(problem) => {
            let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_REQUEST);
            let content_type = [(CONTENT_TYPE, brink_protocol::problem::MEDIA_TYPE)];
            (status, content_type, problem.to_json()).into_response()
        }
    }
}

async fn status(State(view): State<View>) -> Json<serde_json::Value> {
    let (position, head) = (view.cache.position(), view.progress.head());
    let table = view.edge.table.load();
    let deployments: Vec<_> = table.deployed().values().map(|d| describe(d)).collect();
    Json(json!({
        "pop": view.pop,
        "region": view.progress.region(),
        "version": env!("CARGO_PKG_VERSION"),
        "ready": unready(&view).is_none(),
        "core": view.link.as_ref().map(|link| json!({
            "transport": link.transport(),
            "cores": link.cores(),
            "feed_is_live": view.progress.is_live(),
            "lag_changes": lag(&position, &head),
            "head": head.to_string(),
        })),
        "position": position.to_string(),
        "lease": view.link.as_ref().map(|_| lease(&view)),
        "session_keys": view.edge.sessions.keys_count(),
        "revision": {
            "wanted": *view.progress.revision_wanted().borrow(),
            "active": view.progress.revision_active(),
        },
        "requests": view.sums.requests(),
        "hits": view.sums.hits(),
        "in_flight": view.edge.admission.in_flight(),
        "cache": view.cache.figures(),
        "origins": view.edge.origins.views(),
        "deployments": deployments,
    }))
}

/// What vouches for what is stored.
fn lease(view: &View) -> serde_json::Value {
    let now = Instant::now();
    json!({
        "holds": view.cache.connected(now),
        "length_ms": millis(view.cache.lease()),
        "bound_ms": view.cache.staleness_bound(now).map(millis),
        "expiries": view.cache.figures().lease_expiries,
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn describe(deployed: &crate::routes::Deployed) -> serde_json::Value {
    let deployment = &deployed.deployment;
    json!({
        "tenant": deployment.tenant,
        "name": deployment.name,
        "version": deployment.version,
        "digest": deployment.digest,
        "world": deployment.world,
        "superseded": deployed.is_superseded,
    })
}

/// Which cores there are, how each is, and which is used: the feed, reports and questions are that one's.
async fn cores(State(view): State<View>) -> Response {
    let cores = view.link.as_ref().map(Link::cores).unwrap_or_default();
    Json(cores).into_response()
}

/// Which origins there are, how each stands, and how much is in flight to it.
async fn origins(State(view): State<View>) -> Json<Vec<OriginView>> {
    Json(view.edge.origins.views())
}

#[derive(Serialize)]
struct RouteView<'a> {
    #[serde(flatten)]
    route: &'a brink_protocol::deployment::Route,
    /// Why requests are answered 503; none if they are served.
    missing: Option<&'a str>,
}

async fn routes(State(view): State<View>) -> Response {
    let table = view.edge.table.load();
    let views: Vec<RouteView<'_>> = table
        .entries()
        .iter()
        .map(|entry| route_view(entry))
        .collect();
    Json(views).into_response()
}

fn route_view(entry: &Entry) -> RouteView<'_> {
    let missing = match (&entry.target, &entry.plugins) {
        (Target::Missing(reason), _) | (_, Err(reason)) => Some(reason.as_str()),
        (Target::Module(_) | Target::Origin(_) | Target::Static(_), Ok(_)) => None,
    };
    RouteView {
        route: &entry.route,
        missing,
    }
}
