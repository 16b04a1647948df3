//! A project in development: built, published to a platform of its own, and again whenever its sources change.

use super::{child::Pump, platform::Platform, watch::Watch};
use crate::{
    address::{new_routes, route_text},
    args::{Dev, Shown},
    build::{self, Built, Options, StdChoice},
    client::{Client, Content, PUBLISH_TIME_MAX},
    error::Error,
    inspect::{self, grant_names},
    log_lines::{self, NumberedLine},
    output::Output,
    private_file,
    project::Project,
    rollout,
};
use brink_protocol::{
    Digest, ModuleName,
    control::{Deploy, Deployed, Version},
    deployment::{Grants, Route, StaticAnswer, Target, WhenDisconnected, World, default_tenant},
};
use http::Method;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

/// How long the module's log is left alone after there was nothing to see.
const LOG_RETRY: Duration = Duration::from_millis(500);
/// Longest time for the PoP to run what was deployed.
const ROLLOUT_TIME_MAX: Duration = Duration::from_secs(30);

/// Runs a project until `stop`.
///
/// # Errors
/// It does not build the first time, or a server fails. Later failures are told, and the last good version keeps running.
pub(super) async fn run(
    project: &Project,
    args: &Dev,
    output: Output,
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    let data = Data::prepare(project, args.keep_data)?;
    let mut platform = None;
    let outcome = tokio::select! {
        outcome = develop(project, args, data.path(), output, &mut platform) => outcome,
        () = stop => Ok(()),
    };
    if let Some(platform) = &mut platform {
        output.progress("Stopping.");
        platform.stop().await;
    }
    outcome
}

/// Where the servers keep their data.
enum Data {
    Temporary(tempfile::TempDir),
    Kept(PathBuf),
}

impl Data {
    fn prepare(project: &Project, keep: bool) -> Result<Self, Error> {
        if !keep {
            let dir = tempfile::Builder::new().prefix("brink-dev-").tempdir();
            return dir
                .map(Self::Temporary)
                .map_err(|error| Error::failed("no temporary directory", error));
        }
        let dir = project.dir.join(".brink/dev");
        private_file::directory(&dir)?;
        // It holds keys and tokens.
        private_file::replace(&dir.join(".gitignore"), "*\n")?;
        Ok(Self::Kept(
            std::path::absolute(&dir).map_err(|error| Error::failed(dir.display(), error))?,
        ))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(dir) => dir.path(),
            Self::Kept(dir) => dir,
        }
    }
}

async fn develop(
    project: &Project,
    args: &Dev,
    data: &Path,
    output: Output,
    running: &mut Option<Platform>,
) -> Result<(), Error> {
    // Before the build: what is saved meanwhile counts.
    let mut watch = Watch::begin(&project.dir)?;
    output.progress("Building.");
    let built = build(project).await?;
    output.progress("Starting a core and a PoP.");
    let platform = running.insert(
        Platform::start(
            data,
            args.listen,
            Pump {
                output,
                verbose: args.verbose,
                module_lines: false,
            },
        )
        .await?,
    );
    let mut last = release(project, &built, &platform.client, output).await?;
    introduce(project, platform, output).await?;
    let client = Arc::clone(&platform.client);
    let mut last_line = 0;
    loop {
        tokio::select! {
            error = platform.ended() => return Err(error),
            () = watch.changed() => {}
            lines = new_lines(&client, last_line) => {
                for line in &lines {
                    output.line(line, log_lines::text)?;
                    last_line = line.number;
                }
                continue;
            }
        }
        match again(&project.dir, last, &client, output).await {
            Ok(digest) => last = digest,
            Err(error) => {
                output.progress(format_args!("{error}\nThe version before keeps running."))
            }
        }
    }
}

/// The next lines that the module logs; none while the core does not answer.
async fn new_lines(client: &Client, last: u64) -> Vec<NumberedLine> {
    let lines = log_lines::fetch(client, None, Some(last), log_lines::LINES_MAX)
        .await
        .unwrap_or_default();
    if lines.is_empty() {
        tokio::time::sleep(LOG_RETRY).await;
    }
    lines
}

async fn build(project: &Project) -> Result<Built, Error> {
    let project = project.clone();
    let options = Options {
        debug: false,
        names: true,
        std: StdChoice::Auto,
    };
    tokio::task::spawn_blocking(move || build::project(&project, options))
        .await
        .map_err(|error| Error::failed("the build did not end", error))?
}

/// Builds after a change; publishes if that made a different component.
async fn again(dir: &Path, last: Digest, client: &Client, output: Output) -> Result<Digest, Error> {
    let begun = Instant::now();
    output.progress("Sources changed. Building.");
    // brink.toml may be what changed.
    let project = Project::open(dir)?;
    let built = build(&project).await?;
    let digest = release(&project, &built, client, output).await?;
    let same = if digest == last {
        "the component is the same as before, its settings are deployed"
    } else {
        "deployed"
    };
    output.progress(format_args!(
        "{}: {same}, {:.1} s after the change.",
        project.manifest.name,
        begun.elapsed().as_secs_f64()
    ));
    Ok(digest)
}

/// Publishes and deploys.
async fn release(
    project: &Project,
    built: &Built,
    client: &Client,
    output: Output,
) -> Result<Digest, Error> {
    let name = &project.manifest.name;
    let (bytes, inspection) = inspect::inspect_file(&built.path)?;
    let path = format!("/v1/modules/{name}/versions");
    let version: Version = client
        .send(
            Method::POST,
            &path,
            Content::Component(bytes),
            PUBLISH_TIME_MAX,
        )
        .await?
        .body;
    let defaults = &project.manifest.deploy;
    let grants = defaults.grants.unwrap_or_default();
    let missing = missing(inspection.grants_needed, grants);
    if !missing.is_empty() {
        output.progress(format_args!(
            "{name} uses what it has no grant for. Add to [deploy] in brink.toml: grants = {{ {} }}",
            missing.iter().map(|grant| format!("{} = true", grant.replace('-', "_"))).collect::<Vec<_>>().join(", ")
        ));
    }
    let deploy = Deploy {
        module: name.clone(),
        version: Some(version.version),
        config: Some(defaults.config.clone().unwrap_or_default()),
        limits: Some(defaults.limits.clone().unwrap_or_default()),
        grants: Some(grants),
        routes: new_routes(
            &defaults.routes,
            &defaults.plugins,
            Shown::default(),
            &defaults.cache,
        )?,
    };
    let deployed: Deployed = client
        .send_json(Method::POST, "/v1/deployments", &deploy)
        .await?;
    if built.world == World::Plugin {
        set_plugin_route(name, client).await?;
    }
    let pops = rollout::wait(client, &deployed.position, ROLLOUT_TIME_MAX).await?;
    if !rollout::all_run(&pops) {
        return Err(Error::TimedOut(format!(
            "the PoP did not take up version {} of {name}",
            version.version
        )));
    }
    Ok(version.digest)
}

/// Grants that are needed and not given, by name.
fn missing(needed: Grants, given: Grants) -> Vec<&'static str> {
    let given = grant_names(given);
    grant_names(needed)
        .into_iter()
        .filter(|grant| !given.contains(grant))
        .collect()
}

/// A plugin alone answers nothing: a fixed answer behind it shows what it does.
async fn set_plugin_route(name: &ModuleName, client: &Client) -> Result<(), Error> {
    let route = Route {
        tenant: default_tenant(),
        host: None,
        path: "/".into(),
        target: Target::Static(StaticAnswer {
            status: 200,
            content_type: "text/plain; charset=utf-8".into(),
            body: format!("The answer behind the plugin {name}.\n"),
        }),
        plugins: vec![name.clone()],
        when_disconnected: WhenDisconnected::default(),
        show_coherence: false,
        session_cookie: false,
        cache: Default::default(),
    };
    client
        .send_json::<Route>(Method::PUT, "/v1/routes", &route)
        .await
        .map(drop)
}

/// Prints where everything is.
async fn introduce(project: &Project, platform: &Platform, output: Output) -> Result<(), Error> {
    let name = &project.manifest.name;
    let routes: Vec<Route> = platform.client.get("/v1/routes").await?;
    let leads = |route: &&Route| {
        matches!(&route.target, Target::Module(to) if to == name) || route.plugins.contains(name)
    };
    let urls: Vec<String> = routes
        .iter()
        .filter(leads)
        .map(|route| url(platform, route))
        .collect();
    let result = serde_json::json!({
        "name": name,
        "urls": urls,
        "control": platform.client.base(),
        "ca": platform.ca,
        "token_file": platform.token_file,
        "admin": platform.admin.map(|admin| format!("http://{admin}")),
    });
    output.line(&result, |_| {
        let mut text = format!("\n{name} is deployed and rebuilt when its sources change. Ctrl-C stops.\n\n");
        for url in &urls {
            text.push_str(&format!("  curl --cacert {} {url}\n", platform.ca.display()));
        }
        text.push_str(&format!(
            "\nOther commands reach this platform with\n  export BRINK_CONTROL={} BRINK_CA={} BRINK_TOKEN_FILE={}\n",
            platform.client.base(),
            platform.ca.display(),
            platform.token_file.display()
        ));
        text
    })
}

fn url(platform: &Platform, route: &Route) -> String {
    let port = platform.listen.port();
    match &route.host {
        None => format!("https://localhost:{port}{}", route.path),
        Some(host) => {
            let host = host.split(':').next().unwrap_or(host);
            format!(
                "--connect-to {host}:443:localhost:{port} https://{}",
                route_text(Some(host), &route.path)
            )
        }
    }
}
