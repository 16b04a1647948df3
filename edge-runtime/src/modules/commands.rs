//! `brink:platform/commands` over the core link.

use super::{run::Run, undone::Asks};
use async_trait::async_trait;
use brink_protocol::link::{CommandAnswer, CommandError, CommandRequest, path};
use brink_sandbox::{CommandCall, Commands};

#[async_trait]
impl Commands for Run {
    async fn execute(&self, call: CommandCall) -> Result<Vec<u8>, CommandError> {
        let link = self.link().map_err(CommandError::Denied)?;
        {
            // What the command read at the core has no tag here.
            let mut collected = self.note();
            collected.unnamed = true;
        }
        let request = CommandRequest {
            tenant: self.tenant.clone(),
            caller: self.module.clone(),
            subject: self.caller.as_ref().and_then(|c| c.subject.clone()),
            command: call.command,
            collection: call.collection,
            partition: call.partition,
            input: call.input,
            idempotency_key: call.idempotency_key,
        };
        // With a key the core executes it once, however often it is asked.
        let asked = if request.idempotency_key.is_some() {
            link.change(path::COMMANDS, &request, self.asker()).await
        } else {
            link.call(path::COMMANDS, &request, self.asker()).await
        };
        let answer: CommandAnswer = asked.map_err(|error| self.undone(error, Asks::ToChange))?;
        {
            let mut collected = self.note();
            // As if the module had asked: its answer is made of the command's.
            collected.private |= answer.asked_for_caller;
            if answer.outcome.is_ok() {
                collected.written.merge(&answer.position);
            }
        }
        answer.outcome.map(|output| output.to_vec())
    }
}
