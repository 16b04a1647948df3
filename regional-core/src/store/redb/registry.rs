//! Writes of versions, deployments, tokens and PoPs.

use super::batch::Batch;
use super::keys;
use super::purges;
use super::tables::{
    DEPLOYMENTS, HISTORY, OrStore, POPS, SESSION_KEYS, TOKENS, VERSIONS, decode, encode,
};
use crate::{
    Error,
    store::{HISTORY_MAX, NewAudit, NewVersion, PopRow, Published, TableChange, TokenRow},
};
use ::redb::ReadableTable;
use brink_protocol::{
    NodeName, Position, change::ChangeKind, control, deployment::DeploymentTable,
    session::SessionKey,
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
        purges::append(batch, purge)?;
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

/// Keeps a core node's session keys.
pub(super) fn put_session_keys(
    batch: &mut Batch<'_>,
    node: &NodeName,
    keys: &[SessionKey],
) -> Result<(), Error> {
    const WHAT: &str = "keeping session keys";
    batch.touch();
    batch
        .txn
        .open_table(SESSION_KEYS)
        .or_store(WHAT)?
        .insert(node.as_str().as_bytes(), encode(&(node, keys))?.as_slice())
        .or_store(WHAT)?;
    Ok(())
}
