//! Session keys by the core node that made them. Never logged.

use super::{
    engine::Engine,
    json::{decode, encode},
};
use crate::Error;
use brink_protocol::{NodeName, session::SessionKey};
use std::collections::BTreeMap;

const WHAT: &str = "session keys";

// Each node writes its own row alone.
const PUT: &str = "INSERT INTO session_keys (every, node, row) VALUES (0, ?, ?)";
const ALL: &str = "SELECT node, row FROM session_keys WHERE every = 0";

pub(super) async fn session_keys(
    engine: &Engine,
) -> Result<BTreeMap<NodeName, Vec<SessionKey>>, Error> {
    let rows: Vec<(String, String)> = engine.session.rows(ALL, vec![]).await?;
    rows.iter()
        .map(|(node, row)| {
            let node = node.parse().map_err(|error| Error::corrupt(WHAT, error))?;
            Ok((node, decode(WHAT, row)?))
        })
        .collect()
}

pub(super) async fn put_session_keys(
    engine: &Engine,
    node: NodeName,
    keys: Vec<SessionKey>,
) -> Result<(), Error> {
    let values = vec![node.as_str().into(), encode(WHAT, &keys)?];
    engine.session.write(PUT, values).await
}
