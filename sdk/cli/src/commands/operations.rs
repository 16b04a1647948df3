//! `brink backups`, `brink doctor`, `brink erase`.

use crate::{
    args::{BackupsArgs, EraseAction},
    client::{Client, Content, REQUEST_TIME_MAX, encoded},
    error::Error,
    moment::{now_ms, time},
    output::{Output, pairs, size, table},
};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use brink_protocol::operations::{
    BackupGeneration, Backups, Certificate, Diagnosis, ErasedPartition, ErasedRecord, Erasure,
    ErasureStage, Finding, Health, NewErasure, SignedCertificate,
};
use http::Method;
use serde::Deserialize;
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// How often is asked whether an erasure is done.
const BEAT: Duration = Duration::from_millis(500);
/// Largest request or certificate in a file, in bytes.
const FILE_BYTES_MAX: usize = 4 << 20;

/// Shows what is kept.
pub(super) async fn backups(
    args: &BackupsArgs,
    client: &Client,
    output: Output,
) -> Result<(), Error> {
    let shown: Backups = if args.now {
        let answer = client.send(
            Method::POST,
            "/v1/backups",
            Content::Empty,
            REQUEST_TIME_MAX,
        );
        answer.await?.body
    } else {
        client.get("/v1/backups").await?
    };
    output.result(&shown, |shown| list(shown, now_ms()))
}

fn list(shown: &Backups, now_ms: u64) -> String {
    let Some(directory) = &shown.directory else {
        return "This core takes no backups.\n".into();
    };
    let until = shown.kept_until_ms.map_or_else(
        || "nothing yet".into(),
        |until| {
            let ago = now_ms.saturating_sub(until);
            format!("{}, {ago} ms ago", time(until))
        },
    );
    let mut head = vec![("Directory", directory.clone()), ("Kept until", until)];
    if let Some(failure) = &shown.failure {
        head.push(("Failure", failure.clone()));
    }
    if let Some(gap_ms) = shown.gap_ms {
        head.push(("Gap since", time(gap_ms)));
    }
    for damaged in &shown.damaged {
        head.push(("Damaged", damaged.clone()));
    }
    let row = |generation: &BackupGeneration| {
        vec![
            generation.name.clone(),
            time(generation.begun_ms),
            time(generation.from_ms),
            generation.rows.to_string(),
            size(generation.bytes),
        ]
    };
    let rows: Vec<_> = shown.generations.iter().map(row).collect();
    let headings = ["SNAPSHOT", "BEGUN", "RESTORABLE FROM", "ROWS", "SIZE"];
    format!("{}\n{}", pairs(&head), table(&headings, &rows))
}

/// Looks whether the core is as it should be; fails if something is bad.
pub(super) async fn doctor(client: &Client, output: Output) -> Result<(), Error> {
    let diagnosis: Diagnosis = client.get("/v1/doctor").await?;
    output.result(&diagnosis, findings)?;
    match diagnosis.health() {
        Health::Ok | Health::Warn => Ok(()),
        Health::Bad => Err(Error::Failed("something is bad".into())),
    }
}

fn findings(diagnosis: &Diagnosis) -> String {
    let row = |finding: &Finding| {
        let health = match finding.health {
            Health::Ok => "ok",
            Health::Warn => "warn",
            Health::Bad => "BAD",
        };
        vec![health.into(), finding.name.clone(), finding.text.clone()]
    };
    let rows: Vec<_> = diagnosis.findings.iter().map(row).collect();
    table(&["", diagnosis.node.as_str(), "AS IT IS"], &rows)
}

/// Begins, shows, verifies.
pub(super) async fn erase(
    action: EraseAction,
    client: impl Fn() -> Result<Client, Error>,
    output: Output,
) -> Result<(), Error> {
    match action {
        EraseAction::Begin {
            partitions,
            records,
            request,
            wait,
            timeout,
            out,
        } => {
            let asked = match request {
                Some(file) => serde_json::from_slice(&read(&file)?)
                    .map_err(|error| Error::Usage(format!("{}: {error}", file.display())))?,
                None => asked(&partitions, &records)?,
            };
            let client = client()?;
            let begun: Erasure = client
                .send_json(Method::POST, "/v1/erasures", &asked)
                .await?;
            if !wait {
                return output.result(&begun, shown);
            }
            let limit = Duration::from_secs(timeout.into());
            let done = until_done(&client, &begun.id, limit).await?;
            if let (Some(file), Some(certificate)) = (out, &done.certificate) {
                let json = serde_json::to_vec_pretty(certificate)
                    .map_err(|error| Error::failed("the certificate has no JSON form", error))?;
                std::fs::write(&file, json)
                    .map_err(|error| Error::Failed(format!("{}: {error}", file.display())))?;
            }
            output.result(&done, shown)
        }
        EraseAction::Status { id } => {
            let erasure: Erasure = client()?.get(&path(&id)).await?;
            output.result(&erasure, shown)
        }
        EraseAction::Verify { file, key } => {
            let key = match key {
                Some(key) => key,
                None => {
                    let found: Key = client()?.get("/v1/certificate-key").await?;
                    found.key
                }
            };
            let certificate = verified(&read(&file)?, &key)?;
            output.result(&certificate, |certificate| {
                format!("The signature is right.\n{}", describe(certificate))
            })
        }
    }
}

#[derive(Deserialize)]
struct Key {
    key: String,
}

fn path(id: &str) -> String {
    format!("/v1/erasures/{}", encoded(id))
}

fn read(file: &Path) -> Result<Vec<u8>, Error> {
    let bytes = std::fs::read(file)
        .map_err(|error| Error::Usage(format!("{}: {error}", file.display())))?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(Error::Usage(format!("{}: it is too large", file.display())));
    }
    Ok(bytes)
}

fn asked(partitions: &[String], records: &[String]) -> Result<NewErasure, Error> {
    let mut new = NewErasure::default();
    for text in partitions {
        let (collection, partition) = text
            .split_once('/')
            .ok_or_else(|| Error::Usage(format!("{text:?} is not COLLECTION/PARTITION")))?;
        new.partitions.push(ErasedPartition {
            collection: collection.into(),
            partition: partition.into(),
        });
    }
    for text in records {
        let parts: Vec<&str> = text.splitn(3, '/').collect();
        let [collection, partition, sort] = parts[..] else {
            let reason = format!("{text:?} is not COLLECTION/PARTITION/SORT");
            return Err(Error::Usage(reason));
        };
        new.records.push(ErasedRecord {
            collection: collection.into(),
            partition: partition.into(),
            sort: sort.into(),
        });
    }
    if new == NewErasure::default() {
        return Err(Error::Usage(
            "name a --partition, a --record, or a --request".into(),
        ));
    }
    Ok(new)
}

async fn until_done(client: &Client, id: &str, limit: Duration) -> Result<Erasure, Error> {
    let begun = Instant::now();
    loop {
        let erasure: Erasure = client.get(&path(id)).await?;
        if erasure.stage == ErasureStage::Done {
            return Ok(erasure);
        }
        if begun.elapsed() >= limit {
            return Err(Error::TimedOut(format!(
                "erasure {id} goes on; it is {:?} now: brink erase status {id}",
                erasure.stage
            )));
        }
        tokio::time::sleep(BEAT).await;
    }
}

fn shown(erasure: &Erasure) -> String {
    let certificate = erasure
        .certificate
        .as_ref()
        .and_then(|signed| serde_json::from_str::<Certificate>(&signed.certificate).ok());
    match certificate {
        Some(certificate) => describe(&certificate),
        None => format!("Erasure {} goes on: {:?}.\n", erasure.id, erasure.stage),
    }
}

/// The certificate of a file, if its signature is that of the key.
fn verified(file: &[u8], key: &str) -> Result<Certificate, Error> {
    let wrong = |what: &str| Error::Failed(format!("{what}: nothing of it is proved"));
    let signed: SignedCertificate =
        serde_json::from_slice(file).map_err(|_| wrong("the file is no certificate"))?;
    let decoded = |text: &str, what| STANDARD.decode(text).map_err(|_| wrong(what));
    let public = decoded(key, "the key is not base64")?;
    let signature = decoded(&signed.signature, "the signature is not base64")?;
    UnparsedPublicKey::new(&ED25519, public)
        .verify(signed.certificate.as_bytes(), &signature)
        .map_err(|_| wrong("the signature is not that of this text and key"))?;
    serde_json::from_str(&signed.certificate).map_err(|_| wrong("the text is no certificate"))
}

fn describe(certificate: &Certificate) -> String {
    let erased = certificate.erased.iter().map(|of| {
        vec![
            of.collection.clone(),
            of.records.to_string(),
            of.others.to_string(),
        ]
    });
    let rows: Vec<_> = erased.collect();
    let pops: Vec<String> = certificate
        .purge
        .applied
        .iter()
        .map(|at| at.pop.to_string())
        .collect();
    let mut text = pairs(&[
        ("Erasure", certificate.id.clone()),
        ("Tenant", certificate.tenant.clone()),
        ("Certified by", certificate.node.clone()),
        ("Done", time(certificate.done_ms)),
        ("Things asked for", certificate.subjects.len().to_string()),
        ("Gone at PoPs", pops.join(", ")),
    ]);
    text.push('\n');
    text.push_str(&table(&["COLLECTION", "RECORDS", "OTHER ROWS"], &rows));
    text.push_str("\nNot reached:\n");
    for left in &certificate.not_reached {
        let lapses = left
            .lapses_ms
            .map(|at| format!(" (gone {})", time(at)))
            .unwrap_or_default();
        text.push_str(&format!("- {}{lapses}\n", left.what));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use aws_lc_rs::{
        rand::SystemRandom,
        signature::{Ed25519KeyPair, KeyPair as _},
    };

    #[test]
    fn what_is_asked_for() {
        let new = asked(&["c/p/q".into()], &["c/p/s/t".into()]).unwrap();
        assert_eq!(new.partitions.first().unwrap().partition, "p/q");
        assert_eq!(new.records.first().unwrap().sort, "s/t");
        for (partitions, records) in [(vec!["c"], vec![]), (vec![], vec!["c/p"]), (vec![], vec![])]
        {
            let owned = |all: Vec<&str>| all.into_iter().map(String::from).collect::<Vec<_>>();
            assert!(asked(&owned(partitions), &owned(records)).is_err());
        }
    }

    #[test]
    fn a_certificate_is_held_against_its_signature() {
        let certificate = serde_json::json!({
            "form": 1, "id": "01J", "tenant": "default", "node": "core-1", "asked_ms": 1, "done_ms": 2, "subjects": [],
            "erased": [], "position": {}, "not_reached": [],
            "purge": {"id": "01P", "selectors": [], "soft": false, "at_ms": 1, "by": "t", "position": {}, "applied": [],
                "waiting": []},
        });
        let text = certificate.to_string();
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
        let key = STANDARD.encode(pair.public_key().as_ref());
        let file = |text: &str| {
            let signed = SignedCertificate {
                certificate: text.into(),
                signature: STANDARD.encode(pair.sign(certificate.to_string().as_bytes()).as_ref()),
                key: key.clone(),
            };
            serde_json::to_vec(&signed).unwrap()
        };
        assert_eq!(verified(&file(&text), &key).unwrap().id, "01J");
        assert!(verified(&file(&text.replace("01J", "01K")), &key).is_err());
        let other = STANDARD.encode([7; 32]);
        assert!(verified(&file(&text), &other).is_err());
        assert!(verified(b"{}", &key).is_err());
    }
}
