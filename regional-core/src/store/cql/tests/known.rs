//! What is remembered of a partition decides nothing: others may have written it since.

use super::two;
use crate::store::{Action, Commit, CqlStore, Store as _, contract::one_record};
use brink_protocol::link::Condition;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

async fn versions(store: &CqlStore, transaction: crate::store::Transaction) -> Commit {
    store.commit(transaction).await.unwrap()
}

async fn is_known(store: &CqlStore, transaction: &crate::store::Transaction) -> bool {
    let deadline = Instant::now() + Duration::from_secs(60);
    let partition = &transaction.partition;
    let known = store.engine.alone(partition, deadline).await.unwrap();
    let session = store.engine.keyspaces.of(partition).await.unwrap();
    let session = Arc::downgrade(&session);
    let known = known.expect("a lock");
    known.view(transaction, &session, Instant::now()).is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_have_written_is_seen_whatever_is_remembered() {
    let [a, b] = two().await;
    let done = |commit: Commit| match commit {
        Commit::Done { versions, .. } => versions,
        other => panic!("{other:?}"),
    };
    let put = |value: &str| one_record("p", value);
    assert!(!is_known(&a, &put("1")).await);
    assert_eq!(done(versions(&a, put("1")).await), [Some(1)]);
    assert!(is_known(&a, &put("2")).await);
    assert_eq!(done(versions(&a, put("2")).await), [Some(2)]);
    assert_eq!(done(versions(&b, put("3")).await), [Some(3)]);
    // Remembered as of version 2.
    assert_eq!(done(versions(&a, put("4")).await), [Some(4)]);
    assert_eq!(done(versions(&b, put("5")).await), [Some(5)]);
    let mut conditional = put("6");
    conditional.writes[0].condition = Condition::Version(4);
    let refused = versions(&a, conditional.clone()).await;
    assert!(matches!(refused, Commit::Conflict { present: Some(5) }));
    conditional.writes[0].condition = Condition::Version(5);
    assert_eq!(done(versions(&a, conditional).await), [Some(6)]);
    // What is deleted is not remembered; what is taken to be absent need not be.
    let mut delete = put("");
    delete.writes[0].action = Action::Delete;
    versions(&a, delete).await;
    assert!(!is_known(&a, &put("7")).await);
    assert_eq!(done(versions(&b, put("7")).await), [Some(7)]);
    let mut new = put("8");
    new.writes[0].condition = Condition::Absent;
    assert!(is_known(&a, &new).await, "as far as it knows");
    let refused = versions(&a, new).await;
    assert!(matches!(refused, Commit::Conflict { present: Some(7) }));
}
