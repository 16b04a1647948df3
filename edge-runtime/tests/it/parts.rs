//! Parts that are put together.

use crate::harness::{before, within};
use brink_listener::{Body, Config, Connection, Listener, Service};
use bytes::Bytes;
use http::{Request, Response};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};
use tokio_util::sync::CancellationToken;

const WHOLE: &str = "0123456789";

/// Sends the parts that it is asked for, and notes what these were.
#[derive(Default)]
struct Parts {
    asked: Mutex<Vec<String>>,
    has_changed: AtomicBool,
}

impl Service for Parts {
    async fn call(&self, request: Request<Body>, _: Arc<Connection>) -> Response<Body> {
        let field = |name| {
            let value = request.headers().get(name);
            value.map_or("", |value| value.to_str().unwrap()).to_owned()
        };
        let (range, if_range) = (field("range"), field("if-range"));
        let asked = format!("{range} {if_range}");
        self.asked.lock().unwrap().push(asked.trim().to_owned());
        let has_changed = self.has_changed.load(Ordering::Relaxed);
        let (whole, tag) = match has_changed {
            true => ("abcdefghij", "\"b\""),
            false => (WHOLE, "\"a\""),
        };
        let is_weak = request.uri().path() == "/weak";
        let response = Response::builder()
            .header(
                "cache-control",
                match request.uri().path() {
                    // Its last part is nobody else's.
                    "/private" if range.ends_with('-') => "private",
                    _ => "max-age=60",
                },
            )
            .header(
                "etag",
                if is_weak {
                    format!("W/{tag}")
                } else {
                    tag.to_owned()
                },
            )
            .header("x-part", &range);
        let wanted = range
            .strip_prefix("bytes=")
            .and_then(|range| range.split_once('-'));
        // One that does not know If-Range, and sends the part of what it has.
        let heeds = request.uri().path() != "/careless";
        let part = wanted.filter(|_| !heeds || if_range.is_empty() || if_range == tag);
        let Some((first, last)) = part else {
            return response.body(Body::full(Bytes::from(whole))).unwrap();
        };
        let first: usize = first.parse().unwrap();
        let end = last.parse().map_or(10, |last: usize| last + 1);
        response
            .status(206)
            .header("content-range", format!("bytes {first}-{}/10", end - 1))
            .body(Body::full(Bytes::from(&whole[first..end])))
            .unwrap()
    }
}

#[tokio::test]
async fn parts_become_longer_and_whole() {
    let config = Config {
        tcp: Some("127.0.0.1:0".parse().unwrap()),
        ..Config::default()
    };
    let listener = Listener::bind(config).await.unwrap();
    let origin = format!("http://{}", listener.tcp_addr().unwrap());
    let (parts, stop) = (Arc::new(Parts::default()), CancellationToken::new());
    let running = tokio::spawn(listener.serve(parts.clone(), stop.clone()));
    let edge = before(&origin).await;
    // Path, range, status, body, and what the origin is asked; none: it is not.
    type Case<'a> = (&'a str, &'a str, u16, &'a str, Option<&'a str>);
    let cases: [Case<'_>; 23] = [
        ("/a", "bytes=2-3", 206, "23", Some("bytes=2-3")),
        ("/a", "bytes=4-5", 206, "45", Some("bytes=4-5")),
        ("/a", "bytes=3-4", 206, "34", None),
        ("/a", "bytes=0-2", 206, "012", Some("bytes=0-2")),
        ("/a", "bytes=0-5", 206, "012345", None),
        ("/a", "", 200, WHOLE, Some("bytes=6- \"a\"")),
        ("/a", "", 200, WHOLE, None),
        ("/a", "bytes=8-", 206, "89", None),
        // Behind a gap: the newer stays.
        ("/b", "bytes=0-1", 206, "01", Some("bytes=0-1")),
        ("/b", "bytes=5-9", 206, "56789", Some("bytes=5-9")),
        ("/b", "bytes=5-6", 206, "56", None),
        ("/b", "", 200, WHOLE, Some("bytes=0-4 \"a\"")),
        ("/b", "", 200, WHOLE, None),
        // In the middle, or without a strong validator, all is fetched.
        ("/c", "bytes=2-3", 206, "23", Some("bytes=2-3")),
        ("/c", "", 200, WHOLE, Some("")),
        ("/weak", "bytes=0-4", 206, "01234", Some("bytes=0-4")),
        ("/weak", "bytes=5-9", 206, "56789", Some("bytes=5-9")),
        ("/weak", "", 200, WHOLE, Some("")),
        // Complete, but not to be kept.
        ("/private", "bytes=0-4", 206, "01234", Some("bytes=0-4")),
        ("/private", "", 200, WHOLE, Some("bytes=5- \"a\"")),
        ("/private", "bytes=0-4", 206, "01234", None),
        ("/d", "bytes=0-4", 206, "01234", Some("bytes=0-4")),
        ("/careless", "bytes=0-4", 206, "01234", Some("bytes=0-4")),
    ];
    for (path, range, status, body, asked) in cases {
        parts.asked.lock().unwrap().clear();
        let fields = [("range", range)];
        let fields = if range.is_empty() {
            &fields[..0]
        } else {
            &fields[..]
        };
        let got = edge.send("GET", path, fields).await;
        let said = got.field("cache-status");
        assert_eq!(
            (got.status.as_u16(), &*got.body),
            (status, body),
            "{path} {range}: {said}"
        );
        assert_eq!(
            got.headers.contains_key("content-range"),
            status == 206,
            "{path} {range}"
        );
        let asked: Vec<String> = asked.into_iter().map(str::to_owned).collect();
        assert_eq!(
            *parts.asked.lock().unwrap(),
            asked,
            "{path} {range}: {said}"
        );
    }
    parts.has_changed.store(true, Ordering::Relaxed);
    for (path, asked) in [
        ("/d", &["bytes=5- \"a\""][..]),
        ("/careless", &["bytes=5- \"a\"", ""]),
    ] {
        parts.asked.lock().unwrap().clear();
        let got = edge.get(path).await;
        assert_eq!(
            (got.status.as_u16(), &*got.body),
            (200, "abcdefghij"),
            "{path}"
        );
        assert_eq!(*parts.asked.lock().unwrap(), asked, "{path}");
        assert!(edge.get(path).await.is_hit(), "{path}");
    }
    edge.stop().await;
    stop.cancel();
    within(running).await.unwrap();
}
