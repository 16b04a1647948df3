//! Which life a node's first one is in a keyspace: in one that a backup was put back into, a later one than any node had before.

use super::session::{Applied, Bind, Cql};
use crate::Error;
use brink_protocol::log::FIRST_INCARNATION;

/// Times that the outcome of a conditional write is asked for.
const TRIES_MAX: usize = 10;

const FIRST: &str = "SELECT holder FROM locks WHERE name = 'life'";
const PUT: &str = "UPDATE locks SET holder = ? WHERE name = 'life' IF holder = ?";

fn read(rows: Vec<(Option<String>,)>) -> Result<Option<u32>, Error> {
    let first = rows.into_iter().next().and_then(|(holder,)| holder);
    let parse = |text: String| {
        text.parse()
            .map_err(|error| Error::corrupt("first life", error))
    };
    first.map(parse).transpose()
}

/// The first life of a node that the keyspace does not know.
pub(super) async fn first(session: &Cql) -> Result<u32, Error> {
    let rows = session.rows(FIRST, vec![]).await?;
    Ok(read(rows)?.unwrap_or(FIRST_INCARNATION))
}

/// No node begins before `life`.
pub(super) async fn put(session: &Cql, life: u32) -> Result<(), Error> {
    for _ in 0..TRIES_MAX {
        let present = read(session.global_rows(FIRST, vec![]).await?)?;
        if present.is_some_and(|present| present >= life) {
            return Ok(());
        }
        let before = present.map_or(Bind::Null, |present| Bind::Text(present.to_string()));
        let values = vec![Bind::Text(life.to_string()), before];
        if session.global(vec![(PUT, values)]).await? == Applied::Yes {
            return Ok(());
        }
    }
    Err(Error::Busy)
}
