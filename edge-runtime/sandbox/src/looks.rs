//! Notices which credentials of a request a module looks at (coherence.md, P6).
//!
//! wasmtime hands a module the fields of its request as a resource and says nothing of what becomes of it. So the few
//! functions of `wasi:http/types` through which a value can leave such a resource stand before wasmtime's own, do the
//! same, and note it: `fields.get` and `fields.has` by name; `fields.entries`, and making a request or response of the
//! fields, for every credential at once. Copies of the fields are watched like the fields themselves.
//!
//! A request that merely *carries* a cookie therefore costs nothing: an answer is kept from other callers only if its
//! module looked.

use crate::host::Host;
use http::{
    HeaderMap, HeaderName,
    header::{AUTHORIZATION, COOKIE},
};
use std::collections::BTreeSet;
use wasmtime::{
    Result, StoreContextMut,
    component::{Linker, LinkerInstance, Resource, ResourceType},
};
use wasmtime_wasi_http::{
    FieldMap, WasiHttpView as _,
    p2::{
        bindings::http::types as wasi,
        types::{HostIncomingRequest, HostOutgoingRequest, HostOutgoingResponse},
    },
};

/// Fields of a request that say who asks. RFC 9110 §11.6.2, RFC 6265 §5.4.
pub const CREDENTIALS: [HeaderName; 2] = [AUTHORIZATION, COOKIE];

/// The interface as wasmtime defines it. A test holds the name to it: under another one, nothing would be noticed.
const TYPES: &str = "wasi:http/types@0.2.12";

/// What is watched in one store.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    /// Resources with fields of the client's request.
    watched: BTreeSet<u32>,
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
    fn learned<'a>(&'a self, fields: &'a HeaderMap) -> impl Iterator<Item = HeaderName> + 'a {
        CREDENTIALS
            .into_iter()
            .filter(|name| fields.contains_key(name) || self.absent.contains(name))
    }
}

impl Host {
    fn looks_for(&self, fields: &Resource<FieldMap>, name: &str) {
        if !self.looks.watched.contains(&fields.rep()) {
            return;
        }
        let is_it = |credential: &&HeaderName| name.eq_ignore_ascii_case(credential.as_str());
        if let Some(credential) = CREDENTIALS.iter().find(is_it) {
            self.context.witness.credential(credential);
        }
    }

    fn looks_at_all(&mut self, fields: &Resource<FieldMap>) -> Result<()> {
        if self.looks.watched.contains(&fields.rep()) {
            let map = self.http().table.get(fields)?.clone();
            for credential in self.looks.learned(&map) {
                self.context.witness.credential(&credential);
            }
        }
        Ok(())
    }
}

type Store<'a> = StoreContextMut<'a, Host>;

/// Puts the watching functions in the place of wasmtime's own, which `linker` has already.
pub(crate) fn watch(linker: &mut Linker<Host>) -> Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES)?;
    types.func_wrap(
        "[method]incoming-request.headers",
        |mut store: Store<'_>, (request,): (Resource<HostIncomingRequest>,)| {
            let host = store.data_mut();
            let fields = wasi::HostIncomingRequest::headers(&mut host.http(), request)?;
            host.looks.watched.insert(fields.rep());
            Ok((fields,))
        },
    )?;
    watch_readers(&mut types)?;
    watch_takers(&mut types)?;
    linker.allow_shadowing(false);
    Ok(())
}

fn watch_readers(types: &mut LinkerInstance<'_, Host>) -> Result<()> {
    types.func_wrap(
        "[method]fields.get",
        |mut store: Store<'_>, (fields, name): (Resource<FieldMap>, String)| {
            let host = store.data_mut();
            host.looks_for(&fields, &name);
            Ok((wasi::HostFields::get(&mut host.http(), fields, name)?,))
        },
    )?;
    types.func_wrap(
        "[method]fields.has",
        |mut store: Store<'_>, (fields, name): (Resource<FieldMap>, String)| {
            let host = store.data_mut();
            host.looks_for(&fields, &name);
            Ok((wasi::HostFields::has(&mut host.http(), fields, name)?,))
        },
    )?;
    types.func_wrap(
        "[method]fields.entries",
        |mut store: Store<'_>, (fields,): (Resource<FieldMap>,)| {
            let host = store.data_mut();
            host.looks_at_all(&fields)?;
            Ok((wasi::HostFields::entries(&mut host.http(), fields)?,))
        },
    )?;
    types.func_wrap(
        "[method]fields.clone",
        |mut store: Store<'_>, (fields,): (Resource<FieldMap>,)| {
            let host = store.data_mut();
            let is_watched = host.looks.watched.contains(&fields.rep());
            let copy = wasi::HostFields::clone(&mut host.http(), fields)?;
            if is_watched {
                host.looks.watched.insert(copy.rep());
            }
            Ok((copy,))
        },
    )
}

/// Functions after which the resource is no more: its number may be another's next.
fn watch_takers(types: &mut LinkerInstance<'_, Host>) -> Result<()> {
    types.func_wrap(
        "[constructor]outgoing-request",
        |mut store: Store<'_>, (fields,): (Resource<FieldMap>,)| {
            let host = store.data_mut();
            host.looks_at_all(&fields)?;
            host.looks.watched.remove(&fields.rep());
            let made: Resource<HostOutgoingRequest> =
                wasi::HostOutgoingRequest::new(&mut host.http(), fields)?;
            Ok((made,))
        },
    )?;
    types.func_wrap(
        "[constructor]outgoing-response",
        |mut store: Store<'_>, (fields,): (Resource<FieldMap>,)| {
            let host = store.data_mut();
            host.looks_at_all(&fields)?;
            host.looks.watched.remove(&fields.rep());
            let made: Resource<HostOutgoingResponse> =
                wasi::HostOutgoingResponse::new(&mut host.http(), fields)?;
            Ok((made,))
        },
    )?;
    types.resource(
        "fields",
        ResourceType::host::<FieldMap>(),
        |mut store, rep| {
            let host = store.data_mut();
            host.looks.watched.remove(&rep);
            wasi::HostFields::drop(&mut host.http(), Resource::new_own(rep))
        },
    )
}
