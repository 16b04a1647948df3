//! Notices which credentials of a request a module looks at (coherence.md, P6).
//!
//! A request that merely *carries* a cookie therefore costs nothing: an answer is kept from other callers only if its
//! module looked.

use http::{
    HeaderMap, HeaderName,
    header::{AUTHORIZATION, COOKIE},
};
use std::collections::BTreeSet;

/// Fields of a request that say who asks. RFC 9110 §11.6.2, RFC 6265 §5.4.
pub const CREDENTIALS: [HeaderName; 2] = [AUTHORIZATION, COOKIE];

/// What is watched in one store.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    /// Resources with fields of the client's request.
    pub(crate) watched: BTreeSet<u32>,
    /// Credentials that the present request does not have.
    absent: Vec<HeaderName>,
}

impl Looks {
    /// A run begins, with a request of these fields. What an instance kept of an earlier one stays watched.
    pub(crate) fn begin(&mut self, request: &HeaderMap) {
        let lacks = |name: &HeaderName| !request.contains_key(name);
        self.absent = CREDENTIALS.into_iter().filter(lacks).collect();
    }

    /// What is learned from seeing the whole of `fields`. A credential that the module took out of its copy beforehand
    /// is not learned; that the request never had one, is.
    pub(crate) fn learned<'a>(
        &'a self,
        fields: &'a HeaderMap,
    ) -> impl Iterator<Item = HeaderName> + 'a {
        CREDENTIALS
            .into_iter()
            .filter(|name| fields.contains_key(name) || self.absent.contains(name))
    }
}
