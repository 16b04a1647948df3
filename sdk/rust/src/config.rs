//! Values set at deployment.

use crate::host;
use crate::problem::Problem;
use std::{fmt, str::FromStr};

/// The value of that name.
#[must_use]
pub fn get(name: &str) -> Option<String> {
    host::config::get(name)
}

/// Every name and value.
#[must_use]
pub fn all() -> Vec<(String, String)> {
    host::config::all()
}

/// The value of that name, parsed; none if it is not set.
///
/// # Errors
/// 500, naming the value, if it does not parse: the deployment is at fault, not the request.
pub fn parse<T: FromStr<Err: fmt::Display>>(name: &str) -> Result<Option<T>, Problem> {
    let Some(value) = get(name) else {
        return Ok(None);
    };
    value.parse().map(Some).map_err(|error| {
        Problem::new(500, "Misconfigured").detail(format!("config value {name}: {error}"))
    })
}
