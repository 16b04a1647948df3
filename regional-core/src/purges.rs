//! Purges: taking them, and proving where they were applied.

use crate::{
    Error,
    pops::Pops,
    store::{NewAudit, NewPurge, PurgeRow, Store},
};
use brink_protocol::{
    ModuleName, PopName, TenantName,
    control::{self, PurgeAtPop, PurgeStatus},
    link::AppliedPurge,
    purge::{Purge, SELECTORS_MAX, Selector, normal_host, normal_url},
};
use std::{sync::Arc, time::Duration};

/// The longest that a caller may wait for PoPs, in milliseconds.
pub const WAIT_MS_MAX: u64 = 60_000;

/// Brings the lists of a request to selectors.
///
/// # Errors
/// One of them is not allowed, there are too many, or none.
pub fn selectors(new: &control::NewPurge) -> Result<Vec<Selector>, brink_protocol::Error> {
    let mut all = Vec::new();
    for key in &new.keys {
        all.push(Selector::Key(key.parse()?));
    }
    all.extend(new.urls.iter().cloned().map(Selector::Url));
    all.extend(new.prefixes.iter().cloned().map(Selector::Prefix));
    all.extend(new.hosts.iter().cloned().map(Selector::Host));
    if new.everything {
        all.push(Selector::Everything);
    }
    normal(all)
}

/// Brings selectors to their normal form.
///
/// # Errors
/// One of them is not allowed, there are more than [`SELECTORS_MAX`], or none.
pub fn normal(selectors: Vec<Selector>) -> Result<Vec<Selector>, brink_protocol::Error> {
    if selectors.is_empty() || selectors.len() > SELECTORS_MAX {
        return Err(brink_protocol::Error::Limit {
            what: "selectors of a purge (at least 1)",
            actual: selectors.len() as u64,
            limit: SELECTORS_MAX as u64,
        });
    }
    selectors
        .into_iter()
        .map(|selector| {
            Ok(match selector {
                Selector::Url(url) => Selector::Url(normal_url(&url)?),
                Selector::Prefix(prefix) => Selector::Prefix(normal_prefix(&prefix)?),
                Selector::Host(host) => Selector::Host(normal_host(&host)?),
                other @ (Selector::Key(_) | Selector::Module(_) | Selector::Everything) => other,
            })
        })
        .collect()
}

/// `host/path` without a slash at its end, `host/` for all of a host.
fn normal_prefix(prefix: &str) -> Result<String, brink_protocol::Error> {
    let url = normal_url(prefix)?;
    if url.contains('?') {
        return Err(brink_protocol::Error::Malformed {
            what: "prefix of a purge",
            reason: "it has no query: HOST[:PORT]/PATH".into(),
        });
    }
    let trimmed = url.trim_end_matches('/');
    if trimmed.contains('/') {
        Ok(trimmed.to_owned())
    } else {
        Ok(format!("{trimmed}/"))
    }
}

/// Who asks for a purge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asker {
    /// Somebody with a token, by its id. Goes into the audit log.
    Token(String),
    /// A module. Does not: a module may purge with every request, and would push what people did out of the log.
    Module(ModuleName),
}

impl std::fmt::Display for Asker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Token(id) => f.write_str(id),
            Self::Module(name) => write!(f, "module:{name}"),
        }
    }
}

/// Takes purges and knows how far they are.
#[derive(Clone)]
pub struct Purges {
    store: Arc<dyn Store>,
    pops: Arc<Pops>,
}

impl Purges {
    /// Over a store and the PoPs that are to apply purges.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, pops: Arc<Pops>) -> Self {
        Self { store, pops }
    }

    /// Appends a purge of normal selectors to the log. It is on its way to every PoP when this returns.
    ///
    /// # Errors
    /// The store.
    pub async fn create(
        &self,
        tenant: TenantName,
        asker: &Asker,
        selectors: Vec<Selector>,
        soft: bool,
        now_ms: u64,
    ) -> Result<PurgeStatus, Error> {
        let by = asker.to_string();
        let purge = Purge {
            id: ulid::Ulid::new().to_string(),
            tenant: tenant.clone(),
            selectors,
            soft,
        };
        let audit = matches!(asker, Asker::Token(_)).then(|| NewAudit {
            by: by.clone(),
            tenant,
            action: "purge",
            subject: purge.id.clone(),
            at_ms: now_ms,
        });
        let new = NewPurge {
            purge: purge.clone(),
            by: by.clone(),
            at_ms: now_ms,
        };
        let position = self.store.add_purge(new, audit).await?;
        let row = PurgeRow {
            purge,
            by,
            at_ms: now_ms,
            position,
            applied: Vec::new(),
        };
        Ok(self.status_of(row))
    }

    /// How far a purge is. A PoP has applied it if it said so, or if its position has passed the purge: then it held
    /// nothing that was older.
    fn status_of(&self, row: PurgeRow) -> PurgeStatus {
        let mut applied = row.applied;
        let mut waiting = Vec::new();
        for pop in self.pops.list(&row.position) {
            if applied.iter().any(|at| at.pop == pop.name) {
                continue;
            }
            if pop.position.covers(&row.position) {
                applied.push(PurgeAtPop {
                    pop: pop.name,
                    applied_at_ms: pop.seen_at_ms,
                    objects: 0,
                });
            } else {
                waiting.push(pop.name);
            }
        }
        PurgeStatus {
            id: row.purge.id,
            selectors: row.purge.selectors,
            soft: row.purge.soft,
            at_ms: row.at_ms,
            by: row.by,
            position: row.position,
            applied,
            waiting,
        }
    }

    /// How far a purge is now.
    ///
    /// # Errors
    /// The store.
    pub async fn status(
        &self,
        tenant: &TenantName,
        id: &str,
    ) -> Result<Option<PurgeStatus>, Error> {
        Ok(self
            .store
            .purge(tenant, id)
            .await?
            .map(|row| self.status_of(row)))
    }

    /// How far a purge is once every PoP has applied it, or after `wait`.
    ///
    /// # Errors
    /// The store.
    pub async fn wait(
        &self,
        tenant: &TenantName,
        id: &str,
        wait: Duration,
    ) -> Result<Option<PurgeStatus>, Error> {
        let deadline = tokio::time::Instant::now() + wait;
        let mut changed = self.pops.changed();
        loop {
            changed.mark_unchanged();
            let status = self.status(tenant, id).await?;
            if status
                .as_ref()
                .is_none_or(|status| status.waiting.is_empty())
            {
                return Ok(status);
            }
            if !matches!(
                tokio::time::timeout_at(deadline, changed.changed()).await,
                Ok(Ok(()))
            ) {
                return Ok(status);
            }
        }
    }

    /// The newest purges, newest first.
    ///
    /// # Errors
    /// The store.
    pub async fn list(&self, tenant: &TenantName, limit: usize) -> Result<Vec<PurgeStatus>, Error> {
        let rows = self.store.purges(tenant, limit).await?;
        Ok(rows.into_iter().map(|row| self.status_of(row)).collect())
    }

    /// A PoP applied purges. Durable before its position is believed.
    ///
    /// # Errors
    /// The store; the PoP reports again.
    pub async fn applied(&self, pop: &PopName, applied: &[AppliedPurge]) -> Result<(), Error> {
        if applied.is_empty() {
            return Ok(());
        }
        self.store.note_applied(pop, applied).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn prefixes() {
        for (prefix, expected) in [
            ("https://Example.com/a/", Some("example.com/a")),
            ("example.com/a/b", Some("example.com/a/b")),
            ("example.com", Some("example.com/")),
            ("example.com//", Some("example.com/")),
            ("example.com/a?b", None),
            ("/a", None),
        ] {
            assert_eq!(normal_prefix(prefix).ok().as_deref(), expected, "{prefix}");
        }
    }

    #[test]
    fn requests() {
        let some = |change: fn(&mut control::NewPurge)| {
            let mut new = control::NewPurge::default();
            change(&mut new);
            selectors(&new).map(|all| all.len()).ok()
        };
        assert_eq!(some(|_| {}), None, "nothing is no purge");
        assert_eq!(some(|new| new.everything = true), Some(1));
        assert_eq!(some(|new| new.keys = vec!["a b".into()]), None);
        assert_eq!(some(|new| new.keys = vec!["a".into(); 257]), None);
        assert_eq!(
            some(|new| new.hosts = vec!["Example.com:443".into()]),
            Some(1)
        );
    }
}
