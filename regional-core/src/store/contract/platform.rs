//! Records of the platform among those of its guests.

use super::*;
use brink_protocol::event::{HEAD_SORT, event_sort, range_after};

fn sorts(page: &brink_protocol::record::Page) -> Vec<&str> {
    page.entries
        .iter()
        .map(|entry| entry.sort.as_str())
        .collect()
}

/// A scan passes over rows of the platform, unless it begins at one.
pub(super) async fn scans_pass_over_the_platforms_rows(store: &dyn Store) {
    let mut writes: Vec<_> = ["", "a", "b"]
        .iter()
        .map(|sort| put(sort, "guest", Condition::Always))
        .collect();
    // More than one request of any engine.
    let events: Vec<String> = (1..=200).map(event_sort).collect();
    writes.extend(
        events
            .iter()
            .map(|sort| put(sort, "event", Condition::Absent)),
    );
    writes.push(put(HEAD_SORT, "head", Condition::Absent));
    versions_of(store, transaction("p", writes)).await;
    let incl = |sort: &str| Bound::Inclusive(sort.into());
    let excl = |sort: &str| Bound::Exclusive(sort.into());
    for (lower, upper, limit, expected, more) in [
        (
            Bound::Unbounded,
            Bound::Unbounded,
            9,
            &["", "a", "b"][..],
            false,
        ),
        (Bound::Unbounded, Bound::Unbounded, 2, &["", "a"], true),
        (Bound::Unbounded, Bound::Unbounded, 1, &[""], true),
        (Bound::Unbounded, incl(""), 9, &[""], false),
        (Bound::Unbounded, excl(""), 9, &[], false),
        (Bound::Unbounded, incl("\u{1}z"), 9, &[""], false),
        (incl(""), excl("b"), 9, &["", "a"], false),
        (excl(""), Bound::Unbounded, 9, &["a", "b"], false),
        (excl(""), excl("\u{1}z"), 9, &[], false),
        (incl("a"), Bound::Unbounded, 9, &["a", "b"], false),
        (
            incl(HEAD_SORT),
            Bound::Unbounded,
            9,
            &[HEAD_SORT, "a", "b"],
            false,
        ),
    ] {
        let mut range = Range {
            lower,
            upper,
            limit,
            ..whole("p", limit)
        };
        let page = store.scan(&tenant(), &range, NOW).await.unwrap();
        assert_eq!(
            (sorts(&page), page.more),
            (expected.to_vec(), more),
            "{range:?}"
        );
        if !more {
            range.descending = true;
            let page = store.scan(&tenant(), &range, NOW).await.unwrap();
            let backwards: Vec<_> = expected.iter().rev().copied().collect();
            assert_eq!((sorts(&page), page.more), (backwards, false), "{range:?}");
        }
    }
    let page = store
        .scan(&tenant(), &range_after("stock", "p", 150, 1000), NOW)
        .await
        .unwrap();
    assert_eq!((page.entries.len(), page.more), (50, false));
    // What was seen of a range is not changed by what it passes over.
    let mut blind = transaction("p", vec![put(&event_sort(201), "event", Condition::Absent)]);
    blind.seen = vec![Seen::Range {
        range: whole("p", 9),
        entries: vec![(String::new(), 1), ("a".into(), 1), ("b".into(), 1)],
        more: false,
    }];
    versions_of(store, blind.clone()).await;
    blind.writes = vec![put(&event_sort(202), "event", Condition::Absent)];
    versions_of(store, blind).await;
}

/// Sort keys of the platform have a rule of their own.
pub(super) async fn keys_are_checked(store: &dyn Store) {
    for (sort, is_allowed) in [
        ("\u{1}e1", true),
        ("\u{1}\n", false),
        ("\u{2}", false),
        ("a\u{1}", false),
    ] {
        let write = put(sort, "x", Condition::Always);
        let written = store.commit(transaction("p", vec![write])).await;
        assert_eq!(written.is_ok(), is_allowed, "{sort:?}");
        let read = store.get(&tenant(), &key("p", sort), NOW).await;
        assert_eq!(read.is_ok(), is_allowed, "{sort:?}");
    }
}

/// Events that have ended leave nothing behind, and other records their version.
pub(super) async fn ended_events_leave_nothing(store: &dyn Store) {
    let event = event_sort(1);
    let mut ends = put(&event, "x", Condition::Absent);
    ends.action = Action::Put {
        value: Bytes::from_static(b"x"),
        expires_at_ms: Some(NOW + 10),
    };
    let mut record = ends.clone();
    record.sort = "s".into();
    versions_of(store, transaction("p", vec![ends, record])).await;
    let before = log(store).await.len();
    assert_eq!(store.sweep(NOW + 10, 100).await.unwrap().records, 2);
    let told: Vec<_> = log(store).await[before..]
        .iter()
        .filter_map(|change| match &change.kind {
            ChangeKind::Records { records, .. } => Some(records.clone()),
            _ => None,
        })
        .flatten()
        .map(|record| (record.sort, record.version))
        .collect();
    assert!(told.contains(&(event.clone(), None)), "{told:?}");
    let last = async |sort: &str| {
        store
            .last_version(&tenant(), &key("p", sort))
            .await
            .unwrap()
    };
    assert_eq!((last(&event).await, last("s").await), (0, 1));
    assert_eq!(get(store, "p", &event, NOW + 10).await, None);
    assert_eq!(store.sweep(NOW + 10, 100).await.unwrap().records, 0);
    // One that is deleted, beside a write, leaves nothing either.
    let other = event_sort(2);
    versions_of(
        store,
        transaction("p", vec![put(&other, "x", Condition::Absent)]),
    )
    .await;
    let both = vec![
        delete(&other, Condition::Version(1)),
        put("t", "y", Condition::Always),
    ];
    assert_eq!(
        versions_of(store, transaction("p", both)).await,
        [None, Some(1)]
    );
    assert_eq!(last(&other).await, 0);
}
