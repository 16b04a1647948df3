//! What operators ask of a running core beyond its daily work: backups, erasures, and whether all is well.

use crate::{
    Error,
    backup::Backups,
    clock::now_ms,
    config::Config,
    doctor::Doctor,
    erasure::{Erasures, Outside, Signer},
    purges::Purges,
    store::Store,
};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What operators ask of a core.
pub struct Operate {
    /// Its backups.
    pub backups: Arc<Backups>,
    /// Looks whether all is well.
    pub doctor: Doctor,
    /// Erasures of people's data.
    pub erasures: Arc<Erasures>,
}

impl Operate {
    /// Of a core.
    ///
    /// # Errors
    /// The key that it signs certificates with cannot be read or made.
    pub fn open(
        config: &Config,
        store: &Arc<dyn Store>,
        purges: Purges,
    ) -> Result<Arc<Self>, Error> {
        let erasures = Erasures::new(
            Arc::clone(store),
            purges,
            Signer::open(&config.file("certificates.key"))?,
            Outside {
                backup: config.backup.clone(),
                log_changes_max: config.store.log_changes_max,
                workflows_ms: config.workflows.retention_ms,
                topics: Outside::topics(&config.kafka),
            },
            &config.node,
            now_ms,
        );
        let backups = Backups::new(Arc::clone(store), config.backup.clone());
        let certificates = config.identity.as_ref().unwrap_or(&config.data);
        let doctor = Doctor::new(
            Arc::clone(store),
            Arc::clone(&backups),
            config.data.clone(),
            certificates.clone(),
        );
        Ok(Arc::new(Self {
            doctor,
            erasures,
            backups,
        }))
    }

    /// Does what is done all the time, until it is stopped.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        tokio::join!(
            Arc::clone(&self.backups).run(stop.clone()),
            Arc::clone(&self.erasures).run(stop),
        );
    }
}

/// Refuses a store into which a backup is being put back.
///
/// # Errors
/// It is not whole yet.
pub async fn check_whole(store: &dyn Store) -> Result<(), Error> {
    if let Some(from) = store.restoring().await? {
        return Err(Error::Backup(format!(
            "{from} was being put back into this store and is not whole: run `brink-core restore` again"
        )));
    }
    Ok(())
}
