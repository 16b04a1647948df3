//! Erasures of an embedded store without PoPs, and of what a killed core left.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
use super::*;
use crate::{
    clock::now_ms,
    deployments::Tables,
    exchange::Peers,
    pops::Pops,
    purges::{AskPops, PurgesConfig},
    store::{ANSWER_LIFETIME_MS, NewAnswer, Options, RedbStore},
};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use brink_protocol::operations::{ErasedPartition, ErasedRecord, SignedCertificate};
use bytes::Bytes;

struct Under {
    store: Arc<dyn Store>,
    erasures: Arc<Erasures>,
    directory: tempfile::TempDir,
}

async fn under_test() -> Under {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new(directory.path(), "core-1".parse().unwrap());
    let store: Arc<dyn Store> = Arc::new(RedbStore::open(&options).unwrap());
    let erasures = erasures(&store, directory.path()).await;
    Under {
        store,
        erasures,
        directory,
    }
}

async fn erasures(store: &Arc<dyn Store>, directory: &std::path::Path) -> Arc<Erasures> {
    let pops = Pops::load(Arc::clone(store), Duration::from_secs(2))
        .await
        .unwrap();
    let tables = Tables::load(Arc::clone(store)).await.unwrap();
    let ask: AskPops = Arc::new(|_| Ok(()));
    let peers = Peers::new("core-1".parse().unwrap(), std::iter::empty());
    let config = PurgesConfig::default();
    let purges = Purges::new(Arc::clone(store), pops, tables, ask, peers, config).unwrap();
    let signer = Signer::open(&directory.join("certificates.key")).unwrap();
    let backup = BackupConfig::default();
    Erasures::new(Arc::clone(store), purges, signer, backup, 1000, now_ms)
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
        let mut work = Work {
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
        };
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
        let other = erasures(&under.store, under.directory.path()).await;
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
