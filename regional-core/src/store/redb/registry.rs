//! Writes of versions, deployments, purges, tokens and PoPs.

use super::batch::Batch;
use super::keys;
use super::tables::{
    DEPLOYMENTS, HISTORY, OrStore, POPS, PURGE_TENANTS, PURGES, TOKENS, VERSIONS, decode, encode,
};
use crate::{
    Error,
    store::{
        HISTORY_MAX, NewAudit, NewPurge, NewVersion, PURGES_MAX, PopRow, Published, PurgeRow,
        TableChange, TokenRow,
    },
};
use ::redb::{ReadableTable, ReadableTableMetadata};
use brink_protocol::{
    PopName, Position,
    change::ChangeKind,
    control::{self, PurgeAtPop},
    deployment::DeploymentTable,
    link::AppliedPurge,
};

/// Gives a component the next version of its module, unless the module has it already.
pub(super) fn publish(
    batch: &mut Batch<'_>,
    new: NewVersion,
    size_bytes: u64,
    audit: NewAudit,
) -> Result<Published, Error> {
    const WHAT: &str = "publishing a version";
    let prefix = keys::tenant(&new.tenant, Some(new.module.as_str()));
    let mut table = batch.txn.open_table(VERSIONS).or_store(WHAT)?;
    let mut last = 0;
    let end = keys::after_partition(prefix.clone());
    for row in table
        .range::<&[u8]>(prefix.as_slice()..end.as_slice())
        .or_store(WHAT)?
    {
        let (_, row) = row.or_store(WHAT)?;
        let version: control::Version = decode("version", row.value())?;
        if version.digest == new.digest {
            return Ok(Published {
                version,
                is_new: false,
                position: batch.position(batch.head()),
            });
        }
        last = last.max(version.version);
    }
    let version = control::Version {
        module: new.module,
        version: last + 1,
        digest: new.digest,
        size_bytes,
        world: new.world,
        imports: new.imports,
        published_at_ms: new.at_ms,
        published_by: new.by,
    };
    let key = [prefix.as_slice(), &version.version.to_be_bytes()].concat();
    let row = encode(&version)?;
    batch.touch();
    table
        .insert(key.as_slice(), row.as_slice())
        .or_store(WHAT)?;
    drop(table);
    batch.audit(NewAudit {
        subject: format!("{}@{}", version.module, version.version),
        ..audit
    })?;
    Ok(Published {
        version,
        is_new: true,
        position: batch.position(batch.head()),
    })
}

/// Puts a new deployment table in the place of the expected one.
pub(super) fn change_table(
    batch: &mut Batch<'_>,
    change: TableChange,
    audit: NewAudit,
) -> Result<Option<Position>, Error> {
    const WHAT: &str = "changing the deployment table";
    let revision = change.expected_revision + 1;
    {
        let mut table = batch.txn.open_table(DEPLOYMENTS).or_store(WHAT)?;
        let present = match table.get(()).or_store(WHAT)? {
            Some(row) => decode::<DeploymentTable>("deployment table", row.value())?.revision,
            None => 0,
        };
        if present != change.expected_revision {
            return Ok(None);
        }
        let next = DeploymentTable {
            revision,
            ..change.table
        };
        let row = encode(&next)?;
        batch.touch();
        table.insert((), row.as_slice()).or_store(WHAT)?;
    }
    if let Some((module, mut history)) = change.history {
        let mut table = batch.txn.open_table(HISTORY).or_store(WHAT)?;
        let key = keys::tenant(&change.tenant, Some(module.as_str()));
        history.drain(..history.len().saturating_sub(HISTORY_MAX));
        if history.is_empty() {
            table.remove(key.as_slice()).or_store(WHAT)?;
        } else {
            let row = encode(&history)?;
            table
                .insert(key.as_slice(), row.as_slice())
                .or_store(WHAT)?;
        }
    }
    if let Some(purge) = change.purge {
        append_purge(batch, purge)?;
    }
    batch.audit(audit)?;
    let kind = ChangeKind::Deployments {
        revision,
        tenant: change.tenant,
        modules: change.modules,
    };
    let sequence = batch.append(change.at_ms, kind)?;
    Ok(Some(batch.position(sequence)))
}

/// Appends a purge to the log and keeps it.
pub(super) fn add_purge(
    batch: &mut Batch<'_>,
    new: NewPurge,
    audit: Option<NewAudit>,
) -> Result<Position, Error> {
    let position = append_purge(batch, new)?;
    if let Some(audit) = audit {
        batch.audit(audit)?;
    }
    Ok(position)
}

fn append_purge(batch: &mut Batch<'_>, new: NewPurge) -> Result<Position, Error> {
    const WHAT: &str = "keeping a purge";
    batch.touch();
    let sequence = batch.append(new.at_ms, ChangeKind::Purge(new.purge.clone()))?;
    let row = PurgeRow {
        purge: new.purge,
        by: new.by,
        at_ms: new.at_ms,
        position: batch.position(sequence),
        applied: Vec::new(),
    };
    let (tenant, id) = (&row.purge.tenant, row.purge.id.as_str());
    let key = [keys::tenant(tenant, None).as_slice(), id.as_bytes()].concat();
    let mut table = batch.txn.open_table(PURGES).or_store(WHAT)?;
    let mut tenants = batch.txn.open_table(PURGE_TENANTS).or_store(WHAT)?;
    table
        .insert(key.as_slice(), encode(&row)?.as_slice())
        .or_store(WHAT)?;
    tenants
        .insert(id.as_bytes(), tenant.as_str().as_bytes())
        .or_store(WHAT)?;
    if tenants.len().or_store(WHAT)? > PURGES_MAX {
        // Ids are ULIDs: the first is the oldest of all tenants.
        let oldest = tenants.pop_first().or_store(WHAT)?;
        if let Some((id, tenant)) = oldest {
            let key = [tenant.value(), &[0], id.value()].concat();
            table.remove(key.as_slice()).or_store(WHAT)?;
        }
    }
    Ok(row.position)
}

/// Notes that a PoP applied purges.
pub(super) fn note_applied(
    batch: &mut Batch<'_>,
    pop: &PopName,
    applied: &[AppliedPurge],
) -> Result<(), Error> {
    const WHAT: &str = "noting an applied purge";
    let mut table = batch.txn.open_table(PURGES).or_store(WHAT)?;
    let tenants = batch.txn.open_table(PURGE_TENANTS).or_store(WHAT)?;
    for note in applied {
        let Some(tenant) = tenants.get(note.id.as_bytes()).or_store(WHAT)? else {
            continue;
        };
        let key = [tenant.value(), &[0], note.id.as_bytes()].concat();
        let row = match table.get(key.as_slice()).or_store(WHAT)? {
            Some(row) => decode::<PurgeRow>("purge", row.value())?,
            None => continue,
        };
        if row.applied.iter().any(|present| present.pop == *pop) {
            continue;
        }
        let mut row = row;
        row.applied.push(PurgeAtPop {
            pop: pop.clone(),
            applied_at_ms: note.at_ms,
            objects: note.objects,
        });
        let bytes = encode(&row)?;
        batch.touch();
        table
            .insert(key.as_slice(), bytes.as_slice())
            .or_store(WHAT)?;
    }
    Ok(())
}

/// Keeps a token.
pub(super) fn add_token(
    batch: &mut Batch<'_>,
    token: &TokenRow,
    audit: NewAudit,
) -> Result<(), Error> {
    const WHAT: &str = "keeping a token";
    let row = encode(token)?;
    batch.touch();
    batch
        .txn
        .open_table(TOKENS)
        .or_store(WHAT)?
        .insert(token.hash.as_slice(), row.as_slice())
        .or_store(WHAT)?;
    batch.audit(audit)
}

/// Removes a token.
pub(super) fn remove_token(
    batch: &mut Batch<'_>,
    id: &str,
    audit: NewAudit,
) -> Result<bool, Error> {
    const WHAT: &str = "removing a token";
    let mut table = batch.txn.open_table(TOKENS).or_store(WHAT)?;
    let mut hash = None;
    for row in table.iter().or_store(WHAT)? {
        let (_, row) = row.or_store(WHAT)?;
        let token: TokenRow = decode("token", row.value())?;
        if token.id == id {
            hash = Some(token.hash);
        }
    }
    let Some(hash) = hash else {
        return Ok(false);
    };
    batch.touch();
    table.remove(hash.as_slice()).or_store(WHAT)?;
    drop(table);
    batch.audit(audit)?;
    Ok(true)
}

/// Appends to the audit log alone.
pub(super) fn add_audit(batch: &mut Batch<'_>, audit: NewAudit) -> Result<(), Error> {
    batch.touch();
    batch.audit(audit)
}

/// Keeps what PoPs last said.
pub(super) fn put_pops(batch: &mut Batch<'_>, pops: &[PopRow]) -> Result<(), Error> {
    const WHAT: &str = "keeping a PoP";
    batch.touch();
    let mut table = batch.txn.open_table(POPS).or_store(WHAT)?;
    for pop in pops {
        let row = encode(pop)?;
        table
            .insert(pop.name.as_str().as_bytes(), row.as_slice())
            .or_store(WHAT)?;
    }
    Ok(())
}
