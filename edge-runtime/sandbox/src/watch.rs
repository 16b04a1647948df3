//! The functions through which a module looks at the fields of its request, watched.
//!
//! wasmtime hands a module the fields of its request as a resource and says nothing of what becomes of it. So the few
//! functions of `wasi:http/types` through which a value can leave such a resource stand before wasmtime's own, do the
//! same, and note it: `fields.get` and `fields.has` by name; `fields.entries`, and making a request, a response or the
//! trailers of a body of the fields, for every credential at once. Copies of the fields are watched like the fields
//! themselves.
//!
//! The trailers of the client's request are not watched: only a request with a body has any, and no answer to one is
//! shared.

use crate::{host::Host, looks::CREDENTIALS};
use http::HeaderName;
use wasmtime::{
    Result, StoreContextMut,
    component::{Linker, LinkerInstance, Resource, ResourceType},
};
use wasmtime_wasi_http::{
    FieldMap, WasiHttpView as _,
    p2::{
        bindings::http::types as wasi,
        body::HostOutgoingBody,
        types::{HostIncomingRequest, HostOutgoingRequest, HostOutgoingResponse},
    },
};

/// The interface as wasmtime defines it. A test holds the name to it: under another one, nothing would be noticed.
const TYPES: &str = "wasi:http/types@0.2.12";

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
    types.func_wrap(
        "[static]outgoing-body.finish",
        |mut store: Store<'_>, given: (Resource<HostOutgoingBody>, Option<Resource<FieldMap>>)| {
            let (body, trailers) = given;
            let host = store.data_mut();
            if let Some(trailers) = &trailers {
                host.looks_at_all(trailers)?;
                host.looks.watched.remove(&trailers.rep());
            }
            let mut http = host.http();
            let finished = match wasi::HostOutgoingBody::finish(&mut http, body, trailers) {
                Ok(()) => Ok(()),
                Err(error) => Err(wasi::Host::convert_error_code(&mut http, error)?),
            };
            Ok((finished,))
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
