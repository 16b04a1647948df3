//! Calls of everything but modules: one call, one result.

use crate::{
    RunError,
    bindings::platform::{event_types, plugin_types, workflow_types},
    pool::{Exports, Live},
};
use std::sync::Arc;

/// A call.
pub(crate) enum Call {
    Execute(Vec<u8>),
    OnRequest(plugin_types::RequestHead),
    OnResponse(plugin_types::RequestHead, plugin_types::ResponseHead),
    Target(String, event_types::Event),
    Apply(String, Vec<event_types::Event>),
    Decide(Vec<u8>, Vec<workflow_types::Outcome>),
}

/// What it returned.
pub(crate) enum Returned {
    Executed(Result<Vec<u8>, Vec<u8>>),
    Request(plugin_types::RequestAction),
    Response(plugin_types::ResponseAction),
    Target(Option<String>),
    Applied(Result<(), Vec<u8>>),
    Decision(workflow_types::Decision),
}

/// Does a call in an instance.
pub(crate) async fn invoke(live: &mut Live, call: Call) -> wasmtime::Result<Returned> {
    let exports = Arc::clone(&live.exports);
    let store = &mut live.store;
    Ok(match (exports.as_ref(), call) {
        (Exports::Command(command), Call::Execute(input)) => {
            Returned::Executed(command.call_execute(store, &input).await?)
        }
        (Exports::Plugin(plugin), Call::OnRequest(head)) => {
            Returned::Request(plugin.call_on_request(store, &head).await?)
        }
        (Exports::Plugin(plugin), Call::OnResponse(request, response)) => {
            Returned::Response(plugin.call_on_response(store, &request, &response).await?)
        }
        (Exports::Projection(projection), Call::Target(partition, event)) => {
            Returned::Target(projection.call_target(store, &partition, &event).await?)
        }
        (Exports::Projection(projection), Call::Apply(partition, events)) => {
            Returned::Applied(projection.call_apply(store, &partition, &events).await?)
        }
        (Exports::Workflow(workflow), Call::Decide(input, outcomes)) => {
            Returned::Decision(workflow.call_decide(store, &input, &outcomes).await?)
        }
        (
            Exports::Module(_)
            | Exports::Command(_)
            | Exports::Plugin(_)
            | Exports::Projection(_)
            | Exports::Workflow(_),
            _,
        ) => wasmtime::bail!("a call of another world"),
    })
}

/// A call that returned another call's result: cannot be, and is no reason to panic.
pub(crate) fn unexpected() -> RunError {
    RunError::Trap {
        reason: "the host mixed up its calls".into(),
        backtrace: String::new(),
    }
}
