//! Answers to the idempotency keys of purges.
//!
//! The engine removes them some time after their end; that they have ended is decided by the time that the caller gives.

use super::{
    engine::Engine,
    json::{big, decode, encode},
    session::{Applied, Bind},
};
use crate::{
    Error,
    store::{ANSWER_LIFETIME_MS, Answer, AnswerKey, NewAnswer},
};
use brink_protocol::Position;

const WHAT: &str = "answer to a purge";
/// Times that a place is sought for an answer that others take and lose.
const TRIES_MAX: usize = 10;

// TTL: twice the lifetime of an answer, in seconds.
const ADD: &str = "INSERT INTO purge_answers (tenant, command, key, row, expires_at) VALUES (?, ?, ?, ?, ?) \
    IF NOT EXISTS USING TTL 172800";
const REPLACE: &str = "UPDATE purge_answers USING TTL 172800 SET row = ?, expires_at = ? \
    WHERE tenant = ? AND command = ? AND key = ? IF expires_at = ?";
const READ: &str =
    "SELECT row, expires_at FROM purge_answers WHERE tenant = ? AND command = ? AND key = ?";

const _: () = assert!(172_800_000 == 2 * ANSWER_LIFETIME_MS);

fn stored(key: &AnswerKey) -> Vec<Bind> {
    vec![
        key.partition.tenant.as_str().into(),
        key.command.as_str().into(),
        key.key.as_str().into(),
    ]
}

/// Whether an answer's key is one of a purge ([`crate::store::NewPurge::answer_key`]).
pub(super) fn is_ours(key: &AnswerKey) -> bool {
    key.partition.collection.is_empty()
}

pub(super) async fn answer(
    engine: &Engine,
    key: &AnswerKey,
    now_ms: u64,
) -> Result<Option<Answer>, Error> {
    let rows: Vec<(String, i64)> = engine.session.rows(READ, stored(key)).await?;
    let answer: Option<Answer> = rows.first().map(|(row, _)| decode(WHAT, row)).transpose()?;
    Ok(answer.filter(|answer| now_ms < answer.expires_at_ms))
}

/// Keeps an answer; if there is one already that has not ended, gives that.
pub(super) async fn keep(
    engine: &Engine,
    key: &AnswerKey,
    new: NewAnswer,
    position: Position,
    now_ms: u64,
) -> Result<Option<Answer>, Error> {
    let session = &engine.session;
    let answer = Answer {
        input: new.input,
        output: new.output,
        position,
        expires_at_ms: now_ms.saturating_add(ANSWER_LIFETIME_MS),
    };
    let row = encode(WHAT, &answer)?;
    let end = big(answer.expires_at_ms);
    for _ in 0..TRIES_MAX {
        let mut values = stored(key);
        values.extend([row.clone(), end.clone()]);
        if session.global(vec![(ADD, values)]).await? == Applied::Yes {
            return Ok(None);
        }
        let rows: Vec<(String, i64)> = session.global_rows(READ, stored(key)).await?;
        let Some((present, present_end)) = rows.into_iter().next() else {
            continue;
        };
        let present: Answer = decode(WHAT, &present)?;
        if now_ms < present.expires_at_ms {
            return Ok(Some(present));
        }
        let mut values = vec![row.clone(), end.clone()];
        values.extend(stored(key));
        values.push(Bind::Big(present_end));
        if session.global(vec![(REPLACE, values)]).await? == Applied::Yes {
            return Ok(None);
        }
    }
    Err(Error::Busy)
}
