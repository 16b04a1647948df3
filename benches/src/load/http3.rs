//! Load over HTTP/3 by quinn alone: Debian's h2load has no HTTP/3, and a whole HTTP/3 client costs more than the servers.
//!
//! Each request is one prepared HEADERS frame; of an answer, frames and lengths are read and its status is looked at.

use super::{Latency, Seen};
use anyhow::{Context as _, Result, ensure};
use bytes::{Buf as _, Bytes};
use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// RFC 9114 §7.2.
const DATA: u64 = 0x00;
const HEADERS: u64 = 0x01;
/// A field section's prefix, and `:status: 200` of the static table (RFC 9204 §4.5.1, Appendix A).
const OK: [u8; 3] = [0, 0, 0xc0 | 25];

/// How a server is loaded.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Connections.
    pub connections: usize,
    /// Requests in flight on each.
    pub streams: usize,
    /// For how long.
    pub time: Duration,
    /// Requests a second in all, begun at even distances; none: as many as there is an answer for.
    pub rate: Option<f64>,
}

impl Shape {
    /// Four connections of 16 requests at a time.
    #[must_use]
    pub const fn usual(time: Duration) -> Self {
        Self {
            connections: 4,
            streams: 16,
            time,
            rate: None,
        }
    }
}

/// Runs a load for `https://AUTHORITY/PATH` at `address`. Every answer must be a 200 of as many bytes as the first.
///
/// # Errors
/// The server cannot be reached, or an answer was something else.
pub async fn run(
    address: SocketAddr,
    authority: &str,
    path: &str,
    ca: &Path,
    shape: Shape,
) -> Result<Seen> {
    let endpoint = client(ca)?;
    let request = request(authority, path)?;
    let mut connections = Vec::new();
    for _ in 0..shape.connections {
        let connection = endpoint.connect(address, "localhost")?.await?;
        let control = settings(&connection).await?;
        let ignoring = tokio::spawn(ignore_unidirectional(connection.clone()));
        connections.push((connection, control, ignoring));
    }
    let Some((first, ..)) = connections.first() else {
        anyhow::bail!("no connection");
    };
    let length = get(first, &request).await?;
    let began = Instant::now();
    let end = began + shape.time;
    let mut tasks = tokio::task::JoinSet::new();
    #[allow(clippy::cast_precision_loss)]
    let distance = shape
        .rate
        .map(|rate| Duration::from_secs_f64((shape.connections * shape.streams) as f64 / rate));
    for number in 0..shape.streams {
        for (connection, ..) in &connections {
            let (connection, request) = (connection.clone(), request.clone());
            #[allow(clippy::cast_possible_truncation)]
            let offset = distance.map(|distance| distance * number as u32 / shape.streams as u32);
            tasks.spawn(async move {
                let mut latencies = Vec::new();
                let mut due = offset.map(|offset| began + offset);
                while Instant::now() < end {
                    if let (Some(at), Some(distance)) = (&mut due, distance) {
                        tokio::time::sleep_until((*at).into()).await;
                        *at += distance;
                    }
                    let asked = Instant::now();
                    let found = get(&connection, &request).await?;
                    ensure!(found == length, "an answer of {found} bytes, not {length}");
                    latencies.push(u64::try_from(asked.elapsed().as_micros())?);
                }
                anyhow::Ok(latencies)
            });
        }
    }
    let mut took_us = Vec::new();
    while let Some(done) = tasks.join_next().await {
        took_us.extend(done??);
    }
    let time = began.elapsed();
    for (connection, _, ignoring) in connections {
        connection.close(quinn::VarInt::from_u32(0x100), b"");
        ignoring.abort();
    }
    endpoint.wait_idle().await;
    Ok(Seen {
        requests: u64::try_from(took_us.len())?,
        time,
        latency: Latency::of(took_us),
    })
}

/// Opens the control stream, with empty SETTINGS. It has to stay open.
async fn settings(connection: &quinn::Connection) -> Result<quinn::SendStream> {
    let mut control = connection.open_uni().await?;
    control.write_all(&[0, 4, 0]).await?;
    Ok(control)
}

async fn ignore_unidirectional(connection: quinn::Connection) {
    let mut kept = Vec::new();
    while let Ok(mut stream) = connection.accept_uni().await {
        let _ = stream.read_chunk(usize::MAX, true).await;
        kept.push(stream);
    }
}

/// Sends a request; returns the bytes of the answer's content.
async fn get(connection: &quinn::Connection, request: &Bytes) -> Result<u64> {
    let (mut send, mut recv) = connection.open_bi().await?;
    send.write_chunk(request.clone()).await?;
    send.finish()?;
    let mut answer = Answer::default();
    while let Some(chunk) = recv.read_chunk(usize::MAX, true).await? {
        answer.push(chunk.bytes)?;
    }
    ensure!(answer.payload == 0, "an answer that is cut short");
    Ok(answer.content)
}

/// What has been read of an answer.
#[derive(Debug, Default)]
struct Answer {
    /// A frame's beginning: its header, and of HEADERS the status.
    partial: Vec<u8>,
    /// What is left of the frame at hand.
    payload: u64,
    content: u64,
}

impl Answer {
    fn push(&mut self, mut bytes: Bytes) -> Result<()> {
        loop {
            let available = u64::try_from(bytes.len())?;
            let skipped = self.payload.min(available);
            bytes.advance(usize::try_from(skipped)?);
            self.payload -= skipped;
            if bytes.is_empty() {
                return Ok(());
            }
            self.partial.push(bytes.get_u8());
            let Some((kind, first)) = integer(&self.partial) else {
                continue;
            };
            let rest = self.partial.get(first..).unwrap_or_default();
            let Some((length, second)) = integer(rest) else {
                continue;
            };
            match kind {
                HEADERS => {
                    let head = rest.get(second..).unwrap_or_default();
                    if head.len() < OK.len() {
                        continue;
                    }
                    ensure!(head == OK, "an answer's head begins with {head:?}");
                    self.payload = length.saturating_sub(3);
                }
                DATA => {
                    self.content += length;
                    self.payload = length;
                }
                _ => self.payload = length,
            }
            self.partial.clear();
        }
    }
}

/// A variable-length integer (RFC 9000 §16) and its bytes, if it is all there.
fn integer(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = bytes.first()?;
    let length = 1_usize << (first >> 6);
    let rest = bytes.get(1..length)?;
    let value = rest.iter().fold(u64::from(first & 0x3f), |value, byte| {
        (value << 8) | u64::from(*byte)
    });
    Some((value, length))
}

/// A HEADERS frame of a GET: method and scheme of the static table, path and authority as literals.
fn request(authority: &str, path: &str) -> Result<Bytes> {
    let mut section = vec![0, 0, 0xc0 | 17, 0xc0 | 23];
    // Names 0 (`:authority`) and 1 (`:path`), then `user-agent`, 95 - 15 behind a full prefix of four bits.
    for (name, value) in [
        (&[0x50][..], authority),
        (&[0x51], path),
        (&[0x5f, 80], "brink-bench"),
    ] {
        section.extend_from_slice(name);
        let length = u8::try_from(value.len())
            .ok()
            .filter(|length| *length < 127);
        section.push(length.context("a short authority and path")?);
        section.extend_from_slice(value.as_bytes());
    }
    let length = u16::try_from(section.len())? | 0x4000;
    let mut frame = vec![1];
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&section);
    Ok(frame.into())
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn answers_are_counted_in_pieces_of_any_size() {
        // HEADERS of 5 bytes, DATA of 3 and of 70, an unknown frame, trailers are errors here.
        let mut whole = vec![
            1, 5, 0, 0, 0xd9, 0xc4, 0xc4, 0, 3, 7, 7, 7, 0x21, 1, 9, 0, 0x40, 70,
        ];
        whole.extend_from_slice(&[8; 70]);
        for size in 1..whole.len() {
            let mut answer = Answer::default();
            for piece in whole.chunks(size) {
                answer.push(Bytes::copy_from_slice(piece)).unwrap();
            }
            assert_eq!((answer.content, answer.payload), (73, 0), "{size}");
        }
        let mut answer = Answer::default();
        assert!(
            answer
                .push(Bytes::from_static(&[1, 3, 0, 0, 0xdb]))
                .is_err()
        );
    }
}
