//! A cache before one origin.

use crate::harness::{before, within};
use brink_listener::{Body, Config, Connection, Listener, Service};
use bytes::Bytes;
use http::{Request, Response};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

#[derive(Default)]
struct Pages {
    asked: AtomicU32,
}

impl Service for Pages {
    async fn call(&self, request: Request<Body>, _: Arc<Connection>) -> Response<Body> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let response = Response::builder();
        let (response, body) = match request.uri().path() {
            "/kept" => (
                response.header("cache-control", "max-age=60"),
                Bytes::from(number.to_string()),
            ),
            "/cookie" => (
                response
                    .header("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")
                    .header("brink-position", "core.1=9")
                    .header("set-cookie", "session=1"),
                Bytes::from(number.to_string()),
            ),
            "/for-everyone" => (
                response
                    .header("cache-control", "max-age=60")
                    .header("set-cookie", "seen=1"),
                Bytes::from(number.to_string()),
            ),
            "/ours" => (
                response
                    .header("cache-control", "no-store")
                    .header("brink-cache-control", "max-age=60"),
                Bytes::from(number.to_string()),
            ),
            "/method" => (response, Bytes::from(request.method().to_string())),
            "/large" => (
                response.header("cache-control", "max-age=60"),
                Bytes::from(vec![b'x'; 9 << 20]),
            ),
            "/seen" => {
                let seen = format!("{:?}", request.headers());
                (response.header("cache-control", "no-store"), seen.into())
            }
            _ => (response.status(404), Bytes::new()),
        };
        response.body(Body::full(body)).unwrap()
    }
}

struct Origin {
    url: String,
    pages: Arc<Pages>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

async fn origin() -> Origin {
    let config = Config {
        tcp: Some("127.0.0.1:0".parse().unwrap()),
        ..Config::default()
    };
    let listener = Listener::bind(config).await.unwrap();
    let url = format!("http://{}", listener.tcp_addr().unwrap());
    let (pages, stop) = (Arc::new(Pages::default()), CancellationToken::new());
    let running = tokio::spawn(listener.serve(Arc::clone(&pages), stop.clone()));
    Origin {
        url,
        pages,
        stop,
        running,
    }
}

#[tokio::test]
async fn what_an_origin_lets_be_kept_is_kept() {
    let origin = origin().await;
    let edge = before(&origin.url).await;
    let first = edge.get("/kept").await;
    let second = edge.get("/kept").await;
    assert_eq!((first.body.as_str(), second.body.as_str()), ("0", "0"));
    assert!(!first.is_hit() && second.is_hit(), "{first:?} {second:?}");
    assert_eq!(origin.pages.asked.load(Ordering::Relaxed), 1);
    for is_kept in [false, true] {
        let large = edge.get("/large").await;
        assert_eq!(large.body.len(), 9 << 20);
        assert_eq!(large.is_hit(), is_kept);
    }
    assert_eq!(edge.get("/absent").await.status, 404);
    // What one caller's cookies made, or what gives it some, is not for the next.
    let mine = [("cookie", "session=1")];
    for (path, fields) in [("/cookie", &[][..]), ("/kept?mine", &mine)] {
        for _ in 0..2 {
            let answer = edge.send("GET", path, fields).await;
            assert!(answer.status == 200 && !answer.is_hit(), "{answer:?}");
            assert_eq!(answer.field("brink-position"), "", "an origin gives none");
        }
    }
    assert!(edge.send("GET", "/kept", &mine).await.is_hit());
    // Unless the origin says for how long it is for everyone.
    assert!(!edge.get("/for-everyone").await.is_hit());
    let shared = edge.get("/for-everyone").await;
    assert!(shared.is_hit() && shared.field("set-cookie") == "seen=1");
    // What it says to us alone goes no further.
    assert!(!edge.get("/ours").await.is_hit());
    let ours = edge.get("/ours").await;
    assert!(ours.is_hit() && ours.field("brink-cache-control").is_empty());
    // It knows its methods itself.
    assert_eq!(edge.send("M-SEARCH", "/method", &[]).await.body, "M-SEARCH");
    // Tokens mean nothing without a core, and are nobody's cookies.
    let tokens = [("cookie", "brink-session=x"), ("brink-session", "y")];
    let answer = edge.send("GET", "/cookie", &tokens).await;
    assert_eq!(answer.field("set-cookie"), "session=1", "{answer:?}");
    assert!(edge.send("GET", "/kept", &tokens).await.is_hit());
    let purge = edge.send("PURGE", "/kept", &[("fastly-key", "k")]).await;
    assert_eq!(purge.status, 405, "there is no core to decide it");
    assert!(purge.field("allow").contains("GET"));
    assert!(edge.get("/kept").await.is_hit());
    edge.stop().await;
    origin.stop.cancel();
    within(origin.running).await.unwrap();
}

#[tokio::test]
async fn origins_learn_whose_request_it_is_and_clients_cannot_pretend() {
    let origin = origin().await;
    let edge = before(&origin.url).await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let fields = [
        ("brink-subject", "root"),
        ("traceparent", parent),
        ("x-request-id", "mine"),
    ];
    let answer = edge.send("GET", "/seen", &fields).await;
    assert!(!answer.body.contains("brink-subject"), "{}", answer.body);
    assert!(
        answer.body.contains("0af7651916cd43dd8448eb211c80319c"),
        "{}",
        answer.body
    );
    assert!(
        answer.body.contains(answer.field("x-request-id")),
        "{}",
        answer.body
    );
    // What it asks of this PoP is not for the origin, and makes no variant.
    let asked = [("brink-coherence", "?1")];
    let answer = edge.send("GET", "/seen", &asked).await;
    assert!(!answer.body.contains("brink-coherence"), "{}", answer.body);
    let said = answer.field("brink-coherence");
    assert!(said.starts_with(r#"position="", bound="#), "{said}");
    assert!(!edge.send("GET", "/kept", &asked).await.is_hit());
    assert!(edge.get("/kept").await.is_hit());
    let hit = edge.send("GET", "/kept", &asked).await;
    assert!(hit.is_hit());
    assert!(
        hit.field("brink-coherence").ends_with(r#"stored="""#),
        "{hit:?}"
    );
    assert_eq!(edge.get("/kept").await.field("brink-coherence"), "");
    edge.stop().await;
    origin.stop.cancel();
    within(origin.running).await.unwrap();
}

#[tokio::test]
async fn an_origin_that_is_away_is_a_problem() {
    let origin = origin().await;
    let edge = before(&origin.url).await;
    origin.stop.cancel();
    within(origin.running).await.unwrap();
    let answer = edge.get("/kept").await;
    assert_eq!(answer.status, 502);
    assert_eq!(answer.field("content-type"), "application/problem+json");
    edge.stop().await;
}
