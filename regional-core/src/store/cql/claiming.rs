//! Taking a log when a core starts: that of its name, which is begun if there is none; or, where a position may name no
//! more logs than there are, that of a core that is gone.
//!
//! A log is not bound to whoever has written it: everything of it is in the engine, and who raises its term goes on with it as
//! its former writer would, started anew. So names may come and go without end; what is bounded is how many cores live.

use super::{
    members::Members,
    options::Options,
    origins::{self, Claim},
    session::Cql,
    watched::BEAT,
};
use crate::{Error, random};
use brink_protocol::{
    NodeName,
    position::{NODE_BYTES_MAX, ORIGINS_MAX},
};
use std::time::Duration;
use tokio::time::Instant;

const WHAT: &str = "taking a log for this core";
/// How often the term is asked for when somebody else is quicker, or the engine does not answer.
const ATTEMPTS: usize = 20;
/// How long a core that found no log looks for one that is left, beyond the time after which silent cores are gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// Takes a log.
///
/// # Errors
/// The engine; or [`ORIGINS_MAX`] cores live already, or the name of a new one is too long.
pub(super) async fn claim(
    session: &Cql,
    options: &Options,
    members: &Members,
) -> Result<Claim, Error> {
    // That of an earlier process of this name, first: it may have gone on with another's.
    let former = members.log();
    if former != options.node {
        // Another name's log is never begun.
        if origins::own(session, &former).await?.is_some()
            && let Some(claim) = of_name(session, &former, members).await?
        {
            return Ok(claim);
        }
        members.say_log(&options.node).await?;
    }
    if let Some(claim) = of_name(session, &options.node, members).await? {
        return Ok(claim);
    }
    let until = Instant::now() + members.silent_max() + PATIENCE;
    loop {
        members.read().await?;
        if let Some(claim) = one_that_is_left(session, options, members).await? {
            return Ok(claim);
        }
        if Instant::now() > until {
            members.withdraw().await?;
            let reason = format!(
                "{ORIGINS_MAX} cores write to this engine, and no more may: stop one of them first, or let this one use another \
                 engine"
            );
            return Err(Error::store(WHAT, reason));
        }
        tokio::time::sleep(random::pause(BEAT)?).await;
    }
}

/// The log of a name; none: another core goes on with it, or there is no room for one more.
async fn of_name(
    session: &Cql,
    node: &NodeName,
    members: &Members,
) -> Result<Option<Claim>, Error> {
    let mut last = Error::store(WHAT, "somebody else takes it over all the time");
    for _ in 0..ATTEMPTS {
        let outcome = match origins::own(session, node).await? {
            None if !has_room(session, 1).await? => return Ok(None),
            None => {
                check_name(node)?;
                origins::begin(session, node).await
            }
            Some(_) if !members.is_free(node) => return Ok(None),
            Some(present) => origins::raise(session, &present).await,
        };
        match outcome {
            // Two may have begun one at once.
            Ok(Some(claim)) if claim.term == 1 && !has_room(session, 0).await? => {
                origins::take_back(session, &claim).await?;
            }
            Ok(Some(claim)) => return Ok(Some(claim)),
            Ok(None) => members.read().await?,
            Err(failure) if failure.is_ours => return Err(failure.error),
            // Whether it was written or not: the next attempt takes a term that nobody has had.
            Err(failure) => last = failure.error,
        }
    }
    Err(last)
}

/// Whether a position may name so many logs more.
async fn has_room(session: &Cql, more: usize) -> Result<bool, Error> {
    Ok(origins::all(session, false).await?.len() + more <= ORIGINS_MAX)
}

fn check_name(node: &NodeName) -> Result<(), Error> {
    let bytes = node.as_str().len();
    if bytes > NODE_BYTES_MAX {
        return Err(brink_protocol::Error::Limit {
            what: "bytes of the name of a core that shares an engine: session tokens may name all cores",
            actual: bytes as u64,
            limit: NODE_BYTES_MAX as u64,
        }
        .into());
    }
    Ok(())
}

/// A log whose writer is gone, and was in this region and data centre; its former writer cannot append any more. First
/// this core says that the log is its own, so that nobody takes it for left: whoever reads the beats after that leaves it
/// alone, and whoever read them before has a term that is over.
async fn one_that_is_left(
    session: &Cql,
    options: &Options,
    members: &Members,
) -> Result<Option<Claim>, Error> {
    for found in origins::all(session, false).await? {
        let log = &found.origin.node;
        if !members.is_left(log) {
            continue;
        }
        members.say_log(log).await?;
        members.read().await?;
        if members.is_free(log) {
            match origins::raise(session, &found).await {
                Ok(Some(claim)) => {
                    tracing::info!(node = %options.node, %log, "this core goes on with the log of one that is gone");
                    members.forget_former(log).await?;
                    return Ok(Some(claim));
                }
                Ok(None) => {}
                Err(failure) if failure.is_ours => return Err(failure.error),
                // It may have been raised: then it is found left again.
                Err(failure) => {
                    tracing::debug!(error = %failure.error, %log, "a log was not taken")
                }
            }
        }
        members.say_log(&options.node).await?;
    }
    Ok(None)
}
