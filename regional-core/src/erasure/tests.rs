//! Erasures of an embedded store without PoPs, and of what a killed core left.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
use super::*;
use crate::{
    backup::BackupConfig,
    clock::now_ms,
    deployments::Tables,
    exchange::Peers,
    pops::Pops,
    purges::{AskPops, PurgesConfig},
    store::{ANSWER_LIFETIME_MS, NewAnswer, Options, RedbStore},
};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use brink_protocol::{
    Digest, PopName,
    link::{AppliedPurge, PopFigures, Report},
    operations::{ERASED_MAX, ErasedPartition, ErasedRecord, SignedCertificate},
};
use bytes::Bytes;

struct Under {
    store: Arc<dyn Store>,
    erasures: Arc<Erasures>,
    pops: Arc<Pops>,
    directory: tempfile::TempDir,
}

async fn under_test() -> Under {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new(directory.path(), "core-1".parse().unwrap());
    let store: Arc<dyn Store> = Arc::new(RedbStore::open(&options).unwrap());
    let (erasures, pops) = erasures(&store, directory.path()).await;
    Under {
        store,
        erasures,
        pops,
        directory,
    }
}

async fn erasures(
    store: &Arc<dyn Store>,
    directory: &std::path::Path,
) -> (Arc<Erasures>, Arc<Pops>) {
    let pops = Pops::load(Arc::clone(store), Duration::from_secs(2))
        .await
        .unwrap();
    let tables = Tables::load(Arc::clone(store)).await.unwrap();
    let ask: AskPops = Arc::new(|_| Ok(()));
    let peers = Peers::new("core-1".parse().unwrap(), std::iter::empty());
    let config = PurgesConfig::default();
    let held = Arc::clone(&pops);
    let purges = Purges::new(Arc::clone(store), pops, tables, ask, peers, config).unwrap();
    let signer = Signer::open(&directory.join("certificates.key")).unwrap();
    let outside = Outside {
        backup: BackupConfig::default(),
        log_changes_max: 1000,
        workflows_ms: 1000,
        topics: Vec::new(),
    };
    let node = "core-1".parse().unwrap();
    let store = Arc::clone(store);
    let erasures = Erasures::new(store, purges, signer, outside, &node, now_ms);
    (erasures, held)
}

fn tenant() -> TenantName {
    "default".parse().unwrap()
}

async fn put(store: &dyn Store, collection: &str, partition: &str, sorts: &[&str], key: &str) {
    let write = |sort: &&str| Write {
        sort: (*sort).to_owned(),
        action: Action::Put {
            value: Bytes::from_static(b"personal"),
            expires_at_ms: None,
        },
        condition: Condition::Always,
    };
    let transaction = Transaction {
        partition: address(&tenant(), collection, partition),
        seen: Vec::new(),
        writes: sorts.iter().map(write).collect(),
        answer: Some(NewAnswer {
            command: "order".parse().unwrap(),
            key: key.into(),
            input: Digest::of(b""),
            output: Bytes::from_static(b"personal"),
            lifetime_ms: ANSWER_LIFETIME_MS,
        }),
        now_ms: now_ms(),
    };
    store.commit(transaction).await.unwrap();
}

async fn fill(store: &dyn Store) {
    for turn in ["1", "2"] {
        put(store, "people", "ann", &["", "name", "mail"], turn).await;
        put(store, "people", "bob", &["", "name"], turn).await;
        put(store, "orders", "7", &["ann", "bob"], turn).await;
    }
}

/// An erasure that has come so far.
fn begun(stage: ErasureStage) -> Work {
    Work {
        tenant: tenant(),
        erasure: Erasure {
            id: ulid::Ulid::new().to_string(),
            stage,
            asked_ms: 1,
            by: "t1".into(),
            certificate: None,
        },
        plan: of_ann(),
        erased: Default::default(),
        position: Default::default(),
        purge: None,
        touched_ms: 1,
    }
}

fn of_ann() -> NewErasure {
    NewErasure {
        partitions: vec![ErasedPartition {
            collection: "people".into(),
            partition: "ann".into(),
        }],
        records: vec![ErasedRecord {
            collection: "orders".into(),
            partition: "7".into(),
            sort: "ann".into(),
        }],
    }
}

async fn done(under: &Erasures, id: &str) -> SignedCertificate {
    loop {
        let status = under.status(&tenant(), id).await.unwrap().unwrap();
        if let Some(certificate) = status.certificate {
            assert_eq!(status.stage, ErasureStage::Done);
            return certificate;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn left(store: &dyn Store, collection: &str, partition: &str) -> usize {
    let partition = address(&tenant(), collection, partition);
    store.kept(&partition, None, 100).await.unwrap().len()
}

async fn is_ann_gone(store: &dyn Store) {
    assert_eq!(left(store, "people", "ann").await, 0);
    // Two records and two answers; one record that is gone, one that is there, and two answers.
    assert_eq!(left(store, "people", "bob").await, 4);
    assert_eq!(left(store, "orders", "7").await, 4);
    assert!(kept::open(store, now_ms()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_erased_with_proof() {
    let under = under_test().await;
    fill(&*under.store).await;
    let erasure = under
        .erasures
        .begin(tenant(), "t1", of_ann())
        .await
        .unwrap();
    let signed = done(&under.erasures, &erasure.id).await;
    while !kept::open(&*under.store, now_ms())
        .await
        .unwrap()
        .is_empty()
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    is_ann_gone(&*under.store).await;
    let key = STANDARD.decode(&signed.key).unwrap();
    let signature = STANDARD.decode(&signed.signature).unwrap();
    let verifier = UnparsedPublicKey::new(&ED25519, &key);
    verifier
        .verify(signed.certificate.as_bytes(), &signature)
        .unwrap();
    let forged = signed.certificate.replace("people", "nobody");
    assert!(verifier.verify(forged.as_bytes(), &signature).is_err());
    assert_eq!(signed.key, under.erasures.key());
    let certificate: Certificate = serde_json::from_str(&signed.certificate).unwrap();
    let erased: Vec<(&str, u64, u64)> = certificate
        .erased
        .iter()
        .map(|of| (of.collection.as_str(), of.records, of.others))
        .collect();
    // Three tombstones and two answers.
    assert_eq!(erased, [("orders", 1, 0), ("people", 3, 5)]);
    assert_eq!(
        certificate.subjects,
        ["people\0ann", "orders\u{0}7\u{0}ann"].map(|text| Digest::of(text.as_bytes()).to_string())
    );
    assert!(certificate.purge.waiting.is_empty());
    assert!(certificate.purge.position.covers(&certificate.position));
    assert!(!signed.certificate.contains("ann\""));
    let kept = kept::read(&*under.store, &tenant(), &erasure.id, now_ms()).await;
    assert_eq!(kept.unwrap().unwrap().plan, NewErasure::default());
    let audit = under.store.audit(Some(&tenant()), None, 10).await.unwrap();
    let actions: Vec<&str> = audit.iter().map(|entry| entry.action.as_str()).collect();
    assert!(actions.contains(&"erasure.begin") && actions.contains(&"erasure.done"));
}

/// A core is killed before each of the writes that an erasure does; another goes on.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_core_left_is_gone_on_with() {
    for stage in [
        ErasureStage::Deleting,
        ErasureStage::Purging,
        ErasureStage::Checking,
    ] {
        let under = under_test().await;
        fill(&*under.store).await;
        let mut work = begun(stage);
        kept::begin(&*under.store, &work, 1).await.unwrap();
        if stage != ErasureStage::Deleting {
            // Something was deleted, and something came back.
            work.erasure.stage = ErasureStage::Deleting;
            under.erasures.delete(&mut work).await.unwrap();
            put(&*under.store, "people", "ann", &["name"], "3").await;
            work.erasure.stage = stage;
            work.touched_ms = 1;
            kept::keep(&*under.store, &work, 1).await.unwrap();
        }
        let (other, _) = erasures(&under.store, under.directory.path()).await;
        other.look().await.unwrap();
        done(&other, &work.erasure.id).await;
        while !kept::open(&*under.store, now_ms())
            .await
            .unwrap()
            .is_empty()
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        is_ann_gone(&*under.store).await;
    }
}

#[tokio::test]
async fn what_is_not_allowed_is_refused() {
    let under = under_test().await;
    let mut too_many = of_ann();
    too_many.partitions = vec![too_many.partitions[0].clone(); ERASED_MAX];
    let mut wrong = of_ann();
    wrong.partitions[0].collection = "People".into();
    for plan in [NewErasure::default(), too_many, wrong] {
        let refused = under.erasures.begin(tenant(), "t1", plan).await;
        assert!(refused.is_err());
    }
}

fn report(pop: &PopName, position: &str) -> Report {
    Report {
        pop: pop.clone(),
        position: position.parse().unwrap(),
        revision: 0,
        purges: Vec::new(),
        counts: Vec::new(),
        canary: None,
        log_lines: Vec::new(),
        log_lines_dropped: 0,
        figures: PopFigures::default(),
    }
}

/// What another core deleted is gone from a PoP when that has come as far in the other core's log, whatever it says of the
/// purge, which is in this core's.
#[tokio::test(flavor = "multi_thread")]
async fn a_pop_has_to_come_as_far_in_the_logs_of_all_cores() {
    let under = under_test().await;
    let ams: PopName = "ams".parse().unwrap();
    let _following = under.pops.follow(&ams, now_ms());
    let purges = &under.erasures.purges;
    let (asker, key) = (Asker::Token("t1".into()), "k".parse().unwrap());
    let mut order = Order::confirmed(tenant(), asker, vec![Selector::Key(key)], false);
    order.behind = "core-2.1=7".parse().unwrap();
    let id = purges.order(order, now_ms()).await.unwrap().status().id;
    let state = async || purges.status(&tenant(), &id).await.unwrap().unwrap();
    let applied = AppliedPurge {
        id: id.clone(),
        at_ms: 7,
        objects: 3,
    };
    let noted = under.store.note_applied(&ams, &[applied], now_ms()).await;
    noted.unwrap();
    for (position, expected) in [
        ("core-1.1=100000", (1, 0)),
        ("core-2.1=6", (1, 0)),
        ("core-2.1=7", (0, 1)),
    ] {
        under.pops.report(&report(&ams, position), now_ms());
        let status = state().await;
        let found = (status.waiting.len(), status.applied.len());
        assert_eq!(found, expected, "{position}");
    }
    assert_eq!(state().await.applied[0].objects, 3, "as it said");
}

/// One that takes longer than others wait for a core is not begun again by the core that goes on with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_erasure_goes_on_once() {
    let under = under_test().await;
    fill(&*under.store).await;
    let work = begun(ErasureStage::Deleting);
    kept::begin(&*under.store, &work, 1).await.unwrap();
    let id = work.erasure.id.clone();
    under.erasures.under_way().insert(id.clone());
    under.erasures.look().await.unwrap();
    let untouched = kept::read(&*under.store, &tenant(), &id, now_ms()).await;
    assert_eq!(untouched.unwrap().unwrap().touched_ms, 1);
    under.erasures.under_way().remove(&id);
    under.erasures.look().await.unwrap();
    done(&under.erasures, &id).await;
}
