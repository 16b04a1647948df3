//! Commands: components of world `command` that run here, beside the data, in a transaction over one partition.
//!
//! A run reads from the store and notes what it saw; its writes wait. They are committed on the condition that all it saw
//! is still so, and the run is repeated if not. A kept answer is given again for its idempotency key for 24 hours; a
//! refusal is not kept, so that the same key may be used again when the reason for the refusal is gone.

mod host;
mod steps;

pub use self::steps::{STEP_ANSWER_LIFETIME_MS, Settled};

use self::host::{CommandIdentity, CommandLog};
use self::steps::Keeping;
use crate::{
    Error,
    clock::now_ms,
    components::Components,
    deployments::Tables,
    events,
    home::Home,
    logs::Logs,
    records::{position, record_error},
    store::{Answer, AnswerKey, Commit, NewAnswer, Store, Transaction},
    transaction::TransactionRecords,
    turns::Turns,
};
use brink_protocol::{
    Digest, Position,
    address::PartitionAddress,
    deployment::{Deployment, DeploymentTable, World},
    link::{CommandAnswer, CommandError, CommandRequest},
    record::{RecordError, VALUE_BYTES_MAX, check_partition, is_platform},
    trail::{Author, AuthorKind},
};
use brink_sandbox::{Context, RunError};
use bytes::Bytes;
use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

/// How often a run is repeated because something that it read has changed.
pub const ATTEMPTS_MAX: u32 = 8;
/// Longest idempotency key, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;
/// How long a command waits for those before it in its partition.
const PARTITION_WAIT: Duration = Duration::from_secs(10);

/// Runs commands.
pub struct Commands {
    store: Arc<dyn Store>,
    components: Arc<Components>,
    tables: Arc<Tables>,
    logs: Arc<Logs>,
    node: String,
    region: String,
    home: Option<Arc<Home>>,
    /// One command at a time in a partition spares repeated runs; what is right does not depend on it.
    turns: Turns,
    hasher: RandomState,
}

/// What a run is repeated for.
struct Run<'a> {
    request: &'a CommandRequest,
    deployment: &'a Deployment,
    partition: PartitionAddress,
    input_digest: Digest,
    trace_id: Option<String>,
    asked_for_caller: &'a Arc<AtomicBool>,
    keeping: Keeping,
}

impl Run<'_> {
    /// Who changes what it writes.
    fn author(&self) -> Author {
        let kind = match self.keeping {
            Keeping::Answers => AuthorKind::Command,
            Keeping::Steps => AuthorKind::Workflow,
        };
        let request = self.request;
        Author::new(kind, self.deployment.name.as_str())
            .version(self.deployment.version)
            .on_behalf(request.caller.as_str(), request.subject.as_deref())
    }
}

enum Attempt {
    Done(Bytes, Position),
    Again,
}

/// The command that a request names, if its tenant has it.
fn deployed<'a>(table: &'a DeploymentTable, request: &CommandRequest) -> Option<&'a Deployment> {
    table.deployments.iter().find(|d| {
        d.tenant == request.tenant && d.name == request.command && d.world == World::Command
    })
}

fn unavailable(text: &str) -> CommandError {
    CommandError::Unavailable(text.to_owned())
}

fn store_failed(error: &Error) -> CommandError {
    match record_error(error) {
        RecordError::Invalid(text) => CommandError::Invalid(text),
        RecordError::Denied(text) => CommandError::Denied(text),
        RecordError::Conflict(_) => unavailable("the partition changed meanwhile"),
        RecordError::Unavailable(text) => CommandError::Unavailable(text),
    }
}

fn check(request: &CommandRequest) -> Result<(), CommandError> {
    let invalid = |text: String| CommandError::Invalid(text);
    check_partition(&request.collection, &request.partition)
        .map_err(|error| invalid(error.to_string()))?;
    if is_platform(&request.collection, "") {
        return Err(CommandError::Denied(format!(
            "the collection {} is the platform's: no command runs in it",
            request.collection
        )));
    }
    if request.input.len() > VALUE_BYTES_MAX {
        return Err(invalid(format!(
            "the input is {} bytes, the limit is {VALUE_BYTES_MAX}",
            request.input.len()
        )));
    }
    if let Some(key) = &request.idempotency_key
        && (!(1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len())
            || !key.bytes().all(|b| b.is_ascii_graphic()))
    {
        return Err(invalid(
            "an idempotency key is 1 to 128 visible ASCII characters".into(),
        ));
    }
    Ok(())
}

impl Commands {
    /// Over a store, its components and the deployments.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        components: Arc<Components>,
        tables: Arc<Tables>,
        logs: Arc<Logs>,
        node: String,
        region: String,
    ) -> Self {
        Self {
            store,
            components,
            tables,
            logs,
            node,
            region,
            home: None,
            turns: Turns::default(),
            hasher: RandomState::new(),
        }
    }

    /// Has commands run by a core of their partition's home.
    #[must_use]
    pub fn at_home(self, home: Arc<Home>) -> Self {
        Self {
            home: Some(home),
            ..self
        }
    }

    /// Does one call, at the home of its partition.
    pub async fn execute(
        &self,
        request: CommandRequest,
        trace_id: Option<String>,
    ) -> CommandAnswer {
        if let Some(home) = &self.home {
            match home.command(&request, trace_id.as_ref()).await {
                None => {}
                Some(Ok(answer)) => return answer,
                Some(Err(error)) => {
                    return CommandAnswer {
                        position: position(&*self.store),
                        asked_for_caller: false,
                        outcome: Err(error),
                    };
                }
            }
        }
        self.execute_here(request, trace_id).await
    }

    /// Does one call at this core.
    pub async fn execute_here(
        &self,
        request: CommandRequest,
        trace_id: Option<String>,
    ) -> CommandAnswer {
        self.call_and_count(&request, trace_id, Keeping::Answers)
            .await
    }

    async fn call_and_count(
        &self,
        request: &CommandRequest,
        trace_id: Option<String>,
        keeping: Keeping,
    ) -> CommandAnswer {
        let asked_for_caller = Arc::default();
        let outcome = self
            .run(request, trace_id, &asked_for_caller, keeping)
            .await;
        let asked_for_caller = asked_for_caller.load(Ordering::Relaxed);
        let result = match &outcome {
            Ok(_) => "done",
            Err(CommandError::Refused(_)) => "refused",
            Err(CommandError::Unavailable(_)) => "unavailable",
            Err(CommandError::Failed(_)) => "failed",
            Err(CommandError::Invalid(_) | CommandError::Denied(_)) => "rejected",
        };
        // A name that is not deployed is whatever a guest made up: it must not become a series of its own.
        let table = self.tables.current();
        let command = match deployed(&table, request) {
            Some(deployment) => deployment.name.to_string(),
            None => "none".to_owned(),
        };
        metrics::counter!("brink_core_commands_total", "command" => command, "result" => result)
            .increment(1);
        match outcome {
            Ok((output, position)) => CommandAnswer {
                position,
                asked_for_caller,
                outcome: Ok(output),
            },
            Err(error) => CommandAnswer {
                position: position(&*self.store),
                asked_for_caller,
                outcome: Err(error),
            },
        }
    }

    async fn run(
        &self,
        request: &CommandRequest,
        trace_id: Option<String>,
        asked_for_caller: &Arc<AtomicBool>,
        keeping: Keeping,
    ) -> Result<(Bytes, Position), CommandError> {
        check(request)?;
        let table = self.tables.current();
        let deployment = deployed(&table, request).ok_or_else(|| {
            CommandError::Denied(format!("there is no command {} here", request.command))
        })?;
        let run = Run {
            request,
            deployment,
            partition: PartitionAddress {
                tenant: request.tenant.clone(),
                collection: request.collection.clone(),
                partition: request.partition.clone(),
            },
            input_digest: Digest::of(&request.input),
            trace_id,
            asked_for_caller,
            keeping,
        };
        let _turn = tokio::time::timeout(PARTITION_WAIT, self.turns.turn(&run.partition))
            .await
            .map_err(|_| unavailable("too many commands wait for this partition"))?;
        if let Some(answer) = self.kept(&run).await? {
            // What the run that made it asked for is not kept.
            asked_for_caller.store(true, Ordering::Relaxed);
            // Whatever the input is now: who calls may choose an id anew each time, and compares what it must itself.
            return Ok((keeping.read(answer.output)?, answer.position));
        }
        for attempt in 0..ATTEMPTS_MAX {
            if attempt > 0 {
                metrics::counter!("brink_core_command_retries_total").increment(1);
                tokio::time::sleep(self.jitter(attempt)).await;
            }
            if let Attempt::Done(output, position) = self.attempt(&run).await? {
                return Ok((output, position));
            }
        }
        Err(unavailable("the partition changed in each of 8 runs"))
    }

    /// Up to 2^attempt milliseconds.
    fn jitter(&self, attempt: u32) -> Duration {
        let span_us = 1000u64 << attempt.min(ATTEMPTS_MAX);
        Duration::from_micros(
            self.hasher
                .hash_one((attempt, now_ms(), std::time::Instant::now()))
                % span_us,
        )
    }

    async fn kept(&self, run: &Run<'_>) -> Result<Option<Answer>, CommandError> {
        let Some(key) = &run.request.idempotency_key else {
            return Ok(None);
        };
        let key = AnswerKey {
            partition: run.partition.clone(),
            command: run.request.command.clone(),
            key: run.keeping.key(key),
        };
        self.store
            .answer(&key, now_ms())
            .await
            .map_err(|error| store_failed(&error))
    }

    /// Runs the command once and commits what it wrote.
    async fn attempt(&self, run: &Run<'_>) -> Result<Attempt, CommandError> {
        let now = now_ms();
        let store = Arc::clone(&self.store);
        let records = Arc::new(TransactionRecords::new(store, run.partition.clone(), now));
        let answer = self.call(run, Arc::clone(&records), now).await;
        if let Some(text) = records.unavailable() {
            return Err(CommandError::Unavailable(text));
        }
        let answer = answer?;
        let (seen, mut writes) = records.take();
        if answer.is_err() {
            // A refusal writes nothing, but what it was decided on must have been true at one moment.
            writes.clear();
        }
        let output = run.keeping.written(&answer);
        let keep = output.zip(run.request.idempotency_key.as_ref());
        let keep = keep.map(|(output, key)| NewAnswer {
            command: run.request.command.clone(),
            key: run.keeping.key(key),
            input: run.input_digest,
            output,
            lifetime_ms: run.keeping.lifetime_ms(),
        });
        let transaction = Transaction {
            partition: run.partition.clone(),
            seen,
            writes,
            answer: keep,
            now_ms: now,
        };
        events::register_new(&*self.store, &transaction)
            .await
            .map_err(|error| store_failed(&error))?;
        match self
            .store
            .commit_by(transaction, &run.author())
            .await
            .map_err(|error| store_failed(&error))?
        {
            Commit::Done { position, .. } => answer
                .map(|output| Attempt::Done(output, position))
                .map_err(CommandError::Refused),
            Commit::Conflict { .. } => Ok(Attempt::Again),
            Commit::Answered(kept) => {
                run.asked_for_caller.store(true, Ordering::Relaxed);
                let output = run.keeping.read(kept.output)?;
                Ok(Attempt::Done(output, kept.position))
            }
        }
    }

    /// Runs the component: its answer, or the bytes of its refusal.
    async fn call(
        &self,
        run: &Run<'_>,
        records: Arc<TransactionRecords>,
        now_ms: u64,
    ) -> Result<Result<Bytes, Bytes>, CommandError> {
        let (request, deployment) = (run.request, run.deployment);
        let component = self.components.load(&deployment.digest).await;
        let component = component.map_err(|error| {
            tracing::error!(%error, command = %deployment.name, "a command was not loaded");
            CommandError::Failed("the command could not be loaded".into())
        })?;
        let context = Context {
            records: Arc::clone(&records) as _,
            events: Arc::clone(&records) as _,
            event_log: records,
            identity: Arc::new(CommandIdentity {
                tenant: request.tenant.clone(),
                subject: request.subject.clone(),
                asked: Arc::clone(run.asked_for_caller),
                region: self.region.clone(),
                node: self.node.clone(),
            }),
            log: Arc::new(CommandLog {
                logs: Arc::clone(&self.logs),
                tenant: request.tenant.clone(),
                module: request.command.clone(),
                node: self.node.clone(),
                trace_id: run.trace_id.clone(),
                now_ms,
            }),
            config: Arc::new(deployment.config.clone()),
            grants: deployment.grants,
            now: Some(UNIX_EPOCH + Duration::from_millis(now_ms)),
            ..Context::denied()
        };
        match component
            .execute(request.input.to_vec(), context, &deployment.limits)
            .await
        {
            Ok(answer) => Ok(answer.map(Bytes::from).map_err(Bytes::from)),
            Err(RunError::Overloaded { reason }) => Err(CommandError::Unavailable(reason)),
            Err(error) => {
                tracing::warn!(%error, command = %request.command, "a command failed");
                Err(CommandError::Failed(error.to_string()))
            }
        }
    }
}
