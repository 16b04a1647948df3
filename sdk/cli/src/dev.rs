//! `brink dev`: a PoP, and for projects a core, on this machine.

mod child;
mod platform;
mod programs;
mod session;
mod watch;

use crate::{args::Dev, error::Error, inspect, output::Output, project::Project};
use child::{Child, Pump};
use programs::{EDGE, program};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

/// Where a component or origin is served unless `--listen` says otherwise.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// Longest time for a server to begin to answer.
const READY_TIME_MAX: Duration = Duration::from_secs(60);

/// Runs until Ctrl-C, SIGTERM, or a server's end.
///
/// # Errors
/// A server is missing, does not start or ends by itself; the project does not build the first time.
pub(crate) async fn run(args: Dev, output: Output) -> Result<(), Error> {
    let stop = stop_signal()?;
    if args.file.is_none() && args.origin.is_empty() {
        let project = Project::open(&args.dir)?;
        return session::run(&project, &args, output, stop).await;
    }
    let (arguments, what) = match &args.file {
        Some(file) => serve(file)?,
        None => proxy(&args.origin),
    };
    let listen = args.listen.unwrap_or(LISTEN);
    let ready =
        tempfile::tempdir().map_err(|error| Error::failed("no temporary directory", error))?;
    let ready_file = ready.path().join("ready.json");
    let mut command = tokio::process::Command::new(program(EDGE)?);
    command
        .args(arguments)
        .arg("--listen")
        .arg(listen.to_string())
        .arg("--ready-file")
        .arg(&ready_file);
    let mut edge = Child::start(
        "edge",
        command,
        Pump {
            output,
            verbose: args.verbose,
            module_lines: true,
        },
    )?;
    let outcome = tokio::select! {
        outcome = alone(&mut edge, &ready_file, listen, &what, output) => outcome,
        () = stop => Ok(()),
    };
    edge.stop().await;
    outcome
}

/// One server: waits until it answers, then until it ends.
async fn alone(
    edge: &mut Child,
    ready_file: &Path,
    listen: SocketAddr,
    what: &str,
    output: Output,
) -> Result<(), Error> {
    let ready = edge.ready(ready_file, READY_TIME_MAX).await?;
    let address = platform::address(&ready, &["url"]).unwrap_or(listen);
    let result = serde_json::json!({ "url": format!("http://{address}/"), "serves": what });
    output.line(&result, |_| {
        format!("{what} at http://{address}/   (Ctrl-C stops)")
    })?;
    Err(edge.ended().await)
}

/// What `brink-edge` is told to serve a component.
fn serve(file: &Path) -> Result<(Vec<std::ffi::OsString>, String), Error> {
    inspect::inspect_file(file)?;
    Ok((
        vec!["serve".into(), file.into()],
        file.display().to_string(),
    ))
}

/// What `brink-edge` is told to cache origins.
fn proxy(origins: &[String]) -> (Vec<std::ffi::OsString>, String) {
    let named = origins.iter().flat_map(|url| ["--origin", url]);
    (
        std::iter::once("proxy")
            .chain(named)
            .map(Into::into)
            .collect(),
        format!("A cache before {}", origins.join(", ")),
    )
}

/// Ends when the process is asked to.
fn stop_signal() -> Result<impl Future<Output = ()>, Error> {
    use tokio::signal::unix::{SignalKind, signal};
    let wrong = |error| Error::failed("signals cannot be waited for", error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(wrong)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(wrong)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(wrong)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}
