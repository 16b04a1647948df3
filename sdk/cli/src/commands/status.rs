//! `brink status` and `brink pops`.

use crate::{
    args::Pops,
    client::Client,
    error::Error,
    moment::time,
    output::{Output, Screen, pairs, size, table},
};
use brink_protocol::{
    Position,
    control::{Pop, Status},
};
use std::time::Duration;

/// Shows the state of the whole.
pub(super) async fn run(client: &Client, output: Output) -> Result<(), Error> {
    let status: Status = client.get("/v1/status").await?;
    output.result(&status, |status| {
        let head = pairs(&[
            ("Control", client.base().to_owned()),
            (
                "Core",
                format!(
                    "{} in {}, version {}",
                    status.node, status.region, status.version
                ),
            ),
            ("Position", position(&status.position)),
            ("Revision", status.revision.to_string()),
            ("Deployments", status.deployments.to_string()),
            ("Routes", status.routes.to_string()),
            ("Lease", format!("{} ms", status.lease_ms)),
        ]);
        format!("{head}\n{}", list(&status.pops))
    })
}

fn position(position: &Position) -> String {
    if position.is_empty() {
        "nothing was written yet".into()
    } else {
        position.to_string()
    }
}

/// How often PoPs are listed anew.
const BEAT: Duration = Duration::from_secs(1);

/// Lists PoPs, again and again if asked to.
pub(super) async fn pops(args: &Pops, client: &Client, output: Output) -> Result<(), Error> {
    let mut screen = Screen::default();
    loop {
        let pops: Vec<Pop> = client.get("/v1/pops").await?;
        if !args.watch {
            return output.result(&pops, |pops| list(pops));
        }
        if output.is_watched() {
            screen.draw(&list(&pops))?;
        } else {
            output.line(&pops, |pops| list(pops))?;
        }
        tokio::time::sleep(BEAT).await;
    }
}

const HEADINGS: [&str; 14] = [
    "POP",
    "CORE",
    "CONNECTED",
    "LAG",
    "STALE",
    "QUARANTINED",
    "RTT",
    "REVISION",
    "REQUESTS",
    "HITS",
    "RECORDS",
    "FENCED",
    "EXPIRED",
    "ENTRIES",
];

fn list(pops: &[Pop]) -> String {
    if pops.is_empty() {
        return "No PoP was ever connected.\n".into();
    }
    let headings = [&HEADINGS[..], &["SEEN"]].concat();
    table(&headings, &pops.iter().map(row).collect::<Vec<_>>())
}

fn row(pop: &Pop) -> Vec<String> {
    let figures = &pop.figures;
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let records = figures.record_hits.saturating_add(figures.record_misses);
    vec![
        pop.name.to_string(),
        or_dash(pop.core.as_ref().map(ToString::to_string)),
        if pop.connected { "yes" } else { "no" }.to_owned(),
        pop.lag_changes.to_string(),
        or_dash(pop.staleness_ms.map(|ms| format!("{ms} ms"))),
        pop.quarantined_since_ms
            .map_or_else(|| "no".into(), |since| format!("since {}", time(since))),
        or_dash((figures.round_trip_us > 0).then(|| round_trip(figures.round_trip_us))),
        pop.revision.to_string(),
        figures.requests.to_string(),
        ratio(figures.hits, figures.requests),
        ratio(figures.record_hits, records),
        figures.fence_refusals.to_string(),
        figures.lease_expiries.to_string(),
        format!("{} in {}", figures.entries, size(figures.bytes)),
        time(pop.seen_at_ms),
    ]
}

/// Microseconds as milliseconds: `12.3 ms`.
fn round_trip(us: u64) -> String {
    format!("{}.{} ms", us / 1000, us / 100 % 10)
}

fn ratio(part: u64, whole: u64) -> String {
    match part.saturating_mul(100).checked_div(whole) {
        Some(percent) => format!("{percent} %"),
        None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use brink_protocol::link::PopFigures;

    #[test]
    fn as_people_read_it() {
        let pop = Pop {
            name: "ams".parse().unwrap(),
            core: Some("core-1".parse().unwrap()),
            connected: true,
            position: "core.1=7".parse().unwrap(),
            lag_changes: 0,
            revision: 3,
            seen_at_ms: 0,
            figures: PopFigures {
                requests: 8,
                hits: 6,
                entries: 2,
                bytes: 2048,
                fence_refusals: 4,
                lease_expiries: 1,
                round_trip_us: 12_345,
                record_hits: 9,
                record_misses: 1,
                ..PopFigures::default()
            },
            staleness_ms: Some(0),
            quarantined_since_ms: None,
        };
        let idle = Pop {
            core: None,
            name: "sfo".parse().unwrap(),
            connected: false,
            figures: PopFigures::default(),
            staleness_ms: None,
            quarantined_since_ms: Some(1000),
            ..pop.clone()
        };
        let zero = "1970-01-01T00:00:00.000Z";
        assert_eq!(
            list(&[pop, idle]),
            format!(
                "POP  CORE    CONNECTED  LAG  STALE  QUARANTINED                     RTT      REVISION  REQUESTS  HITS  RECORDS  FENCED  EXPIRED  ENTRIES       SEEN\n\
                 ams  core-1  yes        0    0 ms   no                              12.3 ms  3         8         75 %  90 %     4       1        2 in 2.0 KiB  {zero}\n\
                 sfo  -       no         0    -      since 1970-01-01T00:00:01.000Z  -        3         0         -     -        0       0        0 in 0 B      {zero}\n"
            )
        );
        assert_eq!(list(&[]), "No PoP was ever connected.\n");
    }
}
