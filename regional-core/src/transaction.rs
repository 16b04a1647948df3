//! Records and events of one partition as one run of a component sees them: it reads from the store and notes what it
//! saw, its writes and events wait, and both are what a commit is made of.

mod overlay;

use self::overlay::{Base, Overlay};
use crate::{
    Error,
    records::record_error,
    store::{Seen, Store, Write},
};
use async_trait::async_trait;
use brink_protocol::{
    address::PartitionAddress,
    event::{
        self, APPENDS_MAX, EventPage, HEAD_SORT, decode_head, event_sort, head_key, range_after,
    },
    record::{Bound, Entry, Key, Page, Range, RecordError, Version},
};
use brink_sandbox::{EventLog, Events, Records};
use bytes::Bytes;
use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

/// Records of one partition, as one run sees them.
pub(crate) struct TransactionRecords {
    store: Arc<dyn Store>,
    partition: PartitionAddress,
    now_ms: u64,
    overlay: Mutex<Overlay>,
    appended: AtomicUsize,
    unavailable: OnceLock<String>,
}

impl TransactionRecords {
    /// Over one partition, at one moment.
    pub(crate) fn new(store: Arc<dyn Store>, partition: PartitionAddress, now_ms: u64) -> Self {
        Self {
            store,
            partition,
            now_ms,
            overlay: Mutex::default(),
            appended: AtomicUsize::new(0),
            unavailable: OnceLock::new(),
        }
    }

    /// What of the store could not be had in this run; none: it had all that it asked for. What a run decides without that is
    /// not to count, whatever the component makes of it: it would be another decision than that of the run that has it.
    pub(crate) fn unavailable(&self) -> Option<String> {
        self.unavailable.get().cloned()
    }

    /// What the component is told of a failure of the store, which is noted.
    fn failed(&self, error: &Error) -> RecordError {
        let told = record_error(error);
        if let RecordError::Unavailable(text) = &told {
            self.unavailable.get_or_init(|| text.clone());
        }
        told
    }

    fn damaged(&self, error: &brink_protocol::Error) -> RecordError {
        self.failed(&Error::Corrupt {
            what: "a stream of events",
            reason: error.to_string(),
        })
    }

    fn overlay(&self) -> MutexGuard<'_, Overlay> {
        self.overlay.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What must still be so at the commit, and what is then written; the run has ended.
    pub(crate) fn take(&self) -> (Vec<Seen>, Vec<Write>) {
        std::mem::take(&mut *self.overlay()).into_parts()
    }

    fn check(&self, collection: &str, partition: &str) -> Result<(), RecordError> {
        if collection == self.partition.collection && partition == self.partition.partition {
            Ok(())
        } else {
            Err(RecordError::Denied(format!(
                "this run is of partition {:?} of {:?}, and reads and writes nothing else",
                self.partition.partition, self.partition.collection
            )))
        }
    }

    /// What a write to the record builds on.
    async fn base(&self, key: &Key) -> Result<Base, RecordError> {
        if let Some(base) = self.overlay().base(&key.sort) {
            return Ok(base);
        }
        let found = self.stored(key).await?;
        self.base_of(key, found.map(|entry| entry.version)).await
    }

    async fn stored(&self, key: &Key) -> Result<Option<Entry>, RecordError> {
        self.store
            .get(&self.partition.tenant, key, self.now_ms)
            .await
            .map_err(|e| self.failed(&e))
    }

    /// Notes what a write to a record builds on that was just read.
    async fn base_of(&self, key: &Key, present: Option<Version>) -> Result<Base, RecordError> {
        let base = match present {
            Some(version) => Base {
                present: Some(version),
                last: version,
            },
            None => {
                let last = self
                    .store
                    .last_version(&self.partition.tenant, key)
                    .await
                    .map_err(|e| self.failed(&e))?;
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
        let found = self.stored(&key).await?;
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
                .map_err(|e| self.failed(&e))?;
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

#[async_trait]
impl Events for TransactionRecords {
    async fn read(
        &self,
        collection: String,
        partition: String,
        after: u64,
        limit: u32,
    ) -> Result<EventPage, RecordError> {
        let head = self.get(head_key(&collection, &partition)).await?;
        let range = |after, limit| range_after(&collection, &partition, after, limit);
        let found = self.scan(range(after, limit)).await?;
        let oldest = match after {
            0 => Page::default(),
            _ => self.scan(range(0, 1)).await?,
        };
        event::page(found, head.as_ref(), oldest.entries.first())
            .map_err(|error| self.damaged(&error))
    }
}

#[async_trait]
impl EventLog for TransactionRecords {
    async fn append(
        &self,
        kind: String,
        payload: Bytes,
        lifetime_ms: Option<u64>,
    ) -> Result<u64, RecordError> {
        if self.appended.load(Ordering::Relaxed) >= APPENDS_MAX {
            let text = format!("a run appends at most {APPENDS_MAX} events");
            return Err(RecordError::Invalid(text));
        }
        let value = event::encode(&kind, self.now_ms, &payload)?;
        let (newest, base) = self.head().await?;
        let number = newest + 1;
        // A number is new: whoever took it meanwhile has changed the head, which this run has seen.
        let none = Base {
            present: None,
            last: 0,
        };
        let expires_at_ms = lifetime_ms.map(|lifetime| self.now_ms.saturating_add(lifetime));
        let mut overlay = self.overlay();
        let sort = event_sort(number);
        overlay.put(&sort, none, value, expires_at_ms)?;
        if let Err(error) = overlay.put(HEAD_SORT, base, event::encode_head(number), None) {
            // An event that no head names would be written over by the next.
            overlay.take_back(&sort);
            return Err(error);
        }
        self.appended.fetch_add(1, Ordering::Relaxed);
        Ok(number)
    }
}

impl TransactionRecords {
    /// The newest number of the stream as this run sees it, and what the next write of its head builds on.
    async fn head(&self) -> Result<(u64, Base), RecordError> {
        let own = {
            let overlay = self.overlay();
            overlay
                .own(HEAD_SORT)
                .flatten()
                .zip(overlay.base(HEAD_SORT))
        };
        if let Some((head, base)) = own {
            let newest = decode_head(&head.value).map_err(|error| self.damaged(&error))?;
            return Ok((newest, base));
        }
        let key = head_key(&self.partition.collection, &self.partition.partition);
        let found = self.stored(&key).await?;
        let newest = match &found {
            Some(head) => decode_head(&head.value).map_err(|error| self.damaged(&error))?,
            None => 0,
        };
        let base = self.base_of(&key, found.map(|head| head.version)).await?;
        Ok((newest, base))
    }
}
