//! Making the keyspace and bringing its tables up to date: under a lock, step by step, each step repeatable.

use super::{
    migrations::{MIGRATIONS, Migration},
    options::Options,
    session::{Applied, Bind, Cql},
};
use crate::{Error, random};
use std::{collections::HashMap, time::Duration};

const WHAT: &str = "bringing the schema up to date";
/// How long the lock is held at most by somebody who died, in seconds.
const LOCK_SECONDS: i32 = 60;
/// How often it is tried.
const LOCK_INTERVAL: Duration = Duration::from_millis(250);
/// How many times: longer than it is held by the dead.
const LOCK_ATTEMPTS: usize = 480;
/// How often the first tables are tried, and how long is waited before, times the attempts so far, at most.
const BEGIN_ATTEMPTS: u32 = 10;
const BEGIN_PAUSE: Duration = Duration::from_millis(250);
pub(super) const KEYSPACE_BYTES_MAX: usize = 48;

const TABLES: &str = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?";
const REPLICATION: &str = "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?";
const APPLIED: &str = "SELECT version FROM migrations WHERE every = 0";
const NOTE: &str = "INSERT INTO migrations (every, version, name) VALUES (0, ?, ?)";
const LOCK: &str =
    "INSERT INTO locks (name, holder) VALUES ('migrations', ?) IF NOT EXISTS USING TTL ?";
const UNLOCK: &str = "DELETE FROM locks WHERE name = 'migrations' IF holder = ?";

/// Makes the keyspace if it is not there, and does the steps that are missing; gives a connection to it.
pub(super) async fn open(options: &Options) -> Result<Cql, Error> {
    check_names(options)?;
    let outside = Cql::connect(options, None).await?;
    if !is_begun(&outside, &options.keyspace).await? {
        begin(&outside, options).await?;
    }
    drop(outside);
    let session = Cql::connect(options, Some(&options.keyspace)).await?;
    check_center(&session, options).await?;
    if missing(&session).await?.is_empty() {
        return Ok(session);
    }
    let holder = holder()?;
    lock(&session, &holder).await?;
    let done = migrate(&session).await;
    unlock(&session, holder).await;
    done?;
    Ok(session)
}

/// Refuses to begin in a data centre that was given up: there is nothing of the keyspace, and requests that another data
/// centre answers in its place would be of another quorum.
async fn check_center(session: &Cql, options: &Options) -> Result<(), Error> {
    let replication = replication(session, &options.keyspace).await?;
    if replication.contains_key(&options.data_center) {
        return Ok(());
    }
    let reason = format!(
        "the keyspace {} has no replicas in the data centre {}: it was given up, or is not named in store.cql.replication",
        options.keyspace, options.data_center
    );
    Err(Error::store(WHAT, reason))
}

/// Of a keyspace, as the engine has it: replicas by data centre, and the class.
pub(super) async fn replication(
    session: &Cql,
    keyspace: &str,
) -> Result<HashMap<String, String>, Error> {
    let rows: Vec<(HashMap<String, String>,)> =
        session.rows(REPLICATION, vec![keyspace.into()]).await?;
    let (replication,) = rows
        .into_iter()
        .next()
        .ok_or_else(|| Error::store(WHAT, "the engine does not know the keyspace"))?;
    Ok(replication)
}

/// A name for whoever holds the lock.
fn holder() -> Result<String, Error> {
    Ok(format!("{:032x}", u128::from_le_bytes(random::bytes()?)))
}

async fn unlock(session: &Cql, holder: String) {
    let unlocked = session.conditional(UNLOCK, vec![Bind::Text(holder)]).await;
    // Else it ends by itself.
    if let Err(failure) = unlocked {
        tracing::warn!(error = %failure.error, "the lock of the migrations was not given back");
    }
}

/// Whether both tables that the lock needs are there.
async fn is_begun(outside: &Cql, keyspace: &str) -> Result<bool, Error> {
    let tables: Vec<(String,)> = outside.rows(TABLES, vec![keyspace.into()]).await?;
    let is_there = |name: &str| tables.iter().any(|(table,)| table == name);
    Ok(is_there("migrations") && is_there("locks"))
}

/// Makes the keyspace, and the tables that the lock needs. There is no lock yet: of cores that start together each may be
/// told that the schema is not what it was, or that nodes do not agree on it, and tries again.
async fn begin(outside: &Cql, options: &Options) -> Result<(), Error> {
    let mut statements = vec![replicated(MAKE, &options.keyspace, &options.replication)?];
    for table in [
        "migrations (every int, version int, name text, PRIMARY KEY (every, version))",
        "locks (name text PRIMARY KEY, holder text)",
    ] {
        let text = format!("CREATE TABLE IF NOT EXISTS {}.{table}", options.keyspace);
        statements.push(text);
    }
    for statement in statements {
        let mut attempt = 0;
        while let Err(error) = outside.define(&statement).await {
            attempt += 1;
            if attempt == BEGIN_ATTEMPTS {
                return Err(error);
            }
            tracing::debug!(%error, "making the first tables again");
            tokio::time::sleep(random::pause(BEGIN_PAUSE * attempt)?).await;
        }
    }
    Ok(())
}

/// What of the options becomes part of a statement.
fn check_names(options: &Options) -> Result<(), Error> {
    let name = &options.keyspace;
    let is_name = name.len() <= KEYSPACE_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if !is_name {
        let reason = "the keyspace is named by a-z, 0-9 and _, and begins with a letter";
        return Err(Error::store(WHAT, reason));
    }
    if options.replication.is_empty() || !options.replication.keys().all(|name| is_center(name)) {
        return Err(Error::store(WHAT, CENTERS));
    }
    Ok(())
}

const CENTERS: &str = "data centres are named by letters, digits, -, _ and .";

fn is_center(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !name.is_empty() && name.bytes().all(allowed)
}

const MAKE: &str = "CREATE KEYSPACE IF NOT EXISTS";

/// A statement about a keyspace's replicas.
///
/// # Errors
/// A data centre has a name that may not become part of a statement.
pub(super) fn replicated<'a, N: std::fmt::Display + 'a>(
    what: &str,
    keyspace: &str,
    replication: impl IntoIterator<Item = (&'a String, &'a N)>,
) -> Result<String, Error> {
    let mut text =
        format!("{what} {keyspace} WITH replication = {{'class': 'NetworkTopologyStrategy'");
    for (center, replicas) in replication {
        if !is_center(center) {
            return Err(Error::store(WHAT, CENTERS));
        }
        text.push_str(&format!(", '{center}': {replicas}"));
    }
    text.push('}');
    Ok(text)
}

/// Makes a keyspace with some tables if they are not there, under the lock of the general one; gives a connection to it.
pub(super) async fn open_apart(
    options: &Options,
    general: &Cql,
    tables: &[(&str, &str)],
) -> Result<Cql, Error> {
    check_names(options)?;
    let named = vec![options.keyspace.as_str().into()];
    let there: Vec<(String,)> = general.rows(TABLES, named).await?;
    let is_there = |name: &str| there.iter().any(|(table,)| table == name);
    if tables.iter().all(|(name, _)| is_there(name)) {
        return Cql::connect(options, Some(&options.keyspace)).await;
    }
    let holder = holder()?;
    lock(general, &holder).await?;
    let made = async {
        let text = replicated(MAKE, &options.keyspace, &options.replication)?;
        general.define(&text).await?;
        let session = Cql::connect(options, Some(&options.keyspace)).await?;
        for (_, statement) in tables {
            session.define(statement).await?;
        }
        Ok(session)
    };
    let made = made.await;
    unlock(general, holder).await;
    made
}

async fn missing(session: &Cql) -> Result<Vec<&'static Migration>, Error> {
    let applied: Vec<(i32,)> = session.rows(APPLIED, Vec::new()).await?;
    let newest = MIGRATIONS.iter().map(|step| step.version).max();
    if let Some((newer,)) = applied.iter().find(|(version,)| Some(*version) > newest) {
        // Steps only add: what a newer program made does not harm this one.
        tracing::warn!(version = newer, "the schema is newer than this program");
    }
    Ok(MIGRATIONS
        .iter()
        .filter(|step| !applied.contains(&(step.version,)))
        .collect())
}

async fn lock(session: &Cql, holder: &str) -> Result<(), Error> {
    for _ in 0..LOCK_ATTEMPTS {
        let values = vec![holder.into(), Bind::Int(LOCK_SECONDS)];
        match session.conditional(LOCK, values).await {
            Ok(Applied::Yes) => return Ok(()),
            Ok(Applied::No) => {}
            Err(failure) if failure.is_ours => return Err(failure.error),
            Err(failure) => tracing::debug!(error = %failure.error, "asking for the lock again"),
        }
        tokio::time::sleep(LOCK_INTERVAL).await;
    }
    Err(Error::store(
        WHAT,
        "somebody else holds the lock of the migrations",
    ))
}

async fn migrate(session: &Cql) -> Result<(), Error> {
    for step in missing(session).await? {
        for statement in step.statements {
            session.define(statement).await?;
        }
        let values = vec![Bind::Int(step.version), step.name.into()];
        session.write(NOTE, values).await?;
        tracing::info!(
            version = step.version,
            name = step.name,
            "the schema has a new step"
        );
    }
    Ok(())
}
