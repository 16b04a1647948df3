//! `wasi:http/outgoing-handler`: outbound HTTP, which no tag names, and calls of other modules.

use super::{nested::module_of, run::Run};
use async_trait::async_trait;
use brink_sandbox::{Body, Egress, EgressError, EgressTimeouts};
use http::{Request, Response};

#[async_trait]
impl Egress for Run {
    async fn send(
        &self,
        request: Request<Body>,
        timeouts: EgressTimeouts,
    ) -> Result<Response<Body>, EgressError> {
        if let Some(name) = module_of(request.uri()) {
            return Box::pin(self.call_module(&name, request, timeouts)).await;
        }
        // No tag names what another host answered.
        self.note().unnamed = true;
        self.platform.egress.send(request, timeouts).await
    }
}
