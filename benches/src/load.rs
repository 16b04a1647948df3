//! Load: `wrk` for HTTP/1.1, `h2load` for HTTP/2, our own client for HTTP/3 (Debian's h2load has none).

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Buf as _;
use std::{net::SocketAddr, path::Path, process::Stdio, sync::Arc, time::Duration};
use tokio::process::Command;

/// What a load run saw.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Answers with a status of success.
    pub requests: u64,
    /// How long the run took.
    pub time: Duration,
}

/// HTTP/1.1 by `wrk`: one thread, 32 connections.
///
/// # Errors
/// `wrk` is missing, or an answer was an error.
pub async fn http1(url: &str, time: Duration) -> Result<Seen> {
    wrk(&[url], time).await
}

/// As [`http1`], asking for `/0`, `/1`, ... below `paths` in turn. A script for `wrk` is kept in `directory`.
///
/// # Errors
/// As [`http1`]; the script cannot be written.
pub async fn http1_many(url: &str, paths: u32, directory: &Path, time: Duration) -> Result<Seen> {
    let script = directory.join("paths.lua");
    let text = format!(
        "local requests, next = {{}}, 0\n\
         function init() for n = 0, {paths} - 1 do requests[n] = wrk.format('GET', '/' .. n) end end\n\
         function request() next = (next + 1) % {paths} return requests[next] end\n"
    );
    std::fs::write(&script, text)?;
    wrk(&["-s", &script.display().to_string(), url], time).await
}

async fn wrk(arguments: &[&str], time: Duration) -> Result<Seen> {
    let seconds = format!("{}s", time.as_secs());
    let fixed = ["-t1", "-c32", "-d", &seconds];
    let text = run("wrk", &[&fixed, arguments].concat()).await?;
    ensure!(!text.contains("Non-2xx"), "wrk saw errors:\n{text}");
    let line = text
        .lines()
        .find(|line| line.contains("requests in"))
        .context("wrk's summary")?;
    let mut words = line.split_whitespace();
    let requests = words.next().context("requests")?.parse()?;
    let took = words
        .nth(2)
        .context("time")?
        .trim_end_matches(',')
        .trim_end_matches('s')
        .parse()?;
    Ok(Seen {
        requests,
        time: Duration::from_secs_f64(took),
    })
}

/// HTTP/2 by `h2load`: 8 connections of 16 streams.
///
/// # Errors
/// `h2load` is missing, or an answer was an error.
pub async fn http2(url: &str, time: Duration) -> Result<Seen> {
    h2load(&["-c8", "-m16", url], time).await
}

/// As [`http2`] with one connection of 64 streams, asking for `/0`, `/1`, ... below `paths` in turn. The list is kept in
/// `directory`.
///
/// # Errors
/// As [`http2`]; the list cannot be written.
pub async fn http2_many(url: &str, paths: u32, directory: &Path, time: Duration) -> Result<Seen> {
    let list = directory.join("paths.txt");
    let base = url.trim_end_matches('/');
    let lines: String = (0..paths).map(|n| format!("{base}/{n}\n")).collect();
    std::fs::write(&list, lines)?;
    let list = list.display().to_string();
    // h2load's connections would walk the list side by side: one does not meet another.
    h2load(&["-c1", "-m64", "-i", &list], time).await
}

async fn h2load(arguments: &[&str], time: Duration) -> Result<Seen> {
    let seconds = time.as_secs().to_string();
    let fixed = ["-t1", "-D", &seconds];
    let text = run("h2load", &[&fixed, arguments].concat()).await?;
    let line = text
        .lines()
        .find(|line| line.starts_with("requests:"))
        .context("h2load's summary")?;
    let count = |what: &str| -> Result<u64> {
        let part = line
            .split(',')
            .find(|part| part.ends_with(what))
            .with_context(|| line.to_owned())?;
        Ok(part.split_whitespace().next().context("a count")?.parse()?)
    };
    ensure!(
        count(" failed")? == 0 && count(" errored")? == 0,
        "h2load saw errors: {line}"
    );
    Ok(Seen {
        requests: count(" succeeded")?,
        time,
    })
}

async fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| {
            format!("{program} did not start: `cargo xtask setup --bench` installs it")
        })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{program}: {}\n{text}",
        output.status
    );
    Ok(text)
}

/// HTTP/3 by quinn and h3: 4 connections of 16 requests at a time.
///
/// # Errors
/// The server cannot be reached, or an answer was an error.
pub async fn http3(
    address: SocketAddr,
    authority: &str,
    path: &str,
    ca: &Path,
    time: Duration,
) -> Result<Seen> {
    const CONNECTIONS: usize = 4;
    const STREAMS: usize = 16;
    let endpoint = client(ca)?;
    let end = tokio::time::Instant::now() + time;
    let began = tokio::time::Instant::now();
    let uri: http::Uri = format!("https://{authority}{path}").parse()?;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let connection = endpoint.connect(address, "localhost")?.await?;
        let (mut driver, sender) = h3::client::new(h3_quinn::Connection::new(connection)).await?;
        tokio::spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await });
        for _ in 0..STREAMS {
            let (mut sender, uri) = (sender.clone(), uri.clone());
            tasks.spawn(async move {
                let mut requests = 0u64;
                while tokio::time::Instant::now() < end {
                    get(&mut sender, uri.clone()).await?;
                    requests += 1;
                }
                anyhow::Ok(requests)
            });
        }
    }
    let mut requests = 0;
    while let Some(done) = tasks.join_next().await {
        requests += done??;
    }
    Ok(Seen {
        requests,
        time: began.elapsed(),
    })
}

type Sender = h3::client::SendRequest<h3_quinn::OpenStreams, bytes::Bytes>;

async fn get(sender: &mut Sender, uri: http::Uri) -> Result<()> {
    let mut stream = sender
        .send_request(http::Request::get(uri).body(())?)
        .await?;
    stream.finish().await?;
    let response = stream.recv_response().await?;
    if !response.status().is_success() {
        bail!("HTTP/3 answer {}", response.status());
    }
    while let Some(mut data) = stream.recv_data().await? {
        data.advance(data.remaining());
    }
    Ok(())
}

fn client(ca: &Path) -> Result<quinn::Endpoint> {
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls)?;
    let mut endpoint = quinn::Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
    Ok(endpoint)
}
