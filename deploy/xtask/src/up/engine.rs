//! The CQL engine below the core, where one is asked for.

use crate::{
    platform::Site,
    setup::{CQL, Need},
    step::Steps,
};
use anyhow::{Context, Result};
use brink_engines::{Cluster, DATA_CENTRE, Durability, Options};
use std::{fmt::Write as _, fs, time::Duration};

/// How long the engine may take to end. Killed then, it loses nothing: what it has answered is on disk.
pub(super) const STOP_WITHIN: Duration = Duration::from_secs(2);

/// Where the core keeps its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Store {
    /// In its own folder.
    Embedded,
    /// On Apache Cassandra: one node, started and stopped with the platform.
    Cql,
}

impl Store {
    /// What it needs on the machine.
    pub(super) fn needs(self) -> &'static [Need] {
        match self {
            Self::Embedded => &[],
            Self::Cql => &CQL,
        }
    }
}

/// Starts the engine if there is to be one, and writes the core's configuration.
pub(super) fn start(site: &Site, steps: &Steps, store: Store) -> Result<Option<Cluster>> {
    let config = site.core_config();
    if store == Store::Embedded {
        if config.exists() {
            fs::remove_file(&config)?;
        }
        return Ok(None);
    }
    steps.run("start Apache Cassandra", || {
        let options = Options {
            durability: Durability::EachWrite,
            data: Some(site.data.join("cql")),
            ..Options::default()
        };
        let cluster = Cluster::start(&[(DATA_CENTRE, 1)], &options)?;
        let mut text = String::from("[store]\nkind = \"cql\"\n[store.cql]\ncontact_points = [");
        for point in cluster.contact_points() {
            let _ = write!(text, "\"{point}\", ");
        }
        let _ = write!(
            text,
            "]\ndata_center = \"{DATA_CENTRE}\"\nreplication = {{ {DATA_CENTRE} = 1 }}\n"
        );
        fs::write(&config, text).with_context(|| config.display().to_string())?;
        Ok(Some(cluster))
    })
}

/// What to call the store.
pub(super) fn named(engine: Option<&Cluster>) -> String {
    match engine.map(Cluster::contact_points).as_deref() {
        Some([first, ..]) => format!("Apache Cassandra at {first}"),
        _ => "embedded".to_owned(),
    }
}
