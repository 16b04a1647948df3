//! Tokens, by the digest of their secret and by their id.
//!
//! Writes are conditional, though their conditions always hold: a removal must outlast the clock of whoever wrote before.

use super::{
    audit,
    engine::Engine,
    json::{decode, encode},
    session::{Applied, Bind},
};
use crate::{
    Error,
    store::{NewAudit, TokenRow},
};
use brink_protocol::TenantName;
use bytes::Bytes;

const WHAT: &str = "token";

const ADD: &str = "INSERT INTO tokens (hash, row) VALUES (?, ?) IF NOT EXISTS";
const ADD_ID: &str = "INSERT INTO token_ids (every, id, row) VALUES (0, ?, ?) IF NOT EXISTS";
const ONE: &str = "SELECT row FROM tokens WHERE hash = ?";
const ONE_ID: &str = "SELECT row FROM token_ids WHERE every = 0 AND id = ?";
const ALL: &str = "SELECT row FROM token_ids WHERE every = 0";
const REMOVE: &str = "DELETE FROM tokens WHERE hash = ? IF EXISTS";
const REMOVE_ID: &str = "DELETE FROM token_ids WHERE every = 0 AND id = ? IF EXISTS";

fn hash(token: &[u8; 32]) -> Bind {
    Bind::Blob(Bytes::copy_from_slice(token))
}

/// First where it is listed: what is accepted can be found and removed.
pub(super) async fn add_token(
    engine: &Engine,
    token: TokenRow,
    audit: NewAudit,
) -> Result<(), Error> {
    let row = encode(WHAT, &token)?;
    let listed = vec![token.id.as_str().into(), row.clone()];
    engine.session.global(vec![(ADD_ID, listed)]).await?;
    let kept = vec![hash(&token.hash), row];
    engine.session.global(vec![(ADD, kept)]).await?;
    audit::add_audit(engine, audit).await
}

pub(super) async fn token(engine: &Engine, secret: &[u8; 32]) -> Result<Option<TokenRow>, Error> {
    let rows: Vec<(String,)> = engine.session.rows(ONE, vec![hash(secret)]).await?;
    rows.first().map(|(row,)| decode(WHAT, row)).transpose()
}

pub(super) async fn tokens(
    engine: &Engine,
    tenant: Option<&TenantName>,
) -> Result<Vec<TokenRow>, Error> {
    let rows: Vec<(String,)> = engine.session.rows(ALL, vec![]).await?;
    let mut tokens = rows
        .iter()
        .map(|(row,)| decode(WHAT, row))
        .collect::<Result<Vec<TokenRow>, Error>>()?;
    tokens.retain(|token| tenant.is_none_or(|tenant| token.tenant == *tenant));
    Ok(tokens)
}

/// First what is accepted: a token that is listed no more is good for nothing.
pub(super) async fn remove_token(
    engine: &Engine,
    id: &str,
    audit: NewAudit,
) -> Result<bool, Error> {
    let session = &engine.session;
    let rows: Vec<(String,)> = session.global_rows(ONE_ID, vec![id.into()]).await?;
    let Some((row,)) = rows.first() else {
        return Ok(false);
    };
    let token: TokenRow = decode(WHAT, row)?;
    session
        .global(vec![(REMOVE, vec![hash(&token.hash)])])
        .await?;
    if session.global(vec![(REMOVE_ID, vec![id.into()])]).await? == Applied::No {
        return Ok(false);
    }
    audit::add_audit(engine, audit).await?;
    Ok(true)
}
