//! `brink purge`.

use crate::{
    address,
    args::Purge,
    client::{Client, Content, REQUEST_TIME_MAX, encoded},
    error::Error,
    output::{Output, pairs, table},
};
use brink_protocol::control::{NewPurge, PurgeAtPop, PurgeStatus};
use http::Method;
use std::time::Duration;
use tokio::time::Instant;

/// Longest wait that is asked of the control API at once; longer ones are asked again.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// Purges, and waits for the PoPs if asked to.
pub(super) async fn run(
    args: Purge,
    client: impl FnOnce() -> Result<Client, Error>,
    output: Output,
) -> Result<(), Error> {
    let purge = address::purge(NewPurge {
        keys: args.keys,
        urls: args.urls,
        prefixes: args.prefixes,
        hosts: args.hosts,
        everything: args.all,
        soft: args.soft,
    })?;
    let client = client()?;
    let status: PurgeStatus = client.send_json(Method::POST, "/v1/purges", &purge).await?;
    if !args.wait {
        return output.result(&status, accepted);
    }
    let time_max = Duration::from_secs(args.timeout.into());
    let status = wait(&client, status, time_max).await?;
    output.result(&status, applied)?;
    if status.waiting.is_empty() {
        return Ok(());
    }
    let silent: Vec<_> = status.waiting.iter().map(ToString::to_string).collect();
    Err(Error::TimedOut(format!(
        "the purge is accepted, but these PoPs did not say within {} s that they applied it: {}. They apply it as soon as they \
         follow the feed again, before they call anything stored earlier fresh.",
        args.timeout,
        silent.join(", ")
    )))
}

async fn wait(
    client: &Client,
    mut status: PurgeStatus,
    time_max: Duration,
) -> Result<PurgeStatus, Error> {
    let end = Instant::now() + time_max;
    while !status.waiting.is_empty() {
        let left = end.saturating_duration_since(Instant::now()).min(WAIT_MAX);
        if left.is_zero() {
            break;
        }
        let path = format!(
            "/v1/purges/{}?wait=all&timeout={}",
            encoded(&status.id),
            left.as_millis()
        );
        status = client
            .send(Method::GET, &path, Content::Empty, left + REQUEST_TIME_MAX)
            .await?
            .body;
    }
    Ok(status)
}

fn accepted(status: &PurgeStatus) -> String {
    let waiting: Vec<_> = status.waiting.iter().map(ToString::to_string).collect();
    let mut rows = vec![
        ("Purge", status.id.clone()),
        ("Position", status.position.to_string()),
    ];
    if !waiting.is_empty() {
        rows.push(("Not yet at", waiting.join(", ")));
    }
    pairs(&rows)
}

fn applied(status: &PurgeStatus) -> String {
    let row = |pop: &PurgeAtPop| {
        let after = pop.applied_at_ms.saturating_sub(status.at_ms);
        vec![
            pop.pop.to_string(),
            "yes".into(),
            format!("{after} ms"),
            pop.objects.to_string(),
        ]
    };
    if status.applied.is_empty() && status.waiting.is_empty() {
        return format!(
            "{}. There is no PoP that could hold anything.\n",
            accepted_id(status)
        );
    }
    let mut rows: Vec<_> = status.applied.iter().map(row).collect();
    rows.extend(
        status
            .waiting
            .iter()
            .map(|pop| vec![pop.to_string(), "no answer".into()]),
    );
    format!(
        "{}\n{}",
        accepted_id(status),
        table(&["POP", "APPLIED", "AFTER", "OBJECTS"], &rows)
    )
}

fn accepted_id(status: &PurgeStatus) -> String {
    format!("Purge {} at {}", status.id, status.position)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn as_people_read_it() {
        let status = PurgeStatus {
            id: "01J".into(),
            selectors: Vec::new(),
            soft: false,
            at_ms: 1000,
            by: "root".into(),
            position: "core.1=7".parse().unwrap(),
            applied: vec![PurgeAtPop {
                pop: "ams".parse().unwrap(),
                applied_at_ms: 1012,
                objects: 3,
            }],
            waiting: vec!["sfo".parse().unwrap()],
        };
        assert_eq!(
            accepted(&status),
            "Purge       01J\nPosition    core.1=7\nNot yet at  sfo\n"
        );
        assert_eq!(
            applied(&status),
            "Purge 01J at core.1=7\n\
             POP  APPLIED    AFTER  OBJECTS\n\
             ams  yes        12 ms  3\n\
             sfo  no answer\n"
        );
    }
}
