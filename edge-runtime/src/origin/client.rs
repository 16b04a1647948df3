//! The client.

use super::{
    checks,
    config::Config,
    connector,
    error::Error,
    forwarded,
    group::{Group, Outgoing, Trail},
    target::OriginTarget,
    upstream::{Attempt, OriginView, Upstream},
};
use crate::reach::{Owner, Reach};
use brink_listener::{Body, BodyTooLarge, takes_trailers};
use brink_policy::http::{fields::remove_hop_by_hop, vary};
use brink_protocol::origins::{Origin, OriginGroup};
use http::{Request, Response, header::TRAILER, uri::PathAndQuery};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use rustls::ClientConfig;
use std::{
    collections::HashMap,
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Largest body of a request that is held until the answer begins, to be sent once more, in bytes.
const HELD_BYTES_MAX: u64 = 64 << 10;

/// Which origins are one: routes that say the same of one share its connections and its standing.
type Key = (Origin, Owner);

/// HTTP origins, with a pool of connections to each. Clones share them.
#[derive(Clone)]
pub struct Origins {
    inner: Arc<Inner>,
}

struct Inner {
    config: Arc<Config>,
    tls: ClientConfig,
    known: Mutex<HashMap<Key, Arc<Upstream>>>,
}

impl fmt::Debug for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origins")
            .field("config", &self.inner.config)
            .finish_non_exhaustive()
    }
}

impl Origins {
    /// A client with the platform's authorities and those of `config.ca`.
    ///
    /// # Errors
    /// The file of authorities cannot be used.
    pub fn new(config: Config) -> Result<Self, Error> {
        let tls = connector::tls(&config)?;
        let inner = Inner {
            tls,
            config: Arc::new(config),
            known: Mutex::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Sends `request` (in the client's terms: its URI carries scheme and host as the client wrote them) to an origin of
    /// `target`. Hop-by-hop fields are stripped both ways; `Host` becomes the origin's; `Via`, `CDN-Loop`, `Forwarded` and
    /// `X-Forwarded-*` are set from the request's URI and from its extension [`SocketAddr`] (the client's address). Interim
    /// answers go to its extension [`brink_listener::Interim`], if it has one. What
    /// fails before an answer begins is sent again where that makes no difference, unless its body is of unknown length or
    /// over 64 KiB; see [`brink_policy::origins::repeat`]. Call it from within a tokio runtime.
    ///
    /// # Errors
    /// There is no answer; see [`Error::problem`]. The answer's body may end with a [`super::BodyError`].
    pub async fn send(
        &self,
        target: &OriginTarget,
        request: Request<Body>,
    ) -> Result<Response<Body>, Error> {
        self.send_on(target, request, &mut Trail::default()).await
    }

    /// The same; with the `trail` of a request whose answer broke off, of which nothing was sent on, it goes on at the next
    /// origin.
    ///
    /// # Errors
    /// As of [`Origins::send`].
    pub async fn send_on(
        &self,
        target: &OriginTarget,
        request: Request<Body>,
        trail: &mut Trail,
    ) -> Result<Response<Body>, Error> {
        let group = self.group(target)?;
        let (mut head, body) = request.into_parts();
        let limit = self.inner.config.request_bytes_max;
        if body.size_hint().lower() > limit {
            return Err(Error::RequestTooLarge { limit });
        }
        let times = forwarded::passed(&head.headers);
        if times > forwarded::PASSED_MAX {
            return Err(Error::Circle { times });
        }
        let takes_trailers = takes_trailers(&head.headers);
        remove_hop_by_hop(&mut head.headers);
        let client = head.extensions.get::<SocketAddr>().copied();
        forwarded::set(&mut head.headers, &head.uri, head.version, client);
        let length = body.size_hint().exact();
        let is_small = length.is_some_and(|length| length <= HELD_BYTES_MAX)
            && !head.headers.contains_key(TRAILER);
        let may_repeat = head.method.is_idempotent() || group.has_several();
        let body = match is_small && may_repeat {
            true => Outgoing::Held(whole(body, limit).await?),
            false => Outgoing::Streamed(body),
        };
        let path = head.uri.path_and_query().cloned();
        let attempt = Attempt {
            method: head.method,
            path: path.unwrap_or_else(|| PathAndQuery::from_static("/")),
            headers: head.headers,
            takes_trailers,
            interim: head.extensions.remove(),
        };
        let mut response = group.send(&attempt, body, trail).await?;
        vary::complete(response.headers_mut());
        Ok(response)
    }

    /// Makes the origins of all routes known, so that their health checks begin, and forgets those that no route and no
    /// request uses. Call it from within a tokio runtime.
    pub fn keep<'a>(&self, targets: impl Iterator<Item = &'a OriginTarget>) {
        for target in targets {
            if let Err(error) = self.group(target)
                && target.is_new_mistake()
            {
                tracing::warn!(%error, "a route's origins cannot be used");
            }
        }
        self.known().retain(|_, known| Arc::strong_count(known) > 1);
    }

    /// All that are known, by URL.
    #[must_use]
    pub fn views(&self) -> Vec<OriginView> {
        let mut views: Vec<_> = self.known().values().map(|known| known.view()).collect();
        views.sort_by(|a, b| a.url().cmp(b.url()));
        views
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Key, Arc<Upstream>>> {
        let known = &self.inner.known;
        known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn group<'a>(&self, target: &'a OriginTarget) -> Result<&'a Arc<Group>, Error> {
        if let Some(group) = target.group.get() {
            return Ok(group);
        }
        let spec = target.spec().map_err(|reason| Error::Origin {
            reason: reason.to_owned(),
        })?;
        let members = self.members(spec, target.owner())?;
        let group = Arc::new(Group::new(spec, members));
        Ok(target.group.get_or_init(|| group))
    }

    fn members(&self, spec: &OriginGroup, owner: Owner) -> Result<Vec<Arc<Upstream>>, Error> {
        let mut known = self.known();
        let mut members = Vec::with_capacity(spec.members.len());
        for origin in &spec.members {
            let key = (origin.clone(), owner);
            if let Some(upstream) = known.get(&key) {
                members.push(Arc::clone(upstream));
                continue;
            }
            let reach = Reach {
                owner,
                allow: self.inner.config.allow.clone().into(),
                key: "origin.allow",
            };
            let Inner { tls, config, .. } = &*self.inner;
            let upstream = Upstream::new(origin.clone(), reach, tls, config)?;
            let upstream = Arc::new(upstream);
            checks::begin(&upstream);
            known.insert(key, Arc::clone(&upstream));
            members.push(upstream);
        }
        Ok(members)
    }
}

/// A body as a whole.
async fn whole(body: Body, limit: u64) -> Result<bytes::Bytes, Error> {
    match body.collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<BodyTooLarge>() => Err(Error::RequestTooLarge { limit }),
        Err(error) => Err(Error::Request {
            reason: error.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests;
