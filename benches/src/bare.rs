//! The yardstick: the smallest servers that hyper, and quinn with h3, allow. They answer one fixed body.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{convert::Infallible, net::SocketAddr, path::Path, sync::Arc};
use tokio::net::TcpListener;

/// The fixed answer, with the headers that a cached answer has too.
fn answer(body: &Bytes) -> http::Response<()> {
    let mut response = http::Response::new(());
    let headers = response.headers_mut();
    headers.insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("text/plain"),
    );
    headers.insert(http::header::CONTENT_LENGTH, body.len().into());
    headers.insert(
        http::header::CACHE_CONTROL,
        http::HeaderValue::from_static("max-age=3600"),
    );
    response
}

/// HTTP/1.1 without TLS. With `tags`, the answer names so many in `Cache-Tag`, as an origin behind Brink does.
///
/// # Errors
/// The address cannot be bound.
pub async fn http1(listen: SocketAddr, body: Bytes, tags: usize) -> Result<()> {
    let names: Vec<String> = (0..tags).map(|number| format!("tag-{number}")).collect();
    let names = http::HeaderValue::try_from(names.join(", "))?;
    let listener = TcpListener::bind(listen).await.context("bind")?;
    announce(listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (body, names) = (body.clone(), names.clone());
        tokio::spawn(async move {
            let service = service_fn(|_: http::Request<Incoming>| {
                let mut response = answer(&body).map(|()| Full::new(body.clone()));
                if !names.is_empty() {
                    response.headers_mut().insert("cache-tag", names.clone());
                }
                async move { Ok::<_, Infallible>(response) }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// HTTP/2 over TLS.
///
/// # Errors
/// The address cannot be bound or the certificate not be read.
pub async fn http2(listen: SocketAddr, certificate: &Path, key: &Path, body: Bytes) -> Result<()> {
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls(certificate, key, b"h2")?));
    let listener = TcpListener::bind(listen).await.context("bind")?;
    announce(listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (acceptor, body) = (acceptor.clone(), body.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = service_fn(move |_: http::Request<Incoming>| {
                let response = answer(&body).map(|()| Full::new(body.clone()));
                async move { Ok::<_, Infallible>(response) }
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// HTTP/3.
///
/// # Errors
/// The address cannot be bound or the certificate not be read.
pub async fn http3(listen: SocketAddr, certificate: &Path, key: &Path, body: Bytes) -> Result<()> {
    let tls = quinn::crypto::rustls::QuicServerConfig::try_from(tls(certificate, key, b"h3")?)?;
    let endpoint =
        quinn::Endpoint::server(quinn::ServerConfig::with_crypto(Arc::new(tls)), listen)?;
    announce(endpoint.local_addr()?);
    while let Some(incoming) = endpoint.accept().await {
        let body = body.clone();
        tokio::spawn(async move {
            let _ = serve_http3(incoming, body).await;
        });
    }
    Ok(())
}

async fn serve_http3(incoming: quinn::Incoming, body: Bytes) -> Result<()> {
    let connection = h3_quinn::Connection::new(incoming.await?);
    let mut connection = h3::server::Connection::new(connection).await?;
    while let Some(resolver) = connection.accept().await? {
        let body = body.clone();
        tokio::spawn(async move {
            let Ok((_, mut stream)) = resolver.resolve_request().await else {
                return;
            };
            let sent = stream.send_response(answer(&body)).await.is_ok()
                && stream.send_data(body).await.is_ok();
            if sent {
                let _ = stream.finish().await;
            }
        });
    }
    Ok(())
}

fn tls(certificate: &Path, key: &Path, protocol: &[u8]) -> Result<rustls::ServerConfig> {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(config)
}

/// Tells the parent where the server listens.
fn announce(address: SocketAddr) {
    println!("{address}");
}
