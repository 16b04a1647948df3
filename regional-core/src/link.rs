//! The core's end of the link: what edges ask for, over mutually authenticated HTTP/3 or HTTP/2.

mod message;

use self::message::{Failure, FeedBody, answer, component, read, refuse};
use crate::{
    commands::Commands,
    deployments::Tables,
    feed::Feed,
    logs::Logs,
    measure::{Measured, RequestSpan},
    pops::Pops,
    purges::{self, Asker, Purges},
    records::{Records, position},
    refusal::Refusal,
    store::Store,
};
use brink_listener::{Body, Connection};
use brink_protocol::{
    Digest, PopName,
    link::{
        CommandRequest, FeedRequest, POP_SUFFIX, PurgeAnswer, PurgeRequest, REPORT_LOG_LINES_MAX,
        RecordsRequest, Report, ReportAnswer, path,
    },
};
use http::{Method, Request, Response};
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// Requests that are answered at a time, feeds aside; more are refused with 503.
pub const REQUESTS_MAX: usize = 8192;
/// Purges in one report.
const REPORT_PURGES_MAX: usize = 10_000;
/// Longest message of one log line, in bytes; longer ones are cut.
const LOG_MESSAGE_BYTES_MAX: usize = 16 << 10;
/// Time for a request that runs no command.
const REQUEST_TIME: Duration = Duration::from_secs(15);
/// Time for a request that does.
const COMMAND_TIME: Duration = Duration::from_secs(60);

/// What the link needs of the core.
pub struct Link {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Record operations.
    pub records: Records,
    /// Commands.
    pub commands: Arc<Commands>,
    /// Purges.
    pub purges: Purges,
    /// The deployment table.
    pub tables: Arc<Tables>,
    /// The feed.
    pub feed: Arc<Feed>,
    /// PoPs.
    pub pops: Arc<Pops>,
    /// Log lines of modules.
    pub logs: Arc<Logs>,
    /// Ends feeds.
    pub stop: CancellationToken,
    /// [`REQUESTS_MAX`] permits.
    pub permits: Semaphore,
}

impl brink_listener::Service for Link {
    async fn call(&self, request: Request<Body>, connection: Arc<Connection>) -> Response<Body> {
        let route = route(&request);
        let measured = Measured::begin("link", route);
        let span = RequestSpan::begin("link", route, request.headers());
        let trace_id = span.trace_id.clone();
        let response = self
            .answer(request, &connection, trace_id)
            .instrument(span.span)
            .await;
        measured.end(response.status());
        response
    }
}

/// The route of a request, for figures: a fixed set of names.
fn route(request: &Request<Body>) -> &'static str {
    match request.uri().path() {
        path::RECORDS => path::RECORDS,
        path::COMMANDS => path::COMMANDS,
        path::PURGES => path::PURGES,
        path::DEPLOYMENTS => path::DEPLOYMENTS,
        path::FEED => path::FEED,
        path::REPORTS => path::REPORTS,
        other if component_digest(other).is_some() => path::COMPONENTS,
        _ => "none",
    }
}

fn component_digest(path: &str) -> Option<&str> {
    path.strip_prefix(path::COMPONENTS)?.strip_prefix('/')
}

/// The PoP that the client's certificate names.
fn pop_of(connection: &Connection) -> Option<PopName> {
    let names = &connection.tls.as_ref()?.client_names;
    names
        .iter()
        .find_map(|name| name.strip_suffix(POP_SUFFIX)?.parse().ok())
}

impl Link {
    async fn answer(
        &self,
        request: Request<Body>,
        connection: &Connection,
        trace_id: String,
    ) -> Response<Body> {
        let Some(pop) = pop_of(connection) else {
            return refuse(&Failure::NoPop);
        };
        let Ok(_permit) = self.permits.try_acquire() else {
            return refuse(&Failure::Busy);
        };
        let time = if request.uri().path() == path::COMMANDS {
            COMMAND_TIME
        } else {
            REQUEST_TIME
        };
        match tokio::time::timeout(time, self.dispatch(request, pop, trace_id)).await {
            Ok(Ok(response)) => response,
            Ok(Err(failure)) => refuse(&failure),
            Err(_) => refuse(&Failure::Timeout),
        }
    }

    async fn dispatch(
        &self,
        request: Request<Body>,
        pop: PopName,
        trace_id: String,
    ) -> Result<Response<Body>, Failure> {
        let method = request.method().clone();
        let target = request.uri().path().to_owned();
        let get = |answer: Response<Body>| {
            if method == Method::GET {
                Ok(answer)
            } else {
                Err(Failure::Method("GET"))
            }
        };
        match target.as_str() {
            path::RECORDS => {
                let asked: RecordsRequest = read(request).await?;
                answer(&self.records.execute(asked).await)
            }
            path::COMMANDS => {
                let asked: CommandRequest = read(request).await?;
                answer(&self.commands.execute(asked, Some(trace_id)).await)
            }
            path::PURGES => self.purge(read(request).await?).await,
            path::FEED => self.follow(&pop, &read(request).await?),
            path::REPORTS => self.report(&pop, read(request).await?).await,
            // From the store: the feed may have told of a revision that the copy in memory does not have yet.
            path::DEPLOYMENTS => get(answer(&self.store.table().await.map_err(core)?)?),
            other => match component_digest(other) {
                Some(digest) => {
                    let digest: Digest = digest.parse().map_err(Failure::Malformed)?;
                    let bytes = self.store.component(&digest).await.map_err(core)?;
                    get(component(bytes.ok_or(Failure::NotFound)?))
                }
                None => Err(Failure::NotFound),
            },
        }
    }

    async fn purge(&self, asked: PurgeRequest) -> Result<Response<Body>, Failure> {
        let selectors = purges::normal(asked.selectors).map_err(Failure::Malformed)?;
        let by = Asker::Module(asked.module);
        let now = crate::clock::now_ms();
        let status = self
            .purges
            .create(asked.tenant, &by, selectors, asked.soft, now)
            .await
            .map_err(core)?;
        answer(&PurgeAnswer {
            position: status.position,
            id: status.id,
        })
    }

    fn follow(&self, pop: &PopName, asked: &FeedRequest) -> Result<Response<Body>, Failure> {
        if asked.pop != *pop {
            return Err(Failure::OtherPop);
        }
        let revision = self.tables.current().revision;
        let chunks = self
            .feed
            .follow(asked, revision, self.stop.child_token())
            .map_err(core)?;
        Ok(FeedBody::response(chunks))
    }

    async fn report(&self, pop: &PopName, mut report: Report) -> Result<Response<Body>, Failure> {
        if report.pop != *pop {
            return Err(Failure::OtherPop);
        }
        if report.log_lines.len() > REPORT_LOG_LINES_MAX || report.purges.len() > REPORT_PURGES_MAX
        {
            return Err(Failure::Malformed(brink_protocol::Error::Limit {
                what: "log lines or purges of a report",
                actual: report.log_lines.len().max(report.purges.len()) as u64,
                limit: REPORT_LOG_LINES_MAX as u64,
            }));
        }
        // Durable before the position is believed: the counts of a purge are there when it is called applied.
        self.purges
            .applied(pop, &report.purges)
            .await
            .map_err(core)?;
        let mut lines = std::mem::take(&mut report.log_lines);
        for line in &mut lines {
            let end = line.message.floor_char_boundary(LOG_MESSAGE_BYTES_MAX);
            line.message.truncate(end);
        }
        if !lines.is_empty() {
            self.logs.add(lines);
        }
        self.pops.report(&report, crate::clock::now_ms());
        answer(&ReportAnswer {
            head: position(&*self.store),
            age_ms: 0,
        })
    }
}

fn core(error: crate::Error) -> Failure {
    Failure::Refused(Refusal::from(error))
}
