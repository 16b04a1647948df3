//! Micro benches of the pure crates: what is on the way of each request, change or message.
#![allow(missing_docs, clippy::unwrap_used)]

use brink_protocol::{
    Position,
    change::{Change, ChangeKind, RecordChange},
    codec,
    link::FeedMessage,
};
use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;

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
            settled: true,
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

criterion_group!(benches, protocol);
criterion_main!(benches);
