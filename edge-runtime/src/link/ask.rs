//! Questions: sent to the core that is used, and to another where that may be and helps.

use super::{
    AnswerBody, CONNECTION_WAIT_MAX, Inner, LinkError, Outcome, REFUSAL_BYTES_MAX, core::Core,
    decode, figures::Figures,
};
use brink_protocol::{
    codec,
    link::{CORE_NAME, IDEMPOTENCY_KEY, POP_ADMIN, TIME_LEFT_MS, path},
};
use brink_telemetry::TraceContext;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header::CONTENT_TYPE};
use std::{future::Future, pin::pin, sync::PoisonError, time::Duration};
use tokio::time::{Instant, sleep};

/// Most cores that one question is put to, one after the other.
const ATTEMPTS_MAX: u32 = 4;
/// Shortest wait before the same core is asked again.
const AGAIN: Duration = Duration::from_millis(25);
/// A question other than a read is late after this: its core is probed.
const LATE: Duration = Duration::from_millis(100);

/// One question.
#[derive(Clone)]
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) suffix: &'a str,
    pub(super) body: Bytes,
    pub(super) trace: Option<&'a TraceContext>,
    /// See [`IDEMPOTENCY_KEY`].
    pub(super) key: Option<String>,
    pub(super) repeat: Repeat,
    /// When nobody waits for the answer any more.
    pub(super) until: Instant,
    /// Its answer has no end: the core is not told when its time is over.
    pub(super) is_stream: bool,
}

/// Whether a question may be asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Only where the first core surely did not get it.
    Unsent,
    /// As that; and it is given up at a core that falls silent, if another answers.
    GivenUp,
    /// It changes nothing, or the core does it once however often it is asked.
    Always,
}

impl Repeat {
    /// Whether after `error` it is asked again.
    fn allows(self, error: &LinkError) -> bool {
        match error {
            LinkError::NotSent(_) => true,
            LinkError::Disconnected(_) => self == Self::Always,
            LinkError::Refused { status, .. } => self == Self::Always && *status >= 500,
            LinkError::NotConnected
            | LinkError::Timeout(_)
            | LinkError::Overloaded
            | LinkError::Malformed(_) => false,
        }
    }
}

/// A whole answer, and which core gave it.
pub(super) struct Answered {
    pub(super) bytes: Bytes,
    pub(super) core: usize,
    /// How an earlier attempt ended that may have done what was asked; none: there was none.
    doubt: Option<LinkError>,
}

/// Keeps the first failure after which what was asked may have been done.
fn note_doubt(doubt: &mut Option<LinkError>, error: &LinkError) {
    if doubt.is_none() && error.may_have_happened() {
        *doubt = Some(error.clone());
    }
}

impl Inner {
    /// Asks until it is answered or may not be asked again; not the core `avoided`, if there is one.
    pub(super) async fn ask(
        &self,
        ask: &Ask<'_>,
        bytes_max: usize,
        avoided: Option<usize>,
    ) -> Result<Answered, LinkError> {
        let mut last: Option<(usize, LinkError)> = None;
        let mut doubt = None;
        for attempt in 0..ATTEMPTS_MAX {
            let core = match self
                .pick(last.as_ref().map(|(core, _)| *core).or(avoided))
                .await
            {
                Ok(core) => core,
                Err(error) => return Err(doubt.unwrap_or(error)),
            };
            if let Some((before, error)) = &last {
                let is_same = *before == core.number;
                if is_same && matches!(error, LinkError::Refused { .. }) {
                    break;
                }
                Figures::repeated(ask.path);
                if is_same {
                    sleep(AGAIN * attempt).await;
                }
            }
            let is_read =
                ask.repeat == Repeat::Always && ask.path == path::RECORDS && ask.key.is_none();
            let outcome = if is_read {
                self.hedged(core, ask, bytes_max).await
            } else {
                let asked = self.attempt(core, ask, bytes_max);
                let answer = urging(core, LATE, asked).await;
                answer.map(|bytes| (core.number, bytes))
            };
            match outcome {
                Ok((core, bytes)) => return Ok(Answered { bytes, core, doubt }),
                Err(error) => {
                    note_doubt(&mut doubt, &error);
                    if !ask.repeat.allows(&error) {
                        return Err(doubt.unwrap_or(error));
                    }
                    last = Some((core.number, error));
                }
            }
        }
        let error = last.map_or(LinkError::NotConnected, |(_, error)| error);
        Err(doubt.unwrap_or(error))
    }

    /// Asks until the answer is settled, a second core too where the first does not do it for now; else the first answer
    /// counts, together with how an attempt ended that may have done it all the same.
    pub(super) async fn settled<A: Outcome>(
        &self,
        ask: &Ask<'_>,
        is_settled: impl Fn(&A) -> bool,
    ) -> Result<(A, Option<LinkError>), LinkError> {
        // Boxed: what waits for a connection's answer is large.
        let first = Box::pin(self.ask(ask, codec::MESSAGE_BYTES_MAX, None)).await?;
        let answer: A = decode(&first)?;
        if is_settled(&answer) {
            return Ok((answer, None));
        }
        let mut doubt = first.doubt;
        let may_repeat = ask.repeat == Repeat::Always && self.choices.second().is_some();
        if !answer.is_for_now() || !may_repeat {
            return Ok((answer, doubt));
        }
        Figures::repeated(ask.path);
        let bytes_max = codec::MESSAGE_BYTES_MAX;
        let other = Box::pin(self.ask(ask, bytes_max, Some(first.core))).await;
        let other = other.and_then(|other| {
            doubt = doubt.take().or_else(|| other.doubt.clone());
            decode::<A>(&other)
        });
        match other {
            Ok(other) if is_settled(&other) => {
                // It could be done, only not there.
                self.choices
                    .note(|cores, now_ms| cores.outdone(first.core, now_ms));
                Ok((other, None))
            }
            Ok(_) => Ok((answer, doubt)),
            Err(error) => {
                note_doubt(&mut doubt, &error);
                Ok((answer, doubt))
            }
        }
    }

    /// The core that is used; another than `avoided` if one is usable.
    pub(super) async fn pick(&self, avoided: Option<usize>) -> Result<&Core, LinkError> {
        let used = match self.choices.used() {
            Some(used) => used,
            None => {
                let waiting = self.choices.until(|choice| choice.used.is_some());
                let waited = tokio::time::timeout(CONNECTION_WAIT_MAX, waiting).await;
                let used = waited.ok().and_then(|()| self.choices.used());
                used.ok_or(LinkError::NotConnected)?
            }
        };
        let number = match avoided {
            Some(avoided) if avoided == used => self.choices.second().unwrap_or(used),
            _ => used,
        };
        self.cores.get(number).ok_or(LinkError::NotConnected)
    }

    /// Asks one core; a second one too, when it is late and the budget allows it. The first answer counts.
    async fn hedged(
        &self,
        core: &Core,
        ask: &Ask<'_>,
        bytes_max: usize,
    ) -> Result<(usize, Bytes), LinkError> {
        let began = Instant::now();
        let late_after = {
            let mut hedging = self.hedging.lock().unwrap_or_else(PoisonError::into_inner);
            hedging.budget.earn();
            hedging.latencies.late_after()
        };
        let answer = |core: &Core, bytes: Bytes| {
            let mut hedging = self.hedging.lock().unwrap_or_else(PoisonError::into_inner);
            hedging.latencies.note(began.elapsed());
            (core.number, bytes)
        };
        let mut first = pin!(self.attempt(core, ask, bytes_max));
        tokio::select! {
            outcome = &mut first => return outcome.map(|bytes| answer(core, bytes)),
            () = sleep(late_after) => core.urge(),
        }
        let Some(other) = self.spare(core) else {
            return first.await.map(|bytes| answer(core, bytes));
        };
        self.figures.hedges.increment(1);
        let mut second = pin!(self.attempt(other, ask, bytes_max));
        tokio::select! {
            outcome = &mut first => match outcome {
                Ok(bytes) => Ok(answer(core, bytes)),
                Err(error) if ask.repeat.allows(&error) => {
                    second.await.map(|bytes| answer(other, bytes))
                }
                Err(error) => Err(error),
            },
            outcome = &mut second => match outcome {
                Ok(bytes) => {
                    self.figures.hedges_won.increment(1);
                    Ok(answer(other, bytes))
                }
                Err(_) => first.await.map(|bytes| answer(core, bytes)),
            },
        }
    }

    /// A core to ask beside this one, if the budget allows it.
    fn spare(&self, core: &Core) -> Option<&Core> {
        let choices = [self.choices.used(), self.choices.second()];
        let other = choices.into_iter().flatten().find(|n| *n != core.number)?;
        let other = self.cores.get(other)?;
        let mut hedging = self.hedging.lock().unwrap_or_else(PoisonError::into_inner);
        hedging.budget.spend().then_some(other)
    }

    /// Asks one core once.
    async fn attempt(
        &self,
        core: &Core,
        ask: &Ask<'_>,
        bytes_max: usize,
    ) -> Result<Bytes, LinkError> {
        let _under_way = core.under_way();
        let asking = async {
            let answer = send(core, ask).await?;
            accepted(answer).await?.whole(bytes_max).await
        };
        let outcome = match ask.repeat {
            Repeat::Unsent => asking.await,
            Repeat::GivenUp | Repeat::Always => tokio::select! {
                outcome = asking => outcome,
                () = self.choices.cut_off(core.number) => {
                    Err(LinkError::Disconnected(format!("{} is silent, or without its store", core.address)))
                }
            },
        };
        self.judge(core, outcome.as_ref().err());
        outcome
    }

    /// What an answer says of the core that gave it.
    pub(super) fn judge(&self, core: &Core, failure: Option<&LinkError>) {
        if failure.is_some_and(LinkError::is_of_the_core) {
            core.figures.failed();
            self.choices
                .note(|cores, now_ms| cores.failed(core.number, now_ms));
        } else {
            self.choices.answered(core.number);
        }
    }
}

/// Probes the core if it has not answered after `late_after`.
pub(super) async fn urging<T>(
    core: &Core,
    late_after: Duration,
    asking: impl Future<Output = T>,
) -> T {
    let mut asking = pin!(asking);
    tokio::select! {
        outcome = &mut asking => return outcome,
        () = sleep(late_after) => core.urge(),
    }
    asking.await
}

/// Sends a question on the core's connection and waits for the head of the answer.
pub(super) async fn send(core: &Core, ask: &Ask<'_>) -> Result<Response<AnswerBody>, LinkError> {
    let live = core.live.borrow().clone();
    let live = live.ok_or_else(|| LinkError::NotSent(format!("{} is gone", core.address)))?;
    let uri = format!("https://{CORE_NAME}{}{}", ask.path, ask.suffix);
    let mut request = Request::builder().method(ask.method.clone()).uri(uri);
    if !ask.body.is_empty() {
        request = request.header(CONTENT_TYPE, HeaderValue::from_static(codec::MEDIA_TYPE));
    }
    if let Some(key) = &ask.key {
        request = request.header(IDEMPOTENCY_KEY, key);
    }
    if !ask.is_stream {
        let left = ask.until.saturating_duration_since(Instant::now());
        let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        request = request.header(TIME_LEFT_MS, left_ms.max(1));
    }
    let mut request = request
        .body(())
        .map_err(|e| LinkError::Malformed(e.to_string()))?;
    if let Some(admin) = core.admin.get().filter(|_| ask.path == path::REPORTS) {
        request.headers_mut().insert(POP_ADMIN, admin.clone());
    }
    if let Some(trace) = ask.trace {
        trace.inject(request.headers_mut());
    }
    live.send(request, ask.body.clone()).await
}

/// The body of a 2xx answer; another status is a refusal.
pub(super) async fn accepted(answer: Response<AnswerBody>) -> Result<AnswerBody, LinkError> {
    let (head, body) = answer.into_parts();
    if head.status.is_success() {
        return Ok(body);
    }
    let document = body.whole(REFUSAL_BYTES_MAX).await.unwrap_or_default();
    Err(LinkError::refused(head.status, &document))
}
