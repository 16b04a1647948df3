//! Workflows: starting, looking, trying again, ending.

use super::app::App;
use super::extract::{JsonBody, Operator, Params, PathParts, Reader};
use super::records::compact;
use super::reply::{Failure, Reply, Written};
use crate::{
    clock::now_ms,
    store::NewAudit,
    tokens::Caller,
    workflows::{Unstarted, phase},
};
use axum::{Json, extract::State};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use brink_protocol::{
    ModuleName, Position,
    control::{
        CancelWorkflow, NewWorkflow, ShownBytes, ShownStep, ShownWorkflow, StartedWorkflow,
        WorkflowPage, WorkflowPhase, WorkflowRow,
    },
    workflow::{Instance, Outcome, Progress, StartWorkflow, StepRecord, Undo, WorkflowError},
};
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use std::sync::Arc;

/// Most workflows of one answer.
const LIMIT_MAX: usize = 200;

/// Starts a workflow under an id of the caller's. It is durable when this answers.
#[utoipa::path(post, path = "/v1/workflows/{name}", tag = "workflows", request_body = NewWorkflow,
    params(("name" = String, Path, description = "The workflow's module")),
    responses((status = 201, body = StartedWorkflow), (status = 200, body = StartedWorkflow, description = "It was there"),
        (status = 409, body = brink_protocol::problem::Problem, description = "The id was used with another input"),
        (status = 429, body = brink_protocol::problem::Problem, description = "`too-many-workflows`: as many are open as may be")))]
pub(super) async fn start(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    PathParts(name): PathParts<String>,
    JsonBody(new): JsonBody<NewWorkflow>,
) -> Reply<Written<StartedWorkflow>> {
    let name: ModuleName = name.parse()?;
    let request = StartWorkflow {
        tenant: caller.tenant.clone(),
        caller: name.clone(),
        subject: None,
        name,
        input: input(&new)?,
        id: new.id,
    };
    request.check()?;
    audit(
        &app,
        &caller,
        "workflows.start",
        (&request.name, &request.id),
    )
    .await?;
    let id = request.id.clone();
    let (is_new, position) = app
        .workflows
        .start(request, None)
        .await
        .map_err(start_failed)?;
    let status = match is_new {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    Ok(Written {
        status,
        position,
        body: StartedWorkflow { id, is_new },
    })
}

fn start_failed(error: Unstarted) -> Failure {
    let error = match error {
        Unstarted::Full(max) => {
            let title = "As many workflows are open as may be";
            let text = format!("{max} workflows are open: `workflows.open_max`");
            return Failure::new(429, "too-many-workflows", title, text);
        }
        Unstarted::Not(error) => error,
    };
    match error {
        WorkflowError::Invalid(text) => {
            Failure::new(409, "conflict", "This does not fit what is there", text)
        }
        WorkflowError::Denied(text) => Failure::not_found(text),
        WorkflowError::Unavailable(text) => Failure::new(
            503,
            "unavailable",
            "The core could not do this in time",
            format!("{text}. Start it again under the same id."),
        ),
    }
}

fn input(new: &NewWorkflow) -> Reply<Bytes> {
    let wrong = |detail: String| Failure::new(422, "invalid", "The input is not valid", detail);
    match (&new.input, &new.base64) {
        (Some(_), Some(_)) => Err(wrong("There is both an input and base64.".into())),
        (Some(json), None) => {
            compact(json.get()).ok_or_else(|| wrong("It is nested too deeply.".into()))
        }
        (None, Some(text)) => STANDARD
            .decode(text)
            .map(Bytes::from)
            .map_err(|error| wrong(format!("Its base64 is not valid: {error}"))),
        (None, None) => Ok(Bytes::new()),
    }
}

async fn audit(
    app: &App,
    caller: &Caller,
    action: &'static str,
    (name, id): (&ModuleName, &str),
) -> Reply<()> {
    let audit = NewAudit {
        by: caller.id.clone(),
        tenant: caller.tenant.clone(),
        action,
        subject: format!("{name}/{id}"),
        at_ms: now_ms(),
    };
    Ok(app.store.add_audit(audit).await?)
}

/// Which workflows.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WorkflowsQuery {
    /// Of this module; of every one if it is left out.
    name: Option<String>,
    /// Those that stand so; all if it is left out.
    state: Option<WorkflowPhase>,
    /// 1 to 200; 50 if it is left out.
    limit: Option<usize>,
    /// Go on where a page ended: its `next`.
    before: Option<String>,
}

/// Workflows, the newest start first. A page may be short, and there be more.
#[utoipa::path(get, path = "/v1/workflows", tag = "workflows", params(WorkflowsQuery),
    responses((status = 200, body = WorkflowPage)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Reader(caller): Reader,
    Params(query): Params<WorkflowsQuery>,
) -> Reply<Json<WorkflowPage>> {
    let name: Option<ModuleName> = query.name.map(|name| name.parse()).transpose()?;
    let limit = query.limit.unwrap_or(50).clamp(1, LIMIT_MAX);
    let wanted = (name.as_ref(), query.state);
    let before = query.before.as_deref();
    let listed = app
        .workflows
        .list(&caller.tenant, wanted, before, limit)
        .await?;
    let rows = listed.instances.iter();
    Ok(Json(WorkflowPage {
        workflows: rows
            .map(|(name, id, instance)| row(name, id, instance))
            .collect(),
        next: listed.next,
    }))
}

/// Shows a workflow: its decisions, what came of them, and what it waits for.
#[utoipa::path(get, path = "/v1/workflows/{name}/{id}", tag = "workflows",
    params(("name" = String, Path, description = "The workflow's module"), ("id" = String, Path, description = "Its id")),
    responses((status = 200, body = ShownWorkflow)))]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    PathParts((name, id)): PathParts<(String, String)>,
) -> Reply<Json<ShownWorkflow>> {
    let name: ModuleName = name.parse()?;
    let instance = app.workflows.get(&caller.tenant, &name, &id).await?;
    let result = instance.completed.as_ref().or(instance.failure.as_ref());
    Ok(Json(ShownWorkflow {
        row: row(&name, &id, &instance),
        version: instance.deployed.as_ref().map_or(0, |d| d.version),
        caller: instance.caller.clone(),
        subject: instance.subject.clone(),
        input: shown(&instance.input),
        result: result.map(shown),
        due_at_ms: instance.due.map(|due| due.at_ms),
        at_work: instance.at_work.clone(),
        decisions: instance.steps.iter().map(step).collect(),
    }))
}

fn row(name: &ModuleName, id: &str, instance: &Instance) -> WorkflowRow {
    let stuck = instance.stuck.as_ref().map(|stuck| stuck.reason.clone());
    WorkflowRow {
        name: name.clone(),
        id: id.to_owned(),
        state: phase(instance),
        steps: instance.steps.len() as u64,
        started_at_ms: instance.started_at_ms,
        ended_at_ms: instance.has_ended().then_some(instance.ended_at_ms),
        trouble: stuck.or_else(|| instance.last_error.clone()),
    }
}

fn shown(bytes: &Bytes) -> ShownBytes {
    let json = serde_json::from_slice(bytes).ok();
    let base64 = json.is_none().then(|| STANDARD.encode(bytes));
    ShownBytes { json, base64 }
}

fn step(step: &StepRecord) -> ShownStep {
    let (state, answer) = match &step.progress {
        Progress::Calling => ("calling", None),
        Progress::Waiting(_) => ("waiting", None),
        Progress::Ended(Outcome::Done(bytes)) => ("done", Some(shown(bytes))),
        Progress::Ended(Outcome::Refused(bytes)) => ("refused", Some(shown(bytes))),
        Progress::Ended(Outcome::Elapsed) => ("elapsed", None),
        Progress::GivenUp(_) => ("given-up", None),
    };
    let call = step.call.as_ref();
    ShownStep {
        command: call.map(|call| call.command.clone()),
        collection: call.map(|call| call.collection.clone()),
        partition: call.map(|call| call.partition.clone()),
        state: state.to_owned(),
        answer,
        began_at_ms: step.began_at_ms,
        ended_at_ms: (step.ended_at_ms > 0).then_some(step.ended_at_ms),
        compensation: step.compensation.as_ref().map(|call| call.command.clone()),
        compensated_at_ms: match step.undo {
            Undo::Done { at_ms } => Some(at_ms),
            Undo::None | Undo::Pending { .. } => None,
        },
    }
}

/// What an operator's word changed.
fn accepted(position: Position, id: String) -> Written<StartedWorkflow> {
    Written {
        status: StatusCode::ACCEPTED,
        position,
        body: StartedWorkflow { id, is_new: false },
    }
}

/// Tries again at once what stands still or waits for its next attempt. One that is under way goes on.
#[utoipa::path(post, path = "/v1/workflows/{name}/{id}/retry", tag = "workflows",
    params(("name" = String, Path, description = "The workflow's module"), ("id" = String, Path, description = "Its id")),
    responses((status = 202, body = StartedWorkflow),
        (status = 409, body = brink_protocol::problem::Problem, description = "It has ended")))]
pub(super) async fn retry(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    PathParts((name, id)): PathParts<(String, String)>,
) -> Reply<Written<StartedWorkflow>> {
    let name: ModuleName = name.parse()?;
    audit(&app, &caller, "workflows.retry", (&name, &id)).await?;
    let position = app.workflows.retry(&caller.tenant, &name, &id).await?;
    Ok(accepted(position, id))
}

/// Ends a workflow: it fails now, and what was done is compensated.
#[utoipa::path(post, path = "/v1/workflows/{name}/{id}/cancel", tag = "workflows", request_body = CancelWorkflow,
    params(("name" = String, Path, description = "The workflow's module"), ("id" = String, Path, description = "Its id")),
    responses((status = 202, body = StartedWorkflow),
        (status = 409, body = brink_protocol::problem::Problem, description = "It has ended")))]
pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    PathParts((name, id)): PathParts<(String, String)>,
    JsonBody(asked): JsonBody<CancelWorkflow>,
) -> Reply<Written<StartedWorkflow>> {
    let name: ModuleName = name.parse()?;
    audit(&app, &caller, "workflows.cancel", (&name, &id)).await?;
    let reason = asked.reason.unwrap_or_else(|| "by an operator".into());
    let cancelled = app
        .workflows
        .cancel(&caller.tenant, &name, &id, &reason)
        .await;
    Ok(accepted(cancelled?, id))
}
