//! What the core does by itself: streams, projections and workflows, on the platform in memory.

use super::Platform;
use super::platform::commands;
use super::state::with;
use crate::bindings::module::brink::platform::commands::{Call, Error};
use crate::events::Event;
use crate::problem::Problem;
use crate::projection::{self, Projection};
use crate::workflow::{STEPS_MAX, Steps, decide};
use crate::workflow_types::{Decision, Outcome, StepCall};
use crate::{Halt, workflows};
use serde::{Serialize, de::DeserializeOwned};

impl Platform {
    /// Appends an event whose payload is JSON to the stream of a partition.
    ///
    /// # Panics
    /// The payload has no JSON form.
    #[allow(
        clippy::expect_used,
        reason = "a test that cannot seed its events must stop"
    )]
    pub fn event<T: Serialize + ?Sized>(
        &self,
        collection: &str,
        partition: &str,
        kind: &str,
        payload: &T,
    ) -> &Self {
        let payload = serde_json::to_vec(payload).expect("a payload with a JSON form");
        let partition = (collection.to_owned(), partition.to_owned());
        with(|state| state.append(partition, kind, &payload));
        self
    }

    /// The stream of a partition.
    #[must_use]
    pub fn events(&self, collection: &str, partition: &str) -> Vec<Event> {
        let partition = (collection.to_owned(), partition.to_owned());
        with(|state| state.events.get(&partition).cloned().unwrap_or_default())
    }

    /// The events of a partition up to this number have ended by their lifetime.
    pub fn forget(&self, collection: &str, partition: &str, number: u64) -> &Self {
        let partition = (collection.to_owned(), partition.to_owned());
        with(|state| {
            if let Some(stream) = state.events.get_mut(&partition) {
                stream.retain(|event| event.number > number);
            }
        });
        self
    }

    /// Lets a projection apply the events of a partition that it has not applied yet, one after the other. The target
    /// collection is the configuration's value `target`.
    ///
    /// # Errors
    /// The problem of the first event that was not applied; its writes are taken back.
    pub fn project<P: Projection>(&self, collection: &str, partition: &str) -> Result<(), Problem> {
        let key = (collection.to_owned(), partition.to_owned());
        let place = (std::any::type_name::<P>(), key);
        let after = with(|state| state.projected.get(&place).copied().unwrap_or_default());
        let events = self.events(collection, partition);
        for event in events.into_iter().filter(|event| event.number > after) {
            let before = with(|state| state.partitions.clone());
            let number = event.number;
            let applied = projection::apply_events::<P>(partition.to_owned(), &[event]);
            if applied.is_err() {
                with(|state| state.partitions = before);
                return applied;
            }
            with(|state| state.projected.insert(place.clone(), number));
        }
        Ok(())
    }

    /// Deploys a workflow, which can be started and does nothing by itself.
    pub fn workflow(&self, name: &str) -> &Self {
        with(|state| state.workflows.insert(name.to_owned()));
        self
    }

    /// The workflows that were started: name, id and input.
    #[must_use]
    pub fn started(&self) -> Vec<(String, String, Vec<u8>)> {
        with(|state| {
            let all = state.instances.iter();
            all.map(|((name, id), instance)| (name.clone(), id.clone(), instance.input.clone()))
                .collect()
        })
    }

    /// Says where a workflow that was started stands.
    pub fn stands(&self, name: &str, id: &str, state: workflows::State) -> &Self {
        let key = (name.to_owned(), id.to_owned());
        with(|platform| {
            if let Some(instance) = platform.instances.get_mut(&key) {
                instance.state = state;
            }
        });
        self
    }

    /// Runs a workflow's function to its end, over the commands that are deployed here. Waits take no time.
    ///
    /// # Panics
    /// The input has no JSON form, a command is not deployed or fails, a compensation refuses, or it has more than 256 steps.
    #[allow(
        clippy::expect_used,
        clippy::panic,
        reason = "a test whose workflow cannot go on must stop"
    )]
    pub fn run<I: DeserializeOwned, O: Serialize>(
        &self,
        input: &(impl Serialize + ?Sized),
        handler: impl Fn(I, &mut Steps) -> Result<O, Halt>,
    ) -> workflows::State {
        let input = serde_json::to_vec(input).expect("an input with a JSON form");
        let (mut outcomes, mut compensations) = (Vec::new(), Vec::new());
        while outcomes.len() < STEPS_MAX {
            match decide(&input, outcomes.clone(), &handler) {
                Decision::Call(step) => {
                    let outcome = match call(step.call) {
                        Ok(answer) => {
                            compensations.extend(step.compensation);
                            Outcome::Done(answer)
                        }
                        Err(refusal) => Outcome::Refused(refusal),
                    };
                    outcomes.push(outcome);
                }
                Decision::Wait(_) => outcomes.push(Outcome::Elapsed),
                Decision::Complete(output) => return workflows::State::Completed(output),
                Decision::Fail(reason) => {
                    for compensation in compensations.into_iter().rev() {
                        let command = compensation.command.clone();
                        if call(compensation).is_err() {
                            panic!("the compensation {command} refused");
                        }
                    }
                    return workflows::State::Failed(reason);
                }
            }
        }
        panic!("the workflow has more than {STEPS_MAX} steps");
    }
}

/// Calls a command; its refusal.
#[allow(clippy::panic, reason = "a test whose command is not there must stop")]
fn call(call: StepCall) -> Result<Vec<u8>, Vec<u8>> {
    let call = Call {
        command: call.command,
        collection: call.collection,
        partition: call.partition,
        input: call.input,
        idempotency_key: None,
    };
    match commands::execute(&call) {
        Ok(answer) => Ok(answer),
        Err(Error::Refused(bytes)) => Err(bytes),
        Err(error) => panic!("the command {}: {error:?}", call.command),
    }
}
