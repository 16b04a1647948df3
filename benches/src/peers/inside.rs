//! How long a hit takes inside the edge, from the first byte of a request to the last of its answer, under half of the
//! load that it can bear: by the edge's own histogram. The edge and the load have processors of their own.

use super::programs::Place;
use crate::{apart::Apart, figures, load, server::Server};
use anyhow::{Context as _, Result, ensure};
use std::{collections::BTreeMap, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Connections of the load.
const CONNECTIONS: u32 = 16;
/// Of hits from memory: to the last byte.
const METRIC: &str = "brink_hit_seconds_bucket{le=\"";

/// Answers by the bounds of their buckets in seconds, as the edge writes them: each bucket counts those before it too.
type Buckets = BTreeMap<String, u64>;

/// Runs an edge under half of its load, and says how its hits spread.
pub(super) async fn inside(place: &Place<'_>, time: Duration) -> Result<String> {
    let origin = format!("http://{}", place.origin);
    let arguments = [
        "proxy",
        "--origin",
        &origin,
        "--listen",
        "127.0.0.1:0",
        "--log",
        "warn",
        "--admin",
        "127.0.0.1:0",
    ];
    let ready = place.directory.join("inside.json");
    let apart = Apart::new()?;
    let cpus = apart.of_server().len();
    let start = || Server::brink(&place.plan.edge, &arguments, &ready);
    let ((_server, ready), _guard) = apart.start(start)?;
    let (url, admin) = (figures::url(&ready, "url")?, figures::url(&ready, "admin")?);
    load::http1(&url, Duration::from_secs(1)).await?;
    let full = load::http1(&url, Duration::from_secs(2)).await?;
    #[allow(clippy::cast_precision_loss)]
    let rate = full.requests as f64 / full.time.as_secs_f64() / 2.0;
    let before = buckets(&metrics(&admin).await?, METRIC);
    load::http1_at(&url, CONNECTIONS, rate, time).await?;
    let after = buckets(&metrics(&admin).await?, METRIC);
    let spread = spread(&before, &after)?;
    Ok(format!(
        "\nA hit inside the edge, 1 KiB, memory, HTTP/1.1, {rate:.0} requests/s (half of what it bears), {cpus} processor(s) \
         of its own:\n\n{spread}"
    ))
}

/// All that the edge says of itself.
pub(super) async fn metrics(admin: &str) -> Result<String> {
    let address = admin.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

/// The buckets of a histogram, whose lines begin with `metric`.
pub(super) fn buckets(text: &str, metric: &str) -> Buckets {
    let lines = text.lines().filter_map(|line| line.strip_prefix(metric));
    let pairs = lines.filter_map(|line| {
        let (bound, count) = line.split_once("\"} ")?;
        Some((bound.to_owned(), count.trim().parse().ok()?))
    });
    pairs.collect()
}

/// What came between, as a table.
pub(super) fn spread(before: &Buckets, after: &Buckets) -> Result<String> {
    let since = |bound: &str| {
        let [before, after] = [before, after].map(|all| all.get(bound).copied().unwrap_or(0));
        after.saturating_sub(before)
    };
    let all = since("+Inf");
    ensure!(all > 0, "the edge counted no hits");
    let mut bounds: Vec<f64> = after
        .keys()
        .filter_map(|bound| bound.parse().ok())
        .collect();
    bounds.retain(|bound| bound.is_finite());
    bounds.sort_by(f64::total_cmp);
    let mut text = String::from("| within | share of hits |\n|---:|---:|\n");
    for bound in bounds {
        let key = after.keys().find(|key| key.parse() == Ok(bound));
        let count = since(key.context("a bucket")?);
        #[allow(clippy::cast_precision_loss)]
        let share = count as f64 / all as f64 * 100.0;
        text += &format!("| {:.0} us | {share:.3} % |\n", bound * 1e6);
        if count == all {
            break;
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn shares_are_of_what_came_between() {
        let text = |a: u64, b: u64, c: u64| {
            format!("x 1\n{METRIC}0.0001\"}} {a}\n{METRIC}0.00025\"}} {b}\n{METRIC}+Inf\"}} {c}\n")
        };
        let parsed = |text: String| buckets(&text, METRIC);
        let (before, after) = (parsed(text(10, 10, 10)), parsed(text(1009, 1010, 1010)));
        let text = spread(&before, &after).unwrap();
        assert!(
            text.contains("| 100 us | 99.900 % |\n| 250 us | 100.000 % |"),
            "{text}"
        );
        assert!(spread(&after, &after).is_err());
    }
}
