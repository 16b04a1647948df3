//! Starts workflows and says where they stand. A workflow is work over several partitions, step by step, that is resumed after
//! a crash and compensated when a step fails; [`workflow!`](crate::workflow!) makes one.
//!
//! ```
//! use brink_sdk::{workflows::{self, State}, testing::Platform};
//! # let platform = Platform::new();
//! # platform.workflow("fulfil");
//! assert!(workflows::start_json("fulfil", "order-17", &3)?);
//! assert!(!workflows::start_json("fulfil", "order-17", &3)?, "the same again starts nothing");
//! assert_eq!(workflows::get("fulfil", "order-17")?, Some(State::Running));
//! # Ok::<(), brink_sdk::Problem>(())
//! ```

use crate::bindings::module::brink::platform::workflows as wit;
use crate::host;
use crate::problem::Problem;
use serde::Serialize;

/// Why a workflow was not started or looked up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Name, id or input are outside what the interface allows, or the id was used with another input.
    #[error("the workflow's name, id or input is not allowed: {0}")]
    Invalid(String),
    /// There is no such workflow, or this deployment may not use it.
    #[error("the deployment may not use the workflow: {0}")]
    Denied(String),
    /// The core could not be reached in time. Start it again with the same id.
    #[error("the regional core could not be reached: {0}")]
    Unavailable(String),
}

crate::refusal::refusals!();

/// Where a workflow stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Steps are under way, or it waits for its time.
    Running,
    /// A step failed; those before it are being compensated.
    Compensating,
    /// It ended well, with these bytes.
    Completed(Vec<u8>),
    /// It failed, with these bytes; every step that had been done is compensated.
    Failed(Vec<u8>),
}

impl From<wit::State> for State {
    fn from(state: wit::State) -> Self {
        match state {
            wit::State::Running => Self::Running,
            wit::State::Compensating => Self::Compensating,
            wit::State::Completed(bytes) => Self::Completed(bytes),
            wit::State::Failed(bytes) => Self::Failed(bytes),
        }
    }
}

/// Starts the deployed workflow `name` under an id (1 to 128 visible ASCII characters). The same name and id again start
/// nothing: `false`. It is durable when this answers. The input is at most 256 KiB.
///
/// # Errors
/// There is no such workflow, something is not allowed, or the core could not be reached.
pub fn start(name: &str, id: &str, input: &[u8]) -> Result<bool, Error> {
    Ok(host::workflows::start(name, id, input)?)
}

/// The same with an input as JSON.
///
/// # Errors
/// As [`start`], and if the input has no JSON form.
pub fn start_json<T: Serialize + ?Sized>(name: &str, id: &str, input: &T) -> Result<bool, Error> {
    let input = serde_json::to_vec(input)
        .map_err(|error| Error::Invalid(format!("the input has no JSON form: {error}")))?;
    start(name, id, &input)
}

/// Where a workflow stands; none: there is none of this id. Becomes a tag of the answer: with the next step, no PoP serves it
/// again.
///
/// # Errors
/// Name or id are not allowed, or the core could not be reached.
pub fn get(name: &str, id: &str) -> Result<Option<State>, Error> {
    Ok(host::workflows::get(name, id)?.map(State::from))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::Platform;

    #[test]
    fn what_is_there_is_started_once() {
        let platform = Platform::new();
        assert!(matches!(start("fulfil", "1", b""), Err(Error::Denied(_))));
        platform.workflow("fulfil");
        assert!(matches!(start("fulfil", "", b""), Err(Error::Invalid(_))));
        assert_eq!(get("fulfil", "1").unwrap(), None);
        assert!(start("fulfil", "1", b"a").unwrap());
        assert!(!start("fulfil", "1", b"a").unwrap());
        assert!(matches!(start("fulfil", "1", b"b"), Err(Error::Invalid(_))));
        let started = ("fulfil".to_owned(), "1".to_owned(), b"a".to_vec());
        assert_eq!(platform.started(), [started]);
        platform.stands("fulfil", "1", State::Failed(b"no".to_vec()));
        let state = get("fulfil", "1").unwrap();
        assert_eq!(state, Some(State::Failed(b"no".to_vec())));
    }
}
