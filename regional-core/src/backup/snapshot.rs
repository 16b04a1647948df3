//! The snapshot that a generation begins with: every row of the store, partition by partition.
//!
//! Partitions are read at different moments. The increments repeat all that changed since the walk began, so the first mark
//! behind them is a moment of the whole. They are followed while the walk goes on, however long it takes: the logs keep only
//! so much.

use super::{
    directory::{Generation, Part},
    frames::{Writer, beginning},
    piece::Piece,
};
use crate::{
    Error,
    store::{KEPT_ROWS_MAX, KeptRow, PAGE_BYTES_MAX, Store},
};
use brink_protocol::{Digest, address::PartitionAddress};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

/// Bytes after which a part is closed.
const PART_BYTES: u64 = 64 << 20;
/// Partitions that are asked for at a time.
const PARTITIONS_MAX: usize = 64;
/// Partitions whose first rows are read at a time.
const AT_ONCE: usize = 8;

/// What was written.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub(super) parts: Vec<Part>,
    pub(super) partitions: u64,
    pub(super) rows: u64,
}

struct Parts<'a> {
    generation: &'a Generation,
    open: Option<(String, Writer)>,
    walked: Walked,
}

impl Parts<'_> {
    fn push(&mut self, piece: &Piece) -> Result<(), Error> {
        let frame = piece.encode()?;
        if self.open.is_none() {
            let name = self.generation.part(self.walked.parts.len() + 1);
            let path = self.generation.path.join(&name);
            let chain = beginning(&self.generation.seed(&name));
            self.open = Some((name, Writer::create(&path, chain)?));
        }
        let Some((_, writer)) = &mut self.open else {
            return Ok(());
        };
        writer.push(&frame)?;
        if writer.bytes() >= PART_BYTES {
            self.close()?;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), Error> {
        let Some((name, mut writer)) = self.open.take() else {
            return Ok(());
        };
        writer.sync()?;
        self.walked.parts.push(Part {
            name,
            bytes: writer.bytes(),
            end: Digest::from(writer.chain()).hex(),
        });
        Ok(())
    }
}

/// Writes every row of the store into the parts of a generation. `meanwhile` is called whenever some more were read.
pub(super) async fn walk(
    store: &dyn Store,
    generation: &Generation,
    mut meanwhile: impl AsyncFnMut() -> Result<(), Error>,
) -> Result<Walked, Error> {
    let mut parts = Parts {
        generation,
        open: None,
        walked: Walked::default(),
    };
    let mut after: Option<PartitionAddress> = None;
    loop {
        let page = store
            .partitions(None, after.as_ref(), PARTITIONS_MAX)
            .await?;
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
        let firsts = page.into_iter().map(|partition| async move {
            let rows = store.kept(&partition, None, KEPT_ROWS_MAX).await?;
            Ok::<_, Error>((partition, rows))
        });
        let firsts: Vec<_> = firsts.collect();
        let mut firsts = stream::iter(firsts).buffered(AT_ONCE);
        while let Some((partition, rows)) = firsts.try_next().await? {
            write_partition(store, &mut parts, (partition, rows), &mut meanwhile).await?;
        }
        meanwhile().await?;
    }
    parts.close()?;
    Ok(parts.walked)
}

async fn write_partition(
    store: &dyn Store,
    parts: &mut Parts<'_>,
    (partition, mut rows): (PartitionAddress, Vec<KeptRow>),
    meanwhile: &mut impl AsyncFnMut() -> Result<(), Error>,
) -> Result<(), Error> {
    parts.walked.partitions += 1;
    while let Some(last) = rows.last() {
        let last = last.key.clone();
        parts.walked.rows += rows.len() as u64;
        for rows in split(rows) {
            parts.push(&Piece::Rows(partition.clone(), rows))?;
        }
        rows = store.kept(&partition, Some(&last), KEPT_ROWS_MAX).await?;
        if !rows.is_empty() {
            meanwhile().await?;
        }
    }
    Ok(())
}

/// Rows in runs of not many more bytes than a page.
pub(super) fn split(rows: Vec<KeptRow>) -> Vec<Vec<KeptRow>> {
    let mut runs = vec![Vec::new()];
    let mut bytes = 0;
    for row in rows {
        bytes += row.value.as_ref().map_or(0, Bytes::len);
        if bytes > PAGE_BYTES_MAX {
            runs.push(Vec::new());
            bytes = row.value.as_ref().map_or(0, Bytes::len);
        }
        if let Some(run) = runs.last_mut() {
            run.push(row);
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}
