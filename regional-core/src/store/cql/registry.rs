//! Versions of modules, and the deployment table.
//!
//! The table, the histories of modules and what a change has still to say are one partition: a conditional batch on the
//! table's revision writes all three. What a change has to say (its entry in the change log, a purge, an audit entry) is
//! said after that and then taken from the outbox. A core that dies in between has not answered; another one finds the
//! outbox and says it ([`say_what_was_left`]).

use super::{
    audit, components,
    engine::Engine,
    json::{big, decode, encode},
    purges,
    session::{Applied, Bind, Failure},
};
use crate::{
    Error,
    store::{HISTORY_MAX, NewAudit, NewPurge, NewVersion, Published, TableChange},
};
use brink_protocol::{
    ModuleName, Position, TenantName,
    change::ChangeKind,
    control::{self, AuditEntry},
    deployment::{Deployment, DeploymentTable},
    purge::Purge,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

const VERSION: &str = "version";
const TABLE: &str = "deployment table";
const HISTORY: &str = "history";
const OUTBOX: &str = "outbox";

/// Times that a number for a version is sought when others take it.
const TRIES_MAX: usize = 100;
/// Times that the outcome of a change of the table is asked for.
const ASKED_MAX: usize = 3;
/// How old what is in the outbox must be until another core says it, in milliseconds.
const LEFT_AFTER_MS: u64 = 20_000;

const MODULES: &str = "SELECT module FROM modules WHERE tenant = ?";
const ADD_MODULE: &str = "INSERT INTO modules (tenant, module) VALUES (?, ?)";
const VERSIONS: &str = "SELECT row FROM versions WHERE tenant = ? AND module = ?";
const ADD_VERSION: &str =
    "INSERT INTO versions (tenant, module, version, row) VALUES (?, ?, ?, ?) IF NOT EXISTS";
const READ_TABLE: &str = "SELECT DISTINCT deployed FROM deployments WHERE every = 0";
const CHANGE_TABLE: &str =
    "UPDATE deployments SET revision = ?, deployed = ? WHERE every = 0 IF revision = ?";
const PUT_ROW: &str =
    "INSERT INTO deployments (every, kind, tenant, name, row) VALUES (0, ?, ?, ?, ?)";
const REMOVE_ROW: &str =
    "DELETE FROM deployments WHERE every = 0 AND kind = ? AND tenant = ? AND name = ?";
const READ_ROW: &str =
    "SELECT row FROM deployments WHERE every = 0 AND kind = ? AND tenant = ? AND name = ?";
const TAKE_ROW: &str =
    "DELETE FROM deployments WHERE every = 0 AND kind = ? AND tenant = ? AND name = ? IF EXISTS";
const READ_KIND: &str = "SELECT name, row FROM deployments WHERE every = 0 AND kind = ?";

/// Gives a component the next version of its module, unless the module has it already.
pub(super) async fn publish(
    engine: &Engine,
    new: NewVersion,
    component: Bytes,
    audit: NewAudit,
) -> Result<Published, Error> {
    let position = || engine.position(engine.head());
    components::write(engine, &new.digest, &component).await?;
    let mut version = control::Version {
        module: new.module,
        version: 0,
        digest: new.digest,
        size_bytes: component.len() as u64,
        world: new.world,
        imports: new.imports,
        published_at_ms: new.at_ms,
        published_by: new.by,
    };
    let (tenant, module) = (new.tenant, version.module.clone());
    let key = || -> Vec<Bind> { vec![tenant.as_str().into(), module.as_str().into()] };
    engine.session.write(ADD_MODULE, key()).await?;
    for _ in 0..TRIES_MAX {
        let rows: Vec<(String,)> = engine.session.global_rows(VERSIONS, key()).await?;
        let mut last = 0;
        for (row,) in rows {
            let present: control::Version = decode(VERSION, &row)?;
            if present.digest == version.digest {
                return Ok(Published {
                    version: present,
                    is_new: false,
                    position: position(),
                });
            }
            last = last.max(present.version);
        }
        version.version = last + 1;
        let mut values = key();
        values.extend([big(version.version), encode(VERSION, &version)?]);
        if engine.session.global(vec![(ADD_VERSION, values)]).await? == Applied::Yes {
            let subject = format!("{}@{}", version.module, version.version);
            audit::add_audit(engine, NewAudit { subject, ..audit }).await?;
            return Ok(Published {
                version,
                is_new: true,
                position: position(),
            });
        }
    }
    Err(Error::Busy)
}

pub(super) async fn versions(
    engine: &Engine,
    tenant: &TenantName,
    module: Option<&ModuleName>,
) -> Result<Vec<control::Version>, Error> {
    let modules: Vec<(String,)> = match module {
        Some(module) => vec![(module.to_string(),)],
        None => {
            let values = vec![tenant.as_str().into()];
            engine.session.rows(MODULES, values).await?
        }
    };
    let mut found = Vec::new();
    for (module,) in modules {
        let values = vec![tenant.as_str().into(), Bind::Text(module)];
        let rows: Vec<(String,)> = engine.session.rows(VERSIONS, values).await?;
        for (row,) in rows {
            found.push(decode(VERSION, &row)?);
        }
    }
    Ok(found)
}

pub(super) async fn table(engine: &Engine) -> Result<DeploymentTable, Error> {
    let rows: Vec<(Option<String>,)> = engine.session.rows(READ_TABLE, vec![]).await?;
    let row = rows.into_iter().next().and_then(|(row,)| row);
    row.map_or_else(|| Ok(DeploymentTable::default()), |row| decode(TABLE, &row))
}

pub(super) async fn history(
    engine: &Engine,
    tenant: &TenantName,
    module: &ModuleName,
) -> Result<Vec<Deployment>, Error> {
    let values = vec![
        HISTORY.into(),
        tenant.as_str().into(),
        module.as_str().into(),
    ];
    let rows: Vec<(Option<String>,)> = engine.session.rows(READ_ROW, values).await?;
    let row = rows.into_iter().next().and_then(|(row,)| row);
    row.map_or_else(|| Ok(Vec::new()), |row| decode(HISTORY, &row))
}

/// What a change of the table has still to say.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Unsaid {
    /// A ULID: the name of its row.
    id: String,
    at_ms: u64,
    revision: u64,
    tenant: TenantName,
    modules: Vec<ModuleName>,
    purge: Option<UnsaidPurge>,
    /// Without its number.
    audit: AuditEntry,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct UnsaidPurge {
    purge: Purge,
    by: String,
    at_ms: u64,
}

impl Unsaid {
    fn key(&self) -> Vec<Bind> {
        let (tenant, id) = (self.tenant.as_str(), self.id.as_str());
        vec![OUTBOX.into(), tenant.into(), id.into()]
    }
}

/// Statements of one conditional batch.
pub(super) type Statements = Vec<(&'static str, Vec<Bind>)>;

/// Puts a new deployment table in the place of the expected one.
pub(super) async fn change_table(
    engine: &Engine,
    change: TableChange,
    audit: NewAudit,
) -> Result<Option<Position>, Error> {
    let (unsaid, statements) = told(change, audit)?;
    let applied = match engine.session.global(statements.clone()).await {
        Ok(applied) => applied,
        Err(failure) => outcome(engine, &unsaid, statements, failure).await?,
    };
    match applied {
        Applied::Yes => say(engine, unsaid).await.map(Some),
        Applied::No => Ok(None),
    }
}

/// A change as it is written, and what it has to say then.
pub(super) fn told(change: TableChange, audit: NewAudit) -> Result<(Unsaid, Statements), Error> {
    let revision = change.expected_revision + 1;
    let unsaid = Unsaid {
        id: ulid::Ulid::new().to_string(),
        at_ms: change.at_ms,
        revision,
        tenant: change.tenant.clone(),
        modules: change.modules,
        purge: change.purge.map(|new| UnsaidPurge {
            purge: new.purge,
            by: new.by,
            at_ms: new.at_ms,
        }),
        audit: audit::unnumbered(audit),
    };
    let next = DeploymentTable {
        revision,
        ..change.table
    };
    let expected = match change.expected_revision {
        0 => Bind::Null,
        revision => big(revision),
    };
    let table = vec![big(revision), encode(TABLE, &next)?, expected];
    let mut row = unsaid.key();
    row.push(encode(OUTBOX, &unsaid)?);
    let mut statements = vec![(CHANGE_TABLE, table), (PUT_ROW, row)];
    if let Some((module, mut history)) = change.history {
        history.drain(..history.len().saturating_sub(HISTORY_MAX));
        let mut row: Vec<Bind> = vec![
            HISTORY.into(),
            change.tenant.as_str().into(),
            module.as_str().into(),
        ];
        if history.is_empty() {
            statements.push((REMOVE_ROW, row));
        } else {
            row.push(encode(HISTORY, &history)?);
            statements.push((PUT_ROW, row));
        }
    }
    Ok((unsaid, statements))
}

/// What comes of a change whose answer was lost. That it is not there does not say that it will not be: so it is asked for
/// again. When that is answered it has happened, by one of the two, or the revision that both name is over.
pub(super) async fn outcome(
    engine: &Engine,
    unsaid: &Unsaid,
    statements: Statements,
    failure: Failure,
) -> Result<Applied, Error> {
    if failure.is_ours {
        return Err(failure.error);
    }
    let began = Instant::now();
    let mut last = failure.error;
    for _ in 0..ASKED_MAX {
        match engine.session.global(statements.clone()).await {
            Ok(Applied::Yes) => return Ok(Applied::Yes),
            Ok(Applied::No) => {}
            Err(failure) => {
                last = failure.error;
                continue;
            }
        }
        let found: Result<Vec<(Option<String>,)>, Error> =
            engine.session.global_rows(READ_ROW, unsaid.key()).await;
        match found {
            Ok(rows) if !rows.is_empty() => return Ok(Applied::Yes),
            // Another core may have said it, and taken it from the outbox.
            Ok(_) if began.elapsed().as_millis() > u128::from(LEFT_AFTER_MS / 2) => break,
            Ok(_) => return Ok(Applied::No),
            Err(error) => last = error,
        }
    }
    // If it happened, the outbox says what there is to say.
    Err(last)
}

/// Says what a change of the table has to say; gives the position of its entry in the log.
async fn say(engine: &Engine, unsaid: Unsaid) -> Result<Position, Error> {
    let key = unsaid.key();
    if let Some(UnsaidPurge { purge, by, at_ms }) = unsaid.purge {
        let new = NewPurge {
            purge,
            by,
            at_ms,
            answer: None,
            later: None,
            behind: Position::default(),
        };
        purges::append(engine, new).await?;
    }
    let kind = ChangeKind::Deployments {
        revision: unsaid.revision,
        tenant: unsaid.tenant,
        modules: unsaid.modules,
    };
    let sequence = engine.log.append(unsaid.at_ms, kind).await?;
    audit::append(engine, unsaid.audit).await?;
    // Ordered after the write of the row, whatever the clocks say.
    engine.session.global(vec![(TAKE_ROW, key)]).await?;
    Ok(engine.position(sequence))
}

/// Says what cores that died had still to say of their changes of the table. Said twice at worst.
pub(super) async fn say_what_was_left(engine: &Engine, now_ms: u64) -> Result<(), Error> {
    let rows: Vec<(String, Option<String>)> =
        engine.session.rows(READ_KIND, vec![OUTBOX.into()]).await?;
    for (_, row) in rows {
        let Some(row) = row else { continue };
        let unsaid: Unsaid = decode(OUTBOX, &row)?;
        if unsaid.at_ms.saturating_add(LEFT_AFTER_MS) <= now_ms {
            say(engine, unsaid).await?;
        }
    }
    Ok(())
}
