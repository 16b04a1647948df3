//! The tables of the embedded store, and the handles that a batch of writes holds on them.

use crate::Error;
use ::redb::{ReadTransaction, Table, TableDefinition, TableError, WriteTransaction};
use brink_protocol::OriginId;
use serde::{Serialize, de::DeserializeOwned};

pub(super) type BytesTable = TableDefinition<'static, &'static [u8], &'static [u8]>;
pub(super) type IndexTable = TableDefinition<'static, &'static [u8], ()>;
pub(super) type NumberTable<'n> = TableDefinition<'n, u64, &'static [u8]>;

/// Record key -> row.
pub(super) const RECORDS: BytesTable = TableDefinition::new("records");
/// Record key -> the last version of a record that is gone, so that no version is ever used twice.
pub(super) const ENDED: TableDefinition<'static, &'static [u8], u64> =
    TableDefinition::new("ended");
/// Moment and record key.
pub(super) const EXPIRY: IndexTable = TableDefinition::new("expiry");
/// Sequence -> change.
pub(super) const LOG: NumberTable<'static> = TableDefinition::new("log");
/// Answer key -> answer.
pub(super) const ANSWERS: BytesTable = TableDefinition::new("answers");
/// Moment and answer key.
pub(super) const ANSWER_EXPIRY: IndexTable = TableDefinition::new("answer-expiry");
/// Name -> value: id, node, incarnation, schema.
pub(super) const META: TableDefinition<'static, &'static str, &'static [u8]> =
    TableDefinition::new("meta");
/// Tenant, module, version -> published version.
pub(super) const VERSIONS: BytesTable = TableDefinition::new("versions");
/// One row: the deployment table.
pub(super) const DEPLOYMENTS: TableDefinition<'static, (), &'static [u8]> =
    TableDefinition::new("deployments");
/// One row: the placements. There once something was declared.
pub(super) const PLACEMENTS: TableDefinition<'static, (), &'static [u8]> =
    TableDefinition::new("placements");
/// Tenant, module -> deployments in order.
pub(super) const HISTORY: BytesTable = TableDefinition::new("history");
/// Tenant, id -> purge.
pub(super) const PURGES: BytesTable = TableDefinition::new("purges");
/// Id -> tenant of the purge.
pub(super) const PURGE_TENANTS: BytesTable = TableDefinition::new("purge-tenants");
/// Tenant -> how many purges of it are kept.
pub(super) const PURGE_COUNTS: TableDefinition<'static, &'static [u8], u64> =
    TableDefinition::new("purge-counts");
/// Moment, tenant, id -> a hard purge that waits for its time.
pub(super) const LATER_PURGES: BytesTable = TableDefinition::new("later-purges");
/// SHA-256 of the secret -> token.
pub(super) const TOKENS: BytesTable = TableDefinition::new("tokens");
/// Number -> audit entry.
pub(super) const AUDIT: NumberTable<'static> = TableDefinition::new("audit");
/// Name -> what the PoP last said.
pub(super) const POPS: BytesTable = TableDefinition::new("pops");

/// Origin -> where what is kept of its log begins and ends; the log is a table of its own, see [`foreign_log`].
pub(super) const FOREIGN: BytesTable = TableDefinition::new("foreign-logs");
/// Core node -> its session keys.
pub(super) const SESSION_KEYS: BytesTable = TableDefinition::new("session-keys");

/// The name of the table that holds another origin's log, sequence -> change.
pub(super) fn foreign_log(origin: &OriginId) -> String {
    format!("log {origin}")
}

/// Turns an engine's error into ours.
pub(super) trait OrStore<T> {
    /// Names what was tried.
    fn or_store(self, operation: &'static str) -> Result<T, Error>;
}

impl<T, E: std::fmt::Display> OrStore<T> for Result<T, E> {
    fn or_store(self, operation: &'static str) -> Result<T, Error> {
        self.map_err(|error| Error::store(operation, error))
    }
}

/// Encodes a row.
pub(super) fn encode<T: Serialize>(row: &T) -> Result<Vec<u8>, Error> {
    postcard::to_stdvec(row).map_err(|error| Error::corrupt("row", error))
}

/// Decodes a row.
pub(super) fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, Error> {
    postcard::from_bytes(bytes).map_err(|error| Error::corrupt(what, error))
}

/// Makes every table that is not there, so that readers always find them.
pub(super) fn create_all(txn: &WriteTransaction) -> Result<(), TableError> {
    for table in [
        RECORDS,
        ANSWERS,
        VERSIONS,
        HISTORY,
        PURGES,
        PURGE_TENANTS,
        LATER_PURGES,
        TOKENS,
        POPS,
        FOREIGN,
        SESSION_KEYS,
    ] {
        txn.open_table(table)?;
    }
    for table in [EXPIRY, ANSWER_EXPIRY] {
        txn.open_table(table)?;
    }
    for table in [LOG, AUDIT] {
        txn.open_table(table)?;
    }
    txn.open_table(ENDED)?;
    txn.open_table(PURGE_COUNTS)?;
    txn.open_table(META)?;
    txn.open_table(DEPLOYMENTS)?;
    Ok(())
}

/// One row of a table of encoded rows, in a read transaction.
pub(super) fn read_row<T: DeserializeOwned>(
    txn: &ReadTransaction,
    table: BytesTable,
    what: &'static str,
    key: &[u8],
) -> Result<Option<T>, Error> {
    let table = txn.open_table(table).or_store(what)?;
    let row = table.get(key).or_store(what)?;
    row.map(|row| decode(what, row.value())).transpose()
}

/// The tables that nearly every write touches, open for one batch; the others are opened by the write that needs them.
pub(super) struct Tables<'t> {
    pub(super) records: Table<'t, &'static [u8], &'static [u8]>,
    pub(super) ended: Table<'t, &'static [u8], u64>,
    pub(super) expiry: Table<'t, &'static [u8], ()>,
    pub(super) answers: Table<'t, &'static [u8], &'static [u8]>,
    pub(super) answer_expiry: Table<'t, &'static [u8], ()>,
    pub(super) log: Table<'t, u64, &'static [u8]>,
}

impl<'t> Tables<'t> {
    pub(super) fn open(txn: &'t WriteTransaction) -> Result<Self, TableError> {
        Ok(Self {
            records: txn.open_table(RECORDS)?,
            ended: txn.open_table(ENDED)?,
            expiry: txn.open_table(EXPIRY)?,
            answers: txn.open_table(ANSWERS)?,
            answer_expiry: txn.open_table(ANSWER_EXPIRY)?,
            log: txn.open_table(LOG)?,
        })
    }
}
