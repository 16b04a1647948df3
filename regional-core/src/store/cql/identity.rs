//! Which store the keyspace is: said once, by the first core that opened it.

use super::session::{Bind, Cql};
use crate::{Error, random};
use brink_protocol::StoreId;

const GET: &str = "SELECT id FROM identity WHERE every = 0";
const BEGIN: &str = "INSERT INTO identity (every, id) VALUES (0, ?) IF NOT EXISTS";

/// The store's id; made if there is none.
pub(super) async fn identity(session: &Cql) -> Result<StoreId, Error> {
    if let Some(id) = read(session.rows(GET, Vec::new()).await?)? {
        return Ok(id);
    }
    let id = StoreId::new(random::bytes()?);
    // Whoever is first, in whichever data centre; what came of it is read.
    let begin = vec![(BEGIN, vec![Bind::Text(id.to_string())])];
    if let Err(failure) = session.global(begin).await {
        tracing::debug!(error = %failure.error, "whether the store got this id is read");
    }
    read(session.global_rows(GET, Vec::new()).await?)?
        .ok_or_else(|| Error::store("giving the store its id", "it was not kept"))
}

fn read(rows: Vec<(String,)>) -> Result<Option<StoreId>, Error> {
    let id = rows.first().map(|(id,)| id.parse::<StoreId>());
    id.transpose()
        .map_err(|error| Error::corrupt("id of the store", error))
}
