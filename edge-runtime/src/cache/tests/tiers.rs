//! Bounds of memory, and who gets which part of it.

use super::*;
use brink_protocol::purge::Selector;
use bytes::Bytes;

async fn fill_with(cache: &Cache, ask: &Ask, bytes: usize) {
    let fill = ask.forward(cache, now()).await;
    fill.complete(head(200, FRESH), vec![b'x'; bytes].into(), none(), now());
}

#[tokio::test]
async fn memory_stays_under_its_bound_whatever_the_sizes() {
    let cache = open(Config {
        memory_bytes_max: 4 << 20,
        object_bytes_max: 1 << 20,
        ..small()
    })
    .await;
    let mut random = 1_u64;
    for n in 0..3_000 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let bytes = (random >> 44) >> ((random >> 33) % 16);
        fill_with(
            &cache,
            &get(&format!("/{n}")),
            usize::try_from(bytes).unwrap(),
        )
        .await;
        let figures = cache.figures();
        assert!(figures.bytes <= 4 << 20, "{figures:?}");
        // Those who waited for it find it.
        assert!(get(&format!("/{n}")).is_hit(&cache).await, "{n}: {bytes}");
    }
    assert!(cache.figures().bytes > 2 << 20);
    // Those that left memory have left the tag index, too.
    let counted = cache.count(&get("/").tenant, &[Selector::Host("h".into())]);
    assert_eq!(counted.0, cache.figures().entries);
}

#[tokio::test]
async fn a_tenant_that_reads_everything_once_leaves_anothers_entries_alone() {
    let cache = open(Config {
        memory_bytes_max: 4 << 20,
        object_bytes_max: 1 << 20,
        ..small()
    })
    .await;
    for n in 0..50 {
        fill_with(&cache, &get(&format!("/{n}")), 10_000).await;
    }
    for n in 0..5_000 {
        let other = Ask {
            tenant: "other".parse().unwrap(),
            ..get(&format!("/{n}"))
        };
        fill_with(&cache, &other, 10_000).await;
    }
    for n in 0..50 {
        assert!(get(&format!("/{n}")).is_hit(&cache).await, "/{n}");
    }
}

/// What takes the place of an entry does so on disk too, whether or not it was in memory.
#[tokio::test]
async fn the_newest_counts_in_both_tiers() {
    let dir = tempfile::tempdir().unwrap();
    let cache = on_disk(dir.path()).await;
    for body in ["a", "b", "c"] {
        let ask = get("/").with("cache-control", "no-cache");
        let fill = ask.forward(&cache, now()).await;
        fill.complete(
            head(200, FRESH),
            Bytes::from_static(body.as_bytes()),
            none(),
            now(),
        );
    }
    cache.close().await.unwrap();
    drop(cache);
    let cache = on_disk(dir.path()).await;
    assert_eq!(get("/").hit(&cache, now()).await.body, "c");
}
