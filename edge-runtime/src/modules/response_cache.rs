//! `brink:platform/cache`: names and lifetime of the present answer, purges within the tenant.

use super::run::Run;
use crate::link::LinkError;
use async_trait::async_trait;
use brink_protocol::{
    link::{PurgeAnswer, PurgeRequest, path},
    purge::{SELECTORS_MAX, Selector, TAG_NAMES_MAX, TagName},
    tag::Tag,
};
use brink_sandbox::{CacheError, ResponseCache};
use std::{sync::atomic::Ordering, time::Duration};

fn parse(names: Vec<String>) -> Result<Vec<TagName>, CacheError> {
    names
        .into_iter()
        .map(|name| {
            name.parse()
                .map_err(|e: brink_protocol::Error| CacheError::Invalid(e.to_string()))
        })
        .collect()
}

#[async_trait]
impl ResponseCache for Run {
    fn tag(&self, names: Vec<String>) -> Result<(), CacheError> {
        let names = parse(names)?;
        let mut collected = self.note();
        let is_name = |tag: &&Tag| matches!(tag, Tag::Name { .. });
        if collected.tags.iter().filter(is_name).count() + names.len() > TAG_NAMES_MAX {
            return Err(CacheError::Invalid(format!(
                "an answer carries at most {TAG_NAMES_MAX} names"
            )));
        }
        collected
            .tags
            .extend(names.into_iter().map(|name| Tag::Name {
                tenant: self.tenant.clone(),
                name,
            }));
        Ok(())
    }

    fn set_lifetime(&self, seconds: u32) {
        let lifetime = Duration::from_secs(seconds.into());
        self.has_spoken.store(true, Ordering::Relaxed);
        // Of a module that was called, the answer is a part of another's.
        if self.depth > 0 {
            self.note().lasts(lifetime);
        } else {
            self.note().lifetime = Some(lifetime);
        }
    }

    fn no_store(&self) {
        self.note().no_store = true;
    }

    async fn purge(&self, names: Vec<String>) -> Result<String, CacheError> {
        let link = self.link().map_err(CacheError::Denied)?;
        let selectors: Vec<Selector> = parse(names)?.into_iter().map(Selector::Key).collect();
        if !(1..=SELECTORS_MAX).contains(&selectors.len()) {
            return Err(CacheError::Invalid(format!(
                "1 to {SELECTORS_MAX} names are purged at a time"
            )));
        }
        let request = PurgeRequest {
            tenant: self.tenant.clone(),
            module: self.module.clone(),
            selectors,
            soft: false,
        };
        let asked = link.call(path::PURGES, &request, self.asker()).await;
        let answer: PurgeAnswer = asked.map_err(|error| match error {
            LinkError::Refused {
                status: 400,
                detail,
            } => CacheError::Invalid(detail),
            LinkError::Refused {
                status: 401 | 403,
                detail,
            } => CacheError::Denied(detail),
            error => CacheError::Unavailable(error.to_string()),
        })?;
        self.note().written.merge(&answer.position);
        Ok(answer.id)
    }
}
