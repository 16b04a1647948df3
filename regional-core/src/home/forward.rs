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
/// How long a core that did not answer is left alone.
const SILENT: Duration = Duration::from_secs(1);
/// Requests to other regions that are under way at a time; further ones are refused.
const ASKED_MAX: usize = 1024;

/// Asks cores of other regions.
pub(super) struct Forwarder {
    own: NodeName,
    cores: Arc<dyn Cores>,
    tls: OnceLock<ClientTls>,
    lines: Mutex<HashMap<NodeName, Arc<Line>>>,
    permits: Semaphore,
}

/// What is known of one core.
struct Line {
    link: String,
    /// Who makes the connection holds the lock.
    connection: tokio::sync::Mutex<Connection>,
    silence: Mutex<Option<Silence>>,
}

#[derive(Default)]
struct Connection {
    client: Option<Arc<Client>>,
    /// When one was last not made.
    failed_at: Option<Instant>,
}

/// A core is not reached: else each request would find out anew.
#[derive(Clone, Copy)]
struct Silence {
    since: Instant,
    /// When it is tried again, by one request.
    until: Instant,
}

impl Line {
    fn new(link: String) -> Self {
        Self {
            link,
            connection: tokio::sync::Mutex::default(),
            silence: Mutex::default(),
        }
    }

    /// Whether it may be asked.
    fn is_due(&self, now: Instant) -> bool {
        let mut silence = self.silence();
        match &mut *silence {
            None => true,
            Some(silence) if now < silence.until => false,
            Some(silence) => {
                silence.until = now + SILENT;
                true
            }
        }
    }

    fn silence(&self) -> MutexGuard<'_, Option<Silence>> {
        self.silence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_silent(&self) -> bool {
        self.silence().is_some()
    }

    /// Whether it has been silent for so long that nobody waits for it.
    fn is_gone(&self, now: Instant) -> bool {
        self.silence()
            .is_some_and(|silence| now.saturating_duration_since(silence.since) > PATIENCE)
    }

    fn not_reached(&self, now: Instant) {
        let mut silence = self.silence();
        let since = silence.map_or(now, |silence| silence.since);
        let until = now + SILENT;
        *silence = Some(Silence { since, until });
    }

    fn reached(&self) {
        *self.silence() = None;
    }
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
    /// Nobody was asked: none of them has been reached for some time.
    Gone,
}

impl Forwarder {
    pub(super) fn new(own: NodeName, cores: Arc<dyn Cores>) -> Self {
        Self {
            own,
            cores,
            tls: OnceLock::new(),
            lines: Mutex::default(),
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
        self.ask_home(region, operation, false).await
    }

    /// As [`Forwarder::ask`]; with `is_current` a read is answered only by who is certainly the home.
    pub(super) async fn ask_home(
        &self,
        region: &RegionName,
        operation: Operation,
        is_current: bool,
    ) -> Result<Outcome, Error> {
        let name = operation.name();
        let asked = self.ask_any(region, operation, is_current).await;
        let result = if asked.is_ok() { "done" } else { "failed" };
        metrics::counter!("brink_core_forwarded_total", "region" => region.to_string(),
            "operation" => name, "result" => result)
        .increment(1);
        asked
    }

    async fn ask_any(
        &self,
        region: &RegionName,
        operation: Operation,
        is_current: bool,
    ) -> Result<Outcome, Error> {
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
            is_current,
            operation,
        };
        let patient_until = Instant::now() + PATIENCE;
        loop {
            let why = match self.ask_round(&mut request, deadline).await {
                Round::Ended(ended) => return ended,
                Round::NotDone(why) => why,
                Round::Gone => return Err(not_reached(region, is_read)),
            };
            if Instant::now() + PAUSE < patient_until {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            tracing::warn!(%region, why, "the home of a partition was not reached");
            return Err(not_reached(region, is_read));
        }
    }

    /// Asks each core of the region once, until one does it.
    async fn ask_round(&self, request: &mut HomeRequest, deadline: Instant) -> Round {
        let is_read = request.operation.is_read();
        let region = request.region.clone();
        let mut why = String::from("no core of it is known here");
        let cores = self.cores.of(&region);
        let lines = cores.iter().map(|core| (core, self.line(core)));
        // Those that answer in front; the order stays otherwise.
        let mut lines: Vec<_> = lines.collect();
        lines.sort_by_key(|(_, line)| line.is_silent());
        let mut is_gone = !lines.is_empty();
        for (core, line) in lines {
            let now = Instant::now();
            if !line.is_due(now) {
                is_gone &= line.is_gone(now);
                continue;
            }
            is_gone = false;
            let left = deadline.saturating_duration_since(Instant::now());
            request.time_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            let asked = tokio::time::timeout(left, self.ask_one(core, &line, request)).await;
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
        if is_gone {
            Round::Gone
        } else {
            Round::NotDone(why)
        }
    }

    async fn ask_one(&self, core: &CoreAddress, line: &Line, request: &HomeRequest) -> Asked {
        let client = match self.client(core, line).await {
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
                let mut connection = line.connection.lock().await;
                let kept = connection.client.as_ref();
                if kept.is_some_and(|kept| Arc::ptr_eq(kept, &client)) {
                    connection.client = None;
                }
                Asked::Unknown(failed.to_string())
            }
        }
    }

    /// The connection to a core. One request makes it, or finds that it is not to be made, and the others wait for that.
    async fn client(&self, core: &CoreAddress, line: &Line) -> Result<Arc<Client>, Failed> {
        let asked_at = Instant::now();
        let mut connection = line.connection.lock().await;
        if let Some(client) = connection.client.as_ref().filter(|client| client.is_open()) {
            return Ok(Arc::clone(client));
        }
        if connection
            .failed_at
            .is_some_and(|failed_at| failed_at >= asked_at)
        {
            return Err(Failed::Silent);
        }
        let tls = self.tls.get().ok_or(Failed::Silent)?;
        match Client::connect(&core.node, &core.link, tls).await {
            Ok(client) => {
                line.reached();
                let client = Arc::new(client);
                connection.client = Some(Arc::clone(&client));
                Ok(client)
            }
            Err(failed) => {
                let now = Instant::now();
                connection.failed_at = Some(now);
                line.not_reached(now);
                Err(failed)
            }
        }
    }

    fn line(&self, core: &CoreAddress) -> Arc<Line> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lines.get(&core.node).filter(|line| line.link == core.link);
        if let Some(line) = known {
            return Arc::clone(line);
        }
        let line = Arc::new(Line::new(core.link.clone()));
        lines.insert(core.node.clone(), Arc::clone(&line));
        line
    }
}

fn not_reached(region: &RegionName, is_read: bool) -> Error {
    let reason = if is_read {
        "the home of the partition is not reached"
    } else {
        "the home of the partition is not reached; nothing was written"
    };
    refused(region.as_str(), reason)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_request_in_a_while_finds_out_whether_a_core_is_back() {
        let line = Line::new("a:1".into());
        let now = Instant::now;
        assert!(line.is_due(now()) && !line.is_silent());
        line.not_reached(now());
        assert!(!line.is_due(now()) && line.is_silent());
        assert!(!line.is_gone(now()), "it may be about to be back");
        for _ in 0..4 {
            tokio::time::advance(SILENT).await;
            assert!(line.is_due(now()), "one finds out");
            assert!(!line.is_due(now()), "the others do not");
            line.not_reached(now());
        }
        assert!(line.is_gone(now()), "nobody waits any more");
        line.reached();
        assert!(line.is_due(now()) && !line.is_gone(now()));
    }

    struct One(CoreAddress);

    impl Cores for One {
        fn of(&self, _: &RegionName) -> Vec<CoreAddress> {
            vec![self.0.clone()]
        }

        fn regions(&self) -> std::collections::BTreeSet<RegionName> {
            std::collections::BTreeSet::new()
        }
    }

    /// Requests that come together wait for one attempt, those that come later for none.
    #[tokio::test]
    async fn a_dead_core_is_waited_for_once() {
        let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let link = dead.local_addr().unwrap().to_string();
        let core = CoreAddress {
            node: "core-2".parse().unwrap(),
            link,
        };
        let forwarder = Forwarder::new("core-1".parse().unwrap(), Arc::new(One(core.clone())));
        let line = forwarder.line(&core);
        assert!(Arc::ptr_eq(&line, &forwarder.line(&core)));
        let since = Instant::now().checked_sub(2 * PATIENCE).unwrap();
        *line.silence() = Some(Silence {
            since,
            until: Instant::now() + Duration::from_secs(3600),
        });
        let operation = Operation::Get {
            tenant: "default".parse().unwrap(),
            keys: Vec::new(),
            now_ms: 1,
        };
        let region = "us".parse().unwrap();
        let refused = forwarder.ask(&region, operation).await.unwrap_err();
        assert!(refused.to_string().contains("not reached"), "{refused}");
        dead.set_nonblocking(true).unwrap();
        let asked = dead.accept().unwrap_err();
        assert_eq!(
            asked.kind(),
            std::io::ErrorKind::WouldBlock,
            "nobody asked it"
        );
    }
}
