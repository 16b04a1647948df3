//! Asking a core of another region, over a connection that is kept for it.

use super::{
    cores::{CoreAddress, Cores},
    message::{HomeAnswer, HomeRefusal, HomeRequest, Operation, Outcome},
};
use crate::{
    Error,
    exchange::{Client, Failed},
    placement::refused,
};
use brink_listener::client::ClientTls;
use brink_protocol::{NodeName, RegionName, codec::MESSAGE_BYTES_MAX, link::path};
use http::StatusCode;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};
use tokio::{sync::Semaphore, time::Instant};

/// Time for what runs no command.
const TIME: Duration = Duration::from_secs(12);
/// Time for a command.
const COMMAND_TIME: Duration = Duration::from_secs(50);
/// How long cores that do not do something now are asked again, and the pause before.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(100);
/// Requests to other regions that are under way at a time; further ones are refused.
const ASKED_MAX: usize = 1024;

/// Asks cores of other regions.
pub(super) struct Forwarder {
    own: NodeName,
    cores: Arc<dyn Cores>,
    tls: OnceLock<ClientTls>,
    clients: Mutex<HashMap<NodeName, (String, Arc<Client>)>>,
    permits: Semaphore,
}

/// What asking one core came to.
enum Asked {
    Answered(Outcome),
    Refused(String),
    /// Nothing was done there.
    NotDone(String),
    /// Something may have been done there.
    Unknown(String),
}

/// What asking all cores of a region came to.
enum Round {
    Ended(Result<Outcome, Error>),
    /// Nobody did it.
    NotDone(String),
}

impl Forwarder {
    pub(super) fn new(own: NodeName, cores: Arc<dyn Cores>) -> Self {
        Self {
            own,
            cores,
            tls: OnceLock::new(),
            clients: Mutex::default(),
            permits: Semaphore::new(ASKED_MAX),
        }
    }

    /// From now on others can be asked, with this certificate.
    pub(super) fn identify(&self, tls: ClientTls) {
        let _ = self.tls.set(tls);
    }

    /// Has an operation done by a core of a region: by the first that does it. A write is asked of another core only
    /// where it is certain that nothing was done.
    pub(super) async fn ask(
        &self,
        region: &RegionName,
        operation: Operation,
    ) -> Result<Outcome, Error> {
        let name = operation.name();
        let asked = self.ask_any(region, operation).await;
        let result = if asked.is_ok() { "done" } else { "failed" };
        metrics::counter!("brink_core_forwarded_total", "region" => region.to_string(),
            "operation" => name, "result" => result)
        .increment(1);
        asked
    }

    async fn ask_any(&self, region: &RegionName, operation: Operation) -> Result<Outcome, Error> {
        let Ok(_permit) = self.permits.try_acquire() else {
            return Err(Error::Busy);
        };
        let time = match operation {
            Operation::Command { .. } => COMMAND_TIME,
            _ => TIME,
        };
        let deadline = Instant::now() + time;
        let is_read = operation.is_read();
        let mut request = HomeRequest {
            node: self.own.clone(),
            region: region.clone(),
            time_ms: 0,
            operation,
        };
        let patient_until = Instant::now() + PATIENCE;
        loop {
            let why = match self.ask_round(&mut request, deadline).await {
                Round::Ended(ended) => return ended,
                Round::NotDone(why) => why,
            };
            if Instant::now() + PAUSE < patient_until {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            tracing::warn!(%region, why, "the home of a partition was not reached");
            let reason = if is_read {
                "the home of the partition is not reached"
            } else {
                "the home of the partition is not reached; nothing was written"
            };
            return Err(refused(region.as_str(), reason));
        }
    }

    /// Asks each core of the region once, until one does it.
    async fn ask_round(&self, request: &mut HomeRequest, deadline: Instant) -> Round {
        let is_read = request.operation.is_read();
        let region = request.region.clone();
        let mut why = String::from("no core of it is known here");
        for core in self.cores.of(&region) {
            let left = deadline.saturating_duration_since(Instant::now());
            request.time_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            let asked = tokio::time::timeout(left, self.ask_one(&core, request)).await;
            match asked.unwrap_or_else(|_| Asked::Unknown("it does not answer in time".into())) {
                Asked::Answered(outcome) => return Round::Ended(Ok(outcome)),
                Asked::Refused(reason) => {
                    let what = "request";
                    let refusal = brink_protocol::Error::Malformed { what, reason };
                    return Round::Ended(Err(refusal.into()));
                }
                Asked::NotDone(reason) => why = format!("{} did not do it: {reason}", core.node),
                Asked::Unknown(reason) if is_read => why = format!("{}: {reason}", core.node),
                Asked::Unknown(reason) => {
                    tracing::warn!(core = %core.node, %region, reason, "a forwarded write has no answer");
                    return Round::Ended(Err(refused(
                        region.as_str(),
                        "its core did not answer; the write may or may not have happened",
                    )));
                }
            }
        }
        Round::NotDone(why)
    }

    async fn ask_one(&self, core: &CoreAddress, request: &HomeRequest) -> Asked {
        let client = match self.client(core).await {
            Ok(client) => client,
            Err(failed) => return Asked::NotDone(failed.to_string()),
        };
        let asked = client.call_for::<_, HomeAnswer>(path::HOME, request, MESSAGE_BYTES_MAX);
        match asked.await {
            Ok(Ok(outcome)) => Asked::Answered(outcome),
            Ok(Err(HomeRefusal::Invalid(text))) => Asked::Refused(text),
            Ok(Err(HomeRefusal::NotNow(text))) => Asked::NotDone(text),
            Ok(Err(HomeRefusal::Failed(text))) => Asked::Unknown(text),
            Err(Failed::Refused(
                status @ (StatusCode::FORBIDDEN
                | StatusCode::NOT_FOUND
                | StatusCode::SERVICE_UNAVAILABLE),
                detail,
            )) => Asked::NotDone(format!("{status}: {detail}")),
            Err(failed) => {
                self.forget(core, &client);
                Asked::Unknown(failed.to_string())
            }
        }
    }

    async fn client(&self, core: &CoreAddress) -> Result<Arc<Client>, Failed> {
        let kept = self.clients().get(&core.node).cloned();
        if let Some((link, client)) = kept
            && link == core.link
            && client.is_open()
        {
            return Ok(client);
        }
        let tls = self.tls.get().ok_or(Failed::Silent)?;
        let client = Arc::new(Client::connect(&core.node, &core.link, tls).await?);
        let kept = (core.link.clone(), Arc::clone(&client));
        self.clients().insert(core.node.clone(), kept);
        Ok(client)
    }

    fn forget(&self, core: &CoreAddress, failed: &Arc<Client>) {
        let mut clients = self.clients();
        let is_it = |(_, client): &(String, Arc<Client>)| Arc::ptr_eq(client, failed);
        if clients.get(&core.node).is_some_and(is_it) {
            clients.remove(&core.node);
        }
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<NodeName, (String, Arc<Client>)>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
