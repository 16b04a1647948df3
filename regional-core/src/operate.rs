//! What operators ask of a running core beyond its daily work: backups.

use crate::{Error, backup::Backups, config::Config, store::Store};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What operators ask of a core.
pub struct Operate {
    /// Its backups.
    pub backups: Arc<Backups>,
}

impl Operate {
    /// Of a core.
    ///
    /// # Errors
    /// A backup is being put back into the store, and is not whole yet.
    pub async fn open(config: &Config, store: &Arc<dyn Store>) -> Result<Arc<Self>, Error> {
        if let Some(from) = store.restoring().await? {
            return Err(Error::Backup(format!(
                "{from} was being put back into this store and is not whole: run `brink-core restore` again"
            )));
        }
        Ok(Arc::new(Self {
            backups: Backups::new(Arc::clone(store), config.backup.clone()),
        }))
    }

    /// Does what is done all the time, until it is stopped.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        Arc::clone(&self.backups).run(stop).await;
    }
}
