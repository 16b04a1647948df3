//! The admin listener: health, readiness and metrics, over plain HTTP, on an address of its own.

use crate::{pops::Pops, records::position, store::Store};
use brink_listener::{Body, Connection};
use brink_telemetry::Telemetry;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE},
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// What the admin listener shows.
pub struct Admin {
    /// The store, for figures of the log.
    pub store: Arc<dyn Store>,
    /// PoPs, for the number of followers.
    pub pops: Arc<Pops>,
    /// The process's metrics; none: the embedder shows them itself.
    pub telemetry: Option<Arc<Telemetry>>,
    /// Everything answers, and nothing is draining.
    pub is_ready: Arc<AtomicBool>,
}

impl brink_listener::Service for Admin {
    async fn call(&self, request: Request<Body>, _: Arc<Connection>) -> Response<Body> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut response = text(
                StatusCode::METHOD_NOT_ALLOWED,
                "only GET is answered here\n".into(),
            );
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            "/health" => text(StatusCode::OK, "ok\n".into()),
            "/ready" if self.is_ready.load(Ordering::Relaxed) => {
                text(StatusCode::OK, "ready\n".into())
            }
            "/ready" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n".into()),
            "/metrics" => self.metrics(),
            _ => text(StatusCode::NOT_FOUND, "/health, /ready, /metrics\n".into()),
        }
    }
}

fn text(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
    );
    response
}

impl Admin {
    fn metrics(&self) -> Response<Body> {
        let span = self.store.span();
        let gauges = [
            ("brink_core_log_head", span.head),
            ("brink_core_log_oldest", span.oldest),
            ("brink_core_feed_followers", self.pops.following() as u64),
        ];
        for (name, value) in gauges {
            #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
            metrics::gauge!(name).set(value as f64);
        }
        for (pop, lag) in self.pops.lags(&position(&*self.store)) {
            #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
            metrics::gauge!("brink_core_feed_lag_changes", "pop" => pop.to_string())
                .set(lag as f64);
        }
        text(
            StatusCode::OK,
            self.telemetry
                .as_ref()
                .map_or_else(String::new, |telemetry| telemetry.render_metrics()),
        )
    }
}
