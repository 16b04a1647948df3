//! Chance, taken from the operating system in one place.

use crate::Error;
use std::time::Duration;

/// Random bytes.
///
/// # Errors
/// The operating system has none.
pub(crate) fn bytes<const COUNT: usize>() -> Result<[u8; COUNT], Error> {
    let mut bytes = [0; COUNT];
    getrandom::fill(&mut bytes).map_err(|error| Error::Random(error.to_string()))?;
    Ok(bytes)
}

/// A pause of up to `most`, which differs between those who were in each other's way.
///
/// # Errors
/// As [`bytes`].
pub(crate) fn pause(most: Duration) -> Result<Duration, Error> {
    let [random] = bytes()?;
    Ok(most * u32::from(random) / u32::from(u8::MAX))
}
