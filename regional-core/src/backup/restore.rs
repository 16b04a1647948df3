//! Putting a backup back into an empty store.

use super::{
    directory::Generation,
    inspect::{Ending, Inspection, Pieces, Read, inspect},
    moment::time,
    piece::{Mark, Piece},
};
use crate::{
    Error,
    clock::now_ms,
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
    /// Rows of those that were not, because they lie in another region alone.
    pub elsewhere: u64,
    /// How long it took.
    pub took: Duration,
}

/// What there is to choose from.
struct Chosen {
    generation: Generation,
    /// Positions of all lives that the backups name.
    lives: Position,
    /// Why generations are passed over that are there, and may have more of what is asked for.
    passed_over: Vec<String>,
}

/// The newest generation from which a moment can be restored; of those that are whole.
fn choose(root: &Path, to_ms: u64) -> Result<Chosen, Error> {
    let mut lives = Position::default();
    let mut chosen = None;
    let mut first = None;
    let mut passed_over = Vec::new();
    for generation in Generation::all(root)? {
        let manifest = match generation.manifest() {
            Ok(Some(manifest)) => manifest,
            Ok(None) => continue,
            Err(error) => {
                passed_over.push(error.to_string());
                continue;
            }
        };
        lives.merge(&manifest.position);
        lives.merge(&manifest.first.position);
        first = first.or(Some(manifest.first.to_ms));
        if manifest.first.to_ms <= to_ms {
            passed_over.clear();
            chosen = Some(generation);
        }
    }
    if let Some(generation) = chosen {
        return Ok(Chosen {
            generation,
            lives,
            passed_over,
        });
    }
    let reason = match first {
        Some(first) => format!("the first moment that can be restored is {}", time(first)),
        None => "there is no whole backup in it".into(),
    };
    let reasons: Vec<String> = [reason].into_iter().chain(passed_over).collect();
    let reasons = reasons.join("; ");
    Err(Error::Backup(format!("{}: {reasons}", root.display())))
}

/// Refuses a moment behind what can be read, unless nothing was kept behind it.
fn chosen_mark(
    inspection: &Inspection,
    passed_over: &[String],
    to_ms: Option<u64>,
) -> Result<(Mark, u64), Error> {
    let last = &inspection.last.mark;
    let mut reasons = passed_over.to_vec();
    if let Ending::Changed(file) = &inspection.ending {
        reasons.insert(0, format!("{file} is not what was written"));
    }
    if !reasons.is_empty() && to_ms.is_none_or(|to_ms| to_ms > last.to_ms) {
        return Err(Error::Backup(format!(
            "{}; what was kept before that can be restored: `--to-time {}`",
            reasons.join("; "),
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
        let chosen = choose(&at, limit)?;
        let inspection = inspect(&chosen.generation, limit)?;
        Ok::<_, Error>((chosen, inspection))
    };
    let read = tokio::task::spawn_blocking(read).await;
    let (chosen, inspection) = read.map_err(|error| Error::Runtime(error.to_string()))??;
    let (mark, pieces) = chosen_mark(&inspection, &chosen.passed_over, to_ms)?;
    let Chosen {
        generation,
        mut lives,
        ..
    } = chosen;
    lives.merge(&inspection.last.mark.position);
    let name = format!("{}@{}", generation.name, mark.to_ms);
    store.begin_restore(&name).await?;
    let (rows, elsewhere) = put_all_back(store, &generation, &inspection, pieces).await?;
    let seconds = u32::try_from(now_ms() / 1000).unwrap_or(u32::MAX);
    store.end_restore(&lives, seconds).await?;
    // Whoever restores again gets another life.
    while now_ms() / 1000 <= seconds.into() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(Restored {
        generation: generation.name,
        mark,
        rows: rows - elsewhere,
        elsewhere,
        took: begun.elapsed(),
    })
}

/// Puts the first `count` pieces back; gives the rows, and how many of them lie in another region alone.
async fn put_all_back(
    store: &Arc<dyn Store>,
    generation: &Generation,
    inspection: &Inspection,
    count: u64,
) -> Result<(u64, u64), Error> {
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
    Ok((puts.rows, puts.elsewhere))
}

/// Rows on their way into the store: those of different partitions together, those of one in order.
#[derive(Default)]
struct Puts {
    /// Each gives how many of its rows lie elsewhere.
    tasks: JoinSet<Result<u64, Error>>,
    partitions: BTreeSet<PartitionAddress>,
    step: u64,
    rows: u64,
    elsewhere: u64,
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
        self.tasks.spawn(async move {
            let count = rows.len() as u64;
            match store.put_back(&partition, rows, step).await {
                // It was moved there after it was kept here.
                Err(Error::Region { .. }) => Ok(count),
                done => done.map(|()| 0),
            }
        });
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), Error> {
        while let Some(done) = self.tasks.join_next().await {
            self.elsewhere += done.map_err(|error| Error::Runtime(error.to_string()))??;
        }
        self.partitions.clear();
        Ok(())
    }
}
