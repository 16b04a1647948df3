//! Records of a core on a CQL engine, beside the bare driver on the same engine: same rows, same consistency, in alternation.

use super::{
    Plan,
    driver::Driver,
    linked::{self, Connected, RECORDS_MAX, measured},
    load::{self, Client},
    quota::Quota,
    report::{Line, Report, Runs},
};
use crate::{core::Core, cpu};
use anyhow::{Context as _, Result};
use brink_engines::{Cluster, DATA_CENTRE, Durability, Options};
use std::net::SocketAddr;

/// Java heap of the engine that is started, in MiB.
const HEAP_MIB: u32 = 1024;

struct Setting<'a> {
    plan: &'a Plan,
    records: u64,
    core: Core,
    driver: std::sync::Arc<Driver>,
}

/// Measures gets and conditional puts through links beside the driver's.
pub(super) async fn measure(plan: &Plan, report: &mut Report) -> Result<()> {
    let cluster = match plan.engine {
        Some(_) => None,
        None => Some(tokio::task::spawn_blocking(start).await??),
    };
    let engine = plan
        .engine
        .or_else(|| cluster.as_ref()?.contact_points().first().copied())
        .context("an engine")?;
    let started = cpu::descendants(std::process::id());
    let share = plan
        .engine_percent
        .map(|percent| Quota::of(&started, percent));
    let share = share.transpose()?;
    let directory = tempfile::tempdir()?;
    let keyspace = format!("bench_{}", std::process::id());
    let core = Core::start_with(&plan.core, directory.path(), &store(engine, &keyspace))?;
    let pops = core.issue(&["bench".parse()?])?;
    let pop = pops.first().context("a PoP")?;
    let records = plan.records.min(RECORDS_MAX);
    let driver = Driver::connect(engine, &format!("{keyspace}_bare")).await?;
    driver.fill(records, plan.value_bytes).await?;
    let setting = Setting {
        plan,
        records,
        core,
        driver,
    };
    let engine = plan.engine_percent.map_or_else(
        || "one node".to_owned(),
        |percent| format!("one node, which may use {percent} % of a processor"),
    );
    report.section(format!(
        "Link to a core on a CQL engine ({engine}), beside the bare driver on the same node in the same rounds: {records} records of {} bytes",
        plan.value_bytes
    ));
    let mut links = Vec::new();
    for &carrier in &plan.transports {
        let link = linked::connect(&setting.core, pop, carrier.into()).await?;
        if links.is_empty() {
            linked::fill(&link.link, records, plan.value_bytes).await?;
        }
        links.push((carrier, link));
    }
    for &at_once in &plan.at_once {
        setting.gets(&links, at_once, report).await?;
        setting.puts(&links, at_once, report).await?;
    }
    drop(setting);
    tokio::task::spawn_blocking(move || drop(cluster)).await?;
    drop(share);
    Ok(())
}

fn start() -> Result<Cluster, brink_engines::Error> {
    let options = Options {
        heap_mib: HEAP_MIB,
        durability: Durability::Periodic,
        ..Options::default()
    };
    Cluster::start(&[(DATA_CENTRE, 1)], &options)
}

/// The part of a core's configuration that names the engine.
fn store(engine: SocketAddr, keyspace: &str) -> String {
    format!(
        "[store]\nkind = \"cql\"\n[store.cql]\ncontact_points = [\"{engine}\"]\nkeyspace = \"{keyspace}\"\n\
         data_center = \"{DATA_CENTRE}\"\nreplication = {{ {DATA_CENTRE} = 1 }}\n"
    )
}

type Links = [(crate::feed::Carrier, Connected)];

impl Setting<'_> {
    async fn gets(&self, links: &Links, at_once: usize, report: &mut Report) -> Result<()> {
        let bare = self.driver.readers(at_once, self.records);
        let linked = links.iter().map(|(carrier, link)| {
            (
                format!("get, {carrier}"),
                link.readers(at_once, self.records),
            )
        });
        self.beside("get, bare driver", at_once, bare, linked.collect(), report)
            .await
    }

    async fn puts(&self, links: &Links, at_once: usize, report: &mut Report) -> Result<()> {
        let bytes = self.plan.value_bytes;
        let bare = self.driver.writers(at_once, bytes);
        let linked = links.iter().map(|(carrier, link)| {
            let what = format!("conditional put, {carrier}");
            (what, link.writers(at_once, bytes))
        });
        let what = "conditional put, bare driver";
        self.beside(what, at_once, bare, linked.collect(), report)
            .await
    }

    /// Runs all in each round, in another order each time.
    async fn beside<B: Client, L: Client>(
        &self,
        what: &str,
        at_once: usize,
        mut bare: Vec<B>,
        mut linked: Vec<(String, Vec<L>)>,
        report: &mut Report,
    ) -> Result<()> {
        let (plan, core) = (self.plan, &self.core);
        load::run(&mut bare, plan.warm_up()).await?;
        for (_, clients) in &mut linked {
            load::run(clients, plan.warm_up()).await?;
        }
        let mut of_bare = Runs::default();
        let mut of_linked: Vec<Runs> = linked.iter().map(|_| Runs::default()).collect();
        for round in 0..plan.rounds() {
            if round % 2 == 0 {
                measured(&mut of_bare, None, &mut bare, plan.time()).await?;
            }
            for ((_, clients), runs) in linked.iter_mut().zip(&mut of_linked) {
                measured(runs, Some(core), clients, plan.time()).await?;
            }
            if round % 2 == 1 {
                measured(&mut of_bare, None, &mut bare, plan.time()).await?;
            }
        }
        report.add(Line {
            what: what.to_owned(),
            at_once,
            runs: of_bare.clone(),
            beside: None,
        });
        for ((what, _), runs) in linked.into_iter().zip(of_linked) {
            report.add(Line {
                what,
                at_once,
                runs,
                beside: Some(of_bare.clone()),
            });
        }
        Ok(())
    }
}
