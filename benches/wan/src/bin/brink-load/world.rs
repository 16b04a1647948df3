//! What all clients share.

use crate::{
    Error,
    client::{self, Client, Protocol},
    figures::Figures,
    origin::Origin,
    recorder::Recorder,
    setup::Setup,
};
use brink_planet::history::Event;
use brink_protocol::Position;
use brink_wan::chance::Chance;
use http::Method;
use serde_json::{Value, json};
use std::{
    fs,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How long the platform may take until it serves everything.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// How often something that is waited for is looked at.
const POLL: Duration = Duration::from_millis(50);
/// Tokens of others that clients may take over.
const SHARED_TOKENS: usize = 32;

/// A session token and what it says.
#[derive(Debug, Clone)]
pub(crate) struct Carried {
    pub(crate) token: String,
    pub(crate) position: Position,
}

/// An order that was placed.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub(crate) key: u64,
    pub(crate) value: u64,
    pub(crate) customer: String,
    pub(crate) id: String,
}

/// A PoP with its clients.
pub(crate) struct PopClients {
    http1: Client,
    http2: Client,
    http3: Client,
}

/// What all clients share.
pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) recorder: Recorder,
    pub(crate) figures: Figures,
    pub(crate) origin: Origin,
    pub(crate) control: Client,
    pub(crate) pops: Vec<PopClients>,
    /// Orders that were placed.
    pub(crate) orders: Mutex<Vec<Placed>>,
    tokens: Mutex<Vec<Carried>>,
    values: AtomicU64,
    clients: AtomicU64,
    is_over: AtomicBool,
}

impl World {
    pub(crate) async fn open(setup: Setup) -> Result<Self, Error> {
        setup.check()?;
        let tls = client::trust(&setup.ca)?;
        let token = fs::read_to_string(&setup.token_file);
        let token = token.map_err(|error| Error::Io("the token".to_owned(), error))?;
        let bearer = format!("Bearer {}", token.trim());
        let mut pops = Vec::new();
        for pop in &setup.pops {
            let client = |protocol| Client::new(pop.address, protocol, &tls, None);
            pops.push(PopClients {
                http1: client(Protocol::Http1)?,
                http2: client(Protocol::Http2)?,
                http3: client(Protocol::Http3)?,
            });
        }
        let recorder = Recorder::new();
        recorder.add(Event::Pops {
            names: setup.pops.iter().map(|pop| pop.name.clone()).collect(),
        });
        Ok(Self {
            pops,
            control: Client::new(setup.control, Protocol::Http1, &tls, Some(bearer))?,
            origin: Origin::new(setup.objects, setup.seed ^ 0x0517),
            recorder,
            figures: Figures::default(),
            orders: Mutex::default(),
            tokens: Mutex::default(),
            values: AtomicU64::new(1),
            clients: AtomicU64::new(1),
            is_over: AtomicBool::new(false),
            setup,
        })
    }

    /// Imports records and waits until every PoP serves what clients will ask for.
    pub(crate) async fn ready(&self, records: String) -> Result<(), Error> {
        self.until("the records to be imported", READY_WITHIN, async || {
            let fields = [("content-type", "application/x-ndjson")];
            let path = "/v1/records/import";
            let answer = self
                .control
                .send(Method::POST, path, &fields, records.clone())
                .await
                .ok()?;
            answer.status.is_success().then_some(())
        })
        .await?;
        for (pop, setup) in self.pops.iter().zip(&self.setup.pops) {
            for path in ["/register/0", "/site/obj/0", "/inventory/warehouses"] {
                let what = format!("{path} at {}", setup.name);
                self.until(&what, READY_WITHIN, async || {
                    let answer = pop.http1.get(path, &[]).await.ok()?;
                    answer.status.is_success().then_some(())
                })
                .await?;
            }
        }
        Ok(())
    }

    /// Asks again and again until there is an answer.
    pub(crate) async fn until<T>(
        &self,
        what: &str,
        within: Duration,
        look: impl AsyncFn() -> Option<T>,
    ) -> Result<T, Error> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(found) = look().await {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                return Err(Error::Vain(what.to_owned()));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Clients end.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// A client of a PoP, by chance of one protocol or another.
    pub(crate) fn at(&self, pop: usize, chance: &mut Chance) -> Option<&Client> {
        let clients = self.pops.get(pop)?;
        Some(match chance.below(3) {
            0 => &clients.http1,
            1 => &clients.http2,
            _ => &clients.http3,
        })
    }

    /// A value that nobody wrote before.
    pub(crate) fn next_value(&self) -> u64 {
        self.values.fetch_add(1, Ordering::Relaxed)
    }

    /// The number of a new client or session.
    pub(crate) fn next_client(&self) -> u64 {
        self.clients.fetch_add(1, Ordering::Relaxed)
    }

    /// Chance of a client's own.
    pub(crate) fn chance(&self, client: u64) -> Chance {
        Chance::new(self.setup.seed.wrapping_mul(0x1_0001).wrapping_add(client))
    }

    /// A pause of a client.
    pub(crate) async fn pause(&self, chance: &mut Chance) {
        let pause = chance.below(self.setup.pause_ms_max + 1);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }

    pub(crate) fn share(&self, carried: &Carried) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= SHARED_TOKENS {
            tokens.remove(0);
        }
        tokens.push(carried.clone());
    }

    /// A token that somebody got not long ago.
    pub(crate) fn shared(&self, chance: &mut Chance) -> Option<Carried> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let index = chance.below(tokens.len() as u64);
        tokens.get(usize::try_from(index).ok()?).cloned()
    }

    /// Reads JSON from the control API.
    pub(crate) async fn ask(&self, path: &str) -> Option<Value> {
        let answer = self.control.get(path, &[]).await.ok()?;
        answer.status.is_success().then(|| answer.json())?
    }

    /// Asks the control API for a purge. None: no answer, or it was refused.
    pub(crate) async fn purge(&self, body: &Value, idempotency_key: &str) -> Option<String> {
        let fields = [
            ("content-type", "application/json"),
            ("idempotency-key", idempotency_key),
        ];
        let path = "/v1/purges";
        let answer = self
            .control
            .send(Method::POST, path, &fields, body.to_string())
            .await
            .ok()?;
        if !answer.status.is_success() {
            self.figures.count("purge answers of another status");
            return None;
        }
        let purge: Value = answer.json()?;
        Some(purge.get("id")?.as_str()?.to_owned())
    }

    /// The purge of all objects.
    pub(crate) fn all_objects() -> Value {
        json!({"keys": ["objects"]})
    }
}
