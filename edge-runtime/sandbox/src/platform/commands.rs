//! `brink:platform/commands`.

use crate::{bindings::platform::commands as wit, context::CommandCall, host::Host};
use brink_protocol::{
    link::CommandError,
    record::{VALUE_BYTES_MAX, check_partition},
};

/// Longest idempotency key, in bytes.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;

impl From<CommandError> for wit::Error {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Invalid(text) => Self::Invalid(text),
            CommandError::Denied(text) => Self::Denied(text),
            CommandError::Refused(bytes) => Self::Refused(bytes.into()),
            CommandError::Failed(text) => Self::Failed(text),
            CommandError::Unavailable(text) => Self::Unavailable(text),
        }
    }
}

/// A call within its limits.
fn checked(call: wit::Call) -> Result<CommandCall, wit::Error> {
    let invalid = |text: String| wit::Error::Invalid(text);
    let command = call
        .command
        .parse()
        .map_err(|error: brink_protocol::Error| invalid(error.to_string()))?;
    check_partition(&call.collection, &call.partition)
        .map_err(|error| invalid(error.to_string()))?;
    if call.input.len() > VALUE_BYTES_MAX {
        return Err(invalid(format!(
            "the input of a command is {} bytes, the limit is {VALUE_BYTES_MAX}",
            call.input.len()
        )));
    }
    if let Some(key) = &call.idempotency_key
        && !((1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len())
            && key.bytes().all(|b| b.is_ascii_graphic()))
    {
        let text = "an idempotency key is 1 to 128 visible ASCII characters";
        return Err(invalid(text.into()));
    }
    Ok(CommandCall {
        command,
        collection: call.collection,
        partition: call.partition,
        input: call.input.into(),
        idempotency_key: call.idempotency_key,
    })
}

impl wit::Host for Host {
    async fn execute(&mut self, call: wit::Call) -> wasmtime::Result<Result<Vec<u8>, wit::Error>> {
        let call = match checked(call) {
            Ok(call) => call,
            Err(error) => return Ok(Err(error)),
        };
        let answer = self.context.commands.execute(call).await;
        Ok(answer.map_err(Into::into))
    }
}
