//! A route in forms without names (postcard): what was there first stays as it was, so that what older programs wrote is
//! read, and routes without later options are read by them. Later options come behind, as JSON, and may grow.

use super::{Route, Target, WhenDisconnected};
use crate::{ModuleName, TenantName, caching::RouteCache};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};

/// Longest text of later options, in bytes.
const OPTIONS_BYTES_MAX: usize = 64 << 10;

/// The last part: the first two are what a boolean `session_cookie` was, byte for byte.
#[derive(Serialize, Deserialize)]
enum Tail {
    NoCookie,
    Cookie,
    /// `session_cookie`, and a [`RouteCache`] in JSON.
    Options(bool, String),
}

type Borrowed<'a> = (
    &'a TenantName,
    &'a Option<String>,
    &'a str,
    &'a Target,
    &'a [ModuleName],
    WhenDisconnected,
    bool,
    Tail,
);

type Owned = (
    TenantName,
    Option<String>,
    String,
    Target,
    Vec<ModuleName>,
    WhenDisconnected,
    bool,
    Tail,
);

impl Serialize for Route {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return Self::serialize(self, serializer);
        }
        let tail = if self.cache != RouteCache::default() {
            let options = serde_json::to_string(&self.cache).map_err(S::Error::custom)?;
            Tail::Options(self.session_cookie, options)
        } else if self.session_cookie {
            Tail::Cookie
        } else {
            Tail::NoCookie
        };
        let parts: Borrowed<'_> = (
            &self.tenant,
            &self.host,
            &self.path,
            &self.target,
            &self.plugins,
            self.when_disconnected,
            self.show_coherence,
            tail,
        );
        parts.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Route {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return Self::deserialize(deserializer);
        }
        let (tenant, host, path, target, plugins, when_disconnected, show_coherence, tail) =
            Owned::deserialize(deserializer)?;
        let (session_cookie, cache) = match tail {
            Tail::NoCookie => (false, RouteCache::default()),
            Tail::Cookie => (true, RouteCache::default()),
            Tail::Options(_, options) if options.len() > OPTIONS_BYTES_MAX => {
                return Err(D::Error::custom("the options of a route are too long"));
            }
            Tail::Options(session_cookie, options) => {
                let cache = serde_json::from_str(&options).map_err(D::Error::custom)?;
                (session_cookie, cache)
            }
        };
        Ok(Self {
            tenant,
            host,
            path,
            target,
            plugins,
            when_disconnected,
            show_coherence,
            session_cookie,
            cache,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{caching::QueryRule, deployment::default_tenant};

    /// A route as programs wrote it that knew no options.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Before {
        tenant: TenantName,
        host: Option<String>,
        path: String,
        target: Target,
        plugins: Vec<ModuleName>,
        when_disconnected: WhenDisconnected,
        show_coherence: bool,
        session_cookie: bool,
    }

    fn route() -> Route {
        Route {
            host: Some("h".into()),
            plugins: vec!["p".parse().unwrap()],
            when_disconnected: WhenDisconnected::Fail,
            ..Route::new("/a", Target::Module("m".parse().unwrap()))
        }
    }

    #[test]
    fn routes_without_options_are_what_they_were() {
        for session_cookie in [false, true] {
            let before = Before {
                tenant: default_tenant(),
                host: Some("h".into()),
                path: "/a".into(),
                target: Target::Module("m".parse().unwrap()),
                plugins: vec!["p".parse().unwrap()],
                when_disconnected: WhenDisconnected::Fail,
                show_coherence: false,
                session_cookie,
            };
            let route = Route {
                session_cookie,
                ..route()
            };
            let bytes = postcard::to_stdvec(&before).unwrap();
            assert_eq!(postcard::to_stdvec(&route).unwrap(), bytes);
            assert_eq!(postcard::from_bytes::<Route>(&bytes).unwrap(), route);
        }
    }

    #[test]
    fn options_travel_in_both_forms() {
        for session_cookie in [false, true] {
            let mut route = Route {
                session_cookie,
                ..route()
            };
            route.cache.compress = false;
            route.cache.key.query = QueryRule::Only(vec!["a".into()]);
            let bytes = postcard::to_stdvec(&vec![route.clone(), route.clone()]).unwrap();
            let read: Vec<Route> = postcard::from_bytes(&bytes).unwrap();
            assert_eq!(read, [route.clone(), route.clone()]);
            let json = serde_json::to_string(&route).unwrap();
            assert_eq!(serde_json::from_str::<Route>(&json).unwrap(), route);
        }
        let plain = serde_json::json!({ "path": "/a", "target": { "module": "m" } });
        let read: Route = serde_json::from_value(plain).unwrap();
        assert_eq!(read.cache, RouteCache::default());
        let wrong = serde_json::json!({ "path": "/a", "target": { "module": "m" }, "cash": {} });
        assert!(serde_json::from_value::<Route>(wrong).is_err());
        let parts = (
            (default_tenant(), None::<String>, "/a"),
            Target::Module("m".parse().unwrap()),
            Vec::<ModuleName>::new(),
            (WhenDisconnected::Fail, false),
            Tail::Options(false, r#"{"later": 1}"#.into()),
        );
        let unknown = postcard::to_stdvec(&parts).unwrap();
        assert!(postcard::from_bytes::<Route>(&unknown).is_err());
    }
}
