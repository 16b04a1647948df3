//! One batch of writes: a transaction of the engine, the end of the log, and the audit log.

use super::tables::{AUDIT, NumberTable, OrStore, Tables, encode};
use crate::{
    Error,
    store::{AUDIT_ENTRIES_MAX, NewAudit},
};
use ::redb::{ReadableTable, WriteTransaction};
use brink_protocol::{
    OriginId, Position,
    change::{Change, ChangeKind},
    control::AuditEntry,
};

/// Changes that one batch may drop from the old end of the log.
const DROPPED_PER_BATCH_MAX: u64 = 4096;

/// Where the log begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tail {
    /// The first sequence that can be read; `head + 1` if there is none.
    pub(super) oldest: u64,
    /// The last sequence.
    pub(super) head: u64,
}

/// A transaction of the engine in the making. Every write of the batch sees what those before it wrote.
pub(super) struct Batch<'t> {
    /// For tables that few writes touch.
    pub(super) txn: &'t WriteTransaction,
    /// For those that most do.
    pub(super) tables: Tables<'t>,
    pub(super) origin: &'t OriginId,
    tail: Tail,
    is_touched: bool,
}

impl<'t> Batch<'t> {
    pub(super) fn open(
        txn: &'t WriteTransaction,
        origin: &'t OriginId,
        tail: Tail,
    ) -> Result<Self, Error> {
        Ok(Self {
            txn,
            tables: Tables::open(txn).or_store("opening tables")?,
            origin,
            tail,
            is_touched: false,
        })
    }

    /// Says that the present write begins to change tables: from here on its failure is the failure of the whole batch.
    pub(super) fn touch(&mut self) {
        self.is_touched = true;
    }

    /// Whether a write has changed tables since this was last asked.
    pub(super) fn take_touched(&mut self) -> bool {
        std::mem::take(&mut self.is_touched)
    }

    /// The end of the log as this batch leaves it.
    pub(super) fn head(&self) -> u64 {
        self.tail.head
    }

    /// The position of a sequence of this origin.
    pub(super) fn position(&self, sequence: u64) -> Position {
        let mut position = Position::default();
        position.advance(self.origin, sequence);
        position
    }

    /// Appends a change; gives its sequence.
    pub(super) fn append(&mut self, at_ms: u64, kind: ChangeKind) -> Result<u64, Error> {
        self.touch();
        let sequence = self.tail.head + 1;
        let change = Change {
            origin: self.origin.clone(),
            sequence,
            at_ms,
            kind,
        };
        let row = encode(&change)?;
        self.tables
            .log
            .insert(sequence, row.as_slice())
            .or_store("appending to the log")?;
        self.tail.head = sequence;
        Ok(sequence)
    }

    /// Appends to the audit log; the oldest entries go when there are too many.
    pub(super) fn audit(&mut self, audit: NewAudit) -> Result<(), Error> {
        const WHAT: &str = "appending to the audit log";
        let mut table = self.txn.open_table(AUDIT as NumberTable).or_store(WHAT)?;
        let last = table
            .last()
            .or_store(WHAT)?
            .map_or(0, |(number, _)| number.value());
        let entry = AuditEntry {
            number: last + 1,
            at_ms: audit.at_ms,
            by: audit.by,
            tenant: audit.tenant,
            action: audit.action.to_owned(),
            subject: audit.subject,
        };
        table
            .insert(entry.number, encode(&entry)?.as_slice())
            .or_store(WHAT)?;
        if entry.number > AUDIT_ENTRIES_MAX {
            table
                .remove(entry.number - AUDIT_ENTRIES_MAX)
                .or_store(WHAT)?;
        }
        Ok(())
    }

    /// Drops what is over `changes_max` from the old end of the log; gives where the log begins and ends now.
    pub(super) fn close(mut self, changes_max: u64) -> Result<Tail, Error> {
        let kept_from = (self.tail.head + 1)
            .saturating_sub(changes_max.max(1))
            .max(1);
        let until = kept_from.min(self.tail.oldest.saturating_add(DROPPED_PER_BATCH_MAX));
        while self.tail.oldest < until {
            self.tables
                .log
                .remove(self.tail.oldest)
                .or_store("dropping from the log")?;
            self.tail.oldest += 1;
        }
        Ok(self.tail)
    }
}
