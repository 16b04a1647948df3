//! Beginning a generation, or going on with one.

use super::{
    directory::{FORMAT, Generation, Manifest},
    follow::Follower,
    inspect::{Ending, Inspection, inspect_increments},
    piece::Mark,
    snapshot::walk,
};
use crate::{Error, store::Store};
use brink_protocol::Position;
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// Takes a snapshot into `root` and follows it up to its first mark: from there on it can be restored. While rows are read,
/// what changes is read too, `every` so often.
///
/// # Errors
/// The store or the disk. What was begun is removed again, and counts for nothing in any case.
pub async fn begin(
    store: &dyn Store,
    root: &Path,
    every: Duration,
    now_ms: impl Fn() -> u64,
) -> Result<(Follower, Manifest), Error> {
    let mut last = Instant::now();
    begin_with(
        store,
        root,
        every,
        now_ms,
        async |follower: &mut Follower| {
            if last.elapsed() >= every {
                follower.gather(store).await?;
                last = Instant::now();
            }
            Ok(())
        },
    )
    .await
}

/// As [`begin`]; `meanwhile` is called whenever some more rows were read.
pub(super) async fn begin_with(
    store: &dyn Store,
    root: &Path,
    every: Duration,
    now_ms: impl Fn() -> u64,
    meanwhile: impl AsyncFnMut(&mut Follower) -> Result<(), Error>,
) -> Result<(Follower, Manifest), Error> {
    let generation = Generation::create(root)?;
    let made = make(store, &generation, every, now_ms, meanwhile).await;
    if made.is_err()
        && let Err(error) = generation.remove()
    {
        tracing::warn!(%error, "a snapshot that failed was not removed; it is when backups begin again");
    }
    made
}

async fn make(
    store: &dyn Store,
    generation: &Generation,
    every: Duration,
    now_ms: impl Fn() -> u64,
    mut meanwhile: impl AsyncFnMut(&mut Follower) -> Result<(), Error>,
) -> Result<(Follower, Manifest), Error> {
    let begun_ms = now_ms();
    let position = store.heads().await?;
    let mut follower = Follower::begin(generation.clone(), position.clone(), begun_ms)?;
    let walked = walk(store, generation, async || meanwhile(&mut follower).await).await?;
    let first = loop {
        match follower.mark(store, &now_ms).await? {
            Some(mark) => break mark,
            None => tokio::time::sleep(every).await,
        }
    };
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

/// What there is to go on with.
pub enum Resumed {
    /// The newest whole generation.
    On(Box<Follower>, Manifest),
    /// The store's logs do not go on from its last mark: they do not reach back to it any more, or the store was put back.
    Cut(Mark),
    /// None, or one that cannot be read.
    Nothing,
}

/// Goes on with the newest whole generation of `root`, if this store's logs go on from it.
///
/// # Errors
/// The store or the disk.
pub async fn resume(store: &dyn Store, root: &Path) -> Result<Resumed, Error> {
    let at = root.to_owned();
    let read = tokio::task::spawn_blocking(move || newest(&at)).await;
    let found = read.map_err(|error| Error::Runtime(error.to_string()))??;
    let Some((generation, found)) = found else {
        return Ok(Resumed::Nothing);
    };
    // What an embedded store holds of its peers' logs does not make it theirs.
    if !store.is_shared() && found.manifest.node != store.origin().node {
        return Ok(Resumed::Nothing);
    }
    if !goes_on(store, &found.last.mark.position).await? {
        return Ok(Resumed::Cut(found.last.mark));
    }
    let manifest = found.manifest.clone();
    let follower = Follower::resume(generation, found)?;
    Ok(Resumed::On(Box::new(follower), manifest))
}

/// The newest generation that is whole, if it can be gone on with.
fn newest(root: &Path) -> Result<Option<(Generation, Inspection)>, Error> {
    let all = Generation::all(root)?;
    let is_whole = |generation: &Generation| !matches!(generation.manifest(), Ok(None));
    let Some(newest) = all.into_iter().rfind(is_whole) else {
        return Ok(None);
    };
    let refused = |reason: String| {
        let generation = &newest.name;
        tracing::warn!(%generation, reason, "the newest backup cannot be gone on with; another one is taken");
    };
    match inspect_increments(&newest) {
        Ok(found) if found.manifest.format != FORMAT => {
            refused(format!("it has format {}", found.manifest.format));
        }
        Ok(Inspection {
            ending: Ending::Changed(file),
            ..
        }) => refused(format!("{file} is not what was written")),
        Ok(found) => return Ok(Some((newest, found))),
        Err(error) => refused(error.to_string()),
    }
    Ok(None)
}

/// Whether the store is in the life, and not before the place, that a position says, and its logs reach back to there.
async fn goes_on(store: &dyn Store, position: &Position) -> Result<bool, Error> {
    let own = store.origin();
    let is_later = |incarnation| incarnation != own.incarnation;
    let mut of_node = position.iter().filter(|(of, _)| of.node == own.node);
    if of_node.any(|(of, _)| is_later(of.incarnation)) {
        return Ok(false);
    }
    if !store.heads().await?.covers(position) {
        return Ok(false);
    }
    let held = store.held().borrow().clone();
    let mut followed = held
        .kept
        .iter()
        .filter(|(origin, _)| store.is_shared() || *origin == own);
    Ok(followed.all(|(origin, kept)| position.get(origin).saturating_add(1) >= kept.oldest))
}
