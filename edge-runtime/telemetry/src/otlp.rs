//! Spans to an OpenTelemetry collector: OTLP over plain HTTP, protobuf.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, Uri};
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tokio::runtime::{Handle, Runtime};
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;

use crate::config::Config;
use crate::error::Error;

/// Time for one export, and for the last one.
const EXPORT_MAX: Duration = Duration::from_secs(3);
/// What the exporter itself is made of: its spans would beget exports without end.
const OWN_TARGETS: [&str; 6] = [
    "h2",
    "hyper",
    "hyper_util",
    "opentelemetry",
    "opentelemetry_sdk",
    "tower",
];

/// The exporter and the threads it has for itself. Batches are made on a thread of OpenTelemetry's,
/// outside any runtime, and sent on this runtime: so the last batch can be sent even by a caller who
/// blocks the runtime it is called on.
pub(crate) struct Otlp {
    provider: SdkTracerProvider,
    runtime: Option<Runtime>,
}

impl Otlp {
    pub(crate) fn start(config: &Config, endpoint: &str) -> Result<Self, Error> {
        let url = traces_url(endpoint)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("otlp")
            .enable_all()
            .build()
            .map_err(Error::Start)?;
        let client = Client {
            inner: HyperClient::with_default_connector(EXPORT_MAX, None),
            runtime: runtime.handle().clone(),
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(url)
            .with_timeout(EXPORT_MAX)
            .build()
            .map_err(|error| Error::Endpoint {
                endpoint: endpoint.to_owned(),
                reason: error.to_string(),
            })?;
        let sampler =
            Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.sample_ratio)));
        let resource = Resource::builder()
            .with_service_name(config.service.clone())
            .with_attribute(KeyValue::new("service.instance.id", config.node.clone()))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(sampler)
            .with_resource(resource)
            .build();
        Ok(Self {
            provider,
            runtime: Some(runtime),
        })
    }

    /// The layer that makes OpenTelemetry's spans of tracing's, from level info on.
    pub(crate) fn layer<S>(&self) -> Box<dyn Layer<S> + Send + Sync>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let own = OWN_TARGETS.map(|target| (target, LevelFilter::OFF));
        let filter = Targets::new()
            .with_default(LevelFilter::INFO)
            .with_targets(own);
        let tracer = self.provider.tracer("brink");
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_filter(filter)
            .boxed()
    }

    /// Sends what is waiting. Blocks, for some seconds at most.
    pub(crate) fn flush(&self) {
        if let Err(error) = self.provider.force_flush() {
            tracing::warn!(%error, "spans were not exported");
        }
    }
}

impl Drop for Otlp {
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown_with_timeout(EXPORT_MAX) {
            tracing::warn!(%error, "the last spans were not exported");
        }
        // Not a plain drop: that may not be done within another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// `endpoint` with the path of OTLP's traces.
fn traces_url(endpoint: &str) -> Result<String, Error> {
    let wrong = |reason: &str| Error::Endpoint {
        endpoint: endpoint.to_owned(),
        reason: reason.to_owned(),
    };
    let uri: Uri = endpoint.parse().map_err(|_| wrong("not a URL"))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => {
            return Err(wrong(
                "only http:// is spoken; put a collector beside this process",
            ));
        }
        _ => return Err(wrong("not an http:// URL")),
    }
    if uri.query().is_some() {
        return Err(wrong("it has a query"));
    }
    Ok(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
}

/// hyper's client needs its runtime around it; the exporter's thread has none.
#[derive(Debug)]
struct Client {
    inner: HyperClient,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.inner.clone();
        self.runtime
            .spawn(async move { client.send_bytes(request).await })
            .await?
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn endpoints_are_checked() {
        for (endpoint, expected) in [
            (
                "http://127.0.0.1:4318",
                Some("http://127.0.0.1:4318/v1/traces"),
            ),
            (
                "http://127.0.0.1:4318/",
                Some("http://127.0.0.1:4318/v1/traces"),
            ),
            (
                "http://collector/otlp",
                Some("http://collector/otlp/v1/traces"),
            ),
            ("https://collector", None),
            ("127.0.0.1:4318", None),
            ("http://collector/?a=b", None),
            ("", None),
        ] {
            assert_eq!(traces_url(endpoint).ok().as_deref(), expected, "{endpoint}");
        }
    }
}
