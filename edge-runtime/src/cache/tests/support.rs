//! What the tests share: a cache, requests, answers, changes.

pub(super) use crate::cache::{
    Answer, Cache, CacheRequest, Config, Dependencies, Fill, Lookup, PopAsks, Ruled,
};
use brink_protocol::{
    TenantName,
    address::PartitionAddress,
    change::{Change, ChangeKind, Phase, RecordChange},
    deployment::{WhenDisconnected, default_tenant},
    purge::{Purge, Selector},
    record::{Bound, Range},
    tag::Tag,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Response, response::Parts};
use std::{
    path::Path,
    time::{Duration, SystemTime},
};

pub(super) type Fields<'a> = &'a [(&'static str, &'a str)];

pub(super) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

pub(super) fn later(seconds: u64) -> SystemTime {
    now() + Duration::from_secs(seconds)
}

pub(super) fn small() -> Config {
    Config {
        memory_bytes_max: 64 << 20,
        disk_bytes_max: 64 << 20,
        object_bytes_max: 64 << 10,
        ..Config::default()
    }
}

pub(super) async fn open(config: Config) -> Cache {
    Cache::open(config, &"ams".parse().unwrap()).await.unwrap()
}

pub(super) async fn memory() -> Cache {
    open(small()).await
}

pub(super) async fn on_disk(dir: &Path) -> Cache {
    open(Config {
        dir: Some(dir.to_owned()),
        ..small()
    })
    .await
}

pub(super) fn map(fields: Fields<'_>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(HeaderName::from_static(name), value.parse().unwrap());
    }
    map
}

/// A request that a test sends.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) tenant: TenantName,
    pub(super) method: Method,
    pub(super) host: &'static str,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) has_content: bool,
    pub(super) set_on_way: Vec<HeaderName>,
    pub(super) when_disconnected: WhenDisconnected,
    pub(super) at_least: Option<brink_protocol::Position>,
    pub(super) is_uncached: bool,
    pub(super) extra: &'static str,
    pub(super) ruled: Ruled,
    pub(super) pop: Option<PopAsks>,
}

pub(super) fn get(path: &str) -> Ask {
    Ask {
        tenant: default_tenant(),
        method: Method::GET,
        host: "h",
        path: path.to_owned(),
        headers: HeaderMap::new(),
        has_content: false,
        set_on_way: Vec::new(),
        when_disconnected: WhenDisconnected::default(),
        at_least: None,
        is_uncached: false,
        pop: None,
        extra: "",
        ruled: Ruled::default(),
    }
}

impl Ask {
    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(name, value.parse().unwrap());
        self
    }

    /// A field that a plugin set.
    pub(super) fn set(mut self, name: &'static str, value: &str) -> Self {
        self.set_on_way.push(HeaderName::from_static(name));
        self.with(name, value)
    }

    pub(super) fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    pub(super) async fn lookup(&self, cache: &Cache, now: SystemTime) -> Lookup {
        let request = CacheRequest {
            tenant: &self.tenant,
            scheme: "https",
            host: self.host,
            extra: Some(self.extra),
            ruled: self.ruled,
            path_and_query: &self.path,
            method: &self.method,
            headers: &self.headers,
            has_content: self.has_content,
            set_on_way: &self.set_on_way,
            when_disconnected: self.when_disconnected,
            at_least: self.at_least.as_ref(),
            is_uncached: self.is_uncached,
            pop: self.pop,
        };
        cache.lookup(&request, now).await
    }

    pub(super) async fn hit(&self, cache: &Cache, now: SystemTime) -> Answer {
        match self.lookup(cache, now).await {
            Lookup::Hit(answer) => answer,
            other => panic!("{} is no hit: {other:?}", self.path),
        }
    }

    pub(super) async fn forward(&self, cache: &Cache, now: SystemTime) -> Fill {
        match self.lookup(cache, now).await {
            Lookup::Forward(fill) => fill,
            other => panic!("{} does not go forward: {other:?}", self.path),
        }
    }

    /// Looks it up, which must miss, and completes the fill.
    pub(super) async fn fill(
        &self,
        cache: &Cache,
        fields: Fields<'_>,
        body: &'static str,
        on: Dependencies,
    ) -> Answer {
        self.forward(cache, now()).await.complete(
            head(200, fields),
            Bytes::from_static(body.as_bytes()),
            on,
            now(),
        )
    }

    pub(super) async fn is_hit(&self, cache: &Cache) -> bool {
        matches!(self.lookup(cache, now()).await, Lookup::Hit(_))
    }
}

pub(super) fn head(status: u16, fields: Fields<'_>) -> Parts {
    let mut response = Response::new(());
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
    *response.headers_mut() = map(fields);
    response.into_parts().0
}

pub(super) fn status_line(answer: &Answer) -> String {
    field(answer, "cache-status").unwrap().to_owned()
}

pub(super) fn field<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer
        .head
        .headers
        .get(name)
        .map(|value| value.to_str().unwrap())
}

pub(super) const FRESH: Fields<'static> = &[("cache-control", "max-age=60")];

pub(super) fn none() -> Dependencies {
    Dependencies::default()
}

pub(super) fn depends(tags: Vec<Tag>) -> Dependencies {
    Dependencies {
        tags,
        ..Dependencies::default()
    }
}

pub(super) fn partition(name: &str) -> PartitionAddress {
    PartitionAddress {
        tenant: default_tenant(),
        collection: "stock".into(),
        partition: name.into(),
    }
}

pub(super) fn record(partition_name: &str, sort: &str) -> Tag {
    Tag::Record {
        partition: partition(partition_name),
        sort: sort.into(),
    }
}

pub(super) fn range(partition_name: &str) -> Tag {
    ranging(partition_name, Bound::Unbounded, Bound::Unbounded)
}

/// From `lower` to before `upper`.
pub(super) fn range_between(partition_name: &str, lower: &str, upper: &str) -> Tag {
    let (lower, upper) = (
        Bound::Inclusive(lower.into()),
        Bound::Exclusive(upper.into()),
    );
    ranging(partition_name, lower, upper)
}

fn ranging(partition_name: &str, lower: Bound, upper: Bound) -> Tag {
    let range = Range {
        collection: "stock".into(),
        partition: partition_name.into(),
        lower,
        upper,
        limit: 10,
        descending: false,
    };
    Tag::Range {
        tenant: default_tenant(),
        range,
    }
}

fn change(sequence: u64, kind: ChangeKind) -> Change {
    Change {
        origin: "core-1.1".parse().unwrap(),
        sequence,
        at_ms: 0,
        kind,
    }
}

pub(super) fn purge(sequence: u64, selector: Selector, soft: bool) -> Change {
    let purge = Purge {
        id: "01J".into(),
        tenant: default_tenant(),
        selectors: vec![selector],
        soft,
    };
    change(sequence, ChangeKind::Purge(purge))
}

pub(super) fn written(sequence: u64, partition_name: &str, sort: &str) -> Change {
    let records = vec![RecordChange {
        sort: sort.into(),
        version: Some(1),
    }];
    change(
        sequence,
        ChangeKind::Records {
            partition: partition(partition_name),
            records,
            phase: Phase::Written,
        },
    )
}

pub(super) fn deployed(sequence: u64, module: &str) -> Change {
    let modules = vec![module.parse().unwrap()];
    change(
        sequence,
        ChangeKind::Deployments {
            revision: sequence,
            tenant: default_tenant(),
            modules,
        },
    )
}
