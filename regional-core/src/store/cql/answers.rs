//! Answers to idempotency keys. They lie in the partition of their command, so that one commit covers both.

use super::{
    decide::answer_sort,
    engine::Engine,
    partition::{Reading, RowState, key},
    session::Cql,
};
use crate::{
    Error,
    store::{Answer, AnswerKey},
};
use brink_protocol::{ModuleName, Position, address::PartitionAddress};
use bytes::Bytes;
use tokio::time::Instant;

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
            Ok(Some(settled(engine, answer, deadline).await?))
        }
        _ => Ok(None),
    }
}

/// The answer with a position that covers the end of its write. It is kept with that of the intent, which comes before.
pub(super) async fn settled(
    engine: &Engine,
    answer: Answer,
    deadline: Instant,
) -> Result<Answer, Error> {
    let mut position = Position::default();
    for (origin, intent) in answer.position.iter() {
        let found = engine
            .logs
            .wait_settled(origin, intent, deadline - Instant::now())
            .await?;
        position.merge(&found);
    }
    Ok(Answer { position, ..answer })
}
