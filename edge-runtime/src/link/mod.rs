//! The core link: questions to regional cores over mutually authenticated QUIC, or TLS where QUIC does not get through.
//!
//! [`Link::maintain`] keeps a connection to each of the best two cores, made anew when it breaks, with waits that double
//! from 50 ms to 2 s. One core is used, for questions, reports and the feed; [`brink_policy::cores`] decides which. A
//! question that finds no connection waits at most a second for one.
//!
//! What becomes of a question whose core breaks off, fails or falls silent:
//!
//! | question | then |
//! |---|---|
//! | changes nothing ([`Link::read`], [`Link::call_again`], [`Link::fetch`]) | asked at another core, within its time |
//! | reads records | asked at the second core as well when it is late, within a budget |
//! | changes something and carries a key ([`Link::change`], [`Link::write`]) | asked at another core: it is done once |
//! | changes something else, and surely did not arrive | asked at another core |
//! | changes something else, and may have arrived | fails: it may or may not have happened |
//!
//! Once it may have happened, no later core's word that it did not is believed: only that it was done.

mod ask;
mod choices;
mod core;
mod error;
mod figures;
mod live;
mod outcome;
mod quic;
mod status;
mod tcp;

pub use error::LinkError;
pub use live::{AnswerBody, Transport};
pub use outcome::Outcome;
pub use status::CoreStatus;

use ask::{Answered, Ask, Repeat};
use brink_listener::client::ClientTls;
use brink_policy::hedge::{Budget, Latencies};
use brink_protocol::{codec, link::path};
use brink_telemetry::TraceContext;
use bytes::Bytes;
use choices::Choices;
use core::{Core, Ways};
use figures::Figures;
use futures_util::future::join_all;
use http::{HeaderValue, Method};
use live::{Identity, Live};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

/// Bytes of a refusal that are read for its reason.
const REFUSAL_BYTES_MAX: usize = 64 << 10;
/// How long a question waits for a connection when there is none.
const CONNECTION_WAIT_MAX: Duration = Duration::from_secs(1);
/// How often it is decided anew which cores are linked and used, though nothing happens.
const DECIDED_EVERY: Duration = Duration::from_millis(250);

/// Where the cores are and what questions to them may cost.
#[derive(Debug, Clone)]
pub struct Config {
    /// `HOST:PORT` of each core, at most [`brink_policy::cores::CORES_MAX`]; a name is looked up at each connect.
    pub addresses: Vec<String>,
    /// Our certificate and key, and the authority of the cores'.
    pub tls: ClientTls,
    /// Which transports may be used.
    pub transport: Transport,
    /// Time for one question, from the call to the whole answer.
    pub request_time_max: Duration,
    /// Questions in flight; more wait, until their deadline.
    pub requests_max: usize,
    /// Reads of a hundred that may be asked at a second core when they are late.
    pub hedge_percent: u32,
}

/// On whose behalf a question is asked.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asker<'a> {
    /// The trace that it belongs to.
    pub trace: Option<&'a TraceContext>,
    /// When nobody waits for an answer any more. The core is told, and works no longer. None: after
    /// [`Config::request_time_max`], which bounds it in any case.
    pub until: Option<std::time::Instant>,
}

/// The link to the cores. Cheap to clone.
#[derive(Clone)]
pub struct Link(Arc<Inner>);

struct Inner {
    config: Config,
    identity: Identity,
    cores: Vec<Core>,
    choices: Choices,
    hedging: Mutex<Hedging>,
    permits: Semaphore,
    figures: Figures,
}

struct Hedging {
    latencies: Latencies,
    budget: Budget,
}

/// A stream without end, and the core that it comes from.
pub struct Stream {
    /// Its pieces.
    pub body: AnswerBody,
    /// For [`Link::moved_from`] and [`Link::suspect`].
    pub core: usize,
}

impl Link {
    /// A link that is not connected yet: [`Link::maintain`] connects it.
    ///
    /// # Errors
    /// A certificate or key cannot be read.
    pub fn new(config: Config) -> Result<Self, brink_listener::Error> {
        let addresses = config.addresses.iter().cloned().enumerate();
        let cores: Vec<_> = addresses
            .map(|(n, address)| Core::new(n, address))
            .collect();
        Ok(Self(Arc::new(Inner {
            identity: Identity::load(&config.tls)?,
            choices: Choices::new(cores.len()),
            cores,
            hedging: Mutex::new(Hedging {
                latencies: Latencies::default(),
                budget: Budget::new(config.hedge_percent),
            }),
            permits: Semaphore::new(config.requests_max),
            figures: Figures::register(),
            config,
        })))
    }

    /// Reports say from now on that this PoP's admin interface is there.
    pub fn tell_admin(&self, admin: SocketAddr) {
        let Ok(admin) = HeaderValue::try_from(admin.to_string()) else {
            return;
        };
        for core in &self.0.cores {
            let _ = core.admin.set(admin.clone());
        }
    }

    /// Keeps the link connected until `stop`.
    pub async fn maintain(&self, stop: CancellationToken) {
        let inner = &self.0;
        let ways = Ways {
            identity: &inner.identity,
            transport: inner.config.transport,
            choices: &inner.choices,
        };
        let keeping = join_all(inner.cores.iter().map(|core| core.keep(&ways, &stop)));
        tokio::select! {
            _ = keeping => {}
            () = inner.decide() => {}
        }
    }

    /// The present connection's `quic` or `tcp`; none while there is no connection.
    #[must_use]
    pub fn transport(&self) -> Option<&'static str> {
        let used = self.0.cores.get(self.0.choices.used()?)?;
        used.live.borrow().as_ref().map(Live::transport)
    }

    /// Asks one question in messages of the link. It is asked again only if it surely did not arrive.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn call<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        path: &'static str,
        question: &Q,
        asker: Asker<'_>,
    ) -> Result<A, LinkError> {
        let ask = self.0.question(path, question, asker, Repeat::Unsent)?;
        decode(&self.0.whole(&ask, codec::MESSAGE_BYTES_MAX).await?)
    }

    /// As [`Link::call`], and asks again where that helps: for questions that change nothing, or that the core does once
    /// however often it is asked.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn call_again<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        path: &'static str,
        question: &Q,
        asker: Asker<'_>,
    ) -> Result<A, LinkError> {
        let ask = self.0.question(path, question, asker, Repeat::Always)?;
        decode(&self.0.whole(&ask, codec::MESSAGE_BYTES_MAX).await?)
    }

    /// Asks what changes nothing; another core as well where the first does not have it now.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn read<Q: Serialize + Sync, A: Outcome>(
        &self,
        path: &'static str,
        question: &Q,
        asker: Asker<'_>,
    ) -> Result<A, LinkError> {
        let ask = self.0.question(path, question, asker, Repeat::Always)?;
        let is_settled = |answer: &A| !answer.is_for_now();
        let asking = self.0.settled(&ask, is_settled);
        let (answer, _) = self.0.bounded(&ask, asking).await?;
        Ok(answer)
    }

    /// Has something done once that carries a key: asked of another core as well where the first does not do it now.
    ///
    /// # Errors
    /// See [`LinkError`]; one that [may have happened](LinkError::may_have_happened) also where a core has said that it was not
    /// done, after another might have.
    pub async fn change<Q: Serialize + Sync, A: Outcome>(
        &self,
        path: &'static str,
        question: &Q,
        asker: Asker<'_>,
    ) -> Result<A, LinkError> {
        let ask = self.0.question(path, question, asker, Repeat::Always)?;
        self.0.changed(&ask).await
    }

    /// Writes records. Where there are several cores, the write carries a key of its own and is as [`Link::change`]; with
    /// one core it is as [`Link::call`].
    ///
    /// # Errors
    /// As those of [`Link::change`].
    pub async fn write<Q: Serialize + Sync, A: Outcome>(
        &self,
        question: &Q,
        asker: Asker<'_>,
    ) -> Result<A, LinkError> {
        let mut ask = self
            .0
            .question(path::RECORDS, question, asker, Repeat::Unsent)?;
        if self.0.cores.len() > 1 {
            ask.key = Some(Ulid::new().to_string());
            ask.repeat = Repeat::Always;
        }
        self.0.changed(&ask).await
    }

    /// As [`Link::call`], and is given up at once at a core that falls silent, if another answers.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn tell<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        path: &'static str,
        question: &Q,
    ) -> Result<A, LinkError> {
        let ask = self
            .0
            .question(path, question, Asker::default(), Repeat::GivenUp)?;
        decode(&self.0.whole(&ask, codec::MESSAGE_BYTES_MAX).await?)
    }

    /// Fetches `path` and `suffix`, at most `bytes_max` bytes; asks again where that helps.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn fetch(
        &self,
        path: &'static str,
        suffix: &str,
        bytes_max: usize,
    ) -> Result<Bytes, LinkError> {
        let ask = Ask {
            method: Method::GET,
            path,
            suffix,
            body: Bytes::new(),
            trace: None,
            key: None,
            repeat: Repeat::Always,
            until: self.0.until(Asker::default()),
            is_stream: false,
        };
        Ok(self.0.whole(&ask, bytes_max).await?.bytes)
    }

    /// Begins a stream without end: the deadline counts for the head of its answer only.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn stream<Q: Serialize + Sync>(
        &self,
        path: &'static str,
        question: &Q,
    ) -> Result<Stream, LinkError> {
        let asker = Asker::default();
        let mut ask = self.0.question(path, question, asker, Repeat::Unsent)?;
        ask.is_stream = true;
        let beginning = async {
            let core = self.0.pick(None).await?;
            let beginning = async { ask::accepted(ask::send(core, &ask).await?).await };
            let outcome = tokio::select! {
                outcome = beginning => outcome,
                () = self.moved_from(core.number) => {
                    Err(LinkError::Disconnected("another core is used now".into()))
                }
            };
            self.0.judge(core, outcome.as_ref().err());
            let core = core.number;
            outcome.map(|body| Stream { body, core })
        };
        self.0.within(&ask, beginning).await
    }

    /// Waits for a connection, for good.
    pub async fn connected(&self) {
        self.0.choices.until(|choice| choice.used.is_some()).await;
    }

    /// Waits until another core is used than this one.
    pub async fn moved_from(&self, core: usize) {
        self.0
            .choices
            .until(|choice| choice.used.is_some_and(|used| used != core))
            .await;
    }

    /// This core's connection seems dead though its transport says nothing: close it and connect anew.
    pub fn suspect(&self, core: usize) {
        if let Some(core) = self.0.cores.get(core) {
            core.suspect();
        }
    }

    /// How each core is, in the order of the configuration.
    #[must_use]
    pub fn cores(&self) -> Vec<CoreStatus> {
        let used = self.0.choices.used();
        let status = |core: &Core| {
            let measured = self.0.choices.measured(core.number);
            CoreStatus::new(core, measured, used == Some(core.number))
        };
        self.0.cores.iter().map(status).collect()
    }
}

impl Inner {
    /// Decides anew again and again, and says when another core is used.
    async fn decide(&self) {
        let mut watching = self.choices.watch();
        let mut used = None;
        let mut ticks = tokio::time::interval(DECIDED_EVERY);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.choices.note(|_, _| {}),
                changed = watching.changed() => if changed.is_err() {
                    return;
                },
            }
            let now = watching.borrow_and_update().used;
            if now == used {
                continue;
            }
            let address = now
                .and_then(|n| self.cores.get(n))
                .map(|core| &core.address);
            match address {
                Some(core) if used.is_some() => tracing::warn!(%core, "another core is used"),
                Some(core) => tracing::info!(%core, "a core is used"),
                None => tracing::warn!("no core is connected"),
            }
            if used.is_some() && now.is_some() {
                self.figures.moves.increment(1);
            }
            self.figures
                .connected
                .set(f64::from(u8::from(now.is_some())));
            for core in &self.cores {
                let is_used = Some(core.number) == now;
                core.figures.used.set(f64::from(u8::from(is_used)));
            }
            used = now;
        }
    }

    /// The answer to a question, whole.
    async fn whole(&self, ask: &Ask<'_>, bytes_max: usize) -> Result<Answered, LinkError> {
        let asking = Box::pin(self.ask(ask, bytes_max, None));
        self.bounded(ask, asking).await
    }

    /// What came of something that is to be done.
    async fn changed<A: Outcome>(&self, ask: &Ask<'_>) -> Result<A, LinkError> {
        let asking = async {
            match self.settled(ask, A::is_done).await? {
                (answer, None) => Ok(answer),
                (_, Some(doubt)) => Err(doubt),
            }
        };
        self.bounded(ask, asking).await
    }

    /// Asks when there is room for one more question, until its time is over.
    async fn bounded<T>(
        &self,
        ask: &Ask<'_>,
        asking: impl Future<Output = Result<T, LinkError>>,
    ) -> Result<T, LinkError> {
        // Reports are few, and the lease is made of their answers: they do not wait behind slow questions.
        let _permit = match ask.path {
            path::REPORTS => None,
            _ => match tokio::time::timeout_at(ask.until, self.permits.acquire()).await {
                Ok(Ok(permit)) => Some(permit),
                Ok(Err(_)) | Err(_) => {
                    let error = LinkError::Overloaded;
                    self.figures
                        .answered(ask.path, Instant::now(), Some(&error));
                    return Err(error);
                }
            },
        };
        self.within(ask, asking).await
    }

    async fn within<T>(
        &self,
        ask: &Ask<'_>,
        asking: impl Future<Output = Result<T, LinkError>>,
    ) -> Result<T, LinkError> {
        let began = Instant::now();
        let left = ask.until.saturating_duration_since(began);
        let outcome = if left.is_zero() {
            Err(LinkError::NotSent("its time is over".into()))
        } else {
            let ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            let asked = tokio::time::timeout_at(ask.until, asking).await;
            asked.unwrap_or(Err(LinkError::Timeout(ms)))
        };
        self.figures
            .answered(ask.path, began, outcome.as_ref().err());
        outcome
    }

    /// When the time for a question is over.
    fn until(&self, asker: Asker<'_>) -> Instant {
        let most = Instant::now() + self.config.request_time_max;
        asker
            .until
            .map_or(most, |until| most.min(Instant::from_std(until)))
    }

    fn question<'a, Q: Serialize>(
        &self,
        path: &'static str,
        question: &Q,
        asker: Asker<'a>,
        repeat: Repeat,
    ) -> Result<Ask<'a>, LinkError> {
        Ok(Ask {
            method: Method::POST,
            path,
            suffix: "",
            body: codec::encode(question).map_err(|e| LinkError::Malformed(e.to_string()))?,
            trace: asker.trace,
            key: None,
            repeat,
            until: self.until(asker),
            is_stream: false,
        })
    }
}

fn decode<A: DeserializeOwned>(answered: &Answered) -> Result<A, LinkError> {
    codec::decode(&answered.bytes).map_err(|e| LinkError::Malformed(e.to_string()))
}
