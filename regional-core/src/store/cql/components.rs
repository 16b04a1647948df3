//! Components by their content address, in parts.

use super::{engine::Engine, session::Bind};
use crate::Error;
use brink_protocol::{Digest, control::COMPONENT_BYTES_MAX};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

const WHAT: &str = "component";
/// Bytes of a part: far below what engines take as one write.
const PART_BYTES: usize = 512 << 10;
/// Parts on the way at a time.
const TOGETHER: usize = 4;
const PARTS_MAX: usize = COMPONENT_BYTES_MAX.div_ceil(PART_BYTES);

const PUT: &str = "INSERT INTO components (digest, part, parts, bytes) VALUES (?, ?, ?, ?)";
const READ: &str = "SELECT parts, bytes FROM components WHERE digest = ? AND part = ?";

fn key(digest: &Digest) -> Bind {
    Bind::Text(digest.hex())
}

/// Keeps a component. Its first part goes last: where that is, all are.
pub(super) async fn write(engine: &Engine, digest: &Digest, bytes: &Bytes) -> Result<(), Error> {
    let parts = bytes.len().div_ceil(PART_BYTES).max(1);
    let count = i32::try_from(parts).unwrap_or(i32::MAX);
    let put = |part: i32| async move {
        let begin = usize::try_from(part).unwrap_or(0) * PART_BYTES;
        let end = (begin + PART_BYTES).min(bytes.len());
        let slice = bytes.slice(begin.min(end)..end);
        let values = vec![
            key(digest),
            Bind::Int(part),
            Bind::Int(count),
            Bind::Blob(slice),
        ];
        engine.session.write(PUT, values).await
    };
    stream::iter(1..count)
        .map(put)
        .buffer_unordered(TOGETHER)
        .try_collect::<()>()
        .await?;
    put(0).await
}

/// A component. One whose content is not what its name says is refused.
pub(super) async fn component(engine: &Engine, digest: &Digest) -> Result<Option<Bytes>, Error> {
    let read = |part: i32| async move {
        let values = vec![key(digest), Bind::Int(part)];
        let rows: Vec<(i32, Vec<u8>)> = engine.session.rows(READ, values).await?;
        Ok::<_, Error>(rows.into_iter().next())
    };
    let Some((count, first)) = read(0).await? else {
        return Ok(None);
    };
    if usize::try_from(count).unwrap_or(usize::MAX) > PARTS_MAX {
        return Err(Error::corrupt(WHAT, format!("{digest} has {count} parts")));
    }
    let rest: Vec<Vec<u8>> = stream::iter(1..count)
        .map(|part| async move {
            let (_, bytes) = read(part).await?.ok_or_else(|| {
                Error::corrupt(WHAT, format!("part {part} of {digest} is missing"))
            })?;
            Ok::<_, Error>(bytes)
        })
        .buffered(TOGETHER)
        .try_collect()
        .await?;
    let mut bytes = first;
    for part in rest {
        bytes.extend(part);
    }
    if Digest::of(&bytes) != *digest {
        let reason = format!("{digest} does not have this content any more");
        return Err(Error::corrupt(WHAT, reason));
    }
    Ok(Some(bytes.into()))
}
