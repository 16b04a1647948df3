//! Follows a purge until it has come as far as was asked for.

use super::{show, until::Until};
use crate::{
    client::{Client, Content, REQUEST_TIME_MAX, encoded},
    error::Error,
    output::{Output, Screen},
};
use brink_protocol::{
    PopName,
    control::{PurgeAtPop, PurgeStatus},
};
use http::Method;
use std::{collections::BTreeSet, time::Duration};
use tokio::time::{Instant, sleep};

/// How long the control API is asked to wait at once: what came meanwhile is shown so often.
const LOOK: Duration = Duration::from_millis(500);
/// "Too many requests".
const TOO_MANY: u16 = 429;
/// Pause between questions that are answered at once.
const PAUSE: Duration = Duration::from_millis(50);

/// Shows how far it is until it is as far as wanted, or `time_max` is over: a table that changes in its place if somebody
/// watches; else a line for each PoP on standard error, and the table at the end.
pub(super) async fn follow(
    client: &Client,
    mut status: PurgeStatus,
    until: &Until,
    time_max: Duration,
    output: Output,
) -> Result<PurgeStatus, Error> {
    let end = Instant::now() + time_max;
    let watched = output.is_watched();
    let (mut screen, mut told) = (Screen::default(), BTreeSet::new());
    loop {
        if watched {
            screen.draw(&show::applied(&status))?;
        } else {
            tell(&status, &mut told, output);
        }
        let left = end.saturating_duration_since(Instant::now());
        if until.is_met(&status) || left.is_zero() {
            break;
        }
        let asked = Instant::now();
        if let Some(next) = ask(client, &status.id, until, left.min(LOOK)).await? {
            status = next;
        }
        if asked.elapsed() < PAUSE && !until.is_met(&status) {
            sleep(PAUSE.min(left)).await;
        }
    }
    if !watched {
        output.result(&status, show::applied)?;
    }
    Ok(status)
}

/// How far it is; none: too many wait already, or the core begins anew. The purge is in its log: ask again.
async fn ask(
    client: &Client,
    id: &str,
    until: &Until,
    wait: Duration,
) -> Result<Option<PurgeStatus>, Error> {
    let until = encoded(&until.to_string());
    let path = format!(
        "/v1/purges/{}?wait={until}&timeout={}",
        encoded(id),
        wait.as_millis()
    );
    let time_max = wait + REQUEST_TIME_MAX;
    match client
        .send(Method::GET, &path, Content::Empty, time_max)
        .await
    {
        Ok(answer) => Ok(Some(answer.body)),
        Err(Error::Unreachable { .. }) => Ok(None),
        Err(Error::Answer(problem)) if problem.status == TOO_MANY || problem.status >= 500 => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn tell(status: &PurgeStatus, told: &mut BTreeSet<PopName>, output: Output) {
    let new = |at: &&PurgeAtPop| !told.contains(&at.pop);
    let new: Vec<_> = status.applied.iter().filter(new).collect();
    for at in &new {
        output.progress(format_args!(
            "{} applied it after {} ms",
            at.pop,
            show::after_ms(status, at)
        ));
    }
    told.extend(new.into_iter().map(|at| at.pop.clone()));
}
