//! What two cores must see of each other whose stores are on one engine.

use super::{NOW, get, increments, log, put, tenant, transaction, versions_of};
use crate::store::{Appended, Commit, Store};
use brink_protocol::{change::Change, link::Condition, log::Kept, record::Key};
use std::sync::Arc;

/// Runs every case, each on two fresh stores of different nodes on one engine.
pub(crate) async fn two<S: Store>(make: impl AsyncFn() -> (S, S)) {
    let (a, b) = make().await;
    assert!(a.is_shared() && b.is_shared());
    logs_of_others_are_seen(&a, &b).await;
    records_are_one(&a, &b).await;
    let (a, b) = make().await;
    let (a, b): (Arc<dyn Store>, Arc<dyn Store>) = (Arc::new(a), Arc::new(b));
    increments_are_not_lost(Arc::clone(&a), Arc::clone(&b)).await;
    logs_are_followed_without_gaps(a, b).await;
}

/// What one core appends under load, another reads as it goes, entry by entry.
async fn logs_are_followed_without_gaps(a: Arc<dyn Store>, b: Arc<dyn Store>) {
    let begin = b.span().head;
    let load: Vec<_> = (0..16)
        .map(|n| {
            let b = Arc::clone(&b);
            tokio::spawn(async move {
                for _ in 0..20 {
                    let write = put("s", "v", Condition::Always);
                    versions_of(&*b, transaction(&format!("f{n}"), vec![write])).await;
                }
            })
        })
        .collect();
    // 16 tasks, 20 commits, two entries each.
    let end = begin + 16 * 20 * 2;
    let origin = b.origin();
    let mut held = a.held();
    let mut last = begin;
    while last < end {
        let head = held.borrow_and_update().heads.get(origin);
        // A reading may have gone further than what was seen of the head.
        if head <= last {
            held.changed().await.unwrap();
            continue;
        }
        let read = a.changes(origin, last, 50).await.unwrap();
        assert!(
            !read.is_empty(),
            "there is something up to {head}, after {last}"
        );
        for change in read {
            last += 1;
            assert_eq!(change.sequence, last);
        }
    }
    for task in load {
        task.await.unwrap();
    }
    assert_eq!(log(&*b).await.len() as u64, b.span().head);
}

async fn logs_of_others_are_seen(a: &dyn Store, b: &dyn Store) {
    let origin = b.origin();
    let mut held = a.held();
    for n in 0..3 {
        let write = put(&n.to_string(), "v", Condition::Always);
        versions_of(b, transaction("p", vec![write])).await;
    }
    let head = b.span().head;
    held.wait_for(|held| held.heads.get(origin) >= head)
        .await
        .unwrap();
    let kept = held.borrow().kept.get(origin).copied();
    assert_eq!(kept, Some(Kept { oldest: 1, head }));
    let theirs = log(b).await;
    assert_eq!(a.changes(origin, 0, 100).await.unwrap(), theirs);
    assert_eq!(a.changes(origin, head - 1, 100).await.unwrap().len(), 1);
    assert_eq!(a.span().head, 0, "its own is another");
    // What the other hands on is there already, whether it was seen yet or not.
    let write = put("new", "v", Condition::Always);
    versions_of(b, transaction("p", vec![write])).await;
    let newest = log(b).await;
    let handed_on = a.append_foreign(newest.clone()).await.unwrap();
    assert_eq!(handed_on, Appended::Held);
    let head = b.span().head;
    assert_eq!(a.held().borrow().heads.get(origin), head);
    let Some(last) = newest.last().cloned() else {
        panic!("it has entries")
    };
    let beyond = Change {
        sequence: head + 1,
        ..last
    };
    let refused = a.append_foreign(vec![beyond]).await.unwrap();
    let gap = Appended::Gap {
        origin: origin.clone(),
        head,
    };
    assert_eq!(refused, gap);
    a.restart_foreign(origin.clone(), head).await.unwrap();
    let read = a.changes(origin, 0, 100).await.unwrap();
    assert_eq!(read, newest, "nothing is lost");
}

async fn records_are_one(a: &dyn Store, b: &dyn Store) {
    let write = put("r", "1", Condition::Absent);
    versions_of(a, transaction("shared", vec![write.clone()])).await;
    assert_eq!(get(b, "shared", "r", NOW).await.unwrap().version, 1);
    let refused = b.commit(transaction("shared", vec![write])).await.unwrap();
    assert_eq!(refused, Commit::Conflict { present: Some(1) });
    let write = put("r", "2", Condition::Version(1));
    assert_eq!(
        versions_of(b, transaction("shared", vec![write])).await,
        [Some(2)]
    );
    let key = Key {
        collection: "stock".into(),
        partition: "shared".into(),
        sort: "r".into(),
    };
    assert_eq!(a.last_version(&tenant(), &key).await.unwrap(), 2);
}

/// Both add to one record as fast as they can.
async fn increments_are_not_lost(a: Arc<dyn Store>, b: Arc<dyn Store>) {
    assert_eq!(increments(vec![a.clone(), b.clone(), a, b]).await, 20);
}
