//! Putting a backup back into an empty store.

use super::{
    directory::Generation,
    inspect::{Ending, Inspection, Pieces, Read, inspect},
    moment::time,
    piece::{Mark, Piece},
};
use crate::{
    Error,
    store::{KeptRow, Store},
};
use brink_protocol::{Position, address::PartitionAddress};
use std::{
    collections::BTreeSet,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::mpsc, task::JoinSet};

/// Rows of different partitions that are put back at a time.
const AT_ONCE: usize = 64;
/// Pieces that are read ahead.
const AHEAD: usize = 16;

/// What was put back.
#[derive(Debug, Clone)]
pub struct Restored {
    /// From which generation.
    pub generation: String,
    /// The state of which moment.
    pub mark: Mark,
    /// Rows that were written; one that changed in an increment counts again.
    pub rows: u64,
    /// How long it took.
    pub took: Duration,
}

/// The newest generation from which a moment can be restored; of those that are whole.
fn choose(root: &Path, to_ms: u64) -> Result<(Generation, Position), Error> {
    let mut lives = Position::default();
    let mut chosen = None;
    let mut first = None;
    for generation in Generation::all(root)? {
        let Some(manifest) = generation.manifest()? else {
            continue;
        };
        lives.merge(&manifest.position);
        lives.merge(&manifest.first.position);
        first = first.or(Some(manifest.first.to_ms));
        if manifest.first.to_ms <= to_ms {
            chosen = Some(generation);
        }
    }
    let chosen = chosen.ok_or_else(|| {
        Error::Backup(match first {
            Some(first) => format!(
                "{}: the first moment that can be restored is {}",
                root.display(),
                time(first)
            ),
            None => format!("{}: there is no whole backup in it", root.display()),
        })
    })?;
    Ok((chosen, lives))
}

fn chosen_mark(inspection: &Inspection, to_ms: Option<u64>) -> Result<(Mark, u64), Error> {
    let last = &inspection.last.mark;
    if let Ending::Changed(file) = &inspection.ending
        && to_ms.is_none_or(|to_ms| to_ms > last.to_ms)
    {
        return Err(Error::Backup(format!(
            "{file} is not what was written; what was kept before that can be restored: `--to-time {}`",
            time(last.to_ms)
        )));
    }
    inspection.chosen.clone().ok_or_else(|| {
        Error::Backup("the generation has no mark that is not after the time asked for".into())
    })
}

/// Puts the state of a moment back: the last mark that is not after `to_ms`, or the last of all. Everything is read through
/// before the first row is written. One that was cut off goes on when it is asked for again.
///
/// The store may not be used afterwards: it is opened anew, and begins a new life.
///
/// # Errors
/// The store is not empty; there is no such moment; what was kept was changed since; the store or the disk.
pub async fn restore(
    store: &Arc<dyn Store>,
    root: &Path,
    to_ms: Option<u64>,
) -> Result<Restored, Error> {
    let begun = Instant::now();
    let limit = to_ms.unwrap_or(u64::MAX);
    let at = root.to_owned();
    let read = move || {
        let (generation, lives) = choose(&at, limit)?;
        let inspection = inspect(&generation, limit)?;
        Ok::<_, Error>((generation, lives, inspection))
    };
    let read = tokio::task::spawn_blocking(read).await;
    let (generation, mut lives, inspection) =
        read.map_err(|error| Error::Runtime(error.to_string()))??;
    let (mark, pieces) = chosen_mark(&inspection, to_ms)?;
    lives.merge(&inspection.last.mark.position);
    lives.merge(&mark.position);
    let name = format!("{}@{}", generation.name, mark.to_ms);
    store.begin_restore(&name).await?;
    let rows = put_all_back(store, &generation, &inspection, pieces).await?;
    store.end_restore(&lives).await?;
    Ok(Restored {
        generation: generation.name,
        mark,
        rows,
        took: begun.elapsed(),
    })
}

/// Puts the first `count` pieces back; gives the rows that were written.
async fn put_all_back(
    store: &Arc<dyn Store>,
    generation: &Generation,
    inspection: &Inspection,
    count: u64,
) -> Result<u64, Error> {
    let (ahead, mut pieces) = mpsc::channel(AHEAD);
    let mut source = Pieces::new(generation, &inspection.manifest);
    let reading = tokio::task::spawn_blocking(move || {
        for _ in 0..count {
            let Read::Piece(piece) = source.next()? else {
                let reason = "the backup changed while it was read";
                return Err(Error::Backup(reason.into()));
            };
            if ahead.blocking_send(piece).is_err() {
                break;
            }
        }
        Ok(())
    });
    store.put_back_registry(inspection.registry.clone()).await?;
    let mut puts = Puts::default();
    while let Some(piece) = pieces.recv().await {
        match piece {
            Piece::Rows(partition, rows) => puts.put(store, partition, rows).await?,
            Piece::Component(digest, bytes) => store.put_back_component(&digest, bytes).await?,
            Piece::Registry(_) | Piece::Mark(_) => {}
        }
    }
    reading
        .await
        .map_err(|error| Error::Runtime(error.to_string()))??;
    puts.finish().await?;
    Ok(puts.rows)
}

/// Rows on their way into the store: those of different partitions together, those of one in order.
#[derive(Default)]
struct Puts {
    tasks: JoinSet<Result<(), Error>>,
    partitions: BTreeSet<PartitionAddress>,
    step: u64,
    rows: u64,
}

impl Puts {
    async fn put(
        &mut self,
        store: &Arc<dyn Store>,
        partition: PartitionAddress,
        rows: Vec<KeptRow>,
    ) -> Result<(), Error> {
        if self.partitions.contains(&partition) || self.partitions.len() >= AT_ONCE {
            self.finish().await?;
        }
        self.step += 1;
        self.rows += rows.len() as u64;
        self.partitions.insert(partition.clone());
        let (store, step) = (Arc::clone(store), self.step);
        self.tasks
            .spawn(async move { store.put_back(&partition, rows, step).await });
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), Error> {
        while let Some(done) = self.tasks.join_next().await {
            done.map_err(|error| Error::Runtime(error.to_string()))??;
        }
        self.partitions.clear();
        Ok(())
    }
}
