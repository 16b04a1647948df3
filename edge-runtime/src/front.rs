//! Where requests come in: the short way if it is theirs, else the pipeline.

use crate::{
    at_once,
    pipeline::{self, Edge},
};
use brink_listener::{Body, Connection, PlainRequest, Service};
use bytes::Bytes;
use http::{Request, Response};
use std::{sync::Arc, time::Duration};

/// The edge as the listener sees it.
pub struct Front(pub Arc<Edge>);

impl Service for Front {
    async fn call(&self, request: Request<Body>, connection: Arc<Connection>) -> Response<Body> {
        pipeline::answer(&self.0, request, connection).await
    }

    fn at_hand(&self, request: &Request<Body>) -> Option<Response<Body>> {
        at_once::response(&self.0, request)
    }

    fn at_once(
        &self,
        request: &PlainRequest<'_>,
        connection: &Connection,
        head: &mut Vec<u8>,
    ) -> Option<Bytes> {
        at_once::bytes(&self.0, request, connection, head)
    }

    fn written(&self, after: Duration) {
        self.0.hit_seconds.record(after.as_secs_f64());
    }
}
