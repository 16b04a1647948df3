//! A small control API: answers each path with what the test says, and remembers what it was asked.

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_rustls::TlsAcceptor;

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) line: String,
    pub(crate) authorization: Option<String>,
    pub(crate) content_type: Option<String>,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// An answer: status, media type, body.
#[derive(Debug, Clone)]
pub(crate) struct Canned {
    status: u16,
    media_type: &'static str,
    body: String,
}

pub(crate) fn json(status: u16, body: &Value) -> Canned {
    Canned {
        status,
        media_type: "application/json",
        body: body.to_string(),
    }
}

pub(crate) fn problem(status: u16, title: &str, detail: &str) -> Canned {
    let body = serde_json::json!({ "type": "about:blank", "title": title, "status": status, "detail": detail, "instance": "01REQ" });
    Canned {
        status,
        media_type: "application/problem+json",
        body: body.to_string(),
    }
}

pub(crate) fn text(status: u16, body: &str) -> Canned {
    Canned {
        status,
        media_type: "text/html",
        body: body.to_owned(),
    }
}

#[derive(Default)]
struct State {
    answers: BTreeMap<String, Vec<Canned>>,
    asked: Vec<Asked>,
}

/// The state, and a bell that rings with each request.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    bell: Condvar,
}

/// The server; it ends with the value.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    state: Arc<Shared>,
    _runtime: Runtime,
}

impl Server {
    pub(crate) fn new() -> Self {
        Self::start(None)
    }

    pub(crate) fn start(tls: Option<TlsAcceptor>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Shared>::default();
        runtime.spawn(accept(listener, tls, Arc::clone(&state)));
        Self {
            address,
            state,
            _runtime: runtime,
        }
    }

    /// Answers `METHOD PATH` so. Given more than once: in that order, and the last for good.
    pub(crate) fn on(self, line: &str, answer: Canned) -> Self {
        self.state
            .state
            .lock()
            .unwrap()
            .answers
            .entry(line.to_owned())
            .or_default()
            .push(answer);
        self
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.state.lock().unwrap().asked.clone()
    }

    /// Waits for a request.
    pub(crate) fn wait_for(&self, what: impl Fn(&Asked) -> bool) {
        let state = self.state.state.lock().unwrap();
        let missing = |state: &mut State| !state.asked.iter().any(&what);
        let (_state, wait) = self
            .state
            .bell
            .wait_timeout_while(state, Duration::from_secs(60), missing)
            .unwrap();
        assert!(!wait.timed_out(), "it was not asked for");
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            match tls {
                None => drop(server.serve_connection(TokioIo::new(stream), service).await),
                Some(tls) => {
                    let Ok(stream) = tls.accept(stream).await else {
                        return;
                    };
                    drop(server.serve_connection(TokioIo::new(stream), service).await);
                }
            }
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let line = format!(
        "{} {}",
        request.method(),
        request.uri().path_and_query().unwrap()
    );
    let path = format!("{} {}", request.method(), request.uri().path());
    let header = |name: &str| {
        request
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    let (authorization, content_type) = (header("authorization"), header("content-type"));
    let idempotency_key = header("idempotency-key");
    let body = request
        .into_body()
        .collect()
        .await
        .unwrap()
        .to_bytes()
        .to_vec();
    let mut state = shared.state.lock().unwrap();
    shared.bell.notify_all();
    state.asked.push(Asked {
        line,
        authorization,
        content_type,
        idempotency_key,
        body,
    });
    let canned = match state.answers.get_mut(&path) {
        Some(answers) if answers.len() > 1 => answers.remove(0),
        Some(answers) => answers[0].clone(),
        None => problem(404, "Not found", "no such path in this test"),
    };
    let response = Response::builder()
        .status(canned.status)
        .header("content-type", canned.media_type);
    Ok(response.body(Full::new(canned.body.into())).unwrap())
}
