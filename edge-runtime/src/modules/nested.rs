//! Modules that call each other: `http://NAME.module.brink.internal/path` is the tenant's deployed module NAME, run here.
//!
//! No network, no grant and no cache of its own lies between: the called module runs, and what it reads, gives names to
//! and writes is noted down where its caller's is. So the caller's answer depends on everything that the called module
//! depended on, is private if that asked who calls, is kept no longer than that wanted, and no session token misses its
//! writes.
//!
//! It has the limits of its own deployment, and no more time than its caller has left.

use super::{answer, run::Run};
use crate::{
    exchange::{name, strip_internal},
    routes::Deployed,
};
use brink_protocol::{ModuleName, deployment::World, problem, tag::Tag};
use brink_sandbox::{Body, EgressError, EgressTimeouts, Limits, MODULE_SUFFIX, RunError};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode, Uri,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HOST},
};
use http_body_util::{BodyExt as _, Full};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// How deep modules may call each other: one that a client's request reached is at 0.
pub(super) const DEPTH_MAX: usize = 8;
/// Modules called for one request, all together.
pub(super) const CALLS_MAX: usize = 64;

/// The name in a request to a module; none: it is for another host.
pub(super) fn module_of(uri: &Uri) -> Option<String> {
    let host = uri.host()?.to_ascii_lowercase();
    host.strip_suffix(MODULE_SUFFIX).map(str::to_owned)
}

impl Run {
    /// Lets the module called `name` answer. A module that fails answers with the problem document that a client would
    /// get.
    pub(super) async fn call_module(
        &self,
        name: &str,
        request: Request<Body>,
        timeouts: EgressTimeouts,
    ) -> Result<Response<Body>, EgressError> {
        let deployed = self.find(name)?;
        let run = self.nested(&deployed)?;
        {
            let mut collected = self.note();
            collected.tags.push(Tag::Module {
                tenant: self.tenant.clone(),
                module: deployed.deployment.name.clone(),
            });
            collected.no_store |= deployed.is_superseded;
        }
        let answering = run.answer(&deployed, request);
        let outcome = match timeouts.first_byte {
            Some(limit) => tokio::time::timeout(limit, answering)
                .await
                .map_err(|_| EgressError::Timeout(format!("module {name} did not answer in time")))
                .inspect_err(|_| self.note().no_store = true)?,
            None => answering.await,
        };
        let (status, headers, body) = match outcome {
            Ok((head, body)) => (head.status, head.headers, body),
            Err(error) => self.failed(&deployed, &error),
        };
        self.note()
            .called(status, &headers, run.has_spoken.load(Ordering::Relaxed));
        let mut response = Response::new(whole(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }

    /// The tenant's deployed module of that name.
    fn find(&self, name: &str) -> Result<Arc<Deployed>, EgressError> {
        let unknown = || {
            // It may be deployed the next moment, which no tag of this answer would tell.
            self.note().no_store = true;
            EgressError::NotFound(format!("module {name}: it is not deployed at this PoP"))
        };
        let module: ModuleName = name.parse().map_err(|_| unknown())?;
        let table = self.platform.table.load();
        table
            .deployed()
            .get(&(self.tenant.clone(), module))
            .filter(|found| found.deployment.world == World::Module)
            .map(Arc::clone)
            .ok_or_else(unknown)
    }

    /// A run for a call from this one.
    fn nested(&self, deployed: &Deployed) -> Result<Arc<Self>, EgressError> {
        let calls = self.family.calls.fetch_add(1, Ordering::Relaxed);
        let refused = if self.depth >= DEPTH_MAX {
            Some(format!("modules call each other at most {DEPTH_MAX} deep"))
        } else if calls >= CALLS_MAX {
            Some(format!("one request calls at most {CALLS_MAX} modules"))
        } else {
            None
        };
        if let Some(reason) = refused {
            self.note().no_store = true;
            return Err(EgressError::Loop(reason));
        }
        Ok(Arc::new(Self {
            platform: Arc::clone(&self.platform),
            tenant: self.tenant.clone(),
            module: deployed.deployment.name.clone(),
            request_id: self.request_id,
            trace: self.trace.child(),
            caller: self.caller.clone(),
            floor: self.floor.clone(),
            is_uncached: self.is_uncached,
            depth: self.depth + 1,
            deadline: self.deadline,
            has_spoken: AtomicBool::new(false),
            family: Arc::clone(&self.family),
        }))
    }

    async fn answer(
        self: &Arc<Self>,
        deployed: &Deployed,
        mut request: Request<Body>,
    ) -> Result<(http::response::Parts, Bytes), RunError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let own = &deployed.deployment.limits;
        let limits = Limits {
            wall_time_ms_max: own.wall_time_ms_max.min(milliseconds(left)),
            ..own.clone()
        };
        self.address(&mut request);
        let is_head = request.method() == http::Method::HEAD;
        let began = Instant::now();
        let context = self.context(deployed);
        let outcome = match deployed.component.handle(request, context, &limits).await {
            Ok(response) => answer::whole(response, limits.response_bytes_max).await,
            Err(error) => Err(error),
        };
        deployed.runs.increment(1);
        deployed.seconds.record(began.elapsed().as_secs_f64());
        let (mut head, body) = outcome?;
        answer::strip_connection(&mut head.headers);
        strip_internal(&mut head.headers);
        if !is_head {
            head.headers.remove(CONTENT_LENGTH);
        }
        Ok((head, body))
    }

    /// The fields that every module gets, and none that only the platform may set.
    fn address(&self, request: &mut Request<Body>) {
        let host = request.uri().authority().map(|a| a.as_str().to_owned());
        let headers = request.headers_mut();
        answer::strip_connection(headers);
        strip_internal(headers);
        if let Some(host) = host.and_then(|host| HeaderValue::try_from(host).ok()) {
            headers.insert(HOST, host);
        }
        self.trace.inject(headers);
        name(self.request_id, headers);
    }

    fn failed(&self, deployed: &Deployed, error: &RunError) -> (StatusCode, HeaderMap, Bytes) {
        let module = deployed.deployment.name.as_str();
        metrics::counter!("brink_module_errors_total", "module" => module.to_owned(), "reason" => error.slug())
            .increment(1);
        tracing::warn!(request_id = %self.request_id, module, caller = %self.module, %error, "called module failed");
        let problem = error.problem().with_instance(self.request_id.to_string());
        let status =
            StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(problem::MEDIA_TYPE));
        (status, headers, problem.to_json().into())
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn whole(body: Bytes) -> Body {
    Full::new(body)
        .map_err(|never| match never {})
        .boxed_unsync()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn hosts_of_modules() {
        for (uri, name) in [
            ("http://stock.module.brink.internal/a", Some("stock")),
            ("http://Stock.Module.Brink.Internal:80/a", Some("stock")),
            ("http://module.brink.internal/", None),
            ("http://a.module.brink.internal.example/", None),
            ("http://example.com/stock.module.brink.internal", None),
            ("/a", None),
        ] {
            assert_eq!(module_of(&uri.parse().unwrap()).as_deref(), name, "{uri}");
        }
    }
}
