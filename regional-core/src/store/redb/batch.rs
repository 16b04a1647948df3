//! One batch of writes: a transaction of the engine, the end of the log, and the audit log.

use super::ends::{ForeignEnds, cut, cut_all};
use super::tables::{AUDIT, OrStore, Tables, encode};
use crate::{
    Error,
    store::{AUDIT_ENTRIES_MAX, NewAudit},
};
use ::redb::{ReadableTable, WriteTransaction};
use brink_protocol::{Position, change::ChangeKind, control::AuditEntry, log::Log};

/// A transaction of the engine in the making. Every write of the batch sees what those before it wrote.
pub(super) struct Batch<'t> {
    /// For tables that few writes touch.
    pub(super) txn: &'t WriteTransaction,
    /// For those that most do.
    pub(super) tables: Tables<'t>,
    /// This origin's log.
    pub(super) log: Log,
    /// The other origins' logs.
    pub(super) foreign: ForeignEnds,
    is_touched: bool,
}

impl<'t> Batch<'t> {
    pub(super) fn open(
        txn: &'t WriteTransaction,
        log: Log,
        foreign: ForeignEnds,
    ) -> Result<Self, Error> {
        Ok(Self {
            txn,
            tables: Tables::open(txn).or_store("opening tables")?,
            log,
            foreign,
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
        self.log.kept().head
    }

    /// The position of a sequence of this origin.
    pub(super) fn position(&self, sequence: u64) -> Position {
        let mut position = Position::default();
        position.advance(self.log.origin(), sequence);
        position
    }

    /// Appends a change; gives its sequence.
    pub(super) fn append(&mut self, at_ms: u64, kind: ChangeKind) -> Result<u64, Error> {
        self.touch();
        let change = self.log.append(at_ms, kind)?;
        let row = encode(&change)?;
        self.tables
            .log
            .insert(change.sequence, row.as_slice())
            .or_store("appending to the log")?;
        Ok(change.sequence)
    }

    /// Appends to the audit log; the oldest entries go when there are too many.
    pub(super) fn audit(&mut self, audit: NewAudit) -> Result<(), Error> {
        const WHAT: &str = "appending to the audit log";
        let mut table = self.txn.open_table(AUDIT).or_store(WHAT)?;
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

    /// Drops what is over `changes_max` from the old end of each log; gives where they begin and end now.
    pub(super) fn close(mut self, changes_max: u64) -> Result<(Log, ForeignEnds), Error> {
        let changes_max = changes_max.max(1);
        let wanted = self.log.droppable_before(changes_max);
        let oldest = self.log.kept().oldest;
        let until = cut(&mut self.tables.log, oldest, wanted)?;
        self.log.dropped_before(until);
        cut_all(self.txn, &mut self.foreign, changes_max)?;
        Ok((self.log, self.foreign))
    }
}
