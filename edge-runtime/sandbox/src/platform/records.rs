//! `brink:platform/records`.

use crate::{bindings::platform::records as wit, context::Records, host::Host};
use brink_protocol::record::{
    Bound, Entry, GET_MANY_MAX, Key, Page, Range, RecordError, check_value,
};
use bytes::Bytes;

impl From<wit::Key> for Key {
    fn from(key: wit::Key) -> Self {
        Self {
            collection: key.collection,
            partition: key.partition,
            sort: key.sort,
        }
    }
}

impl From<wit::Bound> for Bound {
    fn from(bound: wit::Bound) -> Self {
        match bound {
            wit::Bound::Unbounded => Self::Unbounded,
            wit::Bound::Inclusive(sort) => Self::Inclusive(sort),
            wit::Bound::Exclusive(sort) => Self::Exclusive(sort),
        }
    }
}

impl From<wit::Range> for Range {
    fn from(range: wit::Range) -> Self {
        Self {
            collection: range.collection,
            partition: range.partition,
            lower: range.lower.into(),
            upper: range.upper.into(),
            limit: range.limit,
            descending: range.descending,
        }
    }
}

impl From<Entry> for wit::Entry {
    fn from(entry: Entry) -> Self {
        Self {
            sort: entry.sort,
            value: entry.value.into(),
            version: entry.version,
        }
    }
}

impl From<Page> for wit::Page {
    fn from(page: Page) -> Self {
        Self {
            entries: page.entries.into_iter().map(Into::into).collect(),
            more: page.more,
        }
    }
}

impl From<RecordError> for wit::Error {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Invalid(text) => Self::Invalid(text),
            RecordError::Denied(text) => Self::Denied(text),
            RecordError::Conflict(version) => Self::Conflict(version),
            RecordError::Unavailable(text) => Self::Unavailable(text),
        }
    }
}

/// A key within its limits.
fn checked(key: wit::Key) -> Result<Key, wit::Error> {
    let key = Key::from(key);
    key.check().map_err(RecordError::from)?;
    Ok(key)
}

/// A value and lifetime within their limits.
fn checked_value(value: Vec<u8>, lifetime_ms: Option<u64>) -> Result<Bytes, wit::Error> {
    check_value(&value, lifetime_ms).map_err(RecordError::from)?;
    Ok(value.into())
}

type Answer<T> = wasmtime::Result<Result<T, wit::Error>>;

async fn get(records: &dyn Records, key: wit::Key) -> Result<Option<wit::Entry>, wit::Error> {
    let entry = records.get(checked(key)?).await?;
    Ok(entry.map(Into::into))
}

async fn get_many(
    records: &dyn Records,
    keys: Vec<wit::Key>,
) -> Result<Vec<Option<wit::Entry>>, wit::Error> {
    if keys.len() > GET_MANY_MAX {
        let text = format!(
            "get-many of {} keys, the limit is {GET_MANY_MAX}",
            keys.len()
        );
        return Err(wit::Error::Invalid(text));
    }
    let keys = keys.into_iter().map(checked).collect::<Result<_, _>>()?;
    let entries = records.get_many(keys).await?;
    Ok(entries.into_iter().map(|e| e.map(Into::into)).collect())
}

async fn scan(records: &dyn Records, range: wit::Range) -> Result<wit::Page, wit::Error> {
    let range = Range::from(range);
    range.check().map_err(RecordError::from)?;
    Ok(records.scan(range).await?.into())
}

async fn put(
    records: &dyn Records,
    key: wit::Key,
    value: Vec<u8>,
    lifetime_ms: Option<u64>,
) -> Result<wit::Version, wit::Error> {
    let (key, value) = (checked(key)?, checked_value(value, lifetime_ms)?);
    Ok(records.put(key, value, lifetime_ms).await?)
}

async fn compare_and_set(
    records: &dyn Records,
    key: wit::Key,
    expected: Option<wit::Version>,
    value: Vec<u8>,
    lifetime_ms: Option<u64>,
) -> Result<wit::Version, wit::Error> {
    let (key, value) = (checked(key)?, checked_value(value, lifetime_ms)?);
    Ok(records
        .compare_and_set(key, expected, value, lifetime_ms)
        .await?)
}

impl wit::Host for Host {
    async fn get(&mut self, key: wit::Key) -> Answer<Option<wit::Entry>> {
        Ok(get(&*self.context.records, key).await)
    }

    async fn get_many(&mut self, keys: Vec<wit::Key>) -> Answer<Vec<Option<wit::Entry>>> {
        Ok(get_many(&*self.context.records, keys).await)
    }

    async fn scan(&mut self, range: wit::Range) -> Answer<wit::Page> {
        Ok(scan(&*self.context.records, range).await)
    }

    async fn put(
        &mut self,
        key: wit::Key,
        value: Vec<u8>,
        lifetime_ms: Option<u64>,
    ) -> Answer<wit::Version> {
        Ok(put(&*self.context.records, key, value, lifetime_ms).await)
    }

    async fn delete(&mut self, key: wit::Key) -> Answer<()> {
        let key = match checked(key) {
            Ok(key) => key,
            Err(error) => return Ok(Err(error)),
        };
        Ok(self.context.records.delete(key).await.map_err(Into::into))
    }

    async fn compare_and_set(
        &mut self,
        key: wit::Key,
        expected: Option<wit::Version>,
        value: Vec<u8>,
        lifetime_ms: Option<u64>,
    ) -> Answer<wit::Version> {
        Ok(compare_and_set(&*self.context.records, key, expected, value, lifetime_ms).await)
    }
}
