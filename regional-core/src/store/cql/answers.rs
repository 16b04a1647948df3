//! Answers to idempotency keys. They lie in the partition of their command, so that one commit covers both.

use super::{
    decide::answer_sort,
    engine::Engine,
    partition::{ANSWER, RECORD, Reading, RowState, key, spread},
    read_log,
    session::Cql,
};
use crate::{
    Error,
    clock::now_ms,
    store::{Answer, AnswerKey},
};
use brink_protocol::{
    ModuleName, OriginId, Position,
    address::PartitionAddress,
    change::{ChangeKind, Phase},
};
use bytes::Bytes;
use std::time::Duration;
use tokio::time::Instant;

/// How long another core is given to say that its write has ended. Then this one says it.
const SETTLED_WITHIN: Duration = Duration::from_millis(300);

const GET: &str = "SELECT version, expires_at, value FROM records \
                   WHERE tenant = ? AND collection = ? AND partition = ? AND kind = 1 AND sort = ?";

/// The row under a key.
pub(super) async fn row(
    session: &Cql,
    partition: &PartitionAddress,
    command: &ModuleName,
    idempotency_key: &str,
    reading: Reading,
) -> Result<Option<(RowState, Answer)>, Error> {
    let mut values = key(partition);
    values.push(answer_sort(command, idempotency_key).as_str().into());
    let rows: Vec<(Option<i64>, Option<i64>, Option<Bytes>)> = match reading {
        Reading::Quorum => session.rows(GET, values).await?,
        Reading::Serial => session.serial_rows(GET, values).await?,
    };
    let Some((version, expires_at, Some(bytes))) = rows.into_iter().next() else {
        return Ok(None);
    };
    let Some(state) = RowState::read(version, expires_at) else {
        return Ok(None);
    };
    let answer = postcard::from_bytes(&bytes).map_err(|error| Error::corrupt("answer", error))?;
    Ok(Some((state, answer)))
}

/// The answer under a key, unless it is forgotten.
pub(super) async fn answer(
    engine: &Engine,
    key: &AnswerKey,
    now_ms: u64,
) -> Result<Option<Answer>, Error> {
    let session = engine.keyspaces.of(&key.partition).await?;
    let reading = Reading::Quorum;
    let found = row(&session, &key.partition, &key.command, &key.key, reading).await?;
    let deadline = Instant::now() + engine.write_timeout;
    match found {
        Some((state, answer)) if state.is_alive(now_ms) => {
            let settled = settled(engine, key, answer, deadline).await?;
            Ok(Some(settled))
        }
        _ => Ok(None),
    }
}

/// The answer with a position that covers the end of its write. It is kept with that of the intent, which comes before.
pub(super) async fn settled(
    engine: &Engine,
    key: &AnswerKey,
    answer: Answer,
    deadline: Instant,
) -> Result<Answer, Error> {
    let mut position = Position::default();
    for (origin, intent) in answer.position.iter() {
        let left = deadline - Instant::now();
        let is_own = *origin == engine.claim.origin;
        let patience = if is_own {
            left
        } else {
            left.min(SETTLED_WITHIN)
        };
        let found = match engine.logs.wait_settled(origin, intent, patience).await {
            Err(_) if !is_own => said(engine, key, origin, intent).await?,
            found => found?,
        };
        position.merge(&found);
    }
    Ok(Answer { position, ..answer })
}

/// Says in this core's log what another core has written, whose log does not say yet that it is done: that core may be gone,
/// and whoever takes its log over will say it again. Gives the position of that.
async fn said(
    engine: &Engine,
    key: &AnswerKey,
    origin: &OriginId,
    intent: u64,
) -> Result<Position, Error> {
    const WHAT: &str = "saying the end of another core's write";
    let open = || Error::store(WHAT, format!("entry {intent} of {origin} is not there"));
    // Serially: what a quorum showed of the commit may have been but half of it. After this, all of it is there.
    let session = engine.keyspaces.of(&key.partition).await?;
    let reading = Reading::Serial;
    let found = row(&session, &key.partition, &key.command, &key.key, reading).await?;
    found.ok_or_else(open)?;
    let kept = engine.logs.kept(origin).ok_or_else(open)?;
    let entries = read_log::changes(&engine.session, origin, intent - 1, kept, 1).await?;
    let entry = entries.into_iter().find(|entry| entry.sequence == intent);
    let Some(ChangeKind::Records {
        partition, records, ..
    }) = entry.map(|entry| entry.kind)
    else {
        return Err(open());
    };
    let rows = records.iter().map(|record| (RECORD, record.sort.clone()));
    let rows = rows.chain([(ANSWER, answer_sort(&key.command, &key.key))]);
    spread(&session, &key.partition, rows.collect()).await?;
    let kind = ChangeKind::Records {
        partition,
        records,
        phase: Phase::Written,
    };
    let sequence = engine.log.append(now_ms(), kind).await?;
    Ok(engine.position(sequence))
}
