//! A whole core: built from its configuration, run until it is told to stop, drained.

mod opening;
mod work;

pub use self::opening::open_store;
pub use crate::private::make_private_directory;

use self::opening::{advertised, open_homes};
use self::work::Work;
use crate::{
    Error,
    admin::Admin,
    bridge::Bridge,
    clock::now_ms,
    commands::Commands,
    components::Components,
    config::Config,
    control::{App, Control, LargeBodies},
    deployments::{Deployments, Tables},
    exchange::{Ages, Exchange, Peers},
    feed::{Feed, Terms},
    home::Home,
    identity::{self, Identity},
    link::{Link, REQUESTS_MAX},
    logs::Logs,
    members::Members,
    operate::{Operate, check_whole},
    pops::Pops,
    prober,
    projections::Projections,
    purges::{AskPops, Purges},
    records::Records,
    session_keys::SessionSigner,
    store::Store,
    tokens,
    workflows::Workflows,
};
use brink_listener::{Limits, Listener, TlsConfig};
use brink_protocol::{codec::MESSAGE_BYTES_MAX, control::COMPONENT_BYTES_MAX};
use brink_sandbox::Sandbox;
use brink_telemetry::Telemetry;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Records and answers that one sweep removes.
const SWEEP_MAX: usize = 1000;
/// How often what PoPs said is written to the store.
const POPS_KEPT: Duration = Duration::from_secs(5);
/// How often is looked for hard halves of staggered purges whose time has come.
const PURGES_RELEASED: Duration = Duration::from_millis(100);
/// How often is looked whether a session key is due.
const KEYS_LOOKED_AT: Duration = Duration::from_secs(60);
/// Streams of one edge's connection: its requests share it.
const LINK_STREAMS_MAX: u32 = 1024;

/// Where a core answers.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// The control API (TCP).
    pub control: SocketAddr,
    /// The link (TCP and UDP, the same port).
    pub link: SocketAddr,
    /// Health and metrics (TCP).
    pub admin: SocketAddr,
}

/// A core whose addresses are bound.
pub struct Core {
    operate: Arc<Operate>,
    config: Config,
    store: Arc<dyn Store>,
    pops: Arc<Pops>,
    purges: Purges,
    sessions: Arc<SessionSigner>,
    workflows: Arc<Workflows>,
    projections: Projections,
    exchange: Arc<Exchange>,
    members: Arc<Members>,
    bridge: Option<Bridge>,
    control: (Listener, Arc<Control>),
    link: (Listener, Arc<Link>),
    admin: (Listener, Arc<Admin>),
    addresses: Addresses,
    is_ready: Arc<AtomicBool>,
    stop: CancellationToken,
}

/// The parts that more than one listener shows.
struct Parts {
    operate: Arc<Operate>,
    store: Arc<dyn Store>,
    home: Arc<Home>,
    sandbox: Sandbox,
    commands: Arc<Commands>,
    workflows: Arc<Workflows>,
    work: Work,
    tables: Arc<Tables>,
    pops: Arc<Pops>,
    logs: Arc<Logs>,
    purges: Purges,
    sessions: Arc<SessionSigner>,
    ages: Arc<Ages>,
    peers: Arc<Peers>,
    members: Arc<Members>,
    feed: Arc<Feed>,
}

impl Parts {
    async fn open(config: &Config) -> Result<Self, Error> {
        let (own, members) = open_store(config).await?;
        let (store, home) = open_homes(config, own, &members).await?;
        let given = config.root_token_file.as_deref();
        check_whole(&*store).await?;
        tokens::ensure_root(&*store, given, &config.file("root.token")).await?;
        let lease = Duration::from_millis(config.feed.lease_ms);
        let pops = Pops::load(Arc::clone(&store), lease).await?;
        let tables = Tables::load(Arc::clone(&store)).await?;
        let sessions = SessionSigner::load(Arc::clone(&store), now_ms()).await?;
        let peers = config.peers.iter().map(|peer| peer.name.clone());
        let ages = Ages::new(store.is_shared(), peers);
        let names = config.peers.iter().map(|peer| peer.name.clone());
        let peers = Peers::kept_in(config.file("peers"), config.node.clone(), names);
        let terms = Terms {
            region: config.region.clone(),
            lease_ms: config.feed.lease_ms,
            stall_ms: config.feed.stall_ms,
        };
        let feed = Feed::new(
            Arc::clone(&store),
            Arc::clone(&pops),
            Arc::clone(&sessions),
            Arc::clone(&ages),
            terms,
        );
        let counting = Arc::clone(&feed);
        let ask: AskPops = Arc::new(move |request| counting.count(request));
        let purges = Purges::new(
            Arc::clone(&store),
            Arc::clone(&pops),
            Arc::clone(&tables),
            ask,
            Arc::clone(&peers),
            config.purges,
        )?;
        let operate = Operate::open(config, &store, purges.clone())?;
        let sandbox = Sandbox::new(config.sandbox.clone())?;
        let logs: Arc<Logs> = Arc::default();
        let work = Work {
            components: Arc::new(Components::new(Arc::clone(&store), sandbox.clone())),
            store: Arc::clone(&store),
            tables: Arc::clone(&tables),
            logs: Arc::clone(&logs),
        };
        let commands = work.commands(config, Arc::clone(&home));
        Ok(Self {
            operate,
            workflows: work.workflows(config, Arc::clone(&commands), &members),
            commands,
            work,
            sandbox,
            tables,
            purges,
            logs,
            sessions,
            ages,
            peers,
            members,
            feed,
            pops,
            store,
            home,
        })
    }

    fn control(&self, config: &Config) -> Control {
        let (store, tables) = (Arc::clone(&self.store), Arc::clone(&self.tables));
        Control::new(App {
            operate: Arc::clone(&self.operate),
            deployments: Deployments::new(Arc::clone(&store), tables, config.ceilings.clone()),
            store,
            sandbox: self.sandbox.clone(),
            workflows: Arc::clone(&self.workflows),
            projections: self.work.operate(config),
            home: Arc::clone(&self.home),
            purges: self.purges.clone(),
            sessions: Arc::clone(&self.sessions),
            pops: Arc::clone(&self.pops),
            peers: Arc::clone(&self.peers),
            logs: Arc::clone(&self.logs),
            node: config.node.to_string(),
            region: config.region.clone(),
            large_bodies: LargeBodies::default(),
            exports: LargeBodies::default(),
        })
    }

    fn link(&self, stop: CancellationToken) -> Link {
        let store = Arc::clone(&self.store);
        Link {
            records: Records::new(Arc::clone(&store)),
            commands: Arc::clone(&self.commands),
            workflows: Arc::clone(&self.workflows),
            home: Arc::clone(&self.home),
            purges: self.purges.clone(),
            tables: Arc::clone(&self.tables),
            feed: Arc::clone(&self.feed),
            ages: Arc::clone(&self.ages),
            peers: Arc::clone(&self.peers),
            pops: Arc::clone(&self.pops),
            logs: Arc::clone(&self.logs),
            permits: Semaphore::new(REQUESTS_MAX),
            store,
            stop,
        }
    }
}

fn bound(address: Option<SocketAddr>) -> Result<SocketAddr, Error> {
    address.ok_or(Error::Listener(brink_listener::Error::NoAddress))
}

async fn bind_control(config: &Config, identity: &Identity) -> Result<Listener, Error> {
    let own = &config.control;
    let tls = TlsConfig {
        certificate: own
            .certificate
            .clone()
            .unwrap_or_else(|| identity.control.certificate.clone()),
        key: own
            .key
            .clone()
            .unwrap_or_else(|| identity.control.key.clone()),
        client_ca: None,
    };
    let mut limits = Limits::default();
    limits.body_bytes_max = COMPONENT_BYTES_MAX as u64;
    Ok(Listener::bind(brink_listener::Config {
        tcp: Some(own.listen),
        tls: Some(tls),
        limits,
        ..Default::default()
    })
    .await?)
}

async fn bind_link(config: &Config, identity: &Identity) -> Result<Listener, Error> {
    let tls = TlsConfig {
        certificate: identity.link.certificate.clone(),
        key: identity.link.key.clone(),
        client_ca: Some(identity.authority.clone()),
    };
    let mut limits = Limits::default();
    limits.body_bytes_max = MESSAGE_BYTES_MAX as u64;
    limits.streams_max = LINK_STREAMS_MAX;
    limits.connections_per_address_max = limits.connections_max;
    Ok(Listener::bind(brink_listener::Config {
        tcp: Some(config.link.listen),
        quic: Some(config.link.listen),
        tls: Some(tls),
        limits,
        alt_svc: false,
    })
    .await?)
}

impl Core {
    /// Opens the store, makes what a first start needs (authority, root token), and binds the addresses.
    ///
    /// # Errors
    /// Files, addresses, the store, the sandbox.
    pub async fn build(config: Config, telemetry: Option<Arc<Telemetry>>) -> Result<Self, Error> {
        make_private_directory(&config.data)?;
        // The store first: a second core over the same data ends here, and leaves the certificates of the first alone.
        let parts = Parts::open(&config).await?;
        let has_peers = !config.peers.is_empty() || config.identity.is_some();
        let files = config.identity.as_ref().unwrap_or(&config.data);
        let identity = identity::open(files, &config.node, &config.names, has_peers)?;
        parts.home.identify(identity.client());
        let stop = CancellationToken::new();
        let is_ready = Arc::new(AtomicBool::new(false));
        let control = (
            bind_control(&config, &identity).await?,
            Arc::new(parts.control(&config)),
        );
        let link = (
            bind_link(&config, &identity).await?,
            Arc::new(parts.link(stop.clone())),
        );
        let plain = brink_listener::Config {
            tcp: Some(config.admin.listen),
            ..Default::default()
        };
        let admin = Admin {
            store: Arc::clone(&parts.store),
            pops: Arc::clone(&parts.pops),
            telemetry,
            is_ready: Arc::clone(&is_ready),
        };
        let admin = (Listener::bind(plain).await?, Arc::new(admin));
        let addresses = Addresses {
            control: bound(control.0.tcp_addr())?,
            link: bound(link.0.tcp_addr())?,
            admin: bound(admin.0.tcp_addr())?,
        };
        let Parts {
            operate,
            store,
            pops,
            purges,
            sessions,
            workflows,
            ages,
            peers,
            members,
            work,
            ..
        } = parts;
        let exchange = Exchange::new(
            Arc::clone(&store),
            Arc::clone(&sessions),
            ages,
            peers,
            identity.client(),
            config.peers.clone(),
            Arc::clone(&members),
        );
        Ok(Self {
            bridge: Bridge::new(&config.kafka, Arc::clone(&store), Arc::clone(&members))?,
            projections: work.projections(&config, &members),
            config,
            operate,
            sessions,
            workflows,
            exchange,
            members,
            store,
            pops,
            purges,
            control,
            link,
            admin,
            addresses,
            is_ready,
            stop,
        })
    }

    /// Where it answers.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Ends it: requests in flight are finished, within the listeners' drain time.
    #[must_use]
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Answers until it is stopped, then drains and closes the store.
    ///
    /// # Errors
    /// The store took no more writes: it drained early, and whoever starts it again opens the store anew.
    pub async fn serve(self) -> Result<(), Error> {
        let stop = &self.stop;
        let upkeep = upkeep(
            Arc::clone(&self.store),
            Arc::clone(&self.pops),
            self.purges.clone(),
            Arc::clone(&self.sessions),
            self.config.store.sweep_ms,
        );
        let records = Records::new(Arc::clone(&self.store));
        let prober = prober::run(records, Arc::clone(&self.pops), self.config.prober);
        self.announce().await;
        self.is_ready.store(true, Ordering::Relaxed);
        let (control, link, admin) = (self.control, self.link, self.admin);
        let not_ready = async {
            stop.cancelled().await;
            self.is_ready.store(false, Ordering::Relaxed);
        };
        let failed = self.store.failed();
        let upkeep = async {
            tokio::select! {
                () = upkeep => {}
                () = prober => {}
                () = failed.cancelled() => {
                    tracing::error!("the store takes no more writes: the core stops, so that it is opened anew");
                    stop.cancel();
                }
                () = stop.cancelled() => {}
            }
        };
        tokio::join!(
            control.0.serve(control.1, stop.clone()),
            link.0.serve(link.1, stop.clone()),
            admin.0.serve(admin.1, stop.clone()),
            self.exchange.run(stop.clone()),
            self.operate.run(stop.clone()),
            self.workflows.run(stop.clone()),
            self.projections.run(stop.clone()),
            run_bridge(self.bridge, stop.clone()),
            upkeep,
            not_ready,
        );
        if let Err(error) = self.pops.keep(now_ms()).await {
            tracing::warn!(%error, "what PoPs last said was not kept");
        }
        // Else another process goes on under this name.
        if !failed.is_cancelled()
            && let Err(error) = self.members.leave().await
        {
            tracing::warn!(%error, "the other cores were not told that this one ends");
        }
        if failed.is_cancelled() {
            let reason = "the disk failed or was full; the log says when";
            return Err(Error::store("writing", reason));
        }
        Ok(())
    }
}

impl Core {
    /// Says to the cores on the same store where this one answers.
    async fn announce(&self) {
        let (config, bound) = (&self.config, &self.addresses);
        let link = advertised(config.link.advertise.as_ref(), bound.link, &config.names);
        let control = config.control.advertise.as_ref();
        let control = advertised(control, bound.control, &config.names);
        if let Err(error) = self.members.announce(link, control).await {
            tracing::warn!(%error, "the other cores were not told of this one yet");
        }
    }
}

async fn run_bridge(bridge: Option<Bridge>, stop: CancellationToken) {
    if let Some(bridge) = bridge {
        bridge.run(stop).await;
    }
}

/// Removes what has ended, and keeps what PoPs said.
async fn upkeep(
    store: Arc<dyn Store>,
    pops: Arc<Pops>,
    purges: Purges,
    sessions: Arc<SessionSigner>,
    sweep_ms: u64,
) {
    let mut rotate = tokio::time::interval(KEYS_LOOKED_AT);
    let mut sweep = tokio::time::interval(Duration::from_millis(sweep_ms));
    let mut keep = tokio::time::interval(POPS_KEPT);
    let mut release = tokio::time::interval(PURGES_RELEASED);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let done = tokio::select! {
            _ = sweep.tick() => sweep_all(&*store).await,
            _ = keep.tick() => pops.keep(now_ms()).await,
            _ = release.tick() => purges.release(now_ms()).await,
            _ = rotate.tick() => sessions.rotate(now_ms()).await,
        };
        if let Err(error) = done {
            tracing::warn!(%error, "upkeep of the store failed; it is tried again");
        }
    }
}

async fn sweep_all(store: &dyn Store) -> Result<(), Error> {
    loop {
        let swept = store.sweep(now_ms(), SWEEP_MAX).await?;
        if swept.records < SWEEP_MAX && swept.answers < SWEEP_MAX {
            return Ok(());
        }
    }
}
