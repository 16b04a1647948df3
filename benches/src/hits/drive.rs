//! The edge's own cache, driven through the calls that the pipeline makes.

use anyhow::{Context as _, Result};
use brink_edge::cache::{Cache, CacheRequest, Config, Dependencies, Lookup, Ruled};
use brink_protocol::{
    TenantName,
    deployment::{WhenDisconnected, default_tenant},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, header::CACHE_CONTROL};
use std::time::SystemTime;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Hit,
    /// It was fetched and stored.
    Filled,
}

/// A cache, and the requests that are sent to it.
#[derive(Debug)]
pub(crate) struct Driven {
    pub(crate) cache: Cache,
    tenant: TenantName,
    headers: HeaderMap,
    now: SystemTime,
}

impl Driven {
    pub(crate) async fn open(config: Config) -> Result<Self> {
        let pop = "bench".parse().ok().context("a name of a PoP")?;
        Ok(Self {
            cache: Cache::open(config, &pop).await?,
            tenant: default_tenant(),
            headers: HeaderMap::new(),
            now: SystemTime::now(),
        })
    }

    /// Asks for an object; on a miss its answer has `body`.
    pub(crate) async fn ask(&self, object: u64, body: impl FnOnce() -> Bytes) -> Asked {
        let path = format!("/objects/{object:012}");
        let request = CacheRequest {
            tenant: &self.tenant,
            scheme: "https",
            host: "bench.example",
            path_and_query: &path,
            extra: Some(""),
            ruled: Ruled::default(),
            method: &Method::GET,
            headers: &self.headers,
            has_content: false,
            set_on_way: &[],
            when_disconnected: WhenDisconnected::default(),
            at_least: None,
            is_uncached: false,
            pop: None,
        };
        match self.cache.lookup(&request, self.now).await {
            Lookup::Hit(_) => Asked::Hit,
            Lookup::Unavailable(_) => Asked::Filled,
            Lookup::Forward(fill) => {
                let mut response = Response::new(());
                let fresh = HeaderValue::from_static("max-age=86400");
                response.headers_mut().insert(CACHE_CONTROL, fresh);
                let (head, ()) = response.into_parts();
                fill.complete(head, body(), Dependencies::default(), self.now);
                Asked::Filled
            }
        }
    }

    /// What an entry weighs beside its body, in bytes.
    pub(crate) async fn entry_bytes() -> Result<u64> {
        let driven = Self::open(Config::default()).await?;
        driven.ask(0, Bytes::new).await;
        Ok(driven.cache.figures().bytes)
    }
}
