//! The origin of the route `/site`: objects whose content the platform cannot track, each with a generation.
//!
//! An answer may be held back after its generation was looked up: that is the race between fills and purges.

use crate::{Error, world::World};
use brink_wan::chance::Chance;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use std::{
    convert::Infallible,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::net::TcpListener;

/// Longest time that an answer is held back.
const HELD_MS_MAX: u64 = 400;

/// Generations of the objects.
#[derive(Debug)]
pub(crate) struct Origin {
    generations: Vec<AtomicU64>,
    chance: Mutex<Chance>,
    /// Requests so far.
    pub(crate) requests: AtomicU64,
}

impl Origin {
    pub(crate) fn new(objects: usize, seed: u64) -> Self {
        Self {
            generations: (0..objects).map(|_| AtomicU64::new(0)).collect(),
            chance: Mutex::new(Chance::new(seed)),
            requests: AtomicU64::new(0),
        }
    }

    /// From now on an object is of its next generation, which is answered.
    pub(crate) fn change(&self, object: usize) -> Option<u64> {
        let generation = self.generations.get(object)?;
        Some(generation.fetch_add(1, Ordering::SeqCst) + 1)
    }

    fn held(&self) -> Duration {
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        if chance.happens(0.5) {
            Duration::from_millis(chance.below(HELD_MS_MAX))
        } else {
            Duration::ZERO
        }
    }
}

/// Listens; the answered future serves.
pub(crate) async fn serve(world: Arc<World>) -> Result<impl Future<Output = ()>, Error> {
    let address = world.setup.origin;
    let listener = TcpListener::bind(address).await;
    let listener =
        listener.map_err(|error| Error::Io(format!("the origin on {address}"), error))?;
    Ok(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(Arc::clone(&world), request));
                let served = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(stream), service);
                // A connection that an edge broke off is nothing to us.
                let _ = served.await;
            });
        }
    })
}

async fn answer(
    world: Arc<World>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let origin = &world.origin;
    origin.requests.fetch_add(1, Ordering::Relaxed);
    let number = request.uri().path().strip_prefix("/site/obj/");
    let number = number.and_then(|number| number.parse::<usize>().ok());
    let found = number.and_then(|number| Some((number, origin.generations.get(number)?)));
    let Some((object, generation)) = found else {
        let mut missing = Response::new(Full::default());
        *missing.status_mut() = StatusCode::NOT_FOUND;
        return Ok(missing);
    };
    let generation = generation.load(Ordering::SeqCst);
    tokio::time::sleep(origin.held()).await;
    let body = json!({"object": object, "generation": generation}).to_string();
    // Half of them may be served stale.
    let lifetime = match object % 2 {
        0 => "max-age=600",
        _ => "max-age=600, stale-while-revalidate=30, stale-if-error=60",
    };
    let mut response = Response::new(Full::from(body));
    let fields = response.headers_mut();
    for (name, value) in [
        ("content-type", "application/json".to_owned()),
        ("cache-control", lifetime.to_owned()),
        ("surrogate-key", format!("obj-{object} objects")),
    ] {
        if let Ok(value) = value.parse() {
            fields.insert(name, value);
        }
    }
    Ok(response)
}
