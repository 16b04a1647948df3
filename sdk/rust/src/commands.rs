//! Calls of commands: code that runs at the regional core, beside the data, in one transaction over one partition.
//!
//! ```
//! use brink_sdk::{Problem, commands::Call, testing::Platform};
//! # let platform = Platform::new();
//! # platform.command("reserve", |_input| Ok(b"2".to_vec()));
//! let left: u32 = Call::new("reserve").partition("stock", "AMS1").idempotency_key("order-17").json(&3)?.execute_json()?;
//! assert_eq!(left, 2);
//! # Ok::<(), Problem>(())
//! ```

use crate::bindings::module::brink::platform::commands as wit;
use crate::host;
use crate::problem::Problem;
use serde::{Serialize, de::DeserializeOwned};

/// Why a command did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The call is outside what the interface allows.
    #[error("the call is not allowed: {0}")]
    Invalid(String),
    /// There is no such command, or this deployment may not call it.
    #[error("the deployment may not call the command: {0}")]
    Denied(String),
    /// The command refused and wrote nothing; its bytes, by custom a problem document.
    #[error("the command refused")]
    Refused(Vec<u8>),
    /// The command trapped or passed a limit, and wrote nothing.
    #[error("the command failed: {0}")]
    Failed(String),
    /// The core could not be reached in time. Repeat with the same idempotency key.
    #[error("the regional core could not be reached: {0}")]
    Unavailable(String),
    /// Input or answer is not the JSON expected.
    #[error("the command's input or answer is not the JSON expected: {0}")]
    NotJson(String),
}

impl From<wit::Error> for Error {
    fn from(error: wit::Error) -> Self {
        match error {
            wit::Error::Invalid(reason) => Self::Invalid(reason),
            wit::Error::Denied(reason) => Self::Denied(reason),
            wit::Error::Refused(bytes) => Self::Refused(bytes),
            wit::Error::Failed(reason) => Self::Failed(reason),
            wit::Error::Unavailable(reason) => Self::Unavailable(reason),
        }
    }
}

/// A refusal that is a problem document is passed on as it is.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        match error {
            Error::Refused(bytes) => {
                Problem::from_bytes(&bytes).unwrap_or_else(|| Problem::unprocessable(detail))
            }
            Error::Invalid(_) => Problem::bad_request(detail),
            Error::Unavailable(_) => Problem::new(503, "Service unavailable").detail(detail),
            Error::Denied(_) | Error::Failed(_) | Error::NotJson(_) => {
                Problem::new(500, "Internal error").detail(detail)
            }
        }
    }
}

/// A call in the making.
#[derive(Debug, Clone)]
#[must_use = "a command is not called before `execute`"]
pub struct Call {
    wit: wit::Call,
}

impl Call {
    /// Calls the command deployed under that name.
    pub fn new(command: impl Into<String>) -> Self {
        let (collection, partition) = (String::new(), String::new());
        Self {
            wit: wit::Call {
                command: command.into(),
                collection,
                partition,
                input: Vec::new(),
                idempotency_key: None,
            },
        }
    }

    /// The partition that the transaction reads and writes.
    pub fn partition(
        mut self,
        collection: impl Into<String>,
        partition: impl Into<String>,
    ) -> Self {
        self.wit.collection = collection.into();
        self.wit.partition = partition.into();
        self
    }

    /// The same key, command and partition within 24 hours get the stored answer instead of a second execution.
    /// 1 to 128 visible ASCII characters.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.wit.idempotency_key = Some(key.into());
        self
    }

    /// The input, at most 1 MiB.
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.wit.input = input.into();
        self
    }

    /// The input as JSON.
    ///
    /// # Errors
    /// The value has no JSON form.
    pub fn json<T: Serialize + ?Sized>(self, input: &T) -> Result<Self, Error> {
        Ok(self
            .input(serde_json::to_vec(input).map_err(|error| Error::NotJson(error.to_string()))?))
    }

    /// Runs the command and waits for its answer.
    ///
    /// # Errors
    /// It refused, failed, or could not be reached.
    pub fn execute(self) -> Result<Vec<u8>, Error> {
        Ok(host::commands::execute(&self.wit)?)
    }

    /// The same with an answer in JSON.
    ///
    /// # Errors
    /// As [`Call::execute`], and if the answer is not the JSON expected.
    pub fn execute_json<T: DeserializeOwned>(self) -> Result<T, Error> {
        serde_json::from_slice(&self.execute()?).map_err(|error| Error::NotJson(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::Platform;
    use crate::{records, records::Key};

    #[test]
    fn a_refusal_passes_through_and_writes_nothing() {
        let platform = Platform::new();
        platform.command("c", |_| {
            records::put(&Key::new("stock", "A", "x"), b"1").unwrap();
            Err(Problem::new(409, "Short").to_bytes())
        });
        let error = Call::new("c")
            .partition("stock", "A")
            .execute()
            .unwrap_err();
        assert_eq!(Problem::from(error), Problem::new(409, "Short"));
        assert_eq!(records::get(&Key::new("stock", "A", "x")).unwrap(), None);
    }

    #[test]
    fn a_repetition_gets_the_stored_answer() {
        let platform = Platform::new();
        platform.command("c", |_| {
            Ok(records::put(&Key::new("stock", "A", "x"), b"1")
                .unwrap()
                .to_string()
                .into_bytes())
        });
        let call = || Call::new("c").partition("stock", "A");
        assert_eq!(call().idempotency_key("k").execute().unwrap(), b"1");
        assert_eq!(call().idempotency_key("k").execute().unwrap(), b"1");
        assert_eq!(call().idempotency_key("l").execute().unwrap(), b"2");
        assert!(matches!(Call::new("none").execute(), Err(Error::Denied(_))));
    }
}
