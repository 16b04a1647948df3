//! What a projection reads and writes, as its deployment says.

use crate::{
    Error,
    record::{check_partition, is_platform},
};
use std::collections::BTreeMap;

/// Name of the deployment's setting that says which collection's events are read.
pub const SOURCE: &str = "source";
/// Name of the deployment's setting that says which collection is written.
pub const TARGET: &str = "target";

/// The collections that a projection reads and writes, from its settings.
///
/// # Errors
/// A setting is missing, or names no collection that may be read or written so.
pub fn collections(config: &BTreeMap<String, String>) -> Result<(String, String), Error> {
    let collection = |setting: &'static str| {
        let value = config
            .get(setting)
            .ok_or_else(|| Error::malformed(setting, "it is missing: it names a collection"))?;
        check_partition(value, "p")?;
        if is_platform(value, "") {
            return Err(Error::malformed(
                setting,
                format!("{value} is the platform's"),
            ));
        }
        Ok(value.clone())
    };
    Ok((collection(SOURCE)?, collection(TARGET)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings() {
        for (config, is_valid) in [
            (&[("source", "orders"), ("target", "by-customer")][..], true),
            (&[("source", "o"), ("target", "o"), ("x", "y")], true),
            (&[("source", "orders")], false),
            (&[("target", "orders")], false),
            (&[("source", "Orders"), ("target", "t")], false),
            (&[("source", "orders"), ("target", "_streams")], false),
        ] {
            let config = config
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            assert_eq!(collections(&config).is_ok(), is_valid, "{config:?}");
        }
    }
}
