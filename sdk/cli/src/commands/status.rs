//! `brink status` and `brink pops`.

use crate::{
    client::Client,
    error::Error,
    output::{Output, pairs, size, table, time},
};
use brink_protocol::{
    Position,
    control::{Pop, Status},
};

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

/// Lists PoPs.
pub(super) async fn pops(client: &Client, output: Output) -> Result<(), Error> {
    let pops: Vec<Pop> = client.get("/v1/pops").await?;
    output.result(&pops, |pops| list(pops))
}

fn list(pops: &[Pop]) -> String {
    if pops.is_empty() {
        return "No PoP was ever connected.\n".into();
    }
    let row = |pop: &Pop| {
        vec![
            pop.name.to_string(),
            if pop.connected { "yes" } else { "no" }.to_owned(),
            pop.lag_changes.to_string(),
            pop.revision.to_string(),
            pop.figures.requests.to_string(),
            hit_ratio(pop),
            format!("{} in {}", pop.figures.entries, size(pop.figures.bytes)),
            time(pop.seen_at_ms),
        ]
    };
    let headings = [
        "POP",
        "CONNECTED",
        "LAG",
        "REVISION",
        "REQUESTS",
        "HITS",
        "ENTRIES",
        "SEEN",
    ];
    table(&headings, &pops.iter().map(row).collect::<Vec<_>>())
}

fn hit_ratio(pop: &Pop) -> String {
    match (pop.figures.hits.saturating_mul(100)).checked_div(pop.figures.requests) {
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
                ..PopFigures::default()
            },
        };
        let idle = Pop {
            name: "sfo".parse().unwrap(),
            connected: false,
            figures: PopFigures::default(),
            ..pop.clone()
        };
        assert_eq!(
            list(&[pop, idle]),
            "POP  CONNECTED  LAG  REVISION  REQUESTS  HITS  ENTRIES       SEEN\n\
             ams  yes        0    3         8         75 %  2 in 2.0 KiB  1970-01-01T00:00:00.000Z\n\
             sfo  no         0    3         0         -     0 in 0 B      1970-01-01T00:00:00.000Z\n"
        );
        assert_eq!(list(&[]), "No PoP was ever connected.\n");
    }
}
