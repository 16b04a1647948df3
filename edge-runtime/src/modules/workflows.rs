//! `brink:platform/workflows`: started over the core link, looked up as the record that the core keeps of each.

use super::{run::Run, undone::Asks};
use async_trait::async_trait;
use brink_protocol::{
    ModuleName,
    link::path,
    record::RecordError,
    workflow::{
        Instance, StartWorkflow, StartWorkflowAnswer, WorkflowError, WorkflowState, instance_key,
    },
};
use brink_sandbox::{Records, Workflows};
use bytes::Bytes;

#[async_trait]
impl Workflows for Run {
    async fn start(
        &self,
        workflow: ModuleName,
        id: String,
        input: Bytes,
    ) -> Result<bool, WorkflowError> {
        let link = self.link().map_err(WorkflowError::Denied)?;
        // Whether there was one of this id is learned from its record; whether there is such a workflow, from nothing that
        // has a tag.
        self.depends_on(&[instance_key(&workflow, &id)]);
        self.note().unnamed = true;
        let request = StartWorkflow {
            tenant: self.tenant.clone(),
            caller: self.module.clone(),
            subject: self.caller.as_ref().and_then(|c| c.subject.clone()),
            name: workflow,
            id,
            input,
        };
        // However often it is asked, one of this id is started.
        let asked = link.change(path::WORKFLOWS, &request, self.asker()).await;
        let answer: StartWorkflowAnswer =
            asked.map_err(|error| self.undone(error, Asks::ToChange))?;
        if answer.outcome.is_ok() {
            self.note().written.merge(&answer.position);
        }
        answer.outcome
    }

    async fn get(
        &self,
        workflow: ModuleName,
        id: String,
    ) -> Result<Option<WorkflowState>, WorkflowError> {
        let found = Records::get(self, instance_key(&workflow, &id)).await;
        let found = found.map_err(|error| match error {
            RecordError::Invalid(text) => WorkflowError::Invalid(text),
            RecordError::Denied(text) => WorkflowError::Denied(text),
            RecordError::Conflict(_) => WorkflowError::Unavailable("the core is confused".into()),
            RecordError::Unavailable(text) => WorkflowError::Unavailable(text),
        })?;
        let Some(entry) = found else { return Ok(None) };
        let instance = Instance::decode(&entry.value).map_err(|error| {
            WorkflowError::Unavailable(format!("the workflow's record is damaged: {error}"))
        })?;
        Ok(instance.state())
    }
}
