//! Micro benches of the pure crates: what is on the way of each request, change or message.
#![allow(missing_docs, clippy::unwrap_used)]

use brink_policy::{
    coherence::{Applied, Dependency, Replica, TagIndex, Touch, Walk, tags, touched_by},
    http::{
        Connection, Lifetime, RequestDirectives, ResponseDirectives, reuse, reuse::Stored,
        storable, storable::Candidate,
    },
    key::CacheKey,
    routes::RouteTable,
};
use brink_protocol::{
    Position, TenantName,
    change::{Change, ChangeKind, Phase, RecordChange},
    codec,
    deployment::{Route, Target, WhenDisconnected, default_tenant},
    link::FeedMessage,
};
use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, Method, StatusCode};
use std::{
    hint::black_box,
    time::{Duration, Instant, SystemTime},
};

fn change() -> FeedMessage {
    let partition = brink_protocol::address::PartitionAddress {
        tenant: "default".parse().unwrap(),
        collection: "stock".into(),
        partition: "ams-1".into(),
    };
    let records = vec![RecordChange {
        sort: "sku/100017".into(),
        version: Some(42),
    }];
    FeedMessage::Change(Change {
        origin: "core-1.1".parse().unwrap(),
        sequence: 123_456,
        at_ms: 1_790_000_000_000,
        kind: ChangeKind::Records {
            partition,
            records,
            phase: Phase::Written,
        },
    })
}

fn protocol(criterion: &mut Criterion) {
    let change = change();
    let frame = codec::encode(&change).unwrap();
    criterion.bench_function("feed/encode change", |b| {
        b.iter(|| codec::encode_frame(black_box(&change)).unwrap())
    });
    criterion.bench_function("feed/decode change", |b| {
        b.iter(|| codec::decode::<FeedMessage>(black_box(&frame)).unwrap())
    });
    let a: Position = "core-1.1=42,core-2.1=7,core-3.2=9".parse().unwrap();
    let b: Position = "core-1.1=40,core-2.1=9,core-3.2=9".parse().unwrap();
    criterion.bench_function("position/covers", |bench| {
        bench.iter(|| black_box(&a).covers(black_box(&b)))
    });
}

fn fields(fields: &[(&'static str, &str)]) -> HeaderMap {
    let fields = fields
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    fields.collect()
}

/// What is decided of an answer that comes, and of one that is stored.
fn caching(criterion: &mut Criterion) {
    let request = fields(&[
        ("accept", "*/*"),
        ("cache-control", "max-age=0, max-stale=60"),
    ]);
    let response = fields(&[
        ("content-type", "text/plain"),
        ("etag", "\"a1b2c3\""),
        (
            "cache-control",
            "public, max-age=60, s-maxage=600, stale-while-revalidate=30",
        ),
    ]);
    criterion.bench_function("cache/Cache-Control of a request", |b| {
        b.iter(|| RequestDirectives::of(black_box(&request)))
    });
    criterion.bench_function("cache/Cache-Control of a response", |b| {
        b.iter(|| ResponseDirectives::of(black_box(&response)))
    });
    let candidate = Candidate {
        method: &Method::GET,
        request: &request,
        request_no_store: false,
        status: StatusCode::OK,
        response: &response,
        by_origin: false,
        lifetime: None,
        negative: brink_protocol::caching::Negative::default(),
        received: SystemTime::UNIX_EPOCH,
    };
    assert_eq!(storable(&candidate).unwrap().fresh_seconds, 600);
    criterion.bench_function("cache/may it be stored", |b| {
        b.iter(|| storable(black_box(&candidate)))
    });
    let (plain, lifetime) = (RequestDirectives::default(), Lifetime::fresh_for(600));
    let stored = Stored {
        lifetime: &lifetime,
        age_seconds: 7,
        soft_purged: false,
    };
    criterion.bench_function("cache/may it be served", |b| {
        b.iter(|| reuse(black_box(&plain), black_box(&stored), Connection::Connected))
    });
    let tenant = default_tenant();
    criterion.bench_function("cache/key", |b| {
        b.iter(|| {
            CacheKey::new(
                &tenant,
                "https",
                "shop.example",
                black_box("/items/4711?size=m"),
            )
        })
    });
}

/// A write of one record that nothing here depends on.
fn unrelated(sequence: u64) -> Change {
    let FeedMessage::Change(mut change) = change() else {
        unreachable!("it is made as one");
    };
    change.sequence = sequence;
    if let ChangeKind::Records { records, .. } = &mut change.kind {
        for record in records {
            record.sort = format!("sku/{sequence:012}");
        }
    }
    change
}

/// What a change costs that ends nothing here, and what a hit pays for being held against the changes.
fn coherence(criterion: &mut Criterion) {
    const TAGS_MAX: usize = 1 << 18;
    const ENTRIES: u64 = 100_000;
    const CHANGES: u64 = 4096;
    let tenant: TenantName = default_tenant();
    let tags_of = |path: &str| {
        let tags = tags::implicit(&tenant, "shop.example", path);
        tags.into_iter().map(Dependency::Tag).collect::<Vec<_>>()
    };
    let mut index = TagIndex::default();
    for id in 0..ENTRIES {
        index.insert(id, id, 1, &tags_of(&format!("/items/{id}")));
    }
    let mut replica = Replica::new(TAGS_MAX);
    let mut sequence = 0u64;
    let apply = |replica: &mut Replica, change: &Change| {
        let touch = touched_by(change);
        let applied = replica.apply(change, &touch);
        assert!(!index.may_match(&touch));
        applied
    };
    // Twice what is remembered, so that the table is full and drops its oldest.
    for _ in 0..2 * TAGS_MAX {
        sequence += 1;
        assert_ne!(apply(&mut replica, &unrelated(sequence)), Applied::Gap);
    }
    // What arrives is read from the feed before it is applied: made beforehand here too.
    criterion.bench_function("coherence/apply what ends nothing", |b| {
        b.iter_custom(|iterations| {
            let (mut left, mut spent) = (iterations, Duration::ZERO);
            while left > 0 {
                let count = left.min(CHANGES);
                let changes: Vec<_> = (1..=count).map(|n| unrelated(sequence + n)).collect();
                let begun = Instant::now();
                for change in &changes {
                    black_box(apply(&mut replica, change));
                }
                spent += begun.elapsed();
                sequence += count;
                left -= count;
            }
            spent
        })
    });
    let (entry, now) = (tags_of("/items/4711?size=m"), replica.changes().index());
    criterion.bench_function("coherence/verdict on a hit", |b| {
        b.iter(|| replica.verdict(black_box(&entry), black_box(now)))
    });
}

/// One slice of a purge that ends a million entries: for so long the index is held.
fn purge(criterion: &mut Criterion) {
    const ENTRIES: u64 = 1_000_000;
    const SLICE: usize = 256;
    let mut index = TagIndex::default();
    for id in 0..ENTRIES {
        index.insert(id, id, 1, &[Dependency::Tag(7), Dependency::Tag(1000 + id)]);
    }
    let touch = Touch::hard(&[7]);
    let mut walk = Walk::over(&touch, ENTRIES);
    criterion.bench_function("coherence/slice of a purge of 1,000,000", |b| {
        b.iter(|| {
            let mut met = Vec::with_capacity(SLICE);
            if walk.slice(&index, SLICE, &mut met) {
                walk = Walk::over(&touch, ENTRIES);
            }
            met
        })
    });
    criterion.bench_function("coherence/count of a purge of 1,000,000", |b| {
        b.iter(|| index.count(black_box(7)))
    });
}

fn routes(criterion: &mut Criterion) {
    const HOSTS: usize = 100;
    const PATHS: usize = 10;
    let route = |index: usize| Route {
        tenant: default_tenant(),
        host: Some(format!("h{}.example", index / PATHS)),
        path: format!("/api/v1/part{}", index % PATHS),
        target: Target::Module("m".parse().unwrap()),
        plugins: vec![],
        when_disconnected: WhenDisconnected::ServeStale,
        show_coherence: false,
        session_cookie: false,
        cache: Default::default(),
    };
    let table = RouteTable::new((0..HOSTS * PATHS).map(route).collect());
    assert!(
        table
            .find("h42.example", "/api/v1/part7/items/4711")
            .is_some()
    );
    criterion.bench_function("routes/find among 1,000", |b| {
        b.iter(|| {
            table.find(
                black_box("h42.example"),
                black_box("/api/v1/part7/items/4711"),
            )
        })
    });
}

criterion_group!(benches, protocol, caching, coherence, purge, routes);
criterion_main!(benches);
