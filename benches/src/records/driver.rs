//! The bare driver on the engine: a table like the store's, one read or one conditional write for each operation.

use super::{
    chance::Chance,
    embedded::{self, PER_WRITER, unique},
    load::Client,
};
use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use scylla::{
    client::{
        execution_profile::ExecutionProfile, session::Session, session_builder::SessionBuilder,
    },
    statement::{Consistency, SerialConsistency, prepared::PreparedStatement},
    value::{CqlValue, Row},
};
use std::{net::SocketAddr, sync::Arc};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS records (tenant text, collection text, partition text, sort text, \
                     version bigint, expires_at bigint, value blob, PRIMARY KEY ((tenant, collection, partition), sort))";
const KEY: &str = "WHERE tenant = ? AND collection = ? AND partition = ? AND sort = ?";
const TENANT: &str = "default";
const COLLECTION: &str = "c";
/// Requests under way while records are made.
const MAKERS: usize = 64;

/// A session with its statements.
pub(super) struct Driver {
    session: Session,
    get: PreparedStatement,
    put: PreparedStatement,
    first: PreparedStatement,
    fill: PreparedStatement,
}

impl Driver {
    /// Connects and makes a keyspace and the table.
    pub(super) async fn connect(engine: SocketAddr, keyspace: &str) -> Result<Arc<Self>> {
        let profile = ExecutionProfile::builder()
            .consistency(Consistency::LocalQuorum)
            .serial_consistency(Some(SerialConsistency::LocalSerial))
            .build();
        let session = SessionBuilder::new()
            .known_node_addr(engine)
            .default_execution_profile_handle(profile.into_handle())
            .build()
            .await?;
        let make = format!(
            "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = \
             {{'class': 'NetworkTopologyStrategy', '{}': 1}}",
            brink_engines::DATA_CENTRE
        );
        session.query_unpaged(make, ()).await?;
        session.use_keyspace(keyspace, false).await?;
        session.query_unpaged(TABLE, ()).await?;
        let prepare = async |text: String| session.prepare(text).await;
        Ok(Arc::new(Self {
            get: prepare(format!("SELECT version, expires_at, value FROM records {KEY}")).await?,
            put: prepare(format!("UPDATE records SET version = ?, value = ? {KEY} IF version = ?")).await?,
            first: prepare(
                "INSERT INTO records (version, value, tenant, collection, partition, sort) \
                 VALUES (?, ?, ?, ?, ?, ?) IF NOT EXISTS"
                    .to_owned(),
            )
            .await?,
            fill: prepare(
                "INSERT INTO records (version, value, tenant, collection, partition, sort) VALUES (?, ?, ?, ?, ?, ?)"
                    .to_owned(),
            )
            .await?,
            session,
        }))
    }

    /// Makes the records that are read.
    pub(super) async fn fill(&self, records: u64, value_bytes: usize) -> Result<()> {
        let value = vec![b'x'; value_bytes];
        stream::iter(0..records)
            .map(|number| {
                let key = embedded::key(number);
                let values = (
                    1i64,
                    value.clone(),
                    TENANT,
                    COLLECTION,
                    key.partition,
                    key.sort,
                );
                async move {
                    self.session.execute_unpaged(&self.fill, values).await?;
                    anyhow::Ok(())
                }
            })
            .buffer_unordered(MAKERS)
            .try_collect()
            .await
    }

    pub(super) fn readers(self: &Arc<Self>, count: usize, records: u64) -> Vec<Reader> {
        let reader = |number| Reader {
            driver: Arc::clone(self),
            chance: Chance::new(number),
            records,
        };
        (0..count).map(reader).collect()
    }

    pub(super) fn writers(self: &Arc<Self>, count: usize, value_bytes: usize) -> Vec<Writer> {
        let writer = |number| Writer {
            driver: Arc::clone(self),
            partition: format!("{}-{number}", unique()),
            value: vec![b'x'; value_bytes],
            versions: (0..PER_WRITER).map(|_| 0).collect(),
            next: 0,
        };
        (0..count).map(writer).collect()
    }
}

/// Reads one row after the other.
pub(super) struct Reader {
    driver: Arc<Driver>,
    chance: Chance,
    records: u64,
}

impl Client for Reader {
    async fn once(&mut self) -> Result<()> {
        let key = embedded::key(self.chance.below(self.records));
        let Driver { session, get, .. } = &*self.driver;
        let values = (TENANT, COLLECTION, key.partition, key.sort);
        let rows = session
            .execute_unpaged(get, values)
            .await?
            .into_rows_result()?;
        let (version, _, _) = rows.first_row::<(Option<i64>, Option<i64>, Option<Bytes>)>()?;
        ensure!(version.is_some(), "a row without a version");
        Ok(())
    }
}

/// Writes its own rows in turn.
pub(super) struct Writer {
    driver: Arc<Driver>,
    partition: String,
    value: Vec<u8>,
    /// 0: it is not there yet.
    versions: Vec<i64>,
    next: usize,
}

impl Client for Writer {
    async fn once(&mut self) -> Result<()> {
        self.next = (self.next + 1) % self.versions.len();
        let Some(version) = self.versions.get_mut(self.next) else {
            bail!("a writer without records");
        };
        let Driver {
            session,
            put,
            first,
            ..
        } = &*self.driver;
        let sort = format!("record-{}", self.next);
        let key = (TENANT, COLLECTION, &self.partition, &sort);
        let next = *version + 1;
        let answer = if *version == 0 {
            let values = (next, &self.value, key.0, key.1, key.2, key.3);
            session.execute_unpaged(first, values).await?
        } else {
            let values = (next, &self.value, key.0, key.1, key.2, key.3, *version);
            session.execute_unpaged(put, values).await?
        };
        let row: Row = answer.into_rows_result()?.first_row()?;
        let applied = row.columns.first().context("an answer without columns")?;
        ensure!(
            *applied == Some(CqlValue::Boolean(true)),
            "a write was not applied: {row:?}"
        );
        *version = next;
        Ok(())
    }
}
