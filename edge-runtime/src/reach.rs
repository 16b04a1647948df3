//! Which addresses may be connected to: as an origin (routes alone name origins, never a request; but routes are set by
//! tenants), or by modules' outbound HTTP.

use crate::address::{Block, is_allowed, plain};
use brink_protocol::{TenantName, deployment::default_tenant};
use http::Uri;
use hyper_util::client::legacy::connect::dns::Name;
use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// Who names the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    /// The tenant of a single-tenant installation: who sets its routes runs the PoPs as well. Its origins may have any address
    /// but those that are no host's, or only this host's network's: unspecified, link-local (metadata of clouds), multicast,
    /// reserved.
    Operator,
    /// Any other, and modules: public addresses.
    Tenant,
}

impl Owner {
    /// Whose `tenant`'s are.
    #[must_use]
    pub(crate) fn of(tenant: &TenantName) -> Self {
        match *tenant == default_tenant() {
            true => Self::Operator,
            false => Self::Tenant,
        }
    }
}

/// Judges addresses. The address is judged when the connection is made, after the name was looked up: a name that changes its
/// address gains nothing.
#[derive(Debug, Clone)]
pub(crate) struct Reach {
    pub(crate) owner: Owner,
    /// What may be reached beyond.
    pub(crate) allow: Arc<[Block]>,
    /// The key of the configuration that says so.
    pub(crate) key: &'static str,
}

/// The host has no address that may be connected to.
#[derive(Debug, thiserror::Error)]
#[error("{host} has no address that may be connected to from here; {key} can name it")]
pub(crate) struct NotAllowed {
    host: String,
    key: &'static str,
}

impl Reach {
    fn refused(&self, host: &str) -> NotAllowed {
        NotAllowed {
            host: host.to_owned(),
            key: self.key,
        }
    }

    fn allows(&self, address: IpAddr) -> bool {
        let is_own = self.owner == Owner::Operator && !is_nobodys(plain(address));
        is_own || is_allowed(address, &self.allow)
    }

    /// A host written as an address is never looked up, so it is judged here.
    pub(crate) fn check(&self, uri: &Uri) -> Result<(), NotAllowed> {
        let host = uri.host().unwrap_or_default();
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        match literal.parse::<IpAddr>() {
            Ok(address) if !self.allows(address) => Err(self.refused(host)),
            _ => Ok(()),
        }
    }
}

/// Not an address of a host that is meant.
fn is_nobodys(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.is_unspecified() || v4.is_link_local() || v4.is_multicast() || v4.octets()[0] >= 240
        }
        IpAddr::V6(v6) => v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local(),
    }
}

impl tower::Service<Name> for Reach {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let reach = self.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0))
                .await
                .map_err(|error| io::Error::new(io::ErrorKind::NotFound, error))?;
            let allowed: Vec<_> = found.filter(|found| reach.allows(found.ip())).collect();
            if allowed.is_empty() {
                return Err(io::Error::other(reach.refused(name.as_str())));
            }
            Ok(allowed.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn who_may_have_which_addresses() {
        for (address, operator, tenant) in [
            ("8.8.8.8", true, true),
            ("127.0.0.1", true, false),
            ("10.1.2.3", true, false),
            ("[fd00::1]", true, false),
            ("[::ffff:10.0.0.1]", true, false),
            ("169.254.169.254", false, false),
            ("[::ffff:169.254.169.254]", false, false),
            ("[fe80::1]", false, false),
            ("0.0.0.0", false, false),
            ("[::]", false, false),
            ("255.255.255.255", false, false),
            ("224.0.0.1", false, false),
            ("192.0.2.7", true, true),
            ("a.example", true, true),
        ] {
            let uri: Uri = format!("http://{address}:80/").parse().unwrap();
            for (owner, allowed) in [(Owner::Operator, operator), (Owner::Tenant, tenant)] {
                let allow = ["192.0.2.0/24".parse().unwrap()].into();
                let key = "origin.allow";
                let reach = Reach { owner, allow, key };
                assert_eq!(reach.check(&uri).is_ok(), allowed, "{owner:?} {address}");
            }
        }
        assert_eq!(Owner::of(&default_tenant()), Owner::Operator);
        assert_eq!(Owner::of(&"other".parse().unwrap()), Owner::Tenant);
    }

    #[tokio::test]
    async fn names_are_judged_by_their_addresses() {
        for (owner, found) in [(Owner::Operator, true), (Owner::Tenant, false)] {
            let allow = [].into();
            let key = "origin.allow";
            let mut reach = Reach { owner, allow, key };
            let name: Name = "localhost".parse().unwrap();
            let outcome = tower::Service::call(&mut reach, name).await;
            assert_eq!(outcome.is_ok(), found, "{owner:?}");
        }
    }
}
