//! `wasi:http/outgoing-handler`: outbound HTTP, which no tag names.

use super::run::Run;
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
        // No tag names what another host answered.
        self.note().unnamed = true;
        self.platform.egress.send(request, timeouts).await
    }
}
