//! The words say what is decided.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::http::Lifetime;
use proptest::prelude::*;

fn lifetimes() -> impl Strategy<Value = Lifetime> {
    let seconds = || prop_oneof![Just(0u64), 1u64..40];
    (
        seconds(),
        seconds(),
        seconds(),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(fresh, swr, sie, must_revalidate, always_validate)| Lifetime {
                fresh_seconds: fresh,
                while_revalidate_seconds: swr,
                if_error_seconds: sie,
                must_revalidate,
                always_validate,
            },
        )
}

fn requests() -> impl Strategy<Value = RequestDirectives> {
    let seconds = || prop::option::of(0u64..40);
    let flag = || prop::bool::weighted(0.2);
    (seconds(), seconds(), seconds(), flag(), flag()).prop_map(
        |(max_age, min_fresh, max_stale, no_cache, only_if_cached)| RequestDirectives {
            max_age,
            min_fresh,
            max_stale,
            no_cache,
            no_store: false,
            only_if_cached,
        },
    )
}

fn connections() -> impl Strategy<Value = Connection> {
    prop_oneof![
        Just(Connection::Connected),
        Just(Connection::Silent(WhenDisconnected::Revalidate)),
        Just(Connection::Silent(WhenDisconnected::ServeStale)),
        Just(Connection::Silent(WhenDisconnected::Fail)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]
    /// The questions lead to the verdict that requests go by, and at least one of them is told.
    #[test]
    fn the_words_lead_to_the_verdict(
        request in requests(), lifetime in lifetimes(), age_seconds in 0u64..60, soft_purged in any::<bool>(),
        connection in connections(),
    ) {
        let stored = Stored { lifetime: &lifetime, age_seconds, soft_purged };
        let (walked, reasons) = walk(&request, &stored, connection);
        prop_assert_eq!(walked, reuse(&request, &stored, connection));
        prop_assert_eq!(explain_reuse(&request, &stored, connection), (walked, reasons.clone()));
        prop_assert!(!reasons.is_empty());
    }
}

#[test]
fn in_words() {
    let lifetime = Lifetime {
        while_revalidate_seconds: 30,
        ..Lifetime::fresh_for(60)
    };
    for (age_seconds, expected) in [
        (10, "it is fresh for 50 s more"),
        (
            70,
            "stale-while-revalidate=30 lets it be served while it is validated",
        ),
        (100, "stale-while-revalidate=30 is over"),
    ] {
        let stored = Stored {
            lifetime: &lifetime,
            age_seconds,
            soft_purged: false,
        };
        let (_, reasons) = explain_reuse(
            &RequestDirectives::default(),
            &stored,
            Connection::Connected,
        );
        assert_eq!(reasons.last().unwrap().text, expected);
    }
}
