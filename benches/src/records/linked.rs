//! Records through a link to a core, as an edge asks for them.

use super::{
    Plan,
    chance::Chance,
    embedded::{self, PER_WRITER, unique},
    load::{self, Client, Sample},
    report::{Line, Report, Runs},
};
use crate::{
    core::{Core, Pop},
    cpu,
};
use anyhow::{Context as _, Result, bail};
use brink_edge::link::{Asker, Link, Transport};
use brink_protocol::{
    Position,
    deployment::default_tenant,
    link::{Condition, RecordOperation, RecordOutcome, RecordsAnswer, RecordsRequest, path},
    record::{Key, Version},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use std::time::Duration;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Records that are read through links: filling them takes as many requests.
pub(super) const RECORDS_MAX: u64 = 10_000;
/// Requests under way while records are made.
const MAKERS: usize = 64;

/// Measures links to a core on its embedded store.
pub(super) async fn measure(plan: &Plan, report: &mut Report) -> Result<()> {
    std::fs::create_dir_all(&plan.directory)?;
    let directory = tempfile::tempdir_in(&plan.directory)?;
    let core = Core::start(&plan.core, directory.path())?;
    let pops = core.issue(&["bench".parse()?])?;
    let pop = pops.first().context("a PoP")?;
    let records = plan.records.min(RECORDS_MAX);
    report.section(format!(
        "Link to a core on its embedded store: {records} records of {} bytes",
        plan.value_bytes
    ));
    for (round, &carrier) in plan.transports.iter().enumerate() {
        let line = connect(&core, pop, carrier.into()).await?;
        if round == 0 {
            fill(&line.link, records, plan.value_bytes).await?;
        }
        for &at_once in &plan.at_once {
            let what = format!("get, {carrier}");
            let mut readers = line.readers(at_once, records);
            add(plan, report, &core, what, at_once, &mut readers).await?;
            let what = format!("conditional put, {carrier}");
            let mut writers = line.writers(at_once, plan.value_bytes);
            add(plan, report, &core, what, at_once, &mut writers).await?;
        }
    }
    Ok(())
}

async fn add<C: Client>(
    plan: &Plan,
    report: &mut Report,
    core: &Core,
    what: String,
    at_once: usize,
    clients: &mut Vec<C>,
) -> Result<()> {
    load::run(clients, plan.warm_up()).await?;
    let mut runs = Runs::default();
    for _ in 0..plan.rounds() {
        measured(&mut runs, Some(core), clients, plan.time()).await?;
    }
    report.add(Line {
        what,
        at_once,
        runs,
        beside: None,
    });
    Ok(())
}

/// One run, with the CPU time of everybody.
pub(super) async fn measured<C: Client>(
    runs: &mut Runs,
    core: Option<&Core>,
    clients: &mut Vec<C>,
    time: Duration,
) -> Result<()> {
    let spent = || -> Result<[Duration; 3]> {
        let of_core = core.map_or(Ok(Duration::ZERO), |core| cpu::spent(core.pid()))?;
        Ok([of_core, cpu::spent(std::process::id())?, cpu::machine()?])
    };
    let before = spent()?;
    let sample: Sample = load::run(clients, time).await?;
    let after = spent()?;
    #[allow(clippy::cast_precision_loss)]
    let each = |index: usize| -> f64 {
        let of = |all: &[Duration; 3]| all.get(index).copied().unwrap_or_default();
        (of(&after).saturating_sub(of(&before))).as_secs_f64() * 1e6 / sample.count as f64
    };
    let (of_core, own, all) = (each(0), each(1), each(2));
    runs.samples.push(sample);
    if core.is_some() {
        runs.core_us.push(of_core);
    }
    runs.own_us.push(own);
    runs.rest_us.push((all - of_core - own).max(0.0));
    Ok(())
}

/// A link that is kept connected.
pub(super) struct Connected {
    pub(super) link: Link,
    _maintained: DropGuard,
}

/// Connects.
pub(super) async fn connect(core: &Core, pop: &Pop, transport: Transport) -> Result<Connected> {
    let link = core.connect(pop, transport)?;
    let stop = CancellationToken::new();
    let (keeping, until) = (link.clone(), stop.clone());
    tokio::spawn(async move { keeping.maintain(until).await });
    tokio::time::timeout(Duration::from_secs(10), link.connected())
        .await
        .context("the link did not connect within 10 s")?;
    Ok(Connected {
        link,
        _maintained: stop.drop_guard(),
    })
}

impl Connected {
    pub(super) fn readers(&self, count: usize, records: u64) -> Vec<Reader> {
        let reader = |number| Reader {
            link: self.link.clone(),
            chance: Chance::new(number),
            records,
        };
        (0..count).map(reader).collect()
    }

    pub(super) fn writers(&self, count: usize, value_bytes: usize) -> Vec<Writer> {
        let writer = |number| Writer {
            link: self.link.clone(),
            partition: format!("{}-{number}", unique()),
            value: Bytes::from(vec![b'x'; value_bytes]),
            versions: (0..PER_WRITER).map(|_| None).collect(),
            next: 0,
        };
        (0..count).map(writer).collect()
    }
}

/// Makes the records that are read.
pub(super) async fn fill(link: &Link, records: u64, value_bytes: usize) -> Result<()> {
    let value = Bytes::from(vec![b'x'; value_bytes]);
    stream::iter(0..records)
        .map(|number| {
            let value = value.clone();
            async move {
                let key = embedded::key(number);
                put(link, key, value, Condition::Always).await.map(drop)
            }
        })
        .buffer_unordered(MAKERS)
        .try_collect()
        .await
}

async fn ask(link: &Link, operation: RecordOperation) -> Result<RecordOutcome> {
    let request = RecordsRequest {
        tenant: default_tenant(),
        module: "bench".parse()?,
        at_least: Position::default(),
        operation,
    };
    let answer: RecordsAnswer = link.call(path::RECORDS, &request, Asker::default()).await?;
    Ok(answer.outcome?)
}

async fn put(link: &Link, key: Key, value: Bytes, condition: Condition) -> Result<Version> {
    let operation = RecordOperation::Put {
        key,
        value,
        lifetime_ms: None,
        condition,
    };
    match ask(link, operation).await? {
        RecordOutcome::Written(version) => Ok(version),
        other => bail!("the answer to a put: {other:?}"),
    }
}

/// Reads one record after the other.
pub(super) struct Reader {
    link: Link,
    chance: Chance,
    records: u64,
}

impl Client for Reader {
    async fn once(&mut self) -> Result<()> {
        let key = embedded::key(self.chance.below(self.records));
        match ask(&self.link, RecordOperation::Get(vec![key])).await? {
            RecordOutcome::Entries(entries) if entries.iter().all(Option::is_some) => Ok(()),
            other => bail!("the answer to a get: {other:?}"),
        }
    }
}

/// Writes its own records in turn.
pub(super) struct Writer {
    link: Link,
    partition: String,
    value: Bytes,
    versions: Vec<Option<Version>>,
    next: usize,
}

impl Client for Writer {
    async fn once(&mut self) -> Result<()> {
        self.next = (self.next + 1) % self.versions.len();
        let Some(version) = self.versions.get_mut(self.next) else {
            bail!("a writer without records");
        };
        let condition = version.map_or(Condition::Absent, Condition::Version);
        let key = Key {
            collection: "written".to_owned(),
            partition: self.partition.clone(),
            sort: format!("record-{}", self.next),
        };
        *version = Some(put(&self.link, key, self.value.clone(), condition).await?);
        Ok(())
    }
}
