//! What is asked for, in its normal form; who asks.

use brink_protocol::{
    ModuleName, control,
    purge::{SELECTORS_MAX, Selector, normal_host, normal_url},
};

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
