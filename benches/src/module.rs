//! A module's answer in process: what the sandbox alone costs, without HTTP.

use anyhow::{Context as _, Result, ensure};
use brink_protocol::Digest;
use brink_sandbox::{Body, Context, Limits, Sandbox};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use std::{path::Path, time::Duration};

/// CPU time of one answer, on the median of several rounds.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// With a fresh instance for each request.
    pub fresh: Duration,
    /// With instances that answer up to a million requests.
    pub reused: Duration,
}

const ROUNDS: usize = 7;
const REQUESTS: u32 = 2000;

/// Runs the module at `component`, asking for `path`.
///
/// # Errors
/// The component does not load, or does not answer 200.
pub async fn cost(component: &Path, path: &str) -> Result<Cost> {
    let bytes: Bytes = std::fs::read(component)
        .with_context(|| component.display().to_string())?
        .into();
    let sandbox = Sandbox::new(brink_sandbox::Config::default())?;
    let digest = Digest::of(&bytes);
    let component = sandbox.load(&digest, || async move { Ok(bytes) }).await?;
    let fresh = Limits::default();
    let reused = Limits {
        instance_reuse_max: 1_000_000,
        ..Limits::default()
    };
    let mut rounds = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        rounds.0.push(round(&component, path, &fresh).await?);
        rounds.1.push(round(&component, path, &reused).await?);
    }
    Ok(Cost {
        fresh: median(rounds.0),
        reused: median(rounds.1),
    })
}

async fn round(
    component: &brink_sandbox::Component,
    path: &str,
    limits: &Limits,
) -> Result<Duration> {
    let before = crate::cpu::precise()?;
    for _ in 0..REQUESTS {
        let body: Body = Empty::<Bytes>::new()
            .map_err(|never| match never {})
            .boxed_unsync();
        let request = http::Request::get(format!("http://localhost{path}")).body(body)?;
        let response = component.handle(request, Context::denied(), limits).await?;
        ensure!(
            response.status() == 200,
            "the module answered {}",
            response.status()
        );
        response
            .into_body()
            .collect()
            .await
            .map_err(|e| anyhow::anyhow!(e))?;
    }
    Ok((crate::cpu::precise()? - before) / REQUESTS)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
