//! `brink purges`.

use super::purge::{applied, selectors};
use crate::{
    args::Purges,
    client::{Client, encoded},
    error::Error,
    moment::{moment, now_ms, time},
    output::{Output, table},
};
use brink_protocol::control::{PurgePage, PurgeStatus};

/// Shows the history of purges, or one of them.
pub(super) async fn run(args: Purges, client: &Client, output: Output) -> Result<(), Error> {
    if let Some(id) = &args.id {
        let status: PurgeStatus = client.get(&format!("/v1/purges/{}", encoded(id))).await?;
        return output.result(&status, |status| {
            let kind = if status.soft { "soft" } else { "hard" };
            let what = selectors(&status.selectors);
            format!(
                "{}{kind} purge of {what}, by {}\n",
                applied(status),
                status.by
            )
        });
    }
    let page: PurgePage = client.get(&path(&args, now_ms())?).await?;
    output.result(&page, list)
}

fn path(args: &Purges, now_ms: u64) -> Result<String, Error> {
    let mut path = format!("/v1/purges?limit={}", args.limit);
    for (name, value) in [
        ("selector", &args.selector),
        ("key", &args.key),
        ("url", &args.url),
        ("host", &args.host),
        ("by", &args.by),
        ("before", &args.before),
    ] {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", encoded(value)));
        }
    }
    for (name, value) in [("from", &args.from), ("to", &args.to)] {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", moment(value, now_ms)?));
        }
    }
    Ok(path)
}

fn list(page: &PurgePage) -> String {
    let row = |status: &PurgeStatus| {
        let slowest = status
            .applied
            .iter()
            .filter_map(|at| at.propagation_ms)
            .max();
        let known = status.applied.len() + status.waiting.len();
        vec![
            status.id.clone(),
            time(status.at_ms),
            status.by.clone(),
            if status.soft { "soft" } else { "hard" }.to_owned(),
            format!("{} of {known}", status.applied.len()),
            slowest.map_or_else(|| "-".into(), |ms| format!("{ms} ms")),
            selectors(&status.selectors),
        ]
    };
    let headings = ["ID", "AT", "BY", "KIND", "APPLIED", "WITHIN", "WHAT"];
    let rows: Vec<_> = page.purges.iter().map(row).collect();
    let mut text = if rows.is_empty() {
        "No purge fits.\n".to_owned()
    } else {
        table(&headings, &rows)
    };
    if let Some(next) = &page.next {
        text.push_str(&format!("There may be older ones: --before {next}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::args::{Cli, Command};
    use brink_protocol::{control::PurgeAtPop, purge::Selector};
    use clap::Parser as _;

    #[test]
    fn what_is_asked_for() {
        for (line, expected) in [
            ("", "/v1/purges?limit=20"),
            (
                "--url https://a/b?c --by module:x --from 10s --limit 5 --before 01J",
                "/v1/purges?limit=5&url=https%3A%2F%2Fa%2Fb%3Fc&by=module%3Ax&before=01J&from=90000",
            ),
            (
                "--selector host --key k --host h --to 1970-01-01T00:00:01Z",
                "/v1/purges?limit=20&selector=host&key=k&host=h&to=1000",
            ),
        ] {
            let words = ["brink", "purges"]
                .into_iter()
                .chain(line.split_whitespace());
            let Command::Purges(args) = Cli::try_parse_from(words).unwrap().command else {
                panic!("{line}")
            };
            assert_eq!(path(&args, 100_000).unwrap(), expected, "{line}");
        }
    }

    #[test]
    fn as_people_read_it() {
        let status = PurgeStatus {
            id: "01J".into(),
            selectors: vec![Selector::Everything],
            soft: true,
            at_ms: 0,
            by: "root".into(),
            position: Default::default(),
            applied: vec![PurgeAtPop {
                pop: "ams".parse().unwrap(),
                applied_at_ms: 0,
                objects: 0,
                propagation_ms: Some(7),
            }],
            waiting: vec!["sfo".parse().unwrap()],
            unanswered: Vec::new(),
            unreached: Vec::new(),
            later: None,
        };
        let page = PurgePage {
            purges: vec![status],
            next: Some("01J".into()),
        };
        assert_eq!(
            list(&page),
            "ID   AT                        BY    KIND  APPLIED  WITHIN  WHAT\n\
             01J  1970-01-01T00:00:00.000Z  root  soft  1 of 2   7 ms    everything\n\
             There may be older ones: --before 01J\n"
        );
        let none = PurgePage {
            purges: Vec::new(),
            next: None,
        };
        assert_eq!(list(&none), "No purge fits.\n");
    }
}
