//! Changes of placements over a real store.

#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use crate::store::{Options, RedbStore};
use crate::{refusal::Refusal, store::NewAudit};
use brink_protocol::{
    control::Role,
    placement::{Collection, Pending, Placement, Step},
};

struct Nobody;

/// Other regions that have nothing.
fn nobody() -> Weak<dyn Regions> {
    static NOBODY: OnceLock<Arc<dyn Regions>> = OnceLock::new();
    Arc::downgrade(NOBODY.get_or_init(|| Arc::new(Nobody)))
}

#[async_trait]
impl Regions for Nobody {
    async fn is_empty_at(&self, _: &RegionName, _: &TenantName, _: &str) -> Result<bool, Error> {
        Ok(true)
    }

    fn known(&self) -> BTreeSet<RegionName> {
        BTreeSet::new()
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
        audit_ms: None,
        archive: false,
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
    let placements = Placements::load(Arc::clone(&store), own, false);
    let placements = placements.await.unwrap();
    placements.begin_with(nobody());
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
    let declare = |to| placements.declare(&caller, "customers", to);
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
    let placements = Placements::load(store, None, false);
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
    let refused = placements.declare(&caller, "customers", to.clone());
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
    placements.declare(&caller, "customers", to).await.unwrap();
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

fn step(name: &str, to: Option<Collection>) -> Step {
    Step::Collection {
        tenant: "default".parse().unwrap(),
        name: name.into(),
        to,
    }
}

/// Puts a change into the table, as another core does.
async fn tell(store: &dyn Store, at_ms: u64, step: Step) {
    let mut table = store.placements(true).await.unwrap();
    table.begin(Pending {
        id: format!("{at_ms}"),
        at_ms,
        by: "other".into(),
        step,
    });
    let audit = NewAudit {
        by: "t".into(),
        tenant: "default".parse().unwrap(),
        action: "t",
        subject: String::new(),
        at_ms: 1,
    };
    let revision = table.revision;
    assert!(
        store
            .change_placements(revision, table, audit)
            .await
            .unwrap()
    );
}

async fn until(placements: &Placements, is_so: impl Fn(&PlacementTable) -> bool) {
    while !is_so(&placements.refresh(true).await.unwrap()) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn one_change_of_a_tenant_at_a_time_and_none_for_ever() {
    let (_folder, store, placements) = opened().await;
    let eu = geo(&[("eu", "eu")]);
    tell(&*store, now_ms(), step("customers", Some(eu.clone()))).await;
    placements.refresh(true).await.unwrap();
    let refused = placements.writing(&at("customers", "x")).unwrap_err();
    assert!(matches!(refused, Error::Region { .. }), "{refused}");
    let (root, mut other) = (caller(), caller());
    let hash = Collection {
        name: "carts".into(),
        placement: Placement::Hash {},
        ..eu.clone()
    };
    let refused = placements.declare(&root, "carts", Some(hash.clone()));
    let refused = refused.await.unwrap_err();
    assert!(
        matches!(&refused, Refusal::Conflict(text) if !text.contains("customers")),
        "{refused}"
    );
    other.tenant = "shop".parse().unwrap();
    let own = Collection {
        tenant: other.tenant.clone(),
        ..hash
    };
    let others = placements.declare(&other, "carts", Some(own)).await;
    assert_eq!(
        others.unwrap(),
        Declared::Done,
        "another tenant is not held up"
    );
    let lost = Promotion {
        from: "us".parse().unwrap(),
        to: "eu".parse().unwrap(),
        data_center: None,
    };
    placements.promote(&root, &lost).await.unwrap();
    // What was left behind is done, not undone.
    placements.end_left(now_ms());
    until(&placements, |table| table.all_pending().count() == 0).await;
    assert!(placements.writing(&at("customers", "eu/x")).is_ok());
    assert!(placements.writing(&at("customers", "fr/x")).is_err());
}

/// Whoever asks may go away, and ask again.
#[tokio::test]
async fn a_change_goes_on_without_who_asked_for_it() {
    let (_folder, store, placements) = opened().await;
    let (caller, eu) = (caller(), geo(&[("eu", "eu")]));
    {
        let declaring = placements.declare(&caller, "customers", Some(eu.clone()));
        let told = until(&placements, |table| !table.declaring.is_empty());
        tokio::select! {
            _ = declaring => panic!("it waits for writes first"),
            () = told => {}
        }
    }
    let again = placements.declare(&caller, "customers", Some(eu.clone()));
    again.await.unwrap();
    let table = store.placements(true).await.unwrap();
    assert!(table.all_pending().count() == 0 && table.main.is_none());
    assert_eq!(table.collection(&caller.tenant, "customers"), Some(&eu));
}

#[tokio::test]
async fn a_promotion_takes_the_place_of_a_change_of_the_main_region() {
    let (_folder, store, placements) = opened().await;
    let main = Step::Main {
        to: Some("us".parse().unwrap()),
    };
    tell(&*store, now_ms(), main).await;
    let lost = Promotion {
        from: "us".parse().unwrap(),
        to: "eu".parse().unwrap(),
        data_center: None,
    };
    let promoted = placements.promote(&caller(), &lost).await.unwrap();
    assert_eq!(promoted, Declared::Done);
    let table = store.placements(true).await.unwrap();
    assert!(table.main.is_none() && table.pending.is_none());
}

/// A core's former life left a change behind.
#[tokio::test]
async fn a_core_that_begins_goes_on_with_what_it_left() {
    let (_folder, store, placements) = opened().await;
    tell(
        &*store,
        now_ms(),
        step("customers", Some(geo(&[("eu", "eu")]))),
    )
    .await;
    drop(placements);
    let own = Some("eu".parse().unwrap());
    let placements = Placements::load(store, own, false).await.unwrap();
    placements.begin_with(nobody());
    until(&placements, |table| {
        table.all_pending().count() == 0 && table.collections.len() == 1
    })
    .await;
}
