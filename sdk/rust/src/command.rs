//! The world `command`: code that runs at the regional core, in a transaction over one partition.

use crate::problem::Problem;
use serde::{Serialize, de::DeserializeOwned};

/// Runs a command on the host's bytes. [`crate::command!`] calls it, and tests may.
///
/// # Errors
/// The problem document's bytes: the command refused, or the input is not the JSON expected.
///
/// ```
/// use brink_sdk::{Problem, execute};
/// fn double(input: u32) -> Result<u32, Problem> {
///     input.checked_mul(2).ok_or_else(|| Problem::unprocessable("too large"))
/// }
/// assert_eq!(execute(b"21", double).unwrap(), b"42");
/// assert_eq!(Problem::from_bytes(&execute(b"\"x\"", double).unwrap_err()).unwrap().status(), 422);
/// ```
pub fn execute<I: DeserializeOwned, O: Serialize>(
    input: &[u8],
    handler: impl FnOnce(I) -> Result<O, Problem>,
) -> Result<Vec<u8>, Vec<u8>> {
    let refused = |problem: Problem| problem.to_bytes();
    let input = serde_json::from_slice(input).map_err(|error| {
        refused(Problem::unprocessable(format!(
            "the command's input: {error}"
        )))
    })?;
    let output = handler(input).map_err(refused)?;
    serde_json::to_vec(&output).map_err(|error| {
        refused(
            Problem::new(500, "Internal error").detail(format!("the command's answer: {error}")),
        )
    })
}
