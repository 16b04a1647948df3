//! `brink:platform/cache`.

use crate::{bindings::platform::cache as wit, context::CacheError, host::Host};
use brink_protocol::purge::{SELECTORS_MAX, TAG_NAMES_MAX, TagName};

impl From<CacheError> for wit::Error {
    fn from(error: CacheError) -> Self {
        match error {
            CacheError::Invalid(text) => Self::Invalid(text),
            CacheError::Denied(text) => Self::Denied(text),
            CacheError::Unavailable(text) => Self::Unavailable(text),
        }
    }
}

/// Checks that each name may be a tag's, and that there are not too many.
fn check(names: &[String], count: usize, count_max: usize) -> Result<(), wit::Error> {
    if count > count_max {
        let text = format!("{count} names, the limit is {count_max}");
        return Err(wit::Error::Invalid(text));
    }
    for name in names {
        name.parse::<TagName>()
            .map_err(|error| wit::Error::Invalid(error.to_string()))?;
    }
    Ok(())
}

impl wit::Host for Host {
    fn tag(&mut self, names: Vec<String>) -> wasmtime::Result<Result<(), wit::Error>> {
        let count = self.tag_names.saturating_add(names.len());
        if let Err(error) = check(&names, count, TAG_NAMES_MAX) {
            return Ok(Err(error));
        }
        self.tag_names = count;
        Ok(self.context.cache.tag(names).map_err(Into::into))
    }

    fn set_lifetime(&mut self, seconds: u32) -> wasmtime::Result<()> {
        self.context.cache.set_lifetime(seconds);
        Ok(())
    }

    fn no_store(&mut self) -> wasmtime::Result<()> {
        self.context.cache.no_store();
        Ok(())
    }

    async fn purge(&mut self, names: Vec<String>) -> wasmtime::Result<Result<String, wit::Error>> {
        if !self.context.grants.purge {
            let text = "the deployment has no grant `purge`";
            return Ok(Err(wit::Error::Denied(text.into())));
        }
        if names.is_empty() {
            return Ok(Err(wit::Error::Invalid("a purge needs a name".into())));
        }
        if let Err(error) = check(&names, names.len(), SELECTORS_MAX) {
            return Ok(Err(error));
        }
        let purged = self.context.cache.purge(names).await;
        Ok(purged.map_err(Into::into))
    }
}
