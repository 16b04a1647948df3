//! Beginning a generation, or going on with one.

use super::{
    directory::{FORMAT, Generation, Manifest},
    follow::Follower,
    inspect::inspect,
    piece::Mark,
    snapshot::walk,
};
use crate::{Error, store::Store};
use brink_protocol::Position;
use std::path::Path;

/// Takes a snapshot into `root` and follows it up to its first mark: from there on it can be restored.
///
/// # Errors
/// The store or the disk. What was begun is not whole, and counts for nothing.
pub async fn begin(
    store: &dyn Store,
    root: &Path,
    now_ms: impl Fn() -> u64,
) -> Result<(Follower, Manifest), Error> {
    let begun_ms = now_ms();
    let generation = Generation::create(root)?;
    let position = store.heads().await?;
    let walked = walk(store, &generation).await?;
    let mut follower = Follower::begin(generation.clone(), position.clone())?;
    let mark: Option<Mark> = follower.mark(store, now_ms).await?;
    let first = mark.ok_or_else(|| Error::Backup("the first mark was not made".into()))?;
    let manifest = Manifest {
        format: FORMAT,
        generation: generation.name.clone(),
        node: store.origin().node.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        begun_ms,
        position,
        parts: walked.parts,
        partitions: walked.partitions,
        rows: walked.rows,
        first,
    };
    generation.seal(&manifest)?;
    Ok((follower, manifest))
}

/// Goes on with the newest generation of `root`, if there is one that this store's log goes on from.
///
/// # Errors
/// The disk.
pub async fn resume(store: &dyn Store, root: &Path) -> Result<Option<(Follower, Manifest)>, Error> {
    let at = root.to_owned();
    let read = move || {
        let Some(newest) = Generation::all(&at)?.pop() else {
            return Ok(None);
        };
        match inspect(&newest, u64::MAX) {
            Ok(inspection) => Ok(Some((newest, inspection))),
            Err(error) => {
                tracing::warn!(%error, "the newest backup cannot be gone on with; another one is taken");
                Ok(None)
            }
        }
    };
    let read: Result<Result<_, Error>, _> = tokio::task::spawn_blocking(read).await;
    let found = read.map_err(|error| Error::Runtime(error.to_string()))??;
    let Some((generation, inspection)) = found else {
        return Ok(None);
    };
    let is_changed = matches!(inspection.ending, super::inspect::Ending::Changed(_));
    if is_changed || !goes_on(store, &inspection.last.mark.position).await? {
        return Ok(None);
    }
    let follower = Follower::resume(generation, &inspection.last)?;
    Ok(Some((follower, inspection.manifest)))
}

/// Whether the store is in the life, and not before the place, that a position says.
async fn goes_on(store: &dyn Store, position: &Position) -> Result<bool, Error> {
    let own = store.origin();
    let is_later = |incarnation| incarnation != own.incarnation;
    let mut of_node = position.iter().filter(|(of, _)| of.node == own.node);
    if of_node.any(|(of, _)| is_later(of.incarnation)) {
        return Ok(false);
    }
    Ok(store.heads().await?.covers(position))
}
