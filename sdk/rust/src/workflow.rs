//! The world `workflow`: code that decides, step by step, what is done in several partitions.

use crate::problem::Problem;
use crate::workflow_types::{Decision, Outcome, Step, StepCall};
use serde::{Serialize, de::DeserializeOwned};

/// Most steps and waits of one workflow.
pub const STEPS_MAX: usize = 256;

impl StepCall {
    /// Calls the command deployed under that name in a partition, without input.
    pub fn new(
        command: impl Into<String>,
        collection: impl Into<String>,
        partition: impl Into<String>,
    ) -> Self {
        Self {
            command: command.into(),
            collection: collection.into(),
            partition: partition.into(),
            input: Vec::new(),
        }
    }

    /// With this input.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// With this input, as JSON.
    ///
    /// # Errors
    /// The value has no JSON form.
    pub fn json<T: Serialize + ?Sized>(self, input: &T) -> Result<Self, Problem> {
        let input = serde_json::to_vec(input).map_err(|error| {
            Problem::new(500, "Internal error").detail(format!("the step's input: {error}"))
        })?;
        Ok(self.input(input))
    }

    /// A step that `compensation` undoes if a later step fails.
    #[must_use]
    pub fn undone_by(self, compensation: StepCall) -> Step {
        Step {
            call: self,
            compensation: Some(compensation),
        }
    }
}

impl From<StepCall> for Step {
    fn from(call: StepCall) -> Self {
        Self {
            call,
            compensation: None,
        }
    }
}

/// Why a workflow's function goes no further for now: a step has to be done first, a time has to come, or it fails. `?` hands it on,
/// and makes a failure of a [`Problem`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halt(Box<Decision>);

impl Halt {
    fn with(decision: Decision) -> Self {
        Self(Box::new(decision))
    }
}

impl From<Problem> for Halt {
    fn from(problem: Problem) -> Self {
        Self::with(Decision::Fail(problem.to_bytes()))
    }
}

/// The steps of a workflow: those that are done are answered from what is kept, the next one is done.
///
/// The function is run from its beginning after every step, and must ask for the same steps each time: it decides by its input
/// and the answers alone.
#[derive(Debug)]
pub struct Steps {
    outcomes: std::vec::IntoIter<Outcome>,
}

impl Steps {
    /// Does a step. A refusal fails the workflow with the command's bytes: what was done before is compensated.
    ///
    /// # Errors
    /// To be handed on with `?`.
    pub fn call(&mut self, step: impl Into<Step>) -> Result<Vec<u8>, Halt> {
        self.attempt(step)?
            .map_err(|refusal| Halt::with(Decision::Fail(refusal)))
    }

    /// The same with an answer in JSON.
    ///
    /// # Errors
    /// To be handed on with `?`. An answer that is not the JSON expected fails the workflow.
    pub fn call_json<T: DeserializeOwned>(&mut self, step: impl Into<Step>) -> Result<T, Halt> {
        serde_json::from_slice(&self.call(step)?).map_err(|error| {
            Halt::from(
                Problem::new(500, "Internal error").detail(format!("the step's answer: {error}")),
            )
        })
    }

    /// Does a step whose refusal is no failure: the inner error is what the command refused with.
    ///
    /// # Errors
    /// To be handed on with `?`.
    pub fn attempt(&mut self, step: impl Into<Step>) -> Result<Result<Vec<u8>, Vec<u8>>, Halt> {
        match self.outcomes.next() {
            Some(Outcome::Done(answer)) => Ok(Ok(answer)),
            Some(Outcome::Refused(refusal)) => Ok(Err(refusal)),
            Some(Outcome::Elapsed) => Err(changed()),
            None => Err(Halt::with(Decision::Call(step.into()))),
        }
    }

    /// Waits for so many milliseconds, at most 366 days.
    ///
    /// # Errors
    /// To be handed on with `?`.
    pub fn wait(&mut self, ms: u64) -> Result<(), Halt> {
        match self.outcomes.next() {
            Some(Outcome::Elapsed) => Ok(()),
            Some(Outcome::Done(_) | Outcome::Refused(_)) => Err(changed()),
            None => Err(Halt::with(Decision::Wait(ms))),
        }
    }
}

/// What is kept does not fit what the function asks for.
fn changed() -> Halt {
    Halt::from(
        Problem::new(500, "Internal error")
            .detail("the workflow does not ask for the steps that it asked for before"),
    )
}

/// Decides on the host's bytes. [`crate::workflow!`] calls it, and tests may.
///
/// ```
/// use brink_sdk::{Decision, Halt, Outcome, StepCall, Steps, decide};
/// fn pay(amount: u32, steps: &mut Steps) -> Result<u32, Halt> {
///     let charge = StepCall::new("charge", "accounts", "ada").json(&amount)?;
///     steps.call_json(charge.undone_by(StepCall::new("refund", "accounts", "ada").json(&amount)?))
/// }
/// assert!(matches!(decide(b"3", Vec::new(), pay), Decision::Call(step) if step.call.command == "charge"));
/// assert_eq!(decide(b"3", vec![Outcome::Done(b"97".to_vec())], pay), Decision::Complete(b"97".to_vec()));
/// assert_eq!(decide(b"3", vec![Outcome::Refused(b"poor".to_vec())], pay), Decision::Fail(b"poor".to_vec()));
/// ```
pub fn decide<I: DeserializeOwned, O: Serialize>(
    input: &[u8],
    outcomes: Vec<Outcome>,
    handler: impl FnOnce(I, &mut Steps) -> Result<O, Halt>,
) -> Decision {
    let failed = |problem: Problem| Decision::Fail(problem.to_bytes());
    let input = match serde_json::from_slice(input) {
        Ok(input) => input,
        Err(error) => {
            let detail = format!("the workflow's input: {error}");
            return failed(Problem::unprocessable(detail));
        }
    };
    let mut steps = Steps {
        outcomes: outcomes.into_iter(),
    };
    match handler(input, &mut steps) {
        Ok(output) => match serde_json::to_vec(&output) {
            Ok(output) => Decision::Complete(output),
            Err(error) => {
                let detail = format!("the workflow's result: {error}");
                failed(Problem::new(500, "Internal error").detail(detail))
            }
        },
        Err(Halt(decision)) => *decision,
    }
}

/// Makes a component of world `workflow` from a function `fn(Input, &mut Steps) -> Result<Output, Halt>` over JSON.
///
/// ```
/// use brink_sdk::{Halt, StepCall, Steps, workflows::State};
/// fn fulfil(sku: String, steps: &mut Steps) -> Result<String, Halt> {
///     let stock = |command: &str| StepCall::new(command, "stock", "ams").json(&sku);
///     steps.call(stock("reserve")?.undone_by(stock("release")?))?;
///     steps.wait(60_000)?;
///     steps.call_json(StepCall::new("charge", "accounts", "ada").json(&sku)?)
/// }
/// brink_sdk::workflow!(fulfil);
/// # let platform = brink_sdk::testing::Platform::new();
/// # platform.command("reserve", |_| Ok(Vec::new())).command("charge", |_| Ok(b"\"paid\"".to_vec()));
/// # assert_eq!(platform.run(&"AB-1", fulfil), State::Completed(b"\"paid\"".to_vec()));
/// ```
#[macro_export]
macro_rules! workflow {
    ($handler:path) => {
        const _: () = {
            #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
            mod bindings {
                // The part of wit/platform.wit that a workflow exports; a test holds it to that file.
                $crate::wit_bindgen::generate!({
                    inline: r#"
package brink:platform@0.1.0;

interface workflow-types {
    record step-call {
        command: string,
        collection: string,
        partition: string,
        input: list<u8>,
    }

    record step {
        call: step-call,
        compensation: option<step-call>,
    }

    variant outcome {
        done(list<u8>),
        refused(list<u8>),
        elapsed,
    }

    variant decision {
        call(step),
        wait(u64),
        complete(list<u8>),
        fail(list<u8>),
    }
}

world workflow {
    use workflow-types.{outcome, decision};

    export decide: func(input: list<u8>, outcomes: list<outcome>) -> decision;
}
"#,
                    world: "workflow",
                    runtime_path: "::brink_sdk::wit_bindgen::rt",
                    with: { "brink:platform/workflow-types@0.1.0": ::brink_sdk::workflow_types },
                });

                pub struct Component;

                #[cfg(target_arch = "wasm32")]
                export!(Component);
            }

            impl bindings::Guest for bindings::Component {
                fn decide(
                    input: ::std::vec::Vec<u8>,
                    outcomes: ::std::vec::Vec<$crate::Outcome>,
                ) -> $crate::Decision {
                    $crate::decide(&input, outcomes, $handler)
                }
            }
        };
    };
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::contract;
    use crate::log;
    use crate::testing::Platform;
    use crate::workflows::State;

    #[test]
    fn the_world_is_that_of_the_contract() {
        contract::check(include_str!("workflow.rs"), "workflow");
    }

    fn three(fails_at: usize, steps: &mut Steps) -> Result<Vec<usize>, Halt> {
        let mut done = Vec::new();
        for n in 0..3 {
            let call = |command: &str| StepCall::new(command, "c", n.to_string()).json(&n);
            let command = if n == fails_at { "refuse" } else { "do" };
            done.push(steps.call_json(call(command)?.undone_by(call("undo")?))?);
        }
        steps.wait(1000)?;
        let asked = steps.attempt(StepCall::new("refuse", "c", "x"))?;
        assert_eq!(asked, Err(b"no".to_vec()));
        Ok(done)
    }

    #[test]
    fn what_was_done_is_compensated_the_last_first() {
        let platform = Platform::new();
        let note = |name: &'static str| {
            move |input: &[u8]| {
                let text = format!("{name} {}", String::from_utf8_lossy(input));
                log::emit(log::Level::Info, &text, &[]);
                Ok(input.to_vec())
            }
        };
        platform
            .command("do", note("do"))
            .command("undo", note("undo"));
        platform.command("refuse", |_| Err(b"no".to_vec()));
        assert_eq!(
            platform.run(&9, three),
            State::Completed(b"[0,1,2]".to_vec())
        );
        let said = platform.log().len();
        assert_eq!(platform.run(&2, three), State::Failed(b"no".to_vec()));
        let lines = platform.log().split_off(said);
        assert_eq!(
            lines,
            ["info do 0", "info do 1", "info undo 1", "info undo 0"]
        );
    }

    #[test]
    fn what_does_not_fit_fails() {
        for (input, outcomes, says) in [
            (&b"x"[..], vec![], "the workflow's input"),
            (b"9", vec![Outcome::Elapsed], "asked for before"),
            (
                b"9",
                vec![Outcome::Done(b"x".to_vec())],
                "the step's answer",
            ),
            (
                b"9",
                vec![Outcome::Done(b"1".to_vec()); 4],
                "asked for before",
            ),
        ] {
            let Decision::Fail(bytes) = decide(input, outcomes, three) else {
                unreachable!("{says}");
            };
            let problem = Problem::from_bytes(&bytes).unwrap();
            assert!(problem.to_string().contains(says), "{problem}");
        }
    }
}
