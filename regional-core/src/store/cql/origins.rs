//! Who writes which log. A core node's row names its present incarnation and a term: the number of the process that may
//! write. A process that opens the store raises the term; whoever was there before cannot append any more.

use super::{
    options::Options,
    session::{Applied, Bind, Cql},
};
use crate::Error;
use brink_protocol::{NodeName, OriginId, position::ORIGINS_MAX};

const WHAT: &str = "taking over the log of this core";
/// How often the term is asked for when somebody else is quicker, or the engine does not answer.
const ATTEMPTS: usize = 20;

const OWN: &str = "SELECT incarnation, term, oldest FROM origins WHERE every = 0 AND node = ?";
const ALL: &str = "SELECT node, incarnation, oldest, term FROM origins WHERE every = 0 LIMIT 1000";
const BEGIN: &str = "INSERT INTO origins (every, node, incarnation, term, oldest) \
                     VALUES (0, ?, 1, 1, 1) IF NOT EXISTS";
/// Where the log begins is a condition too: the former process may be about to drop what was its first bucket.
const RAISE: &str = "UPDATE origins SET term = ? WHERE every = 0 AND node = ? \
                     IF term = ? AND oldest = ?";
const CUT: &str = "UPDATE origins SET oldest = ? WHERE every = 0 AND node = ? IF term = ?";
const TERM: &str = "SELECT term FROM origins WHERE every = 0 AND node = ?";

/// The right to write a log.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    /// The log.
    pub(super) origin: OriginId,
    /// The process.
    pub(super) term: i64,
    /// The first entry that the log keeps.
    pub(super) oldest: u64,
}

/// Begins a log, or takes it from whoever wrote it before.
pub(super) async fn claim(session: &Cql, options: &Options) -> Result<Claim, Error> {
    let node = options.node.as_str();
    let mut last = Error::store(WHAT, "somebody else takes it over all the time");
    for _ in 0..ATTEMPTS {
        let rows: Vec<(i64, i64, i64)> = session.serial_rows(OWN, vec![node.into()]).await?;
        let (claim, outcome) = match rows.first() {
            None => {
                check_room(session).await?;
                let claim = claim_of(&options.node, 1, 1, 1)?;
                let outcome = session.conditional(BEGIN, vec![node.into()]).await;
                (claim, outcome)
            }
            Some(&(incarnation, term, oldest)) => {
                let next = term.saturating_add(1);
                let claim = claim_of(&options.node, incarnation, next, oldest)?;
                let values = vec![
                    Bind::Big(next),
                    node.into(),
                    Bind::Big(term),
                    Bind::Big(oldest),
                ];
                (claim, session.conditional(RAISE, values).await)
            }
        };
        match outcome {
            Ok(Applied::Yes) => return Ok(claim),
            Ok(Applied::No) => {}
            Err(failure) if failure.is_ours => return Err(failure.error),
            // Whether it was written or not: the next attempt takes a term that nobody has had.
            Err(failure) => last = failure.error,
        }
    }
    Err(last)
}

/// Takes a log from the process that had it by this claim; none: another one has it by now.
pub(super) async fn raise(session: &Cql, from: &Claim) -> Result<Option<Claim>, Error> {
    let next = from.term.saturating_add(1);
    let values = vec![
        Bind::Big(next),
        from.origin.node.as_str().into(),
        Bind::Big(from.term),
        Bind::Big(from.oldest.cast_signed()),
    ];
    let raised = session.conditional(RAISE, values).await?;
    Ok((raised == Applied::Yes).then(|| Claim {
        term: next,
        ..from.clone()
    }))
}

fn claim_of(node: &NodeName, incarnation: i64, term: i64, oldest: i64) -> Result<Claim, Error> {
    let unreadable = |error: std::num::TryFromIntError| Error::corrupt("origin", error);
    Ok(Claim {
        origin: OriginId {
            node: node.clone(),
            incarnation: incarnation.try_into().map_err(unreadable)?,
        },
        term,
        oldest: oldest.try_into().map_err(unreadable)?,
    })
}

async fn check_room(session: &Cql) -> Result<(), Error> {
    let known = all(session, false).await?.len();
    if known >= ORIGINS_MAX {
        return Err(brink_protocol::Error::Limit {
            what: "origins whose logs are kept",
            actual: known as u64 + 1,
            limit: ORIGINS_MAX as u64,
        }
        .into());
    }
    Ok(())
}

/// Every log that is written here. `each`: as it is known to a quorum of each data centre, not of this one alone.
pub(super) async fn all(session: &Cql, each: bool) -> Result<Vec<Claim>, Error> {
    let rows: Vec<(String, i64, i64, i64)> = if each {
        session.each_rows(ALL, Vec::new()).await?
    } else {
        session.rows(ALL, Vec::new()).await?
    };
    let claim = |(node, incarnation, oldest, term): (String, i64, i64, i64)| {
        claim_of(&node.parse()?, incarnation, term, oldest)
    };
    rows.into_iter().map(claim).collect()
}

/// Says where the log begins now; no: another process has taken it over.
pub(super) async fn cut(session: &Cql, claim: &Claim, oldest: u64) -> Result<Applied, Error> {
    let values = vec![
        Bind::Big(oldest.cast_signed()),
        claim.origin.node.as_str().into(),
        Bind::Big(claim.term),
    ];
    Ok(session.conditional(CUT, values).await?)
}

/// Fails if another process has taken the log over. What was read before this was asked is older than all that the
/// other process does with the writes that it finds open.
pub(super) async fn check(session: &Cql, claim: &Claim) -> Result<(), Error> {
    let node = claim.origin.node.as_str();
    let rows: Vec<(i64,)> = session.serial_rows(TERM, vec![node.into()]).await?;
    if rows.first().is_some_and(|(term,)| *term == claim.term) {
        return Ok(());
    }
    Err(over(&claim.origin))
}

/// What a process is told that does not write the log any more.
pub(super) fn over(origin: &OriginId) -> Error {
    let reason = format!("another process writes the log of {origin} now");
    Error::store("appending to the log", reason)
}
