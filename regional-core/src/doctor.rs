//! Looks whether a core is as it should be, and says what to do if it is not.

use crate::{
    Error,
    backup::{BackupConfig, Backups, time},
    projections::Stands,
    store::Store,
};
use brink_protocol::{
    Digest, TenantName,
    change::{Change, ChangeKind, Phase},
    control::Pop,
    link::canary,
    operations::{Backups as Shown, Diagnosis, Finding, Health},
    record::Key,
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

/// How long the store may take for a read.
const SLOW: Duration = Duration::from_millis(250);
/// Entries of the log that are looked through for writes without an end.
const ENTRIES_MAX: u64 = 10_000;
/// How long a write may be open, in milliseconds.
const OPEN_MS: u64 = 60_000;
/// Changes that a PoP may be behind.
const LAG_MAX: u64 = 10_000;
/// Events that a projection may be behind.
const EVENTS_LAG_MAX: u64 = 10_000;
const DAY_S: i64 = 24 * 3600;
/// Largest certificate file that is read, in bytes.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// What is looked at.
pub struct Doctor {
    store: Arc<dyn Store>,
    backups: Arc<Backups>,
    data: PathBuf,
    certificates: PathBuf,
}

fn finding(name: &str, health: Health, text: impl Into<String>) -> Finding {
    Finding {
        name: name.to_owned(),
        health,
        text: text.into(),
    }
}

impl Doctor {
    /// Of a core with its data directory, and the directory of its certificates.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        backups: Arc<Backups>,
        data: PathBuf,
        certificates: PathBuf,
    ) -> Self {
        Self {
            store,
            backups,
            data,
            certificates,
        }
    }

    /// Looks at everything.
    pub async fn examine(&self, pops: &[Pop], now_ms: u64) -> Diagnosis {
        let mut findings = vec![self.store(now_ms).await, self.log(now_ms).await];
        findings.push(space("disk of the data", &self.data));
        if let Some(directory) = &self.backups.config().directory {
            findings.push(space("disk of the backups", directory));
        }
        findings.push(self.backup(now_ms));
        findings.extend(certificates(&self.certificates, now_ms));
        findings.push(of_pops(pops));
        Diagnosis {
            node: self.store.origin().node.to_string(),
            at_ms: now_ms,
            findings,
        }
    }

    async fn store(&self, now_ms: u64) -> Finding {
        const NAME: &str = "store";
        if self.store.failed().is_cancelled() {
            let text =
                "it takes no more writes; the core stops, and opens it anew when it is started";
            return finding(NAME, Health::Bad, text);
        }
        let begun = Instant::now();
        let read = async {
            let tenant: TenantName = canary::TENANT.parse()?;
            let key = Key {
                collection: canary::COLLECTION.into(),
                partition: canary::PARTITION.into(),
                sort: canary::SORT.into(),
            };
            self.store.get(&tenant, &key, now_ms).await?;
            self.store.table().await
        };
        match read.await {
            Ok(table) => {
                let took = begun.elapsed();
                let text = format!(
                    "two reads took {:.1} ms; the deployment table has revision {}",
                    took.as_secs_f64() * 1000.0,
                    table.revision
                );
                if took > SLOW {
                    let text = format!("{text}; that is slow: look at the disk or the engine");
                    return finding(NAME, Health::Warn, text);
                }
                finding(NAME, Health::Ok, text)
            }
            Err(error) => finding(NAME, Health::Bad, format!("it does not answer: {error}")),
        }
    }

    async fn log(&self, now_ms: u64) -> Finding {
        const NAME: &str = "change log";
        let span = self.store.span();
        let after = span
            .head
            .saturating_sub(ENTRIES_MAX)
            .max(span.oldest.saturating_sub(1));
        let read = self.read_log(after, span.head).await;
        let changes = match read {
            Ok(changes) => changes,
            Err(error) => {
                return finding(NAME, Health::Bad, format!("it cannot be read: {error}"));
            }
        };
        let expected = usize::try_from(span.head.saturating_sub(after)).unwrap_or(usize::MAX);
        if changes.len() < expected {
            let text = format!(
                "{} of the last {expected} entries are missing: restart the core; if it stays so, restore a backup",
                expected - changes.len()
            );
            return finding(NAME, Health::Bad, text);
        }
        let open = open_writes(&changes, now_ms);
        let span = format!("entries {} to {}", span.oldest, span.head);
        if open > 0 {
            let text = format!(
                "{span}; {open} writes have been open for over a minute: restart the core, which settles them"
            );
            return finding(NAME, Health::Warn, text);
        }
        finding(NAME, Health::Ok, span)
    }

    async fn read_log(&self, after: u64, head: u64) -> Result<Vec<Change>, Error> {
        let mut found: Vec<Change> = Vec::new();
        let mut last = after;
        while last < head {
            let page = self.store.changes(self.store.origin(), last, 1000).await?;
            let Some(newest) = page.last() else { break };
            last = newest.sequence;
            found.extend(page.into_iter().filter(|change| change.sequence <= head));
        }
        Ok(found)
    }

    fn backup(&self, now_ms: u64) -> Finding {
        match self.backups.shown() {
            Ok(shown) => of_backups(&shown, self.backups.config(), now_ms),
            Err(error) => finding("backups", Health::Bad, error.to_string()),
        }
    }
}

/// Backups, and how old the newest of them are.
fn of_backups(shown: &Shown, config: &BackupConfig, now_ms: u64) -> Finding {
    const NAME: &str = "backups";
    if shown.directory.is_none() {
        let text = "this core takes none; set `directory` in `[backup]` on one core of each store";
        return finding(NAME, Health::Warn, text);
    }
    if let Some(failure) = &shown.failure {
        return finding(NAME, Health::Bad, format!("they do not go on: {failure}"));
    }
    let Some(until_ms) = shown.kept_until_ms else {
        return finding(NAME, Health::Warn, "the first snapshot is being taken");
    };
    let age_ms = now_ms.saturating_sub(until_ms);
    if age_ms > config.interval_ms.saturating_mul(3).saturating_add(30_000) {
        let text = format!(
            "nothing was kept for {} s: look into the core's log",
            age_ms / 1000
        );
        return finding(NAME, Health::Bad, text);
    }
    let count = shown.generations.len();
    let mut text = format!("{count} snapshots; all is kept up to {age_ms} ms ago");
    let before = text.len();
    let newest = shown.generations.last();
    let hours = newest.map_or(0, |newest| {
        now_ms.saturating_sub(newest.begun_ms) / 3_600_000
    });
    if hours >= config.snapshot_hours.saturating_mul(2) {
        text.push_str(&format!(
            "; the last snapshot was begun {hours} hours ago: the next one does not come to its end"
        ));
    }
    if let Some(gap_ms) = shown.gap_ms {
        text.push_str(&format!(
            "; nothing between {} and the next snapshot can be restored, for the change log was cut before it was kept: \
             raise store.log_changes_max",
            time(gap_ms)
        ));
    }
    for damaged in &shown.damaged {
        text.push_str(&format!("; {damaged}"));
    }
    let is_well = text.len() == before;
    finding(NAME, if is_well { Health::Ok } else { Health::Warn }, text)
}

/// Writes that were intended long ago and have no end in the log.
fn open_writes(changes: &[Change], now_ms: u64) -> usize {
    let mut open = BTreeMap::new();
    for change in changes {
        let ChangeKind::Records { phase, .. } = &change.kind else {
            continue;
        };
        match phase {
            Phase::Intended => {
                open.insert(change.sequence, change.at_ms);
            }
            Phase::Settled { intent } => {
                open.remove(intent);
            }
            Phase::Written => {}
        }
    }
    let is_old = |at_ms: &&u64| at_ms.saturating_add(OPEN_MS) < now_ms;
    open.values().filter(is_old).count()
}

fn of_pops(pops: &[Pop]) -> Finding {
    const NAME: &str = "PoPs";
    let silent: Vec<&str> = pops
        .iter()
        .filter(|pop| pop.quarantined_since_ms.is_some())
        .map(|pop| pop.name.as_str())
        .collect();
    let late: Vec<&str> = pops
        .iter()
        .filter(|pop| pop.quarantined_since_ms.is_none() && pop.lag_changes > LAG_MAX)
        .map(|pop| pop.name.as_str())
        .collect();
    let mut text = format!("{} are known", pops.len());
    if !silent.is_empty() {
        let names = silent.join(", ");
        text.push_str(&format!(
            "; silent, and calling nothing fresh: {names}: look at their network and logs"
        ));
    }
    if !late.is_empty() {
        let names = late.join(", ");
        text.push_str(&format!("; far behind: {names}"));
    }
    let is_well = silent.is_empty() && late.is_empty();
    finding(NAME, if is_well { Health::Ok } else { Health::Warn }, text)
}

/// Projections, by tenant: letters and lag.
pub(crate) fn of_projections(stands: &[Stands]) -> Finding {
    const NAME: &str = "projections";
    let mut text = format!("{} are deployed", stands.len());
    let mut is_well = true;
    for Stands {
        deployment,
        letters,
        lag,
        ..
    } in stands
    {
        let name = format!("{}/{}", deployment.tenant, deployment.name);
        if *letters > 0 {
            is_well = false;
            text.push_str(&format!(
                "; {name} has {letters} dead letters: `brink projections` shows why"
            ));
        }
        if *lag > EVENTS_LAG_MAX {
            is_well = false;
            text.push_str(&format!("; {name} is {lag} events behind"));
        }
    }
    finding(NAME, if is_well { Health::Ok } else { Health::Warn }, text)
}

/// Workflows that stand still, as `TENANT/NAME/ID`, of those that were looked at.
pub(crate) fn of_workflows(stuck: &[String]) -> Finding {
    const NAME: &str = "workflows";
    if stuck.is_empty() {
        return finding(
            NAME,
            Health::Ok,
            "none that was started lately stands still",
        );
    }
    let text = format!(
        "{} stand still: {}; `brink workflows` shows why, and retries them",
        stuck.len(),
        stuck.join(", ")
    );
    finding(NAME, Health::Warn, text)
}

fn space(name: &str, path: &Path) -> Finding {
    let found = match rustix::fs::statvfs(path) {
        Ok(found) => found,
        Err(error) => {
            let text = format!("{}: {error}", path.display());
            return finding(name, Health::Warn, text);
        }
    };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let whole = found.f_blocks.saturating_mul(found.f_frsize).max(1);
    let percent = free.saturating_mul(100) / whole;
    let text = format!("{percent} % of {} GiB are free", whole >> 30);
    let (health, advice) = match percent {
        0..=2 => (Health::Bad, ": writes are about to fail; make room"),
        3..=9 => (Health::Warn, ": make room"),
        _ => (Health::Ok, ""),
    };
    finding(name, health, format!("{text}{advice}"))
}

/// Each certificate file of a directory, and of those in it.
fn certificates(directory: &Path, now_ms: u64) -> Vec<Finding> {
    let inside = |directory: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(directory).into_iter().flatten();
        entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect()
    };
    let mut paths = inside(directory);
    let deeper: Vec<PathBuf> = paths
        .iter()
        .filter(|path| path.is_dir())
        .flat_map(|path| inside(path))
        .collect();
    paths.extend(deeper);
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "pem"));
    paths.sort();
    let found = paths.iter().filter_map(|path| certificate(path, now_ms));
    found.collect()
}

/// The first certificate of a file; none: it holds none.
fn certificate(path: &Path, now_ms: u64) -> Option<Finding> {
    if std::fs::metadata(path).ok()?.len() > PEM_BYTES_MAX {
        return None;
    }
    let bytes = std::fs::read(path).ok()?;
    let (_, pem) = x509_parser::pem::parse_x509_pem(&bytes).ok()?;
    let parsed = pem.parse_x509().ok()?;
    let end_s = parsed.validity().not_after.timestamp();
    let now_s = i64::try_from(now_ms / 1000).unwrap_or(i64::MAX);
    let days = (end_s - now_s) / DAY_S;
    let file = path.file_name()?.to_string_lossy().into_owned();
    let name = format!("certificate {file}");
    Some(match days {
        ..=0 => finding(
            &name,
            Health::Bad,
            "it has ended; issue it anew and restart the core",
        ),
        1..=21 => finding(
            &name,
            Health::Warn,
            format!("it ends in {days} days; restart the core, or issue it anew"),
        ),
        _ => finding(
            &name,
            Health::Ok,
            format!("it ends in {days} days; {}", Digest::of(&pem.contents)),
        ),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::{
        clock::now_ms,
        store::{Options, RedbStore},
    };
    use brink_protocol::operations::BackupGeneration;

    fn pop(name: &str, quarantined_since_ms: Option<u64>, lag_changes: u64) -> Pop {
        Pop {
            name: name.parse().unwrap(),
            core: None,
            connected: true,
            position: Default::default(),
            lag_changes,
            revision: 1,
            seen_at_ms: 1,
            figures: Default::default(),
            staleness_ms: None,
            quarantined_since_ms,
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_core_is_looked_at() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options::new(directory.path(), "core-1".parse().unwrap());
        let store: Arc<dyn Store> = Arc::new(RedbStore::open(&options).unwrap());
        let backups = Backups::new(Arc::clone(&store), BackupConfig::default());
        let path = directory.path().to_owned();
        let doctor = Doctor::new(store, backups, path.clone(), path.clone());
        std::fs::write(path.join("no.pem"), "nothing").unwrap();
        let diagnosis = doctor.examine(&[pop("ams", Some(1), 0)], now_ms()).await;
        let health = |name: &str| {
            let found = diagnosis.findings.iter().find(|f| f.name == name);
            found.unwrap().health
        };
        assert_eq!(health("store"), Health::Ok);
        assert_eq!(health("change log"), Health::Ok);
        assert_eq!(health("backups"), Health::Warn);
        assert_eq!(health("PoPs"), Health::Warn);
        assert!(diagnosis.health() >= Health::Warn);
    }

    #[test]
    fn backups_may_be_old_or_have_a_gap() {
        const HOUR_MS: u64 = 3_600_000;
        let config = BackupConfig::default();
        let now = 1_000 * HOUR_MS;
        let generation = |begun_ms| BackupGeneration {
            name: String::new(),
            begun_ms,
            from_ms: begun_ms,
            rows: 1,
            bytes: 1,
        };
        let well = Shown {
            directory: Some("/b".into()),
            kept_until_ms: Some(now - 33_000),
            failure: None,
            gap_ms: None,
            damaged: Vec::new(),
            generations: vec![generation(now - 48 * HOUR_MS + 1)],
        };
        let with = |change: fn(&mut Shown)| {
            let mut shown = well.clone();
            change(&mut shown);
            of_backups(&shown, &config, now).health
        };
        assert_eq!(with(|_| {}), Health::Ok);
        let warned = [
            with(|shown| shown.directory = None),
            with(|shown| shown.kept_until_ms = None),
            with(|shown| shown.gap_ms = Some(1)),
            with(|shown| shown.damaged.push("x".into())),
            with(|shown| shown.generations[0].begun_ms -= 1),
        ];
        assert_eq!(warned, [Health::Warn; 5]);
        assert_eq!(with(|shown| shown.kept_until_ms = Some(1)), Health::Bad);
        assert_eq!(with(|shown| shown.failure = Some("x".into())), Health::Bad);
    }

    #[test]
    fn pops_are_named() {
        let pops = [
            pop("ams", None, 1),
            pop("sfo", Some(7), 0),
            pop("gru", None, LAG_MAX + 1),
        ];
        let found = of_pops(&pops);
        assert_eq!(found.health, Health::Warn);
        assert!(found.text.contains("sfo") && found.text.contains("gru"));
        assert_eq!(of_pops(pops.get(..1).unwrap()).health, Health::Ok);
    }

    #[test]
    fn open_writes_are_counted() {
        let change = |sequence, phase| Change {
            origin: "core-1.1".parse().unwrap(),
            sequence,
            at_ms: 0,
            kind: ChangeKind::Records {
                partition: brink_protocol::address::PartitionAddress {
                    tenant: "t".parse().unwrap(),
                    collection: "c".into(),
                    partition: "p".into(),
                },
                records: Vec::new(),
                phase,
            },
        };
        let changes = [
            change(1, Phase::Intended),
            change(2, Phase::Intended),
            change(3, Phase::Settled { intent: 1 }),
            change(4, Phase::Written),
        ];
        assert_eq!(open_writes(&changes, OPEN_MS + 1), 1);
        assert_eq!(open_writes(&changes, OPEN_MS), 0);
    }
}
