//! The README's table: the edge beside bare servers, and a module with fresh and reused instances.

use crate::{
    figures::{measured, median, url},
    identity::Identity,
    load,
    server::Server,
};
use anyhow::{Context as _, Result};
use std::{
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// What a table is made with.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The edge's program.
    pub edge: PathBuf,
    /// The component of `modules/hello`.
    pub hello: PathBuf,
    /// How long each run takes.
    pub time: Duration,
    /// How often each pair is run, one after the other; the median of each counts.
    pub rounds: usize,
}

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What was asked for.
    pub what: String,
    /// Server CPU time of a request, in microseconds.
    pub cpu_us: f64,
    /// Requests a second.
    pub rate: f64,
    /// CPU time beside that of the row's yardstick.
    pub ratio: Option<f64>,
}

/// Runs everything and gives the lines in order.
///
/// # Errors
/// A server or a load generator did not start, or an answer was an error.
pub async fn rows(plan: &Plan) -> Result<Vec<Row>> {
    let directory = tempfile::tempdir()?;
    let setting = Setting::new(plan, directory.path())?;
    let mut rows = Vec::new();
    rows.extend(setting.http1().await?);
    rows.extend(setting.http2().await?);
    rows.extend(setting.http3().await?);
    rows.push(
        setting
            .module("module, fresh instance, HTTP/1.1", "1")
            .await?,
    );
    rows.push(
        setting
            .module("module, reused instance, HTTP/1.1", "1000000")
            .await?,
    );
    Ok(rows)
}

/// The lines as Markdown.
#[must_use]
pub fn markdown(rows: &[Row]) -> String {
    use std::fmt::Write as _;
    let mut text = String::from(
        "| answer of 1 KiB | server CPU, us/request | requests/s | CPU, ratio |\n|---|---:|---:|---:|\n",
    );
    for row in rows {
        let ratio = row
            .ratio
            .map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        let _ = writeln!(
            text,
            "| {} | {:.1} | {:.0} | {ratio} |",
            row.what, row.cpu_us, row.rate
        );
    }
    text
}

struct Setting<'a> {
    plan: &'a Plan,
    directory: &'a Path,
    ca: PathBuf,
    certificate: String,
    key: String,
}

impl<'a> Setting<'a> {
    fn new(plan: &'a Plan, directory: &'a Path) -> Result<Self> {
        let identity = Identity::new(directory)?;
        Ok(Self {
            plan,
            directory,
            certificate: identity.certificate.display().to_string(),
            key: identity.key.display().to_string(),
            ca: identity.ca,
        })
    }

    /// An edge before the bare HTTP/1.1 server, whose answer it stores.
    fn edge(
        &self,
        name: &str,
        origin: SocketAddr,
        tls: bool,
    ) -> Result<(Server, serde_json::Value)> {
        let origin = format!("http://{origin}");
        let mut arguments = vec![
            "proxy",
            "--origin",
            &origin,
            "--listen",
            "127.0.0.1:0",
            "--log",
            "warn",
        ];
        if tls {
            arguments.extend(["--certificate", &self.certificate, "--key", &self.key]);
        }
        Server::brink(
            &self.plan.edge,
            &arguments,
            &self.directory.join(format!("{name}.json")),
        )
    }

    async fn http1(&self) -> Result<Vec<Row>> {
        let (bare, bare_address) = Server::bare(&["bare", "http1"])?;
        let (edge, ready) = self.edge("http1", bare_address, false)?;
        let (bare_url, edge_url) = (format!("http://{bare_address}/"), url(&ready, "url")?);
        let time = self.plan.time;
        load::http1(&edge_url, Duration::from_secs(1)).await?;
        self.pair(
            "HTTP/1.1",
            &bare,
            &edge,
            || load::http1(&bare_url, time),
            || load::http1(&edge_url, time),
        )
        .await
    }

    async fn http2(&self) -> Result<Vec<Row>> {
        let (origin, origin_address) = Server::bare(&["bare", "http1"])?;
        let tls = ["--certificate", &self.certificate, "--key", &self.key];
        let (bare, bare_address) = Server::bare(&[&["bare", "http2"], tls.as_slice()].concat())?;
        let (edge, ready) = self.edge("http2", origin_address, true)?;
        let (bare_url, edge_url) = (format!("https://{bare_address}/"), url(&ready, "url")?);
        let time = self.plan.time;
        load::http2(&edge_url, Duration::from_secs(1)).await?;
        let rows = self
            .pair(
                "HTTP/2, TLS",
                &bare,
                &edge,
                || load::http2(&bare_url, time),
                || load::http2(&edge_url, time),
            )
            .await;
        drop(origin);
        rows
    }

    async fn http3(&self) -> Result<Vec<Row>> {
        let (origin, origin_address) = Server::bare(&["bare", "http1"])?;
        let tls = ["--certificate", &self.certificate, "--key", &self.key];
        let (bare, bare_address) = Server::bare(&[&["bare", "http3"], tls.as_slice()].concat())?;
        let (edge, ready) = self.edge("http3", origin_address, true)?;
        let edge_url: http::Uri = url(&ready, "h3")?.parse()?;
        let edge_address: SocketAddr =
            format!("127.0.0.1:{}", edge_url.port_u16().context("a port")?).parse()?;
        let time = self.plan.time;
        let run = |address: SocketAddr, time| {
            let ca = self.ca.clone();
            async move {
                load::http3(
                    address,
                    &format!("localhost:{}", address.port()),
                    "/",
                    &ca,
                    time,
                )
                .await
            }
        };
        run(edge_address, Duration::from_secs(1)).await?;
        let rows = self
            .pair(
                "HTTP/3",
                &bare,
                &edge,
                || run(bare_address, time),
                || run(edge_address, time),
            )
            .await;
        drop(origin);
        rows
    }

    async fn module(&self, what: &str, reuse: &str) -> Result<Row> {
        let component = self.plan.hello.display().to_string();
        let arguments = [
            "serve",
            &component,
            "--listen",
            "127.0.0.1:0",
            "--log",
            "warn",
            "--config",
            "lifetime=0",
            "--instance-reuse",
            reuse,
        ];
        let ready = self.directory.join(format!("module-{reuse}.json"));
        let (server, ready) = Server::brink(&self.plan.edge, &arguments, &ready)?;
        let url = format!("{}/hello", url(&ready, "url")?.trim_end_matches('/'));
        load::http1(&url, Duration::from_secs(1)).await?;
        let mut runs = Vec::new();
        for _ in 0..self.plan.rounds {
            runs.push(measured(&server, load::http1(&url, self.plan.time)).await?);
        }
        let middle = median(runs);
        Ok(Row {
            what: what.to_owned(),
            cpu_us: middle.cpu_us,
            rate: middle.rate,
            ratio: None,
        })
    }

    /// Runs bare server and edge in alternation.
    async fn pair<A, B>(
        &self,
        protocol: &str,
        bare: &Server,
        edge: &Server,
        on_bare: impl Fn() -> A,
        on_edge: impl Fn() -> B,
    ) -> Result<Vec<Row>>
    where
        A: Future<Output = Result<load::Seen>>,
        B: Future<Output = Result<load::Seen>>,
    {
        let (mut bare_runs, mut edge_runs) = (Vec::new(), Vec::new());
        for _ in 0..self.plan.rounds {
            bare_runs.push(measured(bare, on_bare()).await?);
            edge_runs.push(measured(edge, on_edge()).await?);
        }
        let (bare, edge) = (median(bare_runs), median(edge_runs));
        let yardstick = if protocol == "HTTP/3" {
            "bare quinn + h3"
        } else {
            "bare hyper"
        };
        Ok(vec![
            Row {
                what: format!("{protocol}: {yardstick}"),
                cpu_us: bare.cpu_us,
                rate: bare.rate,
                ratio: None,
            },
            Row {
                what: format!("{protocol}: Brink, cached"),
                cpu_us: edge.cpu_us,
                rate: edge.rate,
                ratio: Some(edge.cpu_us / bare.cpu_us),
            },
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_markdown() {
        let row = Row {
            what: "x".into(),
            cpu_us: 12.34,
            rate: 56_789.0,
            ratio: Some(1.5),
        };
        let text = markdown(&[row]);
        assert!(text.ends_with("| x | 12.3 | 56789 | 1.50 |\n"), "{text}");
    }
}
