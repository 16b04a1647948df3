//! Rows as JSON text.

use super::session::Bind;
use crate::Error;
use serde::{Serialize, de::DeserializeOwned};

/// A row as it is kept.
pub(super) fn encode<T: Serialize>(what: &'static str, row: &T) -> Result<Bind, Error> {
    serde_json::to_string(row)
        .map(Bind::Text)
        .map_err(|error| Error::corrupt(what, error))
}

/// A kept row.
pub(super) fn decode<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| Error::corrupt(what, error))
}

/// A number of ours as the engine has them. Sequences, times and versions never reach the end of the range.
pub(super) fn big(number: u64) -> Bind {
    Bind::Big(i64::try_from(number).unwrap_or(i64::MAX))
}
