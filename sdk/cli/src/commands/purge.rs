//! `brink purge`.

mod follow;
mod show;
mod until;

pub(super) use show::{applied, selectors};

use crate::{
    address,
    args::Purge,
    client::{Client, Content, REQUEST_TIME_MAX},
    error::Error,
    output::Output,
};
use brink_protocol::control::{
    COUNT_MS_MAX, IDEMPOTENCY_KEY_BYTES_MAX, NewPurge, PurgeEstimate, PurgeStatus,
};
use follow::follow;
use http::Method;
use std::time::Duration;
use until::Until;

/// How long PoPs are waited for, in seconds, if nothing else is asked for.
const TIMEOUT_S: u32 = 30;

/// Purges, and waits for the PoPs if asked to.
pub(super) async fn run(
    args: Purge,
    client: impl FnOnce() -> Result<Client, Error>,
    output: Output,
) -> Result<(), Error> {
    let until = args.wait.as_deref().map(str::parse::<Until>).transpose()?;
    let key = args.idempotency_key.as_deref();
    if key.is_some_and(|key| {
        !(1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len())
            || !key.bytes().all(|byte| byte.is_ascii_graphic())
    }) {
        let rule = "--idempotency-key is 1 to 128 visible ASCII characters, without spaces";
        return Err(Error::Usage(rule.into()));
    }
    let counts_ms = args.timeout.map(|seconds| u64::from(seconds) * 1000);
    let purge = address::purge(NewPurge {
        keys: args.keys,
        urls: args.urls,
        prefixes: args.prefixes,
        hosts: args.hosts,
        everything: args.everything,
        soft: args.soft,
        dry_run: args.dry_run,
        timeout: counts_ms.map(|ms| ms.min(COUNT_MS_MAX)),
        objects_max: args.max_objects,
        confirm: args.confirm,
        stagger_ms: args.stagger.map(|seconds| seconds * 1000),
    })?;
    let client = client()?;
    if args.dry_run {
        let estimate: PurgeEstimate = client.send_json(Method::POST, "/v1/purges", &purge).await?;
        return output.result(&estimate, show::estimate);
    }
    let content = Content::json(&purge)?;
    let answer = client
        .send_keyed(Method::POST, "/v1/purges", content, REQUEST_TIME_MAX, key)
        .await?;
    let status: PurgeStatus = answer.body;
    let Some(until) = until else {
        return output.result(&status, show::accepted);
    };
    let seconds = args.timeout.unwrap_or(TIMEOUT_S);
    let time_max = Duration::from_secs(seconds.into());
    let status = follow(&client, status, &until, time_max, output).await?;
    if until.is_met(&status) {
        return Ok(());
    }
    Err(Error::TimedOut(format!(
        "the purge is accepted, but these PoPs did not say within {seconds} s that they applied it: {}. They apply it as soon as \
         they follow the feed again, before they call anything stored earlier fresh.",
        show::silent(&status, &until)
    )))
}
