//! Changes of placements over a real store.

#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use crate::store::{Options, RedbStore};
use brink_protocol::{
    control::Role,
    placement::{Collection, Placement},
};

struct Nobody;

#[async_trait]
impl Regions for Nobody {
    async fn is_empty_at(&self, _: &RegionName, _: &TenantName, _: &str) -> Result<bool, Error> {
        Ok(true)
    }
}

fn caller() -> crate::tokens::Caller {
    crate::tokens::Caller {
        id: "root".into(),
        role: Role::Admin,
        tenant: "default".parse().unwrap(),
    }
}

fn geo(regions: &[(&str, &str)]) -> Collection {
    let regions = regions
        .iter()
        .map(|(prefix, name)| ((*prefix).to_owned(), name.parse().unwrap()));
    Collection {
        tenant: "default".parse().unwrap(),
        name: "customers".into(),
        placement: Placement::Geo {
            regions: regions.collect(),
            pinned: true,
        },
        home: None,
    }
}

fn at(collection: &str, partition: &str) -> PartitionAddress {
    PartitionAddress {
        tenant: "default".parse().unwrap(),
        collection: collection.into(),
        partition: partition.into(),
    }
}

async fn opened() -> (tempfile::TempDir, Arc<dyn Store>, Arc<Placements>) {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::new(folder.path(), "core-1".parse().unwrap());
    let store: Arc<dyn Store> = Arc::new(RedbStore::open(&options).unwrap());
    let own = Some("eu".parse().unwrap());
    let placements = Placements::load(Arc::clone(&store), own, false, Duration::ZERO);
    let placements = placements.await.unwrap();
    (folder, store, placements)
}

#[tokio::test]
async fn declared_places_are_followed_and_kept() {
    let (folder, store, placements) = opened().await;
    let (caller, both) = (caller(), geo(&[("eu", "eu"), ("us", "us")]));
    assert_eq!(
        placements.writing(&at("customers", "x")).unwrap().home,
        Home::Here
    );
    let declare = |to| placements.declare(&Nobody, &caller, "customers", to);
    assert_eq!(declare(Some(both.clone())).await.unwrap(), Declared::Done);
    assert_eq!(
        declare(Some(both.clone())).await.unwrap(),
        Declared::Unchanged
    );
    let us: RegionName = "us".parse().unwrap();
    for (partition, expected) in [
        ("eu/C1", Some(Home::Here)),
        ("us/C1", Some(Home::At(us.clone()))),
        ("fr/C1", None),
    ] {
        let partition = at("customers", partition);
        let writing = placements.writing(&partition).ok();
        assert_eq!(writing.map(|writing| writing.home), expected);
        assert_eq!(placements.reading(&partition).ok(), expected);
    }
    assert!(placements.current().pending.is_none());
    let audit = store.audit(None, None, 10).await.unwrap();
    assert!(audit.iter().any(|entry| entry.action == "collection.put"));
    drop((placements, store));
    let options = Options::new(folder.path(), "core-1".parse().unwrap());
    let store: Arc<dyn Store> = Arc::new(RedbStore::open(&options).unwrap());
    let placements = Placements::load(store, None, false, Duration::ZERO);
    let kept = placements.await.unwrap().current();
    assert_eq!(kept.collection(&caller.tenant, "customers"), Some(&both));
}

#[tokio::test]
async fn what_would_move_is_refused() {
    let (_folder, store, placements) = opened().await;
    let caller = caller();
    let transaction = |partition: &str| crate::store::Transaction {
        partition: at("customers", partition),
        seen: Vec::new(),
        writes: vec![crate::store::Write {
            sort: String::new(),
            action: crate::store::Action::Put {
                value: "1".into(),
                expires_at_ms: None,
            },
            condition: brink_protocol::link::Condition::Always,
        }],
        answer: None,
        now_ms: 1,
    };
    store.commit(transaction("eu/C1")).await.unwrap();
    let to = Some(geo(&[("eu", "eu")]));
    let refused = placements.declare(&Nobody, &caller, "customers", to.clone());
    let refused = refused.await.unwrap_err().to_string();
    assert!(refused.contains("has records"), "{refused}");
    assert!(
        placements.current().pending.is_none(),
        "it takes writes again"
    );
    assert!(placements.writing(&at("customers", "x")).is_ok());
    let main = placements.set_main(&caller, Some("us".parse().unwrap()));
    assert!(main.await.is_err(), "records lie at their home");
    let mut gone = transaction("eu/C1");
    gone.writes
        .iter_mut()
        .for_each(|write| write.action = crate::store::Action::Delete);
    store.commit(gone).await.unwrap();
    placements
        .declare(&Nobody, &caller, "customers", to)
        .await
        .unwrap();
    let lost = Promotion {
        from: "us".parse().unwrap(),
        to: "eu".parse().unwrap(),
        data_center: None,
    };
    placements.promote(&caller, &lost).await.unwrap();
    let back = Promotion {
        from: "eu".parse().unwrap(),
        to: "us".parse().unwrap(),
        data_center: None,
    };
    assert!(
        placements.promote(&caller, &back).await.is_err(),
        "a circle"
    );
}

#[tokio::test]
async fn one_change_at_a_time_and_none_for_ever() {
    let (_folder, store, placements) = opened().await;
    let pending = |at_ms| PlacementTable {
        pending: Some(Pending {
            id: "other".into(),
            at_ms,
            about: brink_protocol::placement::About::Collection(
                "default".parse().unwrap(),
                "customers".into(),
            ),
        }),
        ..PlacementTable::default()
    };
    let audit = || NewAudit {
        by: "t".into(),
        tenant: "default".parse().unwrap(),
        action: "t",
        subject: String::new(),
        at_ms: 1,
    };
    assert!(
        store
            .change_placements(0, pending(now_ms()), audit())
            .await
            .unwrap()
    );
    assert!(
        !store
            .change_placements(0, pending(1), audit())
            .await
            .unwrap()
    );
    placements.refresh(true).await.unwrap();
    let refused = placements.writing(&at("customers", "x")).unwrap_err();
    assert!(matches!(refused, Error::Region { .. }), "{refused}");
    let caller = caller();
    let other = placements.declare(&Nobody, &caller, "customers", Some(geo(&[("eu", "eu")])));
    assert!(other.await.is_err());
    assert!(
        store
            .change_placements(1, pending(1), audit())
            .await
            .unwrap()
    );
    let table = placements.refresh(true).await.unwrap();
    placements.end_what_was_left(&table).await.unwrap();
    placements.refresh(true).await.unwrap();
    assert!(placements.writing(&at("customers", "x")).is_ok());
}
