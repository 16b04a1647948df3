//! `brink:platform/workflows`.

use crate::{
    bindings::platform::{workflow_types, workflows as wit},
    host::Host,
};
use brink_protocol::{
    ModuleName,
    workflow::{INPUT_BYTES_MAX, WorkflowError, WorkflowState, check_id},
};

impl From<WorkflowError> for wit::Error {
    fn from(error: WorkflowError) -> Self {
        match error {
            WorkflowError::Invalid(text) => Self::Invalid(text),
            WorkflowError::Denied(text) => Self::Denied(text),
            WorkflowError::Unavailable(text) => Self::Unavailable(text),
        }
    }
}

impl From<WorkflowState> for wit::State {
    fn from(state: WorkflowState) -> Self {
        match state {
            WorkflowState::Running => Self::Running,
            WorkflowState::Compensating => Self::Compensating,
            WorkflowState::Completed(bytes) => Self::Completed(bytes.into()),
            WorkflowState::Failed(bytes) => Self::Failed(bytes.into()),
        }
    }
}

/// A name and an id within their limits.
fn checked(name: &str, id: &str) -> Result<ModuleName, wit::Error> {
    let invalid = |error: brink_protocol::Error| wit::Error::Invalid(error.to_string());
    check_id(id).map_err(invalid)?;
    name.parse().map_err(invalid)
}

impl workflow_types::Host for Host {}

impl wit::Host for Host {
    async fn start(
        &mut self,
        name: String,
        id: String,
        input: Vec<u8>,
    ) -> wasmtime::Result<Result<bool, wit::Error>> {
        let workflow = match checked(&name, &id) {
            Ok(workflow) => workflow,
            Err(error) => return Ok(Err(error)),
        };
        if input.len() > INPUT_BYTES_MAX {
            let text = format!(
                "the input of a workflow is {} bytes, the limit is {INPUT_BYTES_MAX}",
                input.len()
            );
            return Ok(Err(wit::Error::Invalid(text)));
        }
        let started = self
            .context
            .workflows
            .start(workflow, id, input.into())
            .await;
        Ok(started.map_err(Into::into))
    }

    async fn get(
        &mut self,
        name: String,
        id: String,
    ) -> wasmtime::Result<Result<Option<wit::State>, wit::Error>> {
        let workflow = match checked(&name, &id) {
            Ok(workflow) => workflow,
            Err(error) => return Ok(Err(error)),
        };
        let state = self.context.workflows.get(workflow, id).await;
        Ok(state.map(|state| state.map(Into::into)).map_err(Into::into))
    }
}
