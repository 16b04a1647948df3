//! Edges in this process, and a client for them.

use brink_edge::{
    config::Settings,
    edge::Assembled,
    error::Error,
    routes::{DeployedMap, Table},
    standalone::{Common, Proxy},
};
use brink_listener::BoxError;
use brink_protocol::{
    caching::RouteCache,
    deployment::{DeploymentTable, Route, Target},
};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than any test takes; a test that hangs fails.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("hangs")
}

/// Looks again until it is so.
pub(crate) async fn eventually<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    within(async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

/// A running edge.
pub(crate) struct Edge {
    pub(crate) url: String,
    pub(crate) admin: String,
    /// Where it is a shield for others.
    pub(crate) shield: Option<std::net::SocketAddr>,
    /// Where it speaks HTTP/3.
    pub(crate) h3: Option<std::net::SocketAddr>,
    client: Client<HttpConnector, Full<Bytes>>,
    stop: CancellationToken,
    running: JoinHandle<Result<(), Error>>,
}

/// An answer with its whole body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    pub(crate) fn is_hit(&self) -> bool {
        self.field("cache-status").contains("; hit")
    }
}

/// What edges without a core have in common: nothing but memory, and ports of their own.
pub(crate) fn common() -> Common {
    Common {
        listen: "127.0.0.1:0".parse().unwrap(),
        admin: None,
        pop: "local".into(),
        data: None,
        certificate: None,
        key: None,
        log: "off".into(),
    }
}

/// An edge before an origin.
pub(crate) async fn before(origin: &str) -> Edge {
    let proxy = Proxy {
        origins: vec![origin.to_owned()],
        common: common(),
    };
    let settings = proxy.common.file().standalone().unwrap();
    start(settings, async |assembled| proxy.deploy(assembled)).await
}

/// An edge before an origin, whose only route caches so.
pub(crate) async fn routed(origin: &str, cache: RouteCache) -> Edge {
    let proxy = Proxy {
        origins: vec![origin.to_owned()],
        common: common(),
    };
    let source = DeploymentTable {
        routes: vec![Route {
            cache,
            ..Route::new("/", Target::Origin(origin.to_owned()))
        }],
        ..DeploymentTable::default()
    };
    let settings = proxy.common.file().standalone().unwrap();
    start(settings, async |assembled| {
        let table = Table::new(source, DeployedMap::new());
        assembled.table().store(Arc::new(table));
    })
    .await
}

/// Puts an edge together; `deploy` gives it what it serves.
pub(crate) async fn start(mut settings: Settings, deploy: impl AsyncFnOnce(&Assembled)) -> Edge {
    settings.listener.tcp = Some("127.0.0.1:0".parse().unwrap());
    settings.admin = Some("127.0.0.1:0".parse().unwrap());
    settings.listener.limits.drain_ms_max = 200;
    let render = Arc::new(|| "brink_test 1\n".to_owned());
    let assembled = Assembled::new(settings, render).await.unwrap();
    deploy(&assembled).await;
    let addresses = assembled.addresses();
    let stop = CancellationToken::new();
    let running = tokio::spawn(assembled.run(stop.clone(), None));
    Edge {
        url: addresses["url"].as_str().unwrap().to_owned(),
        admin: addresses["admin"].as_str().unwrap().to_owned(),
        shield: addresses["shield"].as_str().map(|a| a.parse().unwrap()),
        h3: addresses["h3"].as_str().map(|url| {
            let address = url.trim_start_matches("https://");
            address.parse().unwrap()
        }),
        client: Client::builder(TokioExecutor::new()).build_http(),
        stop,
        running,
    }
}

impl Edge {
    pub(crate) async fn send(&self, method: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        self.answer(request.body(Full::default()).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[]).await
    }

    /// As [`Edge::get`]; an error if the body breaks off.
    pub(crate) async fn try_get(&self, path: &str) -> Result<Answer, BoxError> {
        let request = Request::builder().uri(format!("{}{path}", self.url));
        let request = request.body(Full::default()).unwrap();
        whole(within(self.client.request(request)).await?).await
    }

    pub(crate) async fn ask_admin(&self, path: &str) -> Answer {
        let request = Request::builder().uri(format!("{}{path}", self.admin));
        self.answer(request.body(Full::default()).unwrap()).await
    }

    /// Posts JSON to the admin address.
    pub(crate) async fn tell_admin(&self, path: &str, told: &serde_json::Value) -> Answer {
        let request = Request::post(format!("{}{path}", self.admin));
        let request = request.header("content-type", "application/json");
        let body = Full::from(told.to_string());
        self.answer(request.body(body).unwrap()).await
    }

    async fn answer(&self, request: Request<Full<Bytes>>) -> Answer {
        let response = within(self.client.request(request)).await.unwrap();
        whole(response).await.unwrap()
    }

    pub(crate) async fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.ask_admin("/status").await.body).unwrap()
    }

    /// Waits until /status says so.
    pub(crate) async fn until(
        &self,
        is_so: impl Fn(&serde_json::Value) -> bool,
    ) -> serde_json::Value {
        eventually(async || Some(self.status().await).filter(|status| is_so(status))).await
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        within(self.running).await.unwrap().unwrap();
    }
}

pub(crate) async fn whole<B>(response: Response<B>) -> Result<Answer, BoxError>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(Into::into)?.to_bytes();
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        body: String::from_utf8(body.to_vec())?,
    })
}
