//! The core's end of the link: what edges and other cores ask for, over mutually authenticated HTTP/3 or HTTP/2.

mod message;
mod peers;

use self::message::{Failure, FeedBody, answer, component, read, refuse};
use crate::{
    commands::Commands,
    deployments::Tables,
    exchange::{Ages, Peers, knows_more},
    feed::{Feed, Reader},
    home::{Home, HomeRequest},
    logs::Logs,
    measure::{Measured, RequestSpan},
    pops::Pops,
    purges::{self, Asker, Purges},
    records::{Records, WRITE_KEY_BYTES_MAX, position, position_of},
    refusal::Refusal,
    store::Store,
    workflows::Workflows,
};
use brink_listener::{Body, Connection};
use brink_protocol::{
    Digest, NodeName, PopName, Position,
    control::COUNT_MS_MAX,
    link::{
        CORE_SUFFIX, CommandRequest, ExchangeRequest, FeedRequest, ForwardedPurge,
        ForwardedPurgeAnswer, HeadsRequest, IDEMPOTENCY_KEY, MAX_STALENESS_MS, POP_ADMIN,
        POP_SUFFIX, ProbeAnswer, PurgeAnswer, PurgeRequest, REPORT_LOG_LINES_MAX, RecordsRequest,
        Report, ReportAnswer, TIME_LEFT_MS, path,
    },
    peers::{CountsAnswer, CountsRequest, PopsRequest, RosterAnswer, RosterRequest},
};
use http::{Method, Request, Response};
use std::{net::SocketAddr, sync::Arc, time::Duration};
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
    /// What other cores have done here.
    pub home: Arc<Home>,
    /// Workflows.
    pub workflows: Arc<Workflows>,
    /// Purges.
    pub purges: Purges,
    /// The deployment table.
    pub tables: Arc<Tables>,
    /// The feed.
    pub feed: Arc<Feed>,
    /// How old the knowledge of other cores' logs is.
    pub ages: Arc<Ages>,
    /// The other cores.
    pub peers: Arc<Peers>,
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
        path::WORKFLOWS => path::WORKFLOWS,
        path::PURGES => path::PURGES,
        path::DEPLOYMENTS => path::DEPLOYMENTS,
        path::FORWARDED_PURGES => path::FORWARDED_PURGES,
        path::FEED => path::FEED,
        path::EXCHANGE => path::EXCHANGE,
        path::HEADS => path::HEADS,
        path::POPS => path::POPS,
        path::ROSTER => path::ROSTER,
        path::COUNTS => path::COUNTS,
        path::HOME => path::HOME,
        path::REPORTS => path::REPORTS,
        path::PROBE => path::PROBE,
        other if component_digest(other).is_some() => path::COMPONENTS,
        _ => "none",
    }
}

/// How stale a read may be.
fn max_staleness(request: &Request<Body>) -> Option<Duration> {
    let ms = request.headers().get(MAX_STALENESS_MS)?.to_str().ok()?;
    ms.parse().ok().map(Duration::from_millis)
}

/// The key of a write that may be asked for more than once.
fn idempotency_key(request: &Request<Body>) -> Option<String> {
    let key = request.headers().get(IDEMPOTENCY_KEY)?.to_str().ok()?;
    (1..=WRITE_KEY_BYTES_MAX)
        .contains(&key.len())
        .then(|| key.to_owned())
}

/// Where a PoP says that its admin interface is, as others find it.
fn admin_of(request: &Request<Body>, connection: &Connection) -> Option<SocketAddr> {
    let said = request.headers().get(POP_ADMIN)?.to_str().ok()?;
    let mut admin: SocketAddr = said.parse().ok()?;
    let seen = connection.peer.ip().to_canonical();
    if admin.ip().is_unspecified() {
        admin.set_ip(seen);
    }
    // Its own machine's is nobody else's.
    (!admin.ip().is_loopback() || seen.is_loopback()).then_some(admin)
}

/// For how long whoever asks waits; none: it does not say.
fn time_left(request: &Request<Body>) -> Option<Duration> {
    let left = request.headers().get(TIME_LEFT_MS)?.to_str().ok()?;
    left.parse().ok().map(Duration::from_millis)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn component_digest(path: &str) -> Option<&str> {
    path.strip_prefix(path::COMPONENTS)?.strip_prefix('/')
}

/// Who asks, as the client's certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Client {
    Pop(PopName),
    Core(NodeName),
}

fn client_of(connection: &Connection) -> Option<Client> {
    let names = &connection.tls.as_ref()?.client_names;
    names.iter().find_map(|name| {
        if let Some(pop) = name.strip_suffix(POP_SUFFIX) {
            return Some(Client::Pop(pop.parse().ok()?));
        }
        Some(Client::Core(name.strip_suffix(CORE_SUFFIX)?.parse().ok()?))
    })
}

impl Link {
    async fn answer(
        &self,
        request: Request<Body>,
        connection: &Connection,
        trace_id: String,
    ) -> Response<Body> {
        let Some(client) = client_of(connection) else {
            return refuse(&Failure::NoPop);
        };
        let Ok(_permit) = self.permits.try_acquire() else {
            return refuse(&Failure::Busy);
        };
        let time = if [path::COMMANDS, path::HOME].contains(&request.uri().path()) {
            COMMAND_TIME
        } else {
            REQUEST_TIME
        };
        let time = time_left(&request).map_or(time, |left| left.min(time));
        let answering = async {
            match client {
                Client::Pop(pop) => {
                    let admin = admin_of(&request, connection);
                    self.dispatch(request, pop, (trace_id, admin)).await
                }
                Client::Core(node) => self.dispatch_core(request, &node).await,
            }
        };
        match tokio::time::timeout(time, answering).await {
            Ok(Ok(response)) => response,
            Ok(Err(failure)) => refuse(&failure),
            Err(_) => refuse(&Failure::Timeout),
        }
    }

    async fn dispatch(
        &self,
        request: Request<Body>,
        pop: PopName,
        (trace_id, admin): (String, Option<SocketAddr>),
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
                let once = idempotency_key(&request);
                let max_staleness = max_staleness(&request);
                let asked: RecordsRequest = read(request).await?;
                let records = self.records.within(max_staleness);
                answer(&records.execute(asked, once).await)
            }
            path::COMMANDS => {
                let asked: CommandRequest = read(request).await?;
                answer(&self.commands.execute(asked, Some(trace_id)).await)
            }
            path::WORKFLOWS => answer(&self.workflows.answer(read(request).await?).await),
            path::PURGES => self.purge(read(request).await?).await,
            path::FORWARDED_PURGES => self.forwarded(read(request).await?).await,
            path::EXCHANGE
            | path::HEADS
            | path::POPS
            | path::ROSTER
            | path::COUNTS
            | path::HOME => Err(Failure::NoCore),
            path::FEED => self.follow(&pop, &read(request).await?),
            path::REPORTS => {
                let reported = self.report(&pop, read(request).await?).await;
                if reported.is_ok() {
                    self.pops.set_admin(&pop, admin);
                }
                reported
            }
            path::PROBE => get(answer(&ProbeAnswer {
                node: self.peers.own().clone(),
                region: self.feed.region().to_owned(),
                store: self.store.id(),
                store_silence_ms: millis(self.store.silence()),
            })?),
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
            .map_err(Failure::Refused)?;
        answer(&PurgeAnswer {
            position: status.position,
            id: status.id,
        })
    }

    async fn forwarded(&self, asked: ForwardedPurge) -> Result<Response<Body>, Failure> {
        let taken = self.purges.forwarded(asked, crate::clock::now_ms()).await;
        let taken: ForwardedPurgeAnswer = taken.map(|status| PurgeAnswer {
            position: status.position,
            id: status.id,
        });
        answer(&taken)
    }

    /// What another core may ask.
    async fn dispatch_core(
        &self,
        request: Request<Body>,
        node: &NodeName,
    ) -> Result<Response<Body>, Failure> {
        let own = self.store.origin();
        // One that this core does not follow in turn must not believe that all is well between the two.
        if !self.peers.is_peer(node) {
            tracing::warn!(%node, "a core asks that is not one of the `[[peers]]` here");
            return Err(Failure::NoCore);
        }
        match request.uri().path() {
            path::EXCHANGE => {
                let asked: ExchangeRequest = read(request).await?;
                if asked.node != *node {
                    return Err(Failure::NoCore);
                }
                if knows_more(&*self.store, asked.position.as_ref()) {
                    tracing::error!(peer = %node, asked = ?asked.position,
                        "a peer has more of this core's log than this core: its data was put back to an earlier state");
                    return Err(Failure::SetBack);
                }
                self.feed(Reader::Core(node.clone()), asked.position.as_ref())
            }
            path::HEADS => {
                let asked: HeadsRequest = read(request).await?;
                if asked.node != *node {
                    return Err(Failure::NoCore);
                }
                answer(&ReportAnswer {
                    head: position_of(own, self.store.span().head),
                    age_ms: 0,
                })
            }
            path::POPS => {
                let asked: PopsRequest = read(request).await?;
                if asked.node != *node {
                    return Err(Failure::NoCore);
                }
                let pops = peers::pops(&*self.store, &self.pops, &asked, &self.stop).await;
                answer(&pops.map_err(core)?)
            }
            path::ROSTER => {
                let asked: RosterRequest = read(request).await?;
                if asked.node != *node {
                    return Err(Failure::NoCore);
                }
                answer(&RosterAnswer {
                    at_ms: crate::clock::now_ms(),
                    pops: self.pops.list(&position(&*self.store)),
                })
            }
            path::COUNTS => {
                let asked: CountsRequest = read(request).await?;
                if asked.node != *node {
                    return Err(Failure::NoCore);
                }
                self.count(asked).await
            }
            path::HOME => {
                let asked: HomeRequest = read(request).await?;
                if asked.node != *node {
                    return Err(Failure::NoCore);
                }
                let run = |request, trace_id| self.commands.execute_here(request, trace_id);
                answer(&self.home.answer(asked, run).await)
            }
            _ => Err(Failure::NoPop),
        }
    }

    async fn count(&self, asked: CountsRequest) -> Result<Response<Body>, Failure> {
        let selectors = purges::normal(asked.selectors).map_err(Failure::Malformed)?;
        let wait = Duration::from_millis(asked.wait_ms.min(COUNT_MS_MAX));
        let counted = self.purges.count_here(&asked.tenant, selectors, wait).await;
        let counted = counted.map_err(Failure::Refused)?;
        answer(&CountsAnswer {
            pops: counted.pops,
            silent: counted.silent,
        })
    }

    fn follow(&self, pop: &PopName, asked: &FeedRequest) -> Result<Response<Body>, Failure> {
        if asked.pop != *pop {
            return Err(Failure::OtherPop);
        }
        self.feed(Reader::Pop(pop.clone()), asked.position.as_ref())
    }

    fn feed(&self, reader: Reader, asked: Option<&Position>) -> Result<Response<Body>, Failure> {
        let revision = self.tables.current().revision;
        let chunks = self
            .feed
            .follow(reader, asked, revision, self.stop.child_token())
            .map_err(core)?;
        chunks.map(FeedBody::response).ok_or(Failure::Busy)
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
            .applied(pop, &report.purges, crate::clock::now_ms())
            .await
            .map_err(core)?;
        self.purges.counted(pop, &report.counts);
        let mut lines = std::mem::take(&mut report.log_lines);
        for line in &mut lines {
            let end = line.message.floor_char_boundary(LOG_MESSAGE_BYTES_MAX);
            line.message.truncate(end);
        }
        if !lines.is_empty() {
            self.logs.add(lines);
        }
        self.pops.report(&report, crate::clock::now_ms());
        // The age of what is held here, and no older head with it.
        let held = Arc::clone(&self.store.held().borrow());
        let (head, age_ms) = (held.heads.clone(), self.ages.age_ms(&held));
        answer(&ReportAnswer { head, age_ms })
    }
}

fn core(error: crate::Error) -> Failure {
    Failure::Refused(Refusal::from(error))
}
