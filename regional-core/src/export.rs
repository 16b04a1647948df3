//! Exports of a tenant: its rows as lines, a page of the store at a time.
//!
//! Each page is of one moment, the whole is not: whoever wants that stops writing meanwhile.

use crate::{
    Error,
    store::{KEPT_ROWS_MAX, KeptRow, RowKey, Store},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use brink_protocol::{
    Digest, TenantName,
    address::PartitionAddress,
    deployment::Deployment,
    record::is_platform,
    transfer::{FORM, Line, RecordLine, Summary},
};
use bytes::Bytes;
use futures_util::{Stream, stream};
use sha2::{Digest as _, Sha256};
use std::{collections::VecDeque, sync::Arc};

/// Partitions that are listed at a time.
const PARTITIONS: usize = 1000;

/// How far an export is.
pub struct Export {
    store: Arc<dyn Store>,
    tenant: TenantName,
    at_ms: u64,
    /// Not written yet.
    deployments: Vec<Deployment>,
    listed: VecDeque<PartitionAddress>,
    /// The last partition that was listed; none: none was yet.
    after: Option<PartitionAddress>,
    /// What is being read, and its last row that was.
    reading: Option<(PartitionAddress, Option<RowKey>)>,
    hash: Sha256,
    counts: (u64, u64, u64),
    is_done: bool,
}

impl Export {
    /// Of a tenant, with what is deployed of it.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        tenant: TenantName,
        deployments: Vec<Deployment>,
        at_ms: u64,
    ) -> Self {
        Self {
            store,
            tenant,
            at_ms,
            deployments,
            listed: VecDeque::new(),
            after: None,
            reading: None,
            hash: Sha256::new(),
            counts: (0, 0, 0),
            is_done: false,
        }
    }

    /// The lines; `held` is dropped with the stream. An error ends it, without a summary.
    pub fn lines<T: Send + 'static>(
        self,
        held: T,
    ) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
        stream::try_unfold((self, held), |(mut export, held)| async move {
            let lines = export.next().await?;
            Ok(lines.map(|lines| (lines, (export, held))))
        })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if self.is_done {
            return Ok(None);
        }
        let mut out = Vec::new();
        for deployment in std::mem::take(&mut self.deployments) {
            self.counts.2 += 1;
            write(&mut out, &Line::Deployment(Box::new(deployment)))?;
        }
        while out.is_empty() {
            if let Some((partition, row)) = self.reading.take() {
                let rows = self.store.kept(&partition, row.as_ref(), KEPT_ROWS_MAX);
                let rows = rows.await?;
                if let Some(last) = rows.last()
                    && matches!(last.key, RowKey::Record(_))
                {
                    self.reading = Some((partition.clone(), Some(last.key.clone())));
                }
                for row in rows {
                    self.row(&mut out, &partition, row)?;
                }
            } else if let Some(partition) = self.listed.pop_front() {
                self.reading = Some((partition, None));
            } else {
                let after = self.after.as_ref();
                let listed = self.store.partitions(Some(&self.tenant), after, PARTITIONS);
                self.listed = listed.await?.into();
                match self.listed.back() {
                    Some(last) => self.after = Some(last.clone()),
                    None => return self.end().map(Some),
                }
            }
        }
        self.hash.update(&out);
        Ok(Some(out.into()))
    }

    /// A row, unless it is gone or is no record.
    fn row(
        &mut self,
        out: &mut Vec<u8>,
        partition: &PartitionAddress,
        row: KeptRow,
    ) -> Result<(), Error> {
        let (RowKey::Record(sort), Some(value)) = (row.key, row.value) else {
            return Ok(());
        };
        let left = row.expires_at_ms.map(|end| end.saturating_sub(self.at_ms));
        if left == Some(0) {
            return Ok(());
        }
        self.counts.0 += 1;
        self.counts.1 += u64::from(is_platform(&partition.collection, &sort));
        let (text, base64) = match std::str::from_utf8(&value) {
            Ok(text) => (Some(text.to_owned()), None),
            Err(_) => (None, Some(STANDARD.encode(&value))),
        };
        let line = RecordLine {
            collection: partition.collection.clone(),
            partition: partition.partition.clone(),
            sort,
            version: row.version,
            lifetime_ms: left,
            text,
            base64,
        };
        write(out, &Line::Record(line))
    }

    fn end(&mut self) -> Result<Bytes, Error> {
        self.is_done = true;
        let (records, platform, deployments) = self.counts;
        let sha256: [u8; 32] = std::mem::take(&mut self.hash).finalize().into();
        let summary = Summary {
            form: FORM,
            tenant: self.tenant.to_string(),
            at_ms: self.at_ms,
            records,
            platform,
            deployments,
            sha256: Digest::from(sha256),
        };
        let mut out = Vec::new();
        write(&mut out, &Line::Summary(summary))?;
        Ok(out.into())
    }
}

fn write(out: &mut Vec<u8>, line: &Line) -> Result<(), Error> {
    serde_json::to_writer(&mut *out, line)
        .map_err(|error| Error::store("a line of an export", error))?;
    out.push(b'\n');
    Ok(())
}
