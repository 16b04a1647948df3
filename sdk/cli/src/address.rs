//! What people write for routes, purges and values: parsed and checked before anything is sent.

use crate::{args::Shown, error::Error};
use brink_protocol::{
    ModuleName,
    caching::RouteCache,
    control::{NewPurge, NewRoute},
    deployment::{Route, Target, WhenDisconnected, default_tenant},
    purge::{SELECTORS_MAX, TagName, normal_host, normal_url},
};
use std::collections::BTreeMap;

/// Where a route leads from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RouteAddress {
    /// None: every host.
    pub(crate) host: Option<String>,
    /// Begins with `/`.
    pub(crate) path: String,
}

impl std::str::FromStr for RouteAddress {
    type Err = Error;

    /// `/PATH`, `HOST/PATH` or `http[s]://HOST/PATH`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |why: &dyn std::fmt::Display| {
            Error::Usage(format!("route {text:?}: {why}. It is written [HOST]/PATH"))
        };
        let rest = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))
            .unwrap_or(text);
        let at = rest.find('/').ok_or_else(|| wrong(&"it has no path"))?;
        let (host, path) = rest.split_at(at);
        if host.is_empty() && rest.len() != text.len() {
            return Err(wrong(&"it has no host"));
        }
        let route = Route {
            tenant: default_tenant(),
            host: (!host.is_empty()).then(|| host.to_owned()),
            path: path.to_owned(),
            target: Target::Origin(String::new()),
            plugins: Vec::new(),
            when_disconnected: WhenDisconnected::default(),
            show_coherence: false,
            session_cookie: false,
            cache: Default::default(),
        };
        let normal = route.normal().map_err(|error| wrong(&error))?;
        Ok(Self {
            host: normal.host,
            path: normal.path,
        })
    }
}

/// A route as people read it: `[HOST]/PATH`.
pub(crate) fn route_text(host: Option<&str>, path: &str) -> String {
    format!("{}{path}", host.unwrap_or_default())
}

/// Routes of a deployment.
///
/// # Errors
/// The first that is wrong.
pub(crate) fn new_routes(
    texts: &[String],
    plugins: &[ModuleName],
    shown: Shown,
    cache: &RouteCache,
) -> Result<Vec<NewRoute>, Error> {
    let route = |text: &String| {
        let RouteAddress { host, path } = text.parse()?;
        Ok(NewRoute {
            host,
            path,
            plugins: plugins.to_vec(),
            when_disconnected: WhenDisconnected::default(),
            show_coherence: shown.show_coherence,
            session_cookie: shown.session_cookie,
            cache: cache.clone(),
        })
    };
    texts.iter().map(route).collect()
}

/// `NAME=VALUE` pairs.
///
/// # Errors
/// One has no `=` or no name, or a name comes twice.
pub(crate) fn values(texts: &[String]) -> Result<BTreeMap<String, String>, Error> {
    let mut values = BTreeMap::new();
    for text in texts {
        let (name, value) = text
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| Error::Usage(format!("--config {text:?} is not written NAME=VALUE")))?;
        if values.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(Error::Usage(format!("--config {name} is given twice")));
        }
    }
    Ok(values)
}

/// Checks a purge, and brings its URLs and hosts to their normal form.
///
/// # Errors
/// The first selector that is wrong, or there are too many.
pub(crate) fn purge(mut purge: NewPurge) -> Result<NewPurge, Error> {
    let usage = |error: brink_protocol::Error| Error::Usage(error.to_string());
    for key in &purge.keys {
        key.parse::<TagName>().map_err(usage)?;
    }
    for url in purge.urls.iter_mut().chain(&mut purge.prefixes) {
        *url = normal_url(url).map_err(usage)?;
    }
    for host in &mut purge.hosts {
        *host = normal_host(host).map_err(usage)?;
    }
    let count = purge.keys.len() + purge.urls.len() + purge.prefixes.len() + purge.hosts.len();
    if count > SELECTORS_MAX {
        return Err(Error::Usage(format!(
            "{count} selectors; one purge may have {SELECTORS_MAX}"
        )));
    }
    Ok(purge)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn routes() {
        for (text, host, path) in [
            ("/", None, "/"),
            ("/a/b/", None, "/a/b"),
            ("Shop.example/a", Some("shop.example"), "/a"),
            ("https://shop.example:8443/", Some("shop.example:8443"), "/"),
            ("[::1]:8443/a", Some("[::1]:8443"), "/a"),
            ("/a b", None, "/a%20b"),
            ("/é/%61", None, "/%C3%A9/a"),
        ] {
            let route: RouteAddress = text.parse().unwrap();
            assert_eq!(
                (route.host.as_deref(), route.path.as_str()),
                (host, path),
                "{text}"
            );
        }
        for text in [
            "",
            "a",
            "shop.example",
            "https:///a",
            "/a?b",
            "/a/../b",
            "sh op/a",
        ] {
            assert!(text.parse::<RouteAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn config_values() {
        let texts = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            values(&texts(&["A=1", "B="])).unwrap(),
            BTreeMap::from([("A".into(), "1".into()), ("B".into(), String::new())])
        );
        assert_eq!(
            values(&texts(&["A=b=c"]))
                .unwrap()
                .get("A")
                .map(String::as_str),
            Some("b=c")
        );
        for wrong in [&["A"][..], &["=1"], &["A=1", "A=2"]] {
            assert!(values(&texts(wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn purges() {
        let normal = purge(NewPurge {
            keys: vec!["sku:1".into()],
            urls: vec!["https://A.example:443/x?y".into()],
            prefixes: vec!["A.example/items".into()],
            hosts: vec!["A.example:80".into()],
            ..NewPurge::default()
        })
        .unwrap();
        assert_eq!(normal.urls, ["a.example/x?y"]);
        assert_eq!(normal.prefixes, ["a.example/items"]);
        assert_eq!(normal.hosts, ["a.example"]);
        for wrong in [
            NewPurge {
                keys: vec!["a b".into()],
                ..NewPurge::default()
            },
            NewPurge {
                urls: vec!["/a".into()],
                ..NewPurge::default()
            },
            NewPurge {
                hosts: vec!["a/b".into()],
                ..NewPurge::default()
            },
            NewPurge {
                keys: vec!["a".into(); SELECTORS_MAX + 1],
                ..NewPurge::default()
            },
        ] {
            assert!(purge(wrong.clone()).is_err(), "{wrong:?}");
        }
    }
}
