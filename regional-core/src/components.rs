//! Loaded components of what runs at the core: commands, projections, workflows.

use crate::store::Store;
use brink_protocol::Digest;
use brink_sandbox::{BoxError, Component, Error, Sandbox};
use std::sync::Arc;

/// Loaded components that are kept; the least used go first.
const COMPONENTS_MAX: u64 = 256;

/// Components of the registry, ready to run.
pub struct Components {
    store: Arc<dyn Store>,
    sandbox: Sandbox,
    /// The sandbox itself keeps only those that somebody holds.
    loaded: moka::sync::Cache<Digest, Component>,
}

impl Components {
    /// Over the registry.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, sandbox: Sandbox) -> Self {
        Self {
            store,
            sandbox,
            loaded: moka::sync::Cache::new(COMPONENTS_MAX),
        }
    }

    /// The component with this content address.
    ///
    /// # Errors
    /// The registry does not have it or cannot be read, or the component does not compile.
    pub async fn load(&self, digest: &Digest) -> Result<Component, Error> {
        if let Some(component) = self.loaded.get(digest) {
            return Ok(component);
        }
        let store = Arc::clone(&self.store);
        let wanted = *digest;
        let bytes = move || async move {
            let found = store.component(&wanted).await?;
            found.ok_or_else(|| BoxError::from("the registry does not have it"))
        };
        let component = self.sandbox.load(digest, bytes).await?;
        self.loaded.insert(*digest, component.clone());
        Ok(component)
    }
}
