//! What a command is given: the records of its partition, a fixed clock, a log.

use super::overlay::{Base, Overlay};
use crate::{logs::Logs, records::record_error, store::Store};
use async_trait::async_trait;
use brink_protocol::{
    ModuleName, TenantName,
    address::PartitionAddress,
    link::LogLine,
    record::{Bound, Entry, Key, Page, Range, RecordError, Version},
};
use brink_sandbox::{Identity, Level, LogSink, Records};
use bytes::Bytes;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

/// Records of one partition, as one run sees them.
pub(super) struct TransactionRecords {
    pub(super) store: Arc<dyn Store>,
    pub(super) partition: PartitionAddress,
    pub(super) now_ms: u64,
    pub(super) overlay: Mutex<Overlay>,
}

impl TransactionRecords {
    fn overlay(&self) -> MutexGuard<'_, Overlay> {
        self.overlay.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was read and written; the run has ended.
    pub(super) fn take(&self) -> Overlay {
        std::mem::take(&mut *self.overlay())
    }

    fn check(&self, collection: &str, partition: &str) -> Result<(), RecordError> {
        if collection == self.partition.collection && partition == self.partition.partition {
            Ok(())
        } else {
            Err(RecordError::Denied(format!(
                "this command runs in partition {:?} of {:?}, and reads and writes nothing else",
                self.partition.partition, self.partition.collection
            )))
        }
    }

    /// What a write to the record builds on.
    async fn base(&self, key: &Key) -> Result<Base, RecordError> {
        if let Some(base) = self.overlay().base(&key.sort) {
            return Ok(base);
        }
        let tenant = &self.partition.tenant;
        let found = self
            .store
            .get(tenant, key, self.now_ms)
            .await
            .map_err(|e| record_error(&e))?;
        let base = match found {
            Some(entry) => Base {
                present: Some(entry.version),
                last: entry.version,
            },
            None => {
                let last = self
                    .store
                    .last_version(tenant, key)
                    .await
                    .map_err(|e| record_error(&e))?;
                Base {
                    present: None,
                    last,
                }
            }
        };
        self.overlay().note_base(&key.sort, base)?;
        Ok(base)
    }

    fn put_on(
        &self,
        key: &Key,
        base: Base,
        value: Bytes,
        lifetime_ms: Option<u64>,
    ) -> Result<Version, RecordError> {
        brink_protocol::record::check_value(&value, lifetime_ms)?;
        let expires_at_ms = lifetime_ms.map(|lifetime| self.now_ms.saturating_add(lifetime));
        self.overlay().put(&key.sort, base, value, expires_at_ms)
    }
}

#[async_trait]
impl Records for TransactionRecords {
    async fn get(&self, key: Key) -> Result<Option<Entry>, RecordError> {
        self.check(&key.collection, &key.partition)?;
        if let Some(own) = self.overlay().own(&key.sort) {
            return Ok(own);
        }
        let tenant = &self.partition.tenant;
        let found = self
            .store
            .get(tenant, &key, self.now_ms)
            .await
            .map_err(|e| record_error(&e))?;
        self.overlay()
            .note_version(&key.sort, found.as_ref().map(|entry| entry.version))?;
        Ok(found)
    }

    async fn get_many(&self, keys: Vec<Key>) -> Result<Vec<Option<Entry>>, RecordError> {
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            found.push(self.get(key).await?);
        }
        Ok(found)
    }

    async fn scan(&self, range: Range) -> Result<Page, RecordError> {
        self.check(&range.collection, &range.partition)?;
        let limit = range.limit;
        let mut range = range;
        loop {
            let asked = self.overlay().wider(&range);
            let tenant = &self.partition.tenant;
            let page = self
                .store
                .scan(tenant, &asked, self.now_ms)
                .await
                .map_err(|e| record_error(&e))?;
            let last = page.entries.last().map(|entry| entry.sort.clone());
            let merged = self.overlay().merge(asked, limit, page)?;
            match last {
                // All of it was deleted by this run: a page with more must have a last record to go on from.
                Some(last) if merged.entries.is_empty() && merged.more => {
                    let next = Bound::Exclusive(last);
                    if range.descending {
                        range.upper = next
                    } else {
                        range.lower = next
                    }
                }
                _ => return Ok(merged),
            }
        }
    }

    async fn put(
        &self,
        key: Key,
        value: Bytes,
        lifetime_ms: Option<u64>,
    ) -> Result<Version, RecordError> {
        self.check(&key.collection, &key.partition)?;
        let base = self.base(&key).await?;
        self.put_on(&key, base, value, lifetime_ms)
    }

    async fn delete(&self, key: Key) -> Result<(), RecordError> {
        self.check(&key.collection, &key.partition)?;
        self.overlay().delete(&key.sort)
    }

    async fn compare_and_set(
        &self,
        key: Key,
        expected: Option<Version>,
        value: Bytes,
        lifetime_ms: Option<u64>,
    ) -> Result<Version, RecordError> {
        self.check(&key.collection, &key.partition)?;
        let base = self.base(&key).await?;
        let own = self.overlay().own(&key.sort);
        let present = own.map_or(base.present, |own| own.map(|entry| entry.version));
        if present != expected {
            return Err(RecordError::Conflict(present));
        }
        self.put_on(&key, base, value, lifetime_ms)
    }
}

/// Who calls a command, and where it runs.
pub(super) struct CommandIdentity {
    pub(super) tenant: TenantName,
    pub(super) subject: Option<String>,
    /// Set when it is asked for the caller.
    pub(super) asked: Arc<AtomicBool>,
    pub(super) region: String,
    pub(super) node: String,
}

impl Identity for CommandIdentity {
    fn tenant(&self) -> String {
        self.tenant.to_string()
    }

    fn subject(&self) -> Option<String> {
        self.asked.store(true, Ordering::Relaxed);
        self.subject.clone()
    }

    fn claims(&self) -> Vec<(String, String)> {
        // They are not sent along: there are none, whoever calls.
        Vec::new()
    }

    fn region(&self) -> String {
        self.region.clone()
    }

    fn pop(&self) -> String {
        self.node.clone()
    }
}

/// Puts a command's lines among those of all modules.
pub(super) struct CommandLog {
    pub(super) logs: Arc<Logs>,
    pub(super) tenant: TenantName,
    pub(super) module: ModuleName,
    pub(super) node: String,
    pub(super) trace_id: Option<String>,
    pub(super) now_ms: u64,
}

impl LogSink for CommandLog {
    fn emit(&self, level: Level, message: String, fields: Vec<(String, String)>) {
        self.logs.add([LogLine {
            at_ms: self.now_ms,
            tenant: self.tenant.clone(),
            module: self.module.clone(),
            place: self.node.clone(),
            level: level.as_str().to_owned(),
            message,
            fields,
            trace_id: self.trace_id.clone(),
        }]);
    }
}
