//! Follows a purge until it has come as far as was asked for.

use super::show;
use crate::{
    client::{Client, Content, REQUEST_TIME_MAX, encoded},
    error::Error,
    output::{Output, Screen},
};
use brink_protocol::{
    PopName,
    control::{PurgeAtPop, PurgeStatus},
};
use http::{Method, StatusCode};
use std::{collections::BTreeSet, str::FromStr, time::Duration};
use tokio::time::{Instant, sleep};

/// How long the control API is asked to wait at once: what came meanwhile is shown so often.
const LOOK: Duration = Duration::from_millis(500);
/// Pause between questions that are answered at once.
const PAUSE: Duration = Duration::from_millis(50);

/// Whom to wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Until {
    All,
    Quorum,
    Pops(BTreeSet<PopName>),
}

impl FromStr for Until {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || {
            let rule = "all, quorum, or pop:NAME (several with commas)";
            Error::Usage(format!("--wait={text} is not one of {rule}"))
        };
        match text {
            "all" => Ok(Self::All),
            "quorum" => Ok(Self::Quorum),
            names => {
                let name = |name: &str| name.trim().strip_prefix("pop:")?.parse().ok();
                let names: Option<_> = names.split(',').map(name).collect();
                Ok(Self::Pops(names.ok_or_else(wrong)?))
            }
        }
    }
}

impl std::fmt::Display for Until {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Quorum => f.write_str("quorum"),
            Self::Pops(names) => {
                let names: Vec<_> = names.iter().map(|name| format!("pop:{name}")).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

impl Until {
    /// Whether those that are waited for have applied it.
    pub(super) fn is_met(&self, status: &PurgeStatus) -> bool {
        let (applied, waiting) = (status.applied.len(), status.waiting.len());
        match self {
            Self::All => waiting == 0,
            Self::Quorum => waiting == 0 || applied > waiting,
            Self::Pops(names) => self.missing(status, names).is_empty(),
        }
    }

    fn missing<'a>(&self, status: &PurgeStatus, names: &'a BTreeSet<PopName>) -> Vec<&'a PopName> {
        let is_applied = |name: &&PopName| status.applied.iter().any(|at| at.pop == **name);
        names.iter().filter(|name| !is_applied(name)).collect()
    }

    /// Those that are waited for and have not applied it.
    pub(super) fn silent(&self, status: &PurgeStatus) -> Vec<PopName> {
        match self {
            Self::All | Self::Quorum => status.waiting.clone(),
            Self::Pops(names) => self.missing(status, names).into_iter().cloned().collect(),
        }
    }
}

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

/// How far it is; none: too many wait already, ask again.
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
        Err(Error::Answer(problem)) if problem.status == StatusCode::TOO_MANY_REQUESTS => Ok(None),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn whom_to_wait_for() {
        for text in ["all", "quorum", "pop:ams", "pop:ams,pop:sfo"] {
            assert_eq!(text.parse::<Until>().unwrap().to_string(), text);
        }
        for wrong in ["", "most", "ams", "pop:", "pop:a,b"] {
            assert!(wrong.parse::<Until>().is_err(), "{wrong}");
        }
    }
}
