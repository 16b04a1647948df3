//! Opening the store that the configuration names.

use crate::{
    Error,
    archive::Archiver,
    config::{Config, Reach, StoreKind},
    home::{AllCores, Home, HomeStore},
    members::Members,
    placement::Placements,
    store::{CqlStore, Options, RedbStore, Store},
};
use std::{net::SocketAddr, sync::Arc};

/// Opens the store that a configuration names; gives what knows of the other cores on it, too.
///
/// # Errors
/// As those of [`RedbStore::open`] and [`CqlStore::open`].
pub async fn open_store(config: &Config) -> Result<(Arc<dyn Store>, Arc<Members>), Error> {
    let own = &config.store;
    let region = config.region.parse().ok();
    match own.kind {
        StoreKind::Embedded => {
            let options = Options {
                log_changes_max: own.log_changes_max,
                queue_max: own.queue_max,
                cache_bytes: own.cache_bytes,
                ..Options::new(&config.data, config.node.clone())
            };
            let opened = tokio::task::spawn_blocking(move || RedbStore::open(&options)).await;
            let opened = opened.map_err(|error| Error::store("opening", error))??;
            let members = Members::alone(config.node.clone(), region);
            Ok((Arc::new(opened), members))
        }
        StoreKind::Cql => {
            let mut options = own.cql.options(config.node.clone(), own.log_changes_max)?;
            options.region.clone_from(&region);
            let opened = CqlStore::open(&options).await?;
            let members = Members::of(opened.members(), config.node.clone(), region);
            Ok((Arc::new(opened), members))
        }
    }
}

/// The store of this core, and over it one whose records are those of all regions.
pub(super) async fn open_homes(
    config: &Config,
    store: Arc<dyn Store>,
    members: &Arc<Members>,
) -> Result<(Arc<dyn Store>, Arc<Home>), Error> {
    let is_strict = config.store.kind == StoreKind::Cql && config.store.cql.confirm == Reach::All;
    let own = config.region.parse().ok();
    let placements = Placements::load(Arc::clone(&store), own, is_strict).await?;
    let cores = AllCores::new(config.peers.clone(), Arc::clone(members));
    let home = Home::new(Arc::clone(&store), placements, config.node.clone(), cores);
    home.archive_to(Archiver::new(&config.archive, config.node.clone()));
    let over = HomeStore::new(store, Arc::clone(&home));
    Ok((Arc::new(over), home))
}

/// Under which `HOST:PORT` others reach what is bound to an address: as the configuration says, or by the first of `names`
/// where it listens on every address of its machine.
pub(super) fn advertised(said: Option<&String>, bound: SocketAddr, names: &[String]) -> String {
    match (said, names.first()) {
        (Some(said), _) => said.clone(),
        (None, Some(name)) if bound.ip().is_unspecified() => {
            // An address of IPv6 stands in brackets.
            let is_v6 = name.parse::<std::net::Ipv6Addr>().is_ok();
            let name = if is_v6 {
                format!("[{name}]")
            } else {
                name.clone()
            };
            format!("{name}:{}", bound.port())
        }
        _ => bound.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn others_are_told_an_address_that_they_can_use() {
        for (said, bound, names, expected) in [
            (Some("a:1"), "0.0.0.0:7", vec!["n"], "a:1"),
            (None, "10.0.0.1:7", vec!["n"], "10.0.0.1:7"),
            (None, "0.0.0.0:7", vec!["n", "m"], "n:7"),
            (None, "[::]:7", vec!["fd00::1"], "[fd00::1]:7"),
            (None, "0.0.0.0:7", vec![], "0.0.0.0:7"),
        ] {
            let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
            let said = said.map(str::to_owned);
            let found = advertised(said.as_ref(), bound.parse().unwrap(), &names);
            assert_eq!(found, expected);
        }
    }
}
