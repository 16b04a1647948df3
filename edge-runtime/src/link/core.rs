//! One core: its connection, kept and probed.

use super::{
    LinkError,
    choices::Choices,
    figures::CoreFigures,
    live::{self, Identity, Live, Transport},
};
use crate::{backoff::Backoff, chance::chance};
use brink_protocol::{
    codec,
    link::{CORE_NAME, ProbeAnswer, path},
};
use bytes::Bytes;
use http::{HeaderValue, Request};
use std::{
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

/// How often a core is probed that answers requests now.
const PROBED_BUSY: Duration = Duration::from_millis(250);
/// How often one is probed that does not.
const PROBED_IDLE: Duration = Duration::from_secs(1);
/// Shortest time between two probes.
const PROBE_GAP: Duration = Duration::from_millis(50);
/// How long the answer to a probe may take at least, and at most, until the core counts as silent.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));
/// A connection on which nothing comes for so long, though it was probed, is closed.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// Longest answer to a probe, in bytes.
const PROBE_BYTES_MAX: usize = 64 << 10;
/// How long requests of a connection that is no longer wanted may go on.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// How long the answer to a probe may take until the core counts as silent.
fn patience(round_trip: Duration) -> Duration {
    let patience = PATIENCE.0 / 2 + round_trip.saturating_mul(4);
    patience.clamp(PATIENCE.0, PATIENCE.1)
}

/// What keeping a core needs of the link.
pub(super) struct Ways<'a> {
    pub(super) identity: &'a Identity,
    pub(super) transport: Transport,
    pub(super) choices: &'a Choices,
}

pub(super) struct Core {
    pub(super) number: usize,
    /// `HOST:PORT`.
    pub(super) address: String,
    pub(super) live: watch::Sender<Option<Live>>,
    pub(super) figures: CoreFigures,
    /// Where it is told that this PoP's admin interface is.
    pub(super) admin: OnceLock<HeaderValue>,
    suspect: Notify,
    urgent: Notify,
    requests: AtomicUsize,
    name: Mutex<Option<ProbeAnswer>>,
}

/// A request is under way as long as this lives.
pub(super) struct UnderWay<'a>(&'a Core);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Core {
    pub(super) fn new(number: usize, address: String) -> Self {
        Self {
            number,
            live: watch::Sender::new(None),
            figures: CoreFigures::register(&address),
            admin: OnceLock::new(),
            suspect: Notify::new(),
            urgent: Notify::new(),
            requests: AtomicUsize::new(0),
            name: Mutex::default(),
            address,
        }
    }

    pub(super) fn under_way(&self) -> UnderWay<'_> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        UnderWay(self)
    }

    /// Requests under way.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Who it says it is; none: it has not said yet.
    pub(super) fn name(&self) -> Option<ProbeAnswer> {
        let name = self.name.lock().unwrap_or_else(PoisonError::into_inner);
        name.clone()
    }

    /// A request is late: probe it now.
    pub(super) fn urge(&self) {
        self.urgent.notify_one();
    }

    /// The connection seems dead though its transport says nothing: close it and connect anew.
    pub(super) fn suspect(&self) {
        if self.live.borrow().is_some() {
            self.suspect.notify_one();
        }
    }

    /// Keeps it connected whenever it is to be, until `stop`.
    pub(super) async fn keep(&self, ways: &Ways<'_>, stop: &CancellationToken) {
        let keeping = async {
            let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
            let mut is_told = false;
            loop {
                ways.choices.is_linked(self.number, true).await;
                match self.connect(ways).await {
                    Ok((live, driver)) => {
                        tracing::info!(core = %self.address, transport = live.transport(), "core link connected");
                        is_told = false;
                        backoff.reset();
                        let reason = self.hold(live, driver, ways.choices).await;
                        tracing::warn!(core = %self.address, reason, "core link ended");
                    }
                    Err(error) => {
                        if is_told {
                            tracing::debug!(core = %self.address, %error, "core link not connected");
                        } else {
                            tracing::warn!(core = %self.address, %error, "core link not connected, trying on");
                        }
                        is_told = true;
                        ways.choices
                            .note(|cores, now_ms| cores.unreachable(self.number, now_ms));
                    }
                }
                sleep(backoff.next(chance())).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => self.end(ways.choices),
            never = keeping => never,
        }
    }

    async fn connect(&self, ways: &Ways<'_>) -> Result<(Live, live::Driver), LinkError> {
        let addresses: Vec<_> = tokio::net::lookup_host(&self.address)
            .await
            .map_err(|e| LinkError::Disconnected(format!("{}: {e}", self.address)))?
            .collect();
        live::connect(&addresses, ways.transport, ways.identity).await
    }

    /// Lends the connection out until it is over; answers why it is.
    async fn hold(&self, live: Live, mut driver: live::Driver, choices: &Choices) -> String {
        self.figures.connected.set(1.0);
        self.figures.connects.increment(1);
        self.live.send_replace(Some(live.clone()));
        choices.note(|cores, now_ms| cores.linked(self.number, now_ms));
        let ended = tokio::select! {
            reason = &mut driver => Some(reason),
            () = self.suspect.notified() => Some("its feed is silent".to_owned()),
            reason = self.probe(&live, choices) => Some(reason),
            () = choices.is_linked(self.number, false) => None,
        };
        self.end(choices);
        if let Some(reason) = ended {
            return reason;
        }
        let drained = async {
            while self.requests() > 0 {
                sleep(PROBE_GAP).await;
            }
        };
        tokio::select! {
            _ = driver => {}
            _ = tokio::time::timeout(DRAIN_MAX, drained) => {}
        }
        "others are better".to_owned()
    }

    fn end(&self, choices: &Choices) {
        self.live.send_replace(None);
        self.figures.connected.set(0.0);
        choices.note(|cores, now_ms| cores.lost(self.number, now_ms));
    }

    /// Probes until the core is silent for too long; says so.
    async fn probe(&self, live: &Live, choices: &Choices) -> String {
        loop {
            let began = Instant::now();
            match self.probed(live, choices).await {
                Ok(answer) => {
                    let took = began.elapsed();
                    let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                    self.figures.probed(took);
                    self.heard(answer, us, choices);
                }
                Err(reason) => return reason,
            }
            tokio::time::sleep_until(began + PROBE_GAP).await;
            let tick = async {
                loop {
                    sleep(PROBED_BUSY).await;
                    if self.requests() > 0 || began.elapsed() >= PROBED_IDLE {
                        return;
                    }
                }
            };
            tokio::select! {
                () = self.urgent.notified() => {}
                () = tick => {}
            }
        }
    }

    /// Takes note of a probe's answer.
    fn heard(&self, answer: Option<ProbeAnswer>, round_trip_us: u64, choices: &Choices) {
        let mut is_foreign = false;
        choices.note(|cores, now_ms| {
            // First: a core that has another store is not used for a moment.
            if let Some(answer) = &answer {
                is_foreign = cores.has_store(self.number, answer.store);
                cores.store_silence(self.number, answer.store_silence_ms, now_ms);
            }
            cores.probed(self.number, round_trip_us, now_ms);
        });
        let Some(answer) = answer else { return };
        if is_foreign {
            tracing::error!(core = %self.address, node = %answer.node, store = %answer.store,
                "this core has another store than the other cores of this PoP, and is not used: correct core.addresses");
        }
        *self.name.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
    }

    /// One probe: answered, by whom; or for too long not.
    async fn probed(&self, live: &Live, choices: &Choices) -> Result<Option<ProbeAnswer>, String> {
        let known = choices.measured(self.number).round_trip_us.unwrap_or(0);
        let patience = patience(Duration::from_micros(known));
        let mut answering = std::pin::pin!(ask(live.clone()));
        let mut heard = (live.heard(), Instant::now());
        let mut is_told = false;
        loop {
            tokio::select! {
                answer = &mut answering => return answer,
                () = sleep(patience) => {}
            }
            let pieces = live.heard();
            if pieces != heard.0 {
                // It speaks, only not of this yet: long answers are before it.
                heard = (pieces, Instant::now());
            } else if heard.1.elapsed() >= SILENCE_MAX {
                return Err(format!("it was silent for {} ms", SILENCE_MAX.as_millis()));
            } else if !is_told {
                is_told = true;
                self.figures.silences.increment(1);
                choices.note(|cores, _| cores.silent(self.number));
            }
        }
    }
}

/// Asks a core who it is. Any answer is one; what breaks is said.
async fn ask(live: Live) -> Result<Option<ProbeAnswer>, String> {
    let uri = format!("https://{CORE_NAME}{}", path::PROBE);
    let request = Request::get(uri).body(()).map_err(|e| e.to_string())?;
    let answered = async {
        let (head, body) = live.send(request, Bytes::new()).await?.into_parts();
        let body = body.whole(PROBE_BYTES_MAX).await?;
        // One that does not know the question is there all the same.
        let answer = head.status.is_success().then(|| codec::decode(&body));
        Ok::<_, LinkError>(answer.and_then(Result::ok))
    };
    answered.await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who waits for a core that is gone asks elsewhere after the next probe has been late: what that makes at most, with
    /// the answer of the other core, which is as far.
    fn pause_max(round_trip: Duration) -> Duration {
        PROBED_BUSY + patience(round_trip) + round_trip
    }

    #[test]
    fn a_core_that_is_gone_is_left_within_a_second() {
        for (round_trip_ms, pause_ms) in [(0, 450), (25, 475), (50, 600), (100, 850), (125, 975)] {
            let pause = pause_max(Duration::from_millis(round_trip_ms));
            assert_eq!(pause, Duration::from_millis(pause_ms), "{round_trip_ms}");
            assert!(pause < Duration::from_secs(1));
        }
    }
}
