//! The cache entry of the present answer, and purges.
//!
//! What an answer depends on is noted by the platform, without a word of the module:
//!
//! | the module | the answer |
//! |---|---|
//! | reads a record, found or not, or a range | leaves every cache when one of them is written |
//! | learns from a conditional write | likewise |
//! | reads a record that was written with a lifetime | is kept no longer than that |
//! | calls another module ([`crate::http`]) | depends on what that one read, and on its version |
//! | looks at `authorization` or `cookie`, or asks for [`crate::identity::subject`] | is its caller's own; a header that was not there becomes part of the key |
//! | calls a command that asks for the subject, or is given a command's kept answer | is its caller's own |
//! | sends something out, calls a command, asks for the time or random bytes | is stored only with a lifetime |
//! | asks for a record and the core is away | is not stored |
//!
//! So tags ([`tag`]) and purges are for what no record says, and most modules need neither. An answer that reads no records
//! is stored only with a lifetime.

use crate::bindings::module::brink::platform::cache as wit;
use crate::host;
use crate::problem::Problem;

/// Why the cache could not be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A name is outside what the interface allows.
    #[error("a cache tag is not allowed: {0}")]
    Invalid(String),
    /// The deployment has no grant `purge`.
    #[error("the deployment may not do this: {0}")]
    Denied(String),
    /// The core could not be reached in time.
    #[error("the regional core could not be reached: {0}")]
    Unavailable(String),
}

crate::refusal::refusals!();

/// Adds names (surrogate keys) to the answer: a purge of one takes the answer out of every cache. Each 1 to 1024 visible
/// ASCII characters, at most 128 an answer.
///
/// # Errors
/// A name is not allowed, or there are too many.
pub fn tag(names: &[&str]) -> Result<(), Error> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    Ok(host::cache::tag(&names)?)
}

/// Lets PoPs keep the answer for this many seconds at most, and never beyond a write to a record that was read. Says nothing
/// to the client's own cache.
pub fn lifetime(seconds: u32) {
    host::cache::set_lifetime(seconds);
}

/// Keeps the answer out of every cache of the platform.
pub fn no_store() {
    host::cache::no_store();
}

/// Purges every answer of this tenant that carries one of the names, at every PoP. Answers with the purge's id. Needs the
/// grant `purge`.
///
/// # Errors
/// A name is not allowed, the grant is missing, or the core could not be reached.
pub fn purge(names: &[&str]) -> Result<String, Error> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    Ok(host::cache::purge(&names)?)
}
