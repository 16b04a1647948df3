//! Runs of commands, plugins, projections and workflows: each is one call.

use crate::{
    Component, Context, RunError, World,
    bindings::platform::event_types as wit,
    decisions, heads,
    invoke::{Call, Returned, unexpected},
    plugin::{RequestAction, RequestHead, ResponseAction, ResponseHead},
};
use brink_protocol::{
    deployment::Limits,
    event::Event,
    record::PARTITION_BYTES_MAX,
    workflow::{Decision, Outcome},
};
use std::time::UNIX_EPOCH;

/// Longest refusal of a projection that is kept, in bytes; the rest is cut off.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// Limits under which every run has an instance of its own: nothing can be left by one for the next.
fn fresh(limits: &Limits) -> Limits {
    Limits {
        instance_reuse_max: 1,
        ..limits.clone()
    }
}

fn event_out(event: &Event) -> wit::Event {
    wit::Event {
        number: event.number,
        kind: event.kind.clone(),
        at_ms: event.at_ms,
        payload: event.payload.to_vec(),
    }
}

impl Component {
    /// Runs a command, always in a fresh instance. The inner result is the command's own: `Err` refuses.
    ///
    /// # Errors
    /// See [`RunError`]. An answer over `response_bytes_max` is one.
    pub async fn execute(
        &self,
        input: Vec<u8>,
        context: Context,
        limits: &Limits,
    ) -> Result<Result<Vec<u8>, Vec<u8>>, RunError> {
        self.expect(World::Command, "execute")?;
        let limits = fresh(limits);
        let limit = limits.response_bytes_max;
        let answer = self.call(Call::Execute(input), context, &limits).await?;
        let Returned::Executed(answer) = answer else {
            return Err(unexpected());
        };
        let (Ok(bytes) | Err(bytes)) = &answer;
        if bytes.len() as u64 > limit {
            return Err(RunError::ResponseTooLarge { limit });
        }
        Ok(answer)
    }

    /// Shows a plugin the head of a request.
    ///
    /// # Errors
    /// See [`RunError`].
    pub async fn on_request(
        &self,
        head: &RequestHead,
        context: Context,
        limits: &Limits,
    ) -> Result<RequestAction, RunError> {
        self.expect(World::Plugin, "on-request")?;
        let head = heads::request_out(head);
        let action = self.call(Call::OnRequest(head), context, limits).await?;
        let Returned::Request(action) = action else {
            return Err(unexpected());
        };
        heads::request_action(action)
    }

    /// Shows a plugin the head of the response to a request.
    ///
    /// # Errors
    /// See [`RunError`].
    pub async fn on_response(
        &self,
        request: &RequestHead,
        head: ResponseHead,
        context: Context,
        limits: &Limits,
    ) -> Result<ResponseAction, RunError> {
        self.expect(World::Plugin, "on-response")?;
        let (request, response) = (heads::request_out(request), heads::response_out(&head));
        let action = self
            .call(Call::OnResponse(request, response), context, limits)
            .await?;
        let Returned::Response(action) = action else {
            return Err(unexpected());
        };
        heads::response_action(action)
    }

    /// Asks a projection which partition of its target collection an event of `partition` changes; none: the event is of
    /// no interest. Always in a fresh instance.
    ///
    /// # Errors
    /// See [`RunError`]. A partition key outside the limits of records is a [`RunError::BadResponse`].
    pub async fn project_target(
        &self,
        partition: &str,
        event: &Event,
        context: Context,
        limits: &Limits,
    ) -> Result<Option<String>, RunError> {
        self.expect(World::Projection, "target")?;
        let call = Call::Target(partition.to_owned(), event_out(event));
        let Returned::Target(target) = self.call(call, context, &fresh(limits)).await? else {
            return Err(unexpected());
        };
        match &target {
            Some(key) if !is_partition_key(key) => Err(RunError::BadResponse {
                reason: format!(
                    "the target partition is no partition key: 1 to {PARTITION_BYTES_MAX} bytes without control characters"
                ),
            }),
            _ => Ok(target),
        }
    }

    /// Lets a projection apply events of one source partition, in order, all of the same target partition. Always in a
    /// fresh instance. The inner result is the projection's own; of an error's bytes at most 64 KiB are given.
    ///
    /// # Errors
    /// See [`RunError`].
    pub async fn project_apply(
        &self,
        partition: &str,
        events: &[Event],
        context: Context,
        limits: &Limits,
    ) -> Result<Result<(), Vec<u8>>, RunError> {
        self.expect(World::Projection, "apply")?;
        let events = events.iter().map(event_out).collect();
        let call = Call::Apply(partition.to_owned(), events);
        let Returned::Applied(applied) = self.call(call, context, &fresh(limits)).await? else {
            return Err(unexpected());
        };
        Ok(applied.map_err(|mut bytes| {
            bytes.truncate(REFUSAL_BYTES_MAX);
            bytes
        }))
    }

    /// Asks a workflow what comes next. Always in a fresh instance, whose clocks stand still and whose random numbers are
    /// the same in every run; of `context`, only the configuration and the log are used. What it decides is within the
    /// limits of `wit/platform.wit`.
    ///
    /// # Errors
    /// See [`RunError`]. A decision outside the limits is a [`RunError::BadResponse`].
    pub async fn decide(
        &self,
        input: Vec<u8>,
        outcomes: &[Outcome],
        context: Context,
        limits: &Limits,
    ) -> Result<Decision, RunError> {
        self.expect(World::Workflow, "decide")?;
        let context = Context {
            log: context.log,
            config: context.config,
            now: Some(UNIX_EPOCH),
            ..Context::denied()
        };
        let call = Call::Decide(input, decisions::outcomes_out(outcomes));
        let Returned::Decision(decision) = self.call(call, context, &fresh(limits)).await? else {
            return Err(unexpected());
        };
        decisions::decision_in(decision)
    }
}

fn is_partition_key(key: &str) -> bool {
    (1..=PARTITION_BYTES_MAX).contains(&key.len()) && !key.chars().any(char::is_control)
}
