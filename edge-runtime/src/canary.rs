//! The canary: a record that the core's prober keeps writing, read here as any answer is, through the cache. What the
//! cache says of it in each report tells the core how stale this PoP is, by the core's own clock.

use crate::{
    cache::{Cache, CacheRequest, Dependencies, Fill, Lookup, Ruled},
    link::{Asker, Link},
};
use brink_protocol::{
    ModuleName, TenantName,
    address::RecordAddress,
    deployment::WhenDisconnected,
    link::{Canary, RecordOperation, RecordOutcome, RecordsAnswer, RecordsRequest, canary, path},
    record::{Key, Version},
    tag::Tag,
};
use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

/// How long an answer of the cache is waited for: a report does not wait for a disk.
const WAIT_MAX: Duration = Duration::from_millis(50);
/// How long it is stored when nothing changes.
const LIFETIME: Duration = Duration::from_secs(86_400);
/// Host of its cache key; no client can ask for it, for no route of its tenant exists.
const HOST: &str = "canary.brink.internal";

/// Reads the canary.
pub struct CanaryReader {
    cache: Cache,
    link: Link,
    tenant: TenantName,
    module: ModuleName,
    is_filling: AtomicBool,
}

impl CanaryReader {
    /// Reads it from `cache`, and through `link` when it is not there.
    #[must_use]
    pub fn new(cache: Cache, link: Link) -> Self {
        let (Ok(tenant), Ok(module)) = (canary::TENANT.parse(), "prober".parse()) else {
            unreachable!("both are labels")
        };
        Self {
            cache,
            link,
            tenant,
            module,
            is_filling: AtomicBool::new(false),
        }
    }

    /// What the cache answers now. None: it has to be asked for first, which is done beside.
    pub async fn read(self: &Arc<Self>) -> Option<Canary> {
        if self.is_filling.load(Ordering::Acquire) {
            return None;
        }
        match tokio::time::timeout(WAIT_MAX, self.look_up()).await.ok()? {
            Lookup::Hit(answer) => Some(Canary {
                version: version(&answer.body)?,
                is_hit: true,
            }),
            Lookup::Forward(fill) => {
                self.is_filling.store(true, Ordering::Release);
                let reader = Arc::clone(self);
                tokio::spawn(async move {
                    reader.fill(fill).await;
                    reader.is_filling.store(false, Ordering::Release);
                });
                None
            }
            Lookup::Unavailable(_) => None,
        }
    }

    async fn look_up(&self) -> Lookup {
        let headers = HeaderMap::new();
        let request = CacheRequest {
            tenant: &self.tenant,
            scheme: "https",
            host: HOST,
            path_and_query: "/",
            extra: Some(""),
            ruled: Ruled::default(),
            method: &Method::GET,
            headers: &headers,
            has_content: false,
            set_on_way: &[],
            when_disconnected: WhenDisconnected::ServeStale,
            at_least: None,
            is_uncached: false,
            pop: None,
        };
        self.cache.lookup(&request, SystemTime::now()).await
    }

    async fn fill(&self, fill: Fill) {
        let key = Key {
            collection: canary::COLLECTION.into(),
            partition: canary::PARTITION.into(),
            sort: canary::SORT.into(),
        };
        let address = RecordAddress::new(self.tenant.clone(), key.clone());
        let request = RecordsRequest {
            tenant: self.tenant.clone(),
            module: self.module.clone(),
            at_least: self.cache.position(),
            operation: RecordOperation::Get(vec![key]),
        };
        let answer = self
            .link
            .read::<_, RecordsAnswer>(path::RECORDS, &request, Asker::default())
            .await;
        let (position, version) = match answer {
            Ok(RecordsAnswer {
                position,
                outcome: Ok(RecordOutcome::Entries(entries)),
            }) => (position, written(entries.into_iter().next().flatten())),
            Ok(other) => {
                tracing::debug!(outcome = ?other.outcome.err(), "the canary cannot be read");
                return;
            }
            Err(error) => {
                tracing::debug!(%error, "the canary cannot be read");
                return;
            }
        };
        let dependencies = Dependencies {
            tags: vec![Tag::Record {
                partition: address.partition,
                sort: address.sort,
            }],
            lifetime: Some(LIFETIME),
            position,
            ..Dependencies::default()
        };
        let head = Response::new(()).into_parts().0;
        let body = Bytes::from(version.to_string());
        // What is stored is read again for the next report.
        let _ = fill.complete(head, body, dependencies, SystemTime::now());
    }
}

fn written(entry: Option<brink_protocol::record::Entry>) -> Version {
    entry.map_or(0, |entry| entry.version)
}

fn version(body: &[u8]) -> Option<Version> {
    std::str::from_utf8(body).ok()?.parse().ok()
}
