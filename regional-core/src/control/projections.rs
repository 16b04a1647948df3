//! Projections: where they stand, their dead letters, replays.

use super::app::App;
use super::events::shown;
use super::extract::{JsonBody, Operator, Params, PathParts, Reader};
use super::reply::Reply;
use crate::{
    clock::now_ms,
    projections::{Handled, Letter, Names, Stands},
    store::NewAudit,
    tokens::Caller,
};
use axum::{Json, extract::State};
use brink_protocol::{
    ModuleName,
    control::{
        DeadLetter, DeadLetters, DropTarget, DroppedTarget, ProjectionStatus, Replay, Replayed,
        RetriedLetter,
    },
};
use http::StatusCode;
use serde::Deserialize;
use std::sync::Arc;

/// Most dead letters of one answer.
const LETTERS_MAX: u32 = 100;

/// Lists the projections: how far each is, and how many events it has given up.
#[utoipa::path(get, path = "/v1/projections", tag = "projections",
    responses((status = 200, body = [ProjectionStatus])))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Reader(caller): Reader,
) -> Reply<Json<Vec<ProjectionStatus>>> {
    let all = app.projections.list(&caller.tenant).await?;
    Ok(Json(all.into_iter().map(status).collect()))
}

fn status(stands: Stands) -> ProjectionStatus {
    let names = stands.names.as_ref().ok();
    ProjectionStatus {
        version: stands.deployment.version,
        source: names.map(|names| names.source.clone()),
        target: names.map(|names| names.target.clone()),
        problem: stands.problem(),
        name: stands.deployment.name,
        streams: stands.streams,
        streams_behind: stands.behind,
        lag: stands.lag,
        dead_letters: stands.letters,
        replays: stands.generation,
    }
}

/// Which dead letters.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LettersQuery {
    /// Those behind this id.
    after: Option<String>,
    /// 1 to 100; 20 if it is left out.
    limit: Option<u32>,
}

/// Lists the events that a projection has given up.
#[utoipa::path(get, path = "/v1/projections/{name}/dead-letters", tag = "projections",
    params(("name" = String, Path, description = "The projection"), LettersQuery),
    responses((status = 200, body = DeadLetters)))]
pub(super) async fn letters(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    PathParts(name): PathParts<String>,
    Params(query): Params<LettersQuery>,
) -> Reply<Json<DeadLetters>> {
    let name: ModuleName = name.parse()?;
    let limit = query.limit.unwrap_or(20).clamp(1, LETTERS_MAX);
    let (letters, more) = app
        .projections
        .letters(&caller.tenant, &name, query.after, limit)
        .await?;
    let letters = letters
        .into_iter()
        .map(|(id, letter)| shown_letter(id, letter));
    Ok(Json(DeadLetters {
        letters: letters.collect(),
        more,
    }))
}

fn shown_letter(id: String, letter: Letter) -> DeadLetter {
    DeadLetter {
        id,
        partition: letter.stream,
        target: letter.target,
        event: shown(letter.event),
        error: letter.error,
        attempts: letter.attempts,
        at_ms: letter.at_ms,
    }
}

async fn audit(app: &App, caller: &Caller, action: &'static str, subject: String) -> Reply<()> {
    let audit = NewAudit {
        by: caller.id.clone(),
        tenant: caller.tenant.clone(),
        action,
        subject,
        at_ms: now_ms(),
    };
    Ok(app.store.add_audit(audit).await?)
}

/// Applies a dead letter now, out of its turn, exactly once. It stays if the projection fails again.
#[utoipa::path(post, path = "/v1/projections/{name}/dead-letters/{id}/retry", tag = "projections",
    params(("name" = String, Path, description = "The projection"), ("id" = String, Path, description = "The letter")),
    responses((status = 200, body = RetriedLetter),
        (status = 422, body = brink_protocol::problem::Problem, description = "`projection-failed`: it failed again")))]
pub(super) async fn retry(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    PathParts((name, id)): PathParts<(String, String)>,
) -> Reply<Json<RetriedLetter>> {
    let name: ModuleName = name.parse()?;
    audit(&app, &caller, "projections.retry", format!("{name} {id}")).await?;
    let handled = app.projections.retry(&caller.tenant, &name, &id).await?;
    Ok(Json(RetriedLetter {
        applied: handled == Handled::Applied,
    }))
}

/// Drops a dead letter: its event will not be applied.
#[utoipa::path(delete, path = "/v1/projections/{name}/dead-letters/{id}", tag = "projections",
    params(("name" = String, Path, description = "The projection"), ("id" = String, Path, description = "The letter")),
    responses((status = 204, description = "It is gone")))]
pub(super) async fn drop_letter(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    PathParts((name, id)): PathParts<(String, String)>,
) -> Reply<StatusCode> {
    let name: ModuleName = name.parse()?;
    audit(&app, &caller, "projections.drop", format!("{name} {id}")).await?;
    app.projections
        .drop_letter(&caller.tenant, &name, &id)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Applies events again from a number on, of one stream or of all: for projections whose records may be made anew over
/// what is there. Dead letters of these events are dropped, since they come again.
#[utoipa::path(post, path = "/v1/projections/{name}/replay", tag = "projections", request_body = Replay,
    params(("name" = String, Path, description = "The projection")),
    responses((status = 202, body = Replayed)))]
pub(super) async fn replay(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    PathParts(name): PathParts<String>,
    JsonBody(replay): JsonBody<Replay>,
) -> Reply<(StatusCode, Json<Replayed>)> {
    let name: ModuleName = name.parse()?;
    let what = replay.partition.as_deref().unwrap_or("all streams");
    let subject = format!("{name}: {what} from {}", replay.from);
    audit(&app, &caller, "projections.replay", subject).await?;
    let replay = app
        .projections
        .replay(
            &caller.tenant,
            &name,
            replay.from,
            replay.partition.as_deref(),
        )
        .await?;
    Ok((StatusCode::ACCEPTED, Json(Replayed { replay })))
}

/// Deletes what a projection that is not deployed any more has written: its target's records, and how far it was.
#[utoipa::path(post, path = "/v1/projections/{name}/drop-target", tag = "projections", request_body = DropTarget,
    params(("name" = String, Path, description = "The former projection")),
    responses((status = 200, body = DroppedTarget),
        (status = 409, body = brink_protocol::problem::Problem, description = "It is deployed, or another writes there")))]
pub(super) async fn drop_target(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    PathParts(name): PathParts<String>,
    JsonBody(what): JsonBody<DropTarget>,
) -> Reply<Json<DroppedTarget>> {
    let name: ModuleName = name.parse()?;
    let subject = format!("{name}: {}", what.target);
    let config = [("source", what.source), ("target", what.target)]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
    let names = Names::of(&app.store, caller.tenant.clone(), name, &config)?;
    audit(&app, &caller, "projections.drop-target", subject).await?;
    let records = app.projections.drop_target(&names).await?;
    Ok(Json(DroppedTarget { records }))
}
