//! Taking purges, and appending those that waited.

use super::{audit, engine::Engine, later, purge_answers, purges, registry};
use crate::{
    Error,
    store::{NewAudit, NewPurge, PurgeAdded},
};

/// Appends a purge to the log and keeps it, unless its idempotency key has an answer. Of two with the same key at one
/// time both may be appended; both callers then hear the same answer.
pub(super) async fn add_purge(
    engine: &Engine,
    new: NewPurge,
    audit: Option<NewAudit>,
) -> Result<PurgeAdded, Error> {
    let (tenant, at_ms) = (new.purge.tenant.clone(), new.at_ms);
    let answer = new.answer.clone();
    let answer_key = answer
        .as_ref()
        .map(|answer| NewPurge::answer_key(&tenant, &answer.command, &answer.key));
    if let Some(key) = &answer_key
        && let Some(answer) = purge_answers::answer(engine, key, at_ms).await?
    {
        return Ok(PurgeAdded::Answered(answer));
    }
    if !later::keep(engine, &new).await? {
        return Ok(PurgeAdded::TooManyLater);
    }
    let position = purges::append(engine, new).await?;
    if let (Some(answer), Some(key)) = (answer, answer_key)
        && let Some(first) =
            purge_answers::keep(engine, &key, answer, position.clone(), at_ms).await?
    {
        return Ok(PurgeAdded::Answered(first));
    }
    if let Some(audit) = audit {
        audit::add_audit(engine, audit).await?;
    }
    Ok(PurgeAdded::Done(position))
}

/// Appends hard purges whose time has come, and says what changes of the deployment table have still to say.
pub(super) async fn release_purges(
    engine: &Engine,
    now_ms: u64,
    limit: usize,
) -> Result<usize, Error> {
    registry::say_what_was_left(engine, now_ms).await?;
    later::release(engine, now_ms, limit).await
}
