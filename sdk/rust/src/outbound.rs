//! Outbound requests through `wasi:http/outgoing-handler`.

use crate::bindings::module::wasi::http::outgoing_handler;
use crate::bindings::module::wasi::http::types::{
    Fields, IncomingResponse, Method, OutgoingRequest, RequestOptions, Scheme,
};
use crate::message::{Answer, Error, Request, split};
use crate::streams::{self, ReadError};

pub(crate) fn send(request: Request) -> Result<Answer, Error> {
    let (outgoing, options) = outgoing(&request)?;
    let body = outgoing
        .body()
        .map_err(|()| Error::Invalid("its body was taken".to_owned()))?;
    let future = outgoing_handler::handle(outgoing, options)
        .map_err(|code| Error::Failed(code.to_string()))?;
    streams::write(body, &request.body);
    future.subscribe().block();
    match future.get() {
        Some(Ok(Ok(response))) => answer(&response, request.answer_bytes_max),
        Some(Ok(Err(code))) => Err(Error::Failed(code.to_string())),
        Some(Err(())) | None => Err(Error::Failed("the answer was taken".to_owned())),
    }
}

fn outgoing(request: &Request) -> Result<(OutgoingRequest, Option<RequestOptions>), Error> {
    let (scheme, authority, path) = split(&request.url)?;
    let refused = |what: &str| Error::Invalid(format!("{what} is not allowed"));
    let mut headers: Vec<(String, Vec<u8>)> = request
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.clone().into_bytes()))
        .collect();
    if !request.body.is_empty() {
        headers.push((
            "content-length".to_owned(),
            request.body.len().to_string().into_bytes(),
        ));
    }
    let fields = Fields::from_list(&headers)
        .map_err(|error| Error::Invalid(format!("a header is not allowed: {error}")))?;
    let outgoing = OutgoingRequest::new(fields);
    outgoing
        .set_method(&method(&request.method))
        .map_err(|()| refused("the method"))?;
    let scheme = if scheme == "https" {
        Scheme::Https
    } else {
        Scheme::Http
    };
    outgoing
        .set_scheme(Some(&scheme))
        .map_err(|()| refused("the scheme"))?;
    outgoing
        .set_authority(Some(authority))
        .map_err(|()| refused("the authority"))?;
    outgoing
        .set_path_with_query(Some(&path))
        .map_err(|()| refused("the path"))?;
    let options = match request.timeout_ms {
        None => None,
        Some(ms) => {
            let options = RequestOptions::new();
            let nanoseconds = Some(ms.saturating_mul(1_000_000));
            let set = [
                options.set_connect_timeout(nanoseconds),
                options.set_first_byte_timeout(nanoseconds),
                options.set_between_bytes_timeout(nanoseconds),
            ];
            if set.iter().any(Result::is_err) {
                return Err(refused("the timeout"));
            }
            Some(options)
        }
    };
    Ok((outgoing, options))
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "PATCH" => Method::Patch,
        "OPTIONS" => Method::Options,
        other => Method::Other(other.to_owned()),
    }
}

fn answer(response: &IncomingResponse, limit: usize) -> Result<Answer, Error> {
    let headers = response.headers().entries();
    let body = response
        .consume()
        .map_err(|()| Error::Failed("the answer has no body".to_owned()))?;
    let body = streams::read(body, limit).map_err(|error| match error {
        ReadError::TooLarge => Error::TooLarge(limit),
        ReadError::Broken(reason) => Error::Failed(reason),
    })?;
    Ok(Answer {
        status: response.status(),
        headers,
        body,
    })
}
