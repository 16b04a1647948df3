//! Making the keyspace and bringing its tables up to date: under a lock, step by step, each step repeatable.

use super::{
    migrations::{MIGRATIONS, Migration},
    options::Options,
    session::{Applied, Bind, Cql},
};
use crate::Error;
use std::time::Duration;

const WHAT: &str = "bringing the schema up to date";
/// How long the lock is held at most by somebody who died, in seconds.
const LOCK_SECONDS: i32 = 60;
/// How often it is tried.
const LOCK_INTERVAL: Duration = Duration::from_millis(250);
/// How many times: longer than it is held by the dead.
const LOCK_ATTEMPTS: usize = 480;
const KEYSPACE_BYTES_MAX: usize = 48;

const APPLIED: &str = "SELECT version FROM migrations WHERE every = 0";
const NOTE: &str = "INSERT INTO migrations (every, version, name) VALUES (0, ?, ?)";
const LOCK: &str =
    "INSERT INTO locks (name, holder) VALUES ('migrations', ?) IF NOT EXISTS USING TTL ?";
const UNLOCK: &str = "DELETE FROM locks WHERE name = 'migrations' IF holder = ?";

/// Makes the keyspace if it is not there, and does the steps that are missing; gives a connection to it.
pub(super) async fn open(options: &Options) -> Result<Cql, Error> {
    check_names(options)?;
    let outside = Cql::connect(options, None).await?;
    outside.define(&keyspace(options)).await?;
    for table in [
        "migrations (every int, version int, name text, PRIMARY KEY (every, version))",
        "locks (name text PRIMARY KEY, holder text)",
    ] {
        let text = format!("CREATE TABLE IF NOT EXISTS {}.{table}", options.keyspace);
        outside.define(&text).await?;
    }
    drop(outside);
    let session = Cql::connect(options, Some(&options.keyspace)).await?;
    if missing(&session).await?.is_empty() {
        return Ok(session);
    }
    let mut holder = [0; 16];
    getrandom::fill(&mut holder).map_err(|error| Error::Random(error.to_string()))?;
    let holder = format!("{:032x}", u128::from_le_bytes(holder));
    lock(&session, &holder).await?;
    let done = migrate(&session).await;
    let unlocked = session.conditional(UNLOCK, vec![Bind::Text(holder)]).await;
    done?;
    // Else it ends by itself.
    if let Err(failure) = unlocked {
        tracing::warn!(error = %failure.error, "the lock of the migrations was not given back");
    }
    Ok(session)
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
    let is_center = |name: &String| {
        !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    if options.replication.is_empty() || !options.replication.keys().all(is_center) {
        let reason = "data centres are named by letters, digits, -, _ and .";
        return Err(Error::store(WHAT, reason));
    }
    Ok(())
}

fn keyspace(options: &Options) -> String {
    let mut text = format!(
        "CREATE KEYSPACE IF NOT EXISTS {} WITH replication = {{'class': 'NetworkTopologyStrategy'",
        options.keyspace
    );
    for (center, replicas) in &options.replication {
        text.push_str(&format!(", '{center}': {replicas}"));
    }
    text.push('}');
    text
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
