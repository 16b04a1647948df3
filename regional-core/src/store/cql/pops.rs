//! What PoPs last said.

use super::{
    engine::Engine,
    json::{big, decode, encode},
};
use crate::{Error, store::PopRow};
use futures_util::{StreamExt, TryStreamExt, stream};

const WHAT: &str = "PoP";
/// Rows that are written at a time.
const TOGETHER: usize = 32;

// The newest report stays, whichever core writes it last.
const PUT: &str = "INSERT INTO pops (every, name, row) VALUES (0, ?, ?) USING TIMESTAMP ?";
const ALL: &str = "SELECT row FROM pops WHERE every = 0";

pub(super) async fn put_pops(engine: &Engine, pops: Vec<PopRow>) -> Result<(), Error> {
    stream::iter(pops)
        .map(|pop| async move {
            let at_us = big(pop.seen_at_ms.saturating_mul(1000));
            let values = vec![pop.name.as_str().into(), encode(WHAT, &pop)?, at_us];
            engine.session.write(PUT, values).await
        })
        .buffer_unordered(TOGETHER)
        .try_collect()
        .await
}

pub(super) async fn pops(engine: &Engine) -> Result<Vec<PopRow>, Error> {
    let rows: Vec<(String,)> = engine.session.rows(ALL, vec![]).await?;
    rows.iter().map(|(row,)| decode(WHAT, row)).collect()
}
