//! Cores that die, stand still or end in order, and what the others make of it.

use super::{CqlStore, Options, fresh, intended, of, one_record, partition_of, row};
use crate::store::{
    Member, Store as _,
    cql::{
        origins,
        partition::{self, Outcome, Reading, RowState, anchor},
    },
};
use brink_protocol::log::Log;
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, time::Instant};

/// As short as beats allow.
const SILENT_MAX: Duration = Duration::from_secs(3);

async fn options() -> Options {
    Options {
        silent_max: SILENT_MAX,
        ..fresh("core-1").await
    }
}

async fn until_live(live: &mut watch::Receiver<Arc<Vec<Member>>>, nodes: &[&str]) {
    let are_these = |live: &Arc<Vec<Member>>| {
        let names = live.iter().map(|member| member.node.as_str());
        names.eq(nodes.iter().copied())
    };
    live.wait_for(are_these).await.unwrap();
}

/// The process is gone between its intent and its write; nobody starts it again.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_core_that_died_left_open_is_settled_by_another() {
    let options = options().await;
    let dying = CqlStore::open(&options).await.unwrap();
    let heirs = [
        CqlStore::open(&of(&options, "core-2")).await.unwrap(),
        CqlStore::open(&of(&options, "core-3")).await.unwrap(),
    ];
    for heir in &heirs {
        until_live(&mut heir.members().live(), &["core-1", "core-2", "core-3"]).await;
    }
    let origin = dying.origin().clone();
    dying.commit(one_record("p", "1")).await.unwrap();
    let engine = Arc::clone(&dying.engine);
    let of_open = partition_of("p");
    let before = anchor(&engine.session, &of_open, Reading::Quorum).await;
    let before = before.unwrap();
    let intent = engine.log.append(1, intended("p")).await.unwrap();
    // It says nothing any more. What it has sent may still arrive.
    drop(dying);
    for heir in &heirs {
        let mut held = heir.held();
        held.wait_for(|held| held.heads.get(&origin) > intent)
            .await
            .unwrap();
        let log = heir.changes(&origin, 0, 100).await.unwrap();
        let found = Log::recover(origin.clone(), &log).unwrap();
        assert_eq!(found.open().count(), 0, "{log:?}");
        let patience = Duration::from_secs(60);
        let waited = heir.engine.logs.wait_settled(&origin, intent, patience);
        assert!(waited.await.unwrap().get(&origin) > intent);
        // Nothing that the dead core could acknowledge is unknown: leases go on.
        let since = heir.held().borrow().looked_at;
        heir.engine.looks.look().await.unwrap();
        assert!(heir.held().borrow().looked_at > since);
        until_live(&mut heir.members().live(), &["core-2", "core-3"]).await;
    }
    let late = row(Some(RowState::new(1, None)));
    let deadline = Instant::now() + Duration::from_secs(60);
    let late = partition::commit(&engine.session, &of_open, &before, &[late], deadline).await;
    assert!(matches!(late, Ok(Outcome::Refused)), "{late:?}");
    // It was only silent: it notices, and ends.
    assert!(
        origins::check(&engine.session, &engine.claim)
            .await
            .is_err()
    );
    assert!(engine.looks.look().await.is_err());
    assert!(engine.failed.is_cancelled());
    assert!(engine.log.append(1, intended("p")).await.is_err());
    // Under its name it goes on where the other has ended.
    let back = CqlStore::open(&options).await.unwrap();
    assert_eq!(*back.origin(), origin);
    back.commit(one_record("p", "2")).await.unwrap();
    let head = back.span().head;
    let mut held = heirs[0].held();
    held.wait_for(|held| held.heads.get(&origin) == head)
        .await
        .unwrap();
    until_live(
        &mut heirs[0].members().live(),
        &["core-1", "core-2", "core-3"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_core_that_ends_in_order_is_not_waited_for() {
    let options = Options {
        silent_max: Duration::from_secs(600),
        ..options().await
    };
    let leaving = CqlStore::open(&options).await.unwrap();
    let other = CqlStore::open(&of(&options, "core-2")).await.unwrap();
    let mut live = other.members().live();
    until_live(&mut live, &["core-1", "core-2"]).await;
    let addresses = ("a:7444".to_owned(), "a:7443".to_owned());
    let members = leaving.members();
    members
        .announce(addresses.0.clone(), addresses.1)
        .await
        .unwrap();
    let is_told = |live: &Arc<Vec<Member>>| {
        live[0]
            .link
            .as_ref()
            .is_some_and(|link| *link == addresses.0)
    };
    live.wait_for(is_told).await.unwrap();
    let intent = leaving.engine.log.append(1, intended("p")).await.unwrap();
    members.leave().await.unwrap();
    drop(members);
    let origin = leaving.origin().clone();
    drop(leaving);
    until_live(&mut live, &["core-2"]).await;
    let mut held = other.held();
    held.wait_for(|held| held.heads.get(&origin) > intent)
        .await
        .unwrap();
}

/// One that lives is left alone, however long something of it is open; so is one of another region.
#[tokio::test(flavor = "multi_thread")]
async fn only_near_cores_that_are_gone_are_taken_over() {
    let options = options().await;
    let far = Options {
        region: Some("elsewhere".parse().unwrap()),
        ..of(&options, "core-0")
    };
    let far = CqlStore::open(&far).await.unwrap();
    let living = CqlStore::open(&options).await.unwrap();
    let other = CqlStore::open(&of(&options, "core-2")).await.unwrap();
    for store in [&far, &living] {
        store.engine.log.append(1, intended("p")).await.unwrap();
    }
    let gone = far.origin().clone();
    drop(far);
    until_live(&mut other.members().live(), &["core-1", "core-2"]).await;
    for store in [&living, &other] {
        assert!(!store.engine.members.is_heir_of(&gone.node));
        assert!(!store.engine.members.is_heir_of(&living.origin().node));
        store.engine.looks.look().await.unwrap();
    }
    let mut open = other.engine.logs.open_elsewhere();
    open.sort();
    assert_eq!(open, [gone, living.origin().clone()]);
    assert!(!living.failed().is_cancelled());
}
