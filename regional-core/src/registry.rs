//! Publishing: a component is looked at and compiled before it is kept.

use crate::{
    Error,
    clock::now_ms,
    refusal::Refusal,
    store::{NewAudit, NewVersion, Published, Store},
    tokens::Caller,
};
use brink_protocol::{Digest, ModuleName};
use brink_sandbox::Sandbox;
use bytes::Bytes;
use std::sync::Arc;

/// Modules with at least one version that a tenant may have.
pub const VERSIONS_MAX: usize = 100_000;

/// Publishes a component as the next version of a module, unless the module has it already.
///
/// # Errors
/// It is no component that runs here, and why; or the store.
pub async fn publish(
    store: &Arc<dyn Store>,
    sandbox: &Sandbox,
    caller: &Caller,
    module: ModuleName,
    component: Bytes,
) -> Result<Published, Refusal> {
    let unfit = |error: brink_sandbox::Error| {
        Refusal::unfit(
            "component-refused",
            "The component does not run here",
            error.to_string(),
        )
    };
    let bytes = component.clone();
    let inspection = tokio::task::spawn_blocking(move || brink_sandbox::inspect(&bytes))
        .await
        .map_err(|error| Error::store("inspecting a component", error))?
        .map_err(unfit)?;
    let digest = Digest::of(&component);
    let bytes = component.clone();
    sandbox
        .load(&digest, move || async move { Ok(bytes) })
        .await
        .map_err(unfit)?;
    if store.versions(&caller.tenant, None).await?.len() >= VERSIONS_MAX {
        return Err(Refusal::Conflict(format!(
            "there are {VERSIONS_MAX} versions already, the most that are kept"
        )));
    }
    let now = now_ms();
    let version = NewVersion {
        tenant: caller.tenant.clone(),
        module: module.clone(),
        digest,
        world: inspection.world,
        imports: inspection.imports,
        at_ms: now,
        by: caller.id.clone(),
    };
    let audit = NewAudit {
        by: caller.id.clone(),
        tenant: caller.tenant.clone(),
        action: "publish",
        subject: module.to_string(),
        at_ms: now,
    };
    Ok(store.publish(version, component, audit).await?)
}
