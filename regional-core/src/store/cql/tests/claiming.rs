//! As many cores as there may be, and what becomes of their logs when they go.

use super::{CqlStore, Options, fresh, intended, of, one_record};
use crate::store::{Member, Store as _, cql::origins};
use brink_protocol::{
    log::Log,
    position::{NODE_BYTES_MAX, ORIGINS_MAX},
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// Begins logs of cores that nobody has heard of: nobody may go on with them.
async fn leave_room_for_one_log(one: &CqlStore) {
    for n in 2..ORIGINS_MAX {
        let node = format!("core-{n}").parse().unwrap();
        let begun = origins::begin(&one.engine.session, &node).await;
        assert!(begun.ok().unwrap().is_some());
    }
}

async fn refused(options: &Options) -> String {
    match CqlStore::open(options).await {
        Err(error) => error.to_string(),
        Ok(store) => panic!("{} has joined", store.origin()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_come_and_go_and_logs_are_gone_on_with() {
    let options = Options {
        silent_max: Duration::from_secs(3),
        ..fresh("core-1").await
    };
    let one = CqlStore::open(&options).await.unwrap();
    let long = "n".repeat(NODE_BYTES_MAX + 1);
    let reason = refused(&of(&options, &long)).await;
    assert!(reason.contains("name of a core"), "{reason}");
    leave_room_for_one_log(&one).await;
    let last = CqlStore::open(&of(&options, "last")).await.unwrap();
    let origin = last.origin().clone();
    assert_eq!(origin.node.as_str(), "last");
    let began = Instant::now();
    one.engine.looks.look().await.unwrap();
    println!("a look at {ORIGINS_MAX} logs: {:?}", began.elapsed());
    assert_eq!(one.held().borrow().kept.len(), ORIGINS_MAX);
    // All live, or are not known to be gone.
    let reason = refused(&of(&options, "more")).await;
    assert!(reason.contains("64 cores"), "{reason}");
    let mut live = one.members().live();
    let is_in = |live: &Arc<Vec<Member>>| live.iter().any(|core| core.node.as_str() == "more");
    live.wait_for(|live| !is_in(live)).await.unwrap();
    // One leaves, with something open: another name goes on with its log.
    last.commit(one_record("p", "1")).await.unwrap();
    let intent = last.engine.log.append(1, intended("q")).await.unwrap();
    last.members().leave().await.unwrap();
    drop(last);
    let more = CqlStore::open(&of(&options, "more")).await.unwrap();
    assert_eq!(*more.origin(), origin);
    assert!(more.span().head > intent);
    let log = more.changes(&origin, 0, 100).await.unwrap();
    assert_eq!(
        Log::recover(origin.clone(), &log).unwrap().open().count(),
        0
    );
    more.commit(one_record("p", "2")).await.unwrap();
    let is_told = |live: &Arc<Vec<Member>>| {
        let mut live = live.iter();
        live.any(|core| core.node.as_str() == "more" && core.log == origin.node)
    };
    live.wait_for(is_told).await.unwrap();
    // It is another's while that lives, also for the core whose name it has.
    let reason = refused(&of(&options, "last")).await;
    assert!(reason.contains("64 cores"), "{reason}");
    assert!(!more.failed().is_cancelled());
    more.commit(one_record("p", "3")).await.unwrap();
    // It is killed, and is back before anybody takes it for gone.
    drop(more);
    let more = CqlStore::open(&of(&options, "more")).await.unwrap();
    assert_eq!(*more.origin(), origin);
    more.commit(one_record("p", "4")).await.unwrap();
    let head = more.span().head;
    drop(more);
    let back = CqlStore::open(&of(&options, "last")).await.unwrap();
    assert_eq!((back.origin(), back.span().head), (&origin, head));
    back.commit(one_record("p", "5")).await.unwrap();
}

/// Both want the one log that is left: one has it, and the other is refused, not shut out later.
#[tokio::test(flavor = "multi_thread")]
async fn two_do_not_go_on_with_one_log() {
    let options = Options {
        silent_max: Duration::from_secs(3),
        ..fresh("core-1").await
    };
    let one = CqlStore::open(&options).await.unwrap();
    leave_room_for_one_log(&one).await;
    let last = CqlStore::open(&of(&options, "last")).await.unwrap();
    let origin = last.origin().clone();
    last.members().leave().await.unwrap();
    drop(last);
    let (left, right) = (of(&options, "left"), of(&options, "right"));
    let (left, right) = tokio::join!(CqlStore::open(&left), CqlStore::open(&right));
    let [taken] = <[CqlStore; 1]>::try_from(left.into_iter().chain(right).collect::<Vec<_>>())
        .unwrap_or_else(|all| panic!("{} have it", all.len()));
    assert_eq!(*taken.origin(), origin);
    taken.commit(one_record("p", "1")).await.unwrap();
    taken.engine.looks.look().await.unwrap();
    assert!(!taken.failed().is_cancelled());
}
