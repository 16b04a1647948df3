//! `wasi:http` hooks: header rules, buffers, and outbound requests through the context's [`Egress`].

use crate::context::{Egress, EgressError, EgressTimeouts, MODULE_SUFFIX};
use http::{HeaderName, Uri};
use http_body_util::BodyExt;
use std::sync::{Arc, LazyLock};
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody,
    WasiHttpHooks,
};

/// Largest part of a body that a guest may write at once, in bytes.
const BODY_CHUNK_BYTES_MAX: usize = 64 << 10;
/// Parts of a body that wait for the reader; then the guest waits. Guests write 4 KiB at a time where they use
/// `blocking-write-and-flush`, so an answer of 64 KiB is whole before its first reader comes.
const BODY_CHUNKS_MAX: usize = 16;

static FORBIDDEN: LazyLock<ForbiddenHeaderFilter> =
    LazyLock::new(|| Arc::new(|name| DEFAULT_FORBIDDEN_HEADERS.contains(name)));

/// The hooks of one store; egress and grant are those of the present run.
pub(crate) struct Hooks {
    pub(crate) egress: Arc<dyn Egress>,
    pub(crate) granted: bool,
}

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Result<(http::Response<WasiBody>, Io), Error>;

impl WasiHttpHooks for Hooks {
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        DEFAULT_FORBIDDEN_HEADERS.contains(name)
    }

    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        FORBIDDEN.clone()
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        BODY_CHUNKS_MAX
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES_MAX
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Io,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        if !self.granted && !is_module(request.uri()) {
            return Box::new(std::future::ready(Err(Error::HttpRequestDenied)));
        }
        let egress = Arc::clone(&self.egress);
        let options = options.unwrap_or_default();
        let timeouts = EgressTimeouts {
            connect: options.connect_timeout,
            first_byte: options.first_byte_timeout,
            between_bytes: options.between_bytes_timeout,
        };
        let request = request.map(|body| {
            body.map_err(|error| error.to_string().into())
                .boxed_unsync()
        });
        Box::new(async move {
            let response = egress.send(request, timeouts).await.map_err(to_wasi)?;
            let response = response.map(|body| {
                body.map_err(|error| Error::InternalError(Some(error.to_string())))
                    .boxed_unsync()
            });
            let io: Io = Box::new(std::future::ready(Ok(())));
            Ok((response, io))
        })
    }
}

/// Whether a request goes to a module of the same tenant: that is no outbound HTTP.
fn is_module(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().as_bytes();
    host.len()
        .checked_sub(MODULE_SUFFIX.len())
        .and_then(|at| host.get(at..))
        .is_some_and(|end| end.eq_ignore_ascii_case(MODULE_SUFFIX.as_bytes()))
}

fn to_wasi(error: EgressError) -> Error {
    match error {
        EgressError::Denied(_) => Error::HttpRequestDenied,
        EgressError::NotFound(_) => Error::DestinationNotFound,
        EgressError::Unreachable(_) => Error::ConnectionRefused,
        EgressError::Tls(_) => Error::TlsProtocolError,
        EgressError::Timeout(_) => Error::ConnectionTimeout,
        EgressError::Protocol(_) => Error::HttpProtocolError,
        EgressError::Loop(_) => Error::LoopDetected,
    }
}
