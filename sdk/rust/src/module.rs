//! The world `module`: an HTTP handler that runs at the edge, behind the cache.

use crate::bindings::module::wasi::http::types as wasi;
use crate::request::{BodyError, Method, Request, Source};
use crate::response::Response;
use crate::streams::{self, ReadError};
use std::cell::RefCell;

/// Answers one request of the host with a handler. [`crate::module!`] calls it.
#[doc(hidden)]
pub fn serve<E: Into<Response>>(
    request: wasi::IncomingRequest,
    out: wasi::ResponseOutparam,
    handler: impl FnOnce(Request) -> Result<Response, E>,
) {
    let name = request.method();
    let head = matches!(name, wasi::Method::Head);
    let target = request.path_with_query().unwrap_or_else(|| "/".to_owned());
    let request = Request::from_parts(
        method(name),
        &target,
        Box::new(Host {
            request,
            body_taken: RefCell::new(false),
        }),
    );
    let response = handler(request).unwrap_or_else(Into::into);
    answer(&response, head, out);
}

fn method(name: wasi::Method) -> Method {
    match name {
        wasi::Method::Get | wasi::Method::Head => Method::Get,
        wasi::Method::Post => Method::Post,
        wasi::Method::Put => Method::Put,
        wasi::Method::Patch => Method::Patch,
        wasi::Method::Delete => Method::Delete,
        wasi::Method::Options => Method::Options,
        wasi::Method::Connect => Method::Other("CONNECT".to_owned()),
        wasi::Method::Trace => Method::Other("TRACE".to_owned()),
        wasi::Method::Other(name) => Method::Other(name),
    }
}

fn answer(response: &Response, head: bool, out: wasi::ResponseOutparam) {
    let status = response.status();
    // RFC 9110 §6.4.1: these have no content, whatever the handler says.
    let body = if head || status < 200 || status == 204 || status == 304 {
        &[][..]
    } else {
        response.body()
    };
    let mut headers: Vec<(String, Vec<u8>)> = response
        .headers()
        .iter()
        .map(|(name, value)| (name.clone(), value.clone().into_bytes()))
        .collect();
    if !body.is_empty() && response.get("content-length").is_none() {
        headers.push((
            "content-length".to_owned(),
            body.len().to_string().into_bytes(),
        ));
    }
    let fields = match wasi::Fields::from_list(&headers) {
        Ok(fields) => fields,
        Err(error) => {
            return refuse(
                out,
                format!("the module's answer has a header that is not allowed: {error}"),
            );
        }
    };
    let outgoing = wasi::OutgoingResponse::new(fields);
    if status != 200 && outgoing.set_status_code(status).is_err() {
        return refuse(out, format!("the module's answer has the status {status}"));
    }
    let Ok(stream) = outgoing.body() else {
        return refuse(out, "the module's answer has no body".to_owned());
    };
    wasi::ResponseOutparam::set(out, Ok(outgoing));
    streams::write(stream, body);
}

fn refuse(out: wasi::ResponseOutparam, reason: String) {
    wasi::ResponseOutparam::set(out, Err(wasi::ErrorCode::InternalError(Some(reason))));
}

/// The request's parts that stay with the host until they are asked for.
struct Host {
    request: wasi::IncomingRequest,
    body_taken: RefCell<bool>,
}

impl Source for Host {
    fn header(&self, name: &str) -> Vec<Vec<u8>> {
        self.request.headers().get(name)
    }

    fn headers(&self) -> Vec<(String, Vec<u8>)> {
        self.request.headers().entries()
    }

    fn authority(&self) -> Option<String> {
        self.request.authority()
    }

    fn body(&self, limit: usize) -> Result<Vec<u8>, BodyError> {
        if self.body_taken.replace(true) {
            return Err(BodyError::Taken);
        }
        let body = self.request.consume().map_err(|()| BodyError::Taken)?;
        streams::read(body, limit).map_err(|error| match error {
            ReadError::TooLarge => BodyError::TooLarge(limit),
            ReadError::Broken(reason) => BodyError::Broken(reason),
        })
    }
}
