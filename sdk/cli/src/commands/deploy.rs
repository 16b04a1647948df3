//! `brink deploy` and `brink rollback`.

use crate::{
    address::{new_routes, route_text, values},
    args::{Deploy, Grant, Rollback, Shown, Waiting},
    client::Client,
    error::Error,
    output::{Output, pairs},
    project::{DeployDefaults, Project},
    rollout::{self, PopRun},
};
use brink_protocol::{
    ModuleName,
    caching::RouteCache,
    control,
    control::Deployed,
    deployment::{Deployment, Grants, Limits},
};
use http::Method;
use serde::Serialize;
use std::time::Duration;

/// How long a deploy without `--wait` looks for its PoPs: a PoP takes half a minute to compile a large component.
const LOOK: Duration = Duration::from_secs(60);

/// The result: what is deployed, and which PoPs run it.
#[derive(Debug, Serialize)]
struct Outcome {
    #[serde(flatten)]
    deployed: Deployed,
    pops: Vec<PopRun>,
}

/// Deploys a version.
pub(super) async fn run(
    args: &Deploy,
    client: impl FnOnce() -> Result<Client, Error>,
    output: Output,
) -> Result<(), Error> {
    let project = Project::find(&args.dir)?;
    let name = match (&args.name, &project) {
        (Some(name), _) => name.clone(),
        (None, Some(project)) => project.manifest.name.clone(),
        (None, None) => {
            return Err(Error::Usage(
                "name the module: brink deploy NAME (there is no brink.toml here)".into(),
            ));
        }
    };
    // A project's settings are for its own module only.
    let defaults = project
        .filter(|project| project.manifest.name == name)
        .map(|project| project.manifest.deploy);
    let mut deploy = request(args, name, &defaults.unwrap_or_default())?;
    let client = client()?;
    if let Some(changed) =
        changed_limits(args, deploy.limits.take(), &deploy.module, &client).await?
    {
        deploy.limits = Some(changed);
    }
    let deployed = client
        .send_json(Method::POST, "/v1/deployments", &deploy)
        .await?;
    finish(deployed, args.waiting, &client, output).await
}

/// What to ask for: flags, else the project's settings, else (nothing) those of the present deployment.
fn request(
    args: &Deploy,
    module: ModuleName,
    defaults: &DeployDefaults,
) -> Result<control::Deploy, Error> {
    let texts = if args.routes.is_empty() {
        &defaults.routes
    } else {
        &args.routes
    };
    let plugins = if args.plugins.is_empty() {
        &defaults.plugins
    } else {
        &args.plugins
    };
    let Shown {
        show_coherence,
        session_cookie,
    } = args.shown;
    let cache = args.caching.rules();
    let cache = cache.unwrap_or_else(|| defaults.cache.clone());
    let mut routes = new_routes(texts, plugins, args.shown, &cache)?;
    let says_more = show_coherence || session_cookie || cache != RouteCache::default();
    if routes.is_empty() && (!plugins.is_empty() || says_more) {
        // The route that a module without any has, named so that it can carry what is asked for.
        routes = new_routes(&[format!("/{module}")], plugins, args.shown, &cache)?;
    }
    let config = if args.config.is_empty() {
        defaults.config.clone()
    } else {
        Some(values(&args.config)?)
    };
    let grants = if args.grants.is_empty() {
        defaults.grants
    } else {
        Some(grants(&args.grants)?)
    };
    Ok(control::Deploy {
        module,
        version: args.version,
        config,
        limits: defaults.limits.clone(),
        grants,
        routes,
    })
}

fn grants(names: &[Grant]) -> Result<Grants, Error> {
    if names.contains(&Grant::None) && names.len() > 1 {
        return Err(Error::Usage(
            "--grant none stands alone: it takes all grants away".into(),
        ));
    }
    let has = |name| names.contains(&name);
    Ok(Grants {
        clock: has(Grant::Clock),
        random: has(Grant::Random),
        outbound_http: has(Grant::OutboundHttp),
        purge: has(Grant::Purge),
    })
}

/// The limits to send: flags over those of the project, or over those of the present deployment.
async fn changed_limits(
    args: &Deploy,
    of_project: Option<Limits>,
    module: &ModuleName,
    client: &Client,
) -> Result<Option<Limits>, Error> {
    let Deploy {
        wall_time_ms_max,
        cpu_time_ms_max,
        memory_bytes_max,
        response_bytes_max,
        ..
    } = *args;
    let sizes = [
        wall_time_ms_max,
        cpu_time_ms_max,
        memory_bytes_max,
        response_bytes_max,
    ];
    if sizes.iter().all(Option::is_none)
        && args.instance_reuse_max.is_none()
        && args.concurrency_max.is_none()
    {
        return Ok(of_project);
    }
    let base = match of_project {
        Some(limits) => limits,
        None => {
            let deployments: Vec<Deployment> = client.get("/v1/deployments").await?;
            deployments
                .into_iter()
                .find(|present| present.name == *module)
                .map(|present| present.limits)
                .unwrap_or_default()
        }
    };
    Ok(Some(Limits {
        wall_time_ms_max: wall_time_ms_max.unwrap_or(base.wall_time_ms_max),
        cpu_time_ms_max: cpu_time_ms_max.unwrap_or(base.cpu_time_ms_max),
        memory_bytes_max: memory_bytes_max.unwrap_or(base.memory_bytes_max),
        response_bytes_max: response_bytes_max.unwrap_or(base.response_bytes_max),
        instance_reuse_max: args.instance_reuse_max.unwrap_or(base.instance_reuse_max),
        concurrency_max: args.concurrency_max.unwrap_or(base.concurrency_max),
    }))
}

/// Goes back to an earlier version.
pub(super) async fn rollback(
    args: &Rollback,
    client: &Client,
    output: Output,
) -> Result<(), Error> {
    let path = format!("/v1/deployments/{}/rollback", args.name);
    let deployed = client
        .send_json(Method::POST, &path, &control::Rollback { to: args.to })
        .await?;
    finish(deployed, args.waiting, client, output).await
}

async fn finish(
    deployed: Deployed,
    waiting: Waiting,
    client: &Client,
    output: Output,
) -> Result<(), Error> {
    let time_max = match (waiting.wait, waiting.no_wait) {
        (_, true) => None,
        (true, false) => Some(Duration::from_secs(waiting.timeout.into())),
        (false, false) => Some(LOOK),
    };
    let pops = match time_max {
        Some(time_max) => rollout::wait(client, &deployed.position, time_max).await?,
        None => Vec::new(),
    };
    let late = waiting.wait && !rollout::all_run(&pops);
    let outcome = Outcome { deployed, pops };
    output.result(&outcome, |outcome| describe(outcome, time_max.is_some()))?;
    if late {
        return Err(Error::TimedOut(format!(
            "not every PoP runs it after {} s: {}",
            waiting.timeout,
            rollout::describe(&outcome.pops)
        )));
    }
    Ok(())
}

fn describe(outcome: &Outcome, looked: bool) -> String {
    let Deployed {
        deployment,
        previous_version,
        routes,
        ..
    } = &outcome.deployed;
    let before = previous_version
        .map(|version| format!(" (was {version})"))
        .unwrap_or_default();
    let routes: Vec<_> = routes
        .iter()
        .map(|route| route_text(route.host.as_deref(), &route.path))
        .collect();
    let mut rows = vec![
        (
            "Deployed",
            format!("{} version {}{before}", deployment.name, deployment.version),
        ),
        (
            "Routes",
            if routes.is_empty() {
                "none".into()
            } else {
                routes.join(", ")
            },
        ),
    ];
    if looked {
        rows.push(("PoPs", rollout::describe(&outcome.pops)));
    }
    pairs(&rows)
}

#[cfg(test)]
mod tests;
