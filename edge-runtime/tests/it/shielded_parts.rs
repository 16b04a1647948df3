//! Parts, `HEAD` and trailer sections by way of a shield.

use crate::{
    harness::{Answer, Edge, within},
    raw::{RawClient, RawOrigin, Step, say},
    shields::{World, a_second_passes, origin},
};
use brink_listener::{Body, Connection, Service};
use bytes::Bytes;
use http::{Request, Response};
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;

const WHOLE: &str = "0123456789";
/// Too long to be fetched for the sake of a part, in bytes.
const LARGE: usize = (4 << 20) + 10;

/// Sends wholes and parts, and notes what it is asked for.
struct Origin {
    asked: Mutex<Vec<String>>,
    may: Semaphore,
}

impl Origin {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            asked: Mutex::default(),
            may: Semaphore::new(0),
        })
    }

    /// What it was asked for since the last time.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

impl Service for Origin {
    async fn call(&self, request: Request<Body>, _: Arc<Connection>) -> Response<Body> {
        let (request, _) = request.into_parts();
        let field = |name| {
            let value = request.headers.get(name);
            value.map_or("", |value| value.to_str().unwrap()).to_owned()
        };
        let (method, path, range) = (request.method, request.uri.path(), field("range"));
        let asked = format!("{method} {range}");
        self.asked.lock().unwrap().push(asked.trim().to_owned());
        if path == "/slow" {
            self.may.acquire().await.unwrap().forget();
        }
        let whole = match path {
            "/large" => Bytes::from(WHOLE.repeat(LARGE / 10)),
            _ => Bytes::from(WHOLE),
        };
        let kept = match path {
            "/private" => "private",
            _ => "max-age=600",
        };
        let response = Response::builder()
            .header("cache-control", kept)
            .header("etag", "\"a\"");
        if method == http::Method::HEAD {
            return response
                .header("content-length", whole.len())
                .body(Body::empty())
                .unwrap();
        }
        let wanted = range.strip_prefix("bytes=");
        let Some((first, last)) = wanted.and_then(|range| range.split_once('-')) else {
            return response.body(Body::full(whole)).unwrap();
        };
        let first: usize = first.parse().unwrap();
        let end = last.parse().map_or(whole.len(), |last: usize| last + 1);
        let complete = whole.len();
        response
            .status(206)
            .header(
                "content-range",
                format!("bytes {first}-{}/{complete}", end - 1),
            )
            .body(Body::full(whole.slice(first..end)))
            .unwrap()
    }
}

async fn ask(edge: &Edge, method: &str, path: &str, range: &str) -> Answer {
    let range = format!("bytes={range}");
    let mut fields = vec![("host", "www.example")];
    if range != "bytes=" {
        fields.push(("range", &range));
    }
    within(edge.send(method, path, &fields)).await
}

async fn part(edge: &Edge, path: &str, range: &str) -> (u16, String) {
    let answer = ask(edge, "GET", path, range).await;
    (answer.status.as_u16(), answer.body)
}

fn cut(text: &str) -> (u16, String) {
    (206, text.to_owned())
}

#[tokio::test]
async fn parts_of_a_short_answer_cost_the_origin_one_fetch() {
    let own = Origin::new();
    let mut world = World::before(&origin(own.clone()).await).await;
    let (ams, _ams) = world.pop("ams").await;
    let (sfo, _sfo) = world.pop("sfo").await;
    let (syd, _syd) = world.pop("syd").await;
    a_second_passes().await;
    assert_eq!(part(&ams, "/a", "2-3").await, cut("23"));
    assert_eq!(own.asked(), ["GET"]);
    // A part stays at the PoP, what is in none comes from the shield.
    assert_eq!(part(&ams, "/a", "2-3").await, cut("23"));
    assert_eq!(part(&ams, "/a", "-1").await, cut("9"));
    assert_eq!(part(&sfo, "/a", "0-4").await, cut("01234"));
    let rest = ask(&sfo, "GET", "/a", "").await;
    assert_eq!((rest.status.as_u16(), &*rest.body), (200, WHOLE));
    assert!(
        rest.field("cache-status").starts_with("brink-fra; hit"),
        "{rest:?}"
    );
    assert!(ask(&sfo, "GET", "/a", "").await.is_hit());
    // What no part is of says nothing of the whole.
    let none = ask(&syd, "GET", "/a", "20-30").await;
    assert_eq!(none.status, 416, "{none:?}");
    assert_eq!(part(&syd, "/a", "8-9").await, cut("89"));
    let head = ask(&syd, "HEAD", "/a", "").await;
    assert_eq!(
        (head.status.as_u16(), head.field("content-length")),
        (200, "10")
    );
    assert!(
        head.field("cache-status").starts_with("brink-fra; hit"),
        "{head:?}"
    );
    assert_eq!(own.asked(), Vec::<String>::new());
    // Alone, HEAD asks no more than it says.
    assert_eq!(
        ask(&syd, "HEAD", "/b", "").await.field("content-length"),
        "10"
    );
    assert_eq!(own.asked(), ["HEAD"]);
    for edge in [ams, sfo, syd] {
        edge.stop().await;
    }
}

#[tokio::test]
async fn parts_that_are_asked_for_at_once_wait_for_one_fetch() {
    let own = Origin::new();
    let mut world = World::before(&origin(own.clone()).await).await;
    let (ams, _ams) = world.pop("ams").await;
    let (sfo, _sfo) = world.pop("sfo").await;
    a_second_passes().await;
    let (one, other, ()) = tokio::join!(
        part(&ams, "/slow", "0-1"),
        part(&sfo, "/slow", "5-6"),
        async {
            while own.asked.lock().unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
            own.may.add_permits(2);
        }
    );
    assert_eq!((one, other), (cut("01"), cut("56")));
    assert_eq!(own.asked(), ["GET"]);
    ams.stop().await;
    sfo.stop().await;
}

#[tokio::test]
async fn parts_of_what_is_long_or_the_callers_own_are_asked_for_as_such() {
    let own = Origin::new();
    let mut world = World::before(&origin(own.clone()).await).await;
    let (ams, _ams) = world.pop("ams").await;
    let (sfo, _sfo) = world.pop("sfo").await;
    a_second_passes().await;
    assert_eq!(part(&ams, "/large", "12-13").await, cut("23"));
    assert_eq!(own.asked(), ["GET", "GET bytes=12-13"]);
    // It is known now that it is long.
    assert_eq!(part(&ams, "/large", "25-26").await, cut("56"));
    assert_eq!(part(&sfo, "/large", "25-26").await, cut("56"));
    assert_eq!(own.asked(), ["GET bytes=25-26"]);
    assert_eq!(part(&ams, "/private", "2-3").await, cut("23"));
    assert_eq!(part(&ams, "/private", "2-3").await, cut("23"));
    assert_eq!(own.asked(), ["GET", "GET bytes=2-3", "GET bytes=2-3"]);
    // Without the shield they go on.
    let (shield, _) = world.shield.take().unwrap();
    shield.stop().await;
    assert_eq!(part(&ams, "/c", "4-5").await, cut("45"));
    assert_eq!(ask(&sfo, "HEAD", "/c", "").await.status, 200);
    assert_eq!(own.asked(), ["GET bytes=4-5", "HEAD"]);
    ams.stop().await;
    sfo.stop().await;
}

#[tokio::test]
async fn trailer_sections_pass_a_shield_and_are_stored_behind_it() {
    let origin = RawOrigin::start(|_| {
        vec![say(
            "HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
             5\r\nhello\r\n0\r\nx-sum: 1\r\nbrink-position: core.1=1\r\n\r\n",
        )]
    })
    .await;
    let mut world = World::before(&origin.url).await;
    let (ams, _ams) = world.pop("ams").await;
    let (sfo, _sfo) = world.pop("sfo").await;
    a_second_passes().await;
    for (edge, is_hit) in [(&ams, false), (&ams, true), (&sfo, false)] {
        let mut client = RawClient::connect(&edge.url).await;
        client
            .say("GET /a HTTP/1.1\r\nhost: www.example\r\nte: trailers\r\nconnection: te\r\n\r\n")
            .await;
        let head = client.head().await;
        let own = head
            .lines()
            .find(|line| line.starts_with("cache-status"))
            .unwrap();
        assert_eq!(
            own.ends_with("detail=memory") && own.matches("; hit").count() > 0,
            is_hit,
            "{head}"
        );
        assert!(head.contains("\r\ntrailer: x-sum\r\n"), "{head}");
        assert_eq!(
            client.until("\r\n\r\n").await,
            "5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n"
        );
    }
    assert_eq!(origin.heads().len(), 1);
    assert!(origin.heads()[0].contains("\r\nte: trailers\r\n"));
    ams.stop().await;
    sfo.stop().await;
}

#[tokio::test]
async fn interim_answers_pass_a_shield() {
    const HINTS: &str =
        "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\nbrink-position: core.1=1\r\n\r\n";
    let origin = RawOrigin::start(|_| {
        let answer =
            "HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\ncontent-length: 5\r\n\r\nhello";
        vec![say(HINTS), Step::Wait, say(answer)]
    })
    .await;
    let mut world = World::before(&origin.url).await;
    let (ams, _ams) = world.pop("ams").await;
    a_second_passes().await;
    let mut client = RawClient::connect(&ams.url).await;
    for is_hit in [false, true] {
        client
            .say("GET /a HTTP/1.1\r\nhost: www.example\r\n\r\n")
            .await;
        let mut head = client.head().await;
        if !is_hit {
            // It came while the origin still thought about the answer.
            assert_eq!(head, "http/1.1 103 early hints\r\nlink: </a.css>\r\n\r\n");
            origin.go.add_permits(1);
            head = client.head().await;
        }
        assert!(head.starts_with("http/1.1 200 ok"), "{head}");
        assert_eq!(client.until("hello").await, "hello");
    }
    ams.stop().await;
}
