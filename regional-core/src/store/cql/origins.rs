//! Who writes which log. A core node's row names its present incarnation and a term: the number of the process that may
//! write. A process that opens the store raises the term; whoever was there before cannot append any more.

use super::{
    lives,
    session::{Applied, Bind, Cql, Failure},
};
use crate::Error;
use brink_protocol::{NodeName, OriginId};

const OWN: &str = "SELECT incarnation, term, oldest FROM origins WHERE every = 0 AND node = ?";
const ALL: &str = "SELECT node, incarnation, oldest, term FROM origins WHERE every = 0 LIMIT 1000";
const BEGIN: &str = "INSERT INTO origins (every, node, incarnation, term, oldest) \
                     VALUES (0, ?, ?, 1, 1) IF NOT EXISTS";
const TAKE_BACK: &str = "DELETE FROM origins WHERE every = 0 AND node = ? IF term = ?";
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

/// What a core's own row says; none: there is no log of its name. Of what is certain.
pub(super) async fn own(session: &Cql, node: &NodeName) -> Result<Option<Claim>, Error> {
    let rows: Vec<(i64, i64, i64)> = session.serial_rows(OWN, vec![node.as_str().into()]).await?;
    let claim =
        |&(incarnation, term, oldest): &(i64, i64, i64)| claim_of(node, incarnation, term, oldest);
    rows.first().map(claim).transpose()
}

/// Begins the log of a node; no: there is one.
pub(super) async fn begin(session: &Cql, node: &NodeName) -> Result<Option<Claim>, Failure> {
    let first = lives::first(session).await;
    let incarnation = first.map_err(|error| Failure {
        is_ours: false,
        error,
    })?;
    let values = vec![node.as_str().into(), Bind::Big(incarnation.into())];
    let begun = session.conditional(BEGIN, values).await?;
    let claim = Claim {
        origin: OriginId {
            node: node.clone(),
            incarnation,
        },
        term: 1,
        oldest: 1,
    };
    Ok((begun == Applied::Yes).then_some(claim))
}

/// Takes back what [`begin`] has begun, before anything was written there.
pub(super) async fn take_back(session: &Cql, claim: &Claim) -> Result<(), Error> {
    let values = vec![claim.origin.node.as_str().into(), Bind::Big(claim.term)];
    session.conditional(TAKE_BACK, values).await?;
    Ok(())
}

/// Takes a log from the process that had it by this claim; none: another one has it by now.
pub(super) async fn raise(session: &Cql, from: &Claim) -> Result<Option<Claim>, Failure> {
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
