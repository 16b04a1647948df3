//! Puts an edge together from its settings, runs it, and ends it.

use crate::{
    admin::{Admin, Render, View, unready},
    admission::Admission,
    cache::Cache,
    canary::CanaryReader,
    config::Settings,
    counting::{self, Counting},
    deployments::Deployments,
    error::Error,
    feed::Feed,
    figures::{self, Red, Sums},
    files,
    front::Front,
    lease_watch::LeaseWatch,
    link::Link,
    modules::{Guarded, Platform, RecordCache, Store},
    origin::Origins,
    pipeline::Edge,
    progress::Progress,
    purging::Purging,
    reporter::Reporter,
    reports::Reports,
    routes::{Table, Target},
    session::Sessions,
    shield::Shields,
    shielding::Shield,
};
use arc_swap::ArcSwap;
use brink_listener::{Listener, TlsConfig};
use brink_sandbox::Sandbox;
use http::HeaderValue;
use serde_json::json;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};
use tokio::sync::{Mutex, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Time for the cache and the tasks to end after the listener has drained.
const CLOSE_MAX: Duration = Duration::from_millis(1500);
/// Questions of one PoP to a shield at a time.
const SHIELD_STREAMS_MAX: u32 = 4_096;
/// How often it is looked whether the edge is ready, until it is.
const READY_LOOK: Duration = Duration::from_millis(20);

/// How often it is looked which origins there are.
const ORIGINS_LOOK: Duration = Duration::from_secs(1);

/// An edge that is bound and put together, and not serving yet.
pub struct Assembled {
    listener: Listener,
    /// Where other PoPs come in, if this one is a shield.
    shield: Option<Listener>,
    admin: Option<Admin>,
    view: View,
    reports: Arc<Reports>,
    deployments: Option<Deployments>,
    has_tls: bool,
}

impl Assembled {
    /// Opens the cache, binds the addresses, and takes up the deployments that were kept on disk. Nothing is served,
    /// and the core is not asked, until [`Assembled::run`].
    ///
    /// # Errors
    /// A directory, address, certificate or value that cannot be used.
    pub async fn new(settings: Settings, render: Render) -> Result<Self, Error> {
        figures::describe();
        if let Some(data) = &settings.data {
            files::make_dir(data)?;
        }
        let has_tls = settings.listener.tls.is_some();
        let listener = Listener::bind(settings.listener).await?;
        let shield = match settings.shield.listen.clone() {
            Some(listen) => Some(Listener::bind(shield_config(listen)).await?),
            None => None,
        };
        let admin = match settings.admin {
            Some(address) => Some(Admin::bind(address).await?),
            None => None,
        };
        let exports_spans = settings.telemetry.otlp_endpoint.is_some();
        let mut cache = settings.cache;
        cache.asks_shields = settings.shield.ask.is_some();
        let cache = Cache::open(cache, &settings.pop).await?;
        let link = settings.core.map(Link::new).transpose()?;
        if let (Some(link), Some(admin)) = (&link, &admin) {
            link.tell_admin(admin.address());
        }
        let progress = Arc::new(Progress::default());
        let reports = Arc::new(Reports::default());
        let sums = Arc::new(Sums::default());
        let table = Arc::new(ArcSwap::from_pointee(Table::default()));
        let egress =
            Guarded::new(&settings.egress_allow).map_err(|e| Error::Egress(e.to_string()))?;
        let platform = Arc::new(Platform {
            pop: settings.pop.clone(),
            link: link.clone(),
            cache: cache.clone(),
            records: RecordCache::new(&settings.records),
            table: Arc::clone(&table),
            progress: Arc::clone(&progress),
            reports: Arc::clone(&reports),
            egress,
        });
        let deployments = match &link {
            None => None,
            Some(link) => {
                let dir = settings.data.as_ref().map(|data| data.join("components"));
                let deployments = Deployments {
                    pop: settings.pop.clone(),
                    sandbox: Sandbox::new(settings.sandbox)?,
                    store: Store::new(dir, Some(link.clone()))?,
                    table: Arc::clone(&table),
                    cache: cache.clone(),
                    progress: Arc::clone(&progress),
                    reports: Arc::clone(&reports),
                    file: settings.data.as_ref().map(|data| data.join("deployments")),
                };
                deployments.restore().await;
                Some(deployments)
            }
        };
        let sessions = Arc::new(Sessions::new(link.is_some()));
        let edge = Arc::new(Edge {
            admission: Admission::new(settings.exchanges_max, Arc::clone(&sessions)),
            purging: Purging::new(
                link.clone(),
                cache.clone(),
                Arc::clone(&progress),
                Arc::clone(&sessions),
            ),
            sessions,
            table,
            cache: cache.clone(),
            shields: Shields::new(&settings.shield)?,
            own_loop: HeaderValue::try_from(format!("brink-{}", settings.pop)).ok(),
            origins: Origins::new(settings.origin)?,
            platform,
            sums: Arc::clone(&sums),
            unrouted: Red::register("none"),
            hit_seconds: metrics::histogram!("brink_hit_seconds"),
            access_log: settings.access_log,
            exports_spans,
        });
        let view = View {
            pop: settings.pop,
            edge,
            cache,
            progress,
            link,
            sums,
            render,
        };
        Ok(Self {
            listener,
            shield,
            admin,
            view,
            reports,
            deployments,
            has_tls,
        })
    }

    /// The table that answers requests: for edges that get it from elsewhere than a core.
    #[must_use]
    pub fn table(&self) -> &ArcSwap<Table> {
        &self.view.edge.table
    }

    /// Where clients, other PoPs and operators come in: `url`, `h3`, `shield` and `admin`.
    #[must_use]
    pub fn addresses(&self) -> serde_json::Value {
        let scheme = if self.has_tls { "https" } else { "http" };
        let url = |scheme: &str, address: std::net::SocketAddr| format!("{scheme}://{address}");
        json!({
            "url": self.listener.tcp_addr().map(|address| url(scheme, address)),
            "h3": self.listener.quic_addr().map(|address| url("https", address)),
            "shield": self.shield.as_ref().and_then(Listener::tcp_addr),
            "admin": self.admin.as_ref().map(|admin| url("http", admin.address())),
        })
    }

    /// Serves until `stop`, then drains and ends, within 5 s in all. `ready_file` is written when everything answers.
    ///
    /// # Errors
    /// The cache could not be closed: what was under way to disk may be missing there.
    pub async fn run(
        self,
        stop: CancellationToken,
        ready_file: Option<PathBuf>,
    ) -> Result<(), Error> {
        let addresses = self.addresses();
        let Self {
            listener,
            shield,
            admin,
            view,
            reports,
            deployments,
            has_tls: _,
        } = self;
        // Clients are drained first; what serves them goes on until then.
        let background = CancellationToken::new();
        let tasks = TaskTracker::new();
        if let Some(admin) = admin {
            tasks.spawn(admin.serve(view.clone(), background.clone()));
        }
        tasks.spawn(watch_origins(Arc::clone(&view.edge), background.clone()));
        if let (Some(link), Some(deployments)) = (view.link.clone(), deployments) {
            follow_core(&tasks, &view, link, reports, deployments, &background);
        }
        tasks.spawn(tell_ready(
            view.clone(),
            addresses,
            ready_file,
            background.clone(),
        ));
        if let Some(shield) = shield {
            let service = Arc::new(Shield(Arc::clone(&view.edge)));
            tasks.spawn(shield.serve(service, stop.clone()));
        }
        let front = Arc::new(Front(Arc::clone(&view.edge)));
        listener.serve(front, stop).await;
        background.cancel();
        tasks.close();
        let closing = async {
            tasks.wait().await;
            view.cache.close().await
        };
        match tokio::time::timeout(CLOSE_MAX, closing).await {
            Ok(closed) => closed.map_err(Error::from),
            Err(_) => {
                tracing::warn!("the cache did not close in time");
                Ok(())
            }
        }
    }
}

/// Makes the origins of the active table known, so that their health checks go on, until `stop`.
async fn watch_origins(edge: Arc<Edge>, stop: CancellationToken) {
    loop {
        let table = edge.table.load_full();
        let targets = table
            .entries()
            .iter()
            .filter_map(|entry| match &entry.target {
                Target::Origin(origin) => Some(origin),
                Target::Module(_) | Target::Missing(_) | Target::Static(_) => None,
            });
        edge.origins.keep(targets);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(ORIGINS_LOOK) => {}
        }
    }
}

/// Other PoPs are few, and each asks much on one connection.
fn shield_config((address, tls): (SocketAddr, TlsConfig)) -> brink_listener::Config {
    let mut limits = brink_listener::Limits::default();
    limits.streams_max = SHIELD_STREAMS_MAX;
    brink_listener::Config {
        tcp: Some(address),
        quic: None,
        tls: Some(tls),
        limits,
        alt_svc: false,
    }
}

/// Keeps what comes from the core coming, and what goes to it going, until `stop`.
fn follow_core(
    tasks: &TaskTracker,
    view: &View,
    link: Link,
    reports: Arc<Reports>,
    deployments: Deployments,
    stop: &CancellationToken,
) {
    let (counting, counts) = mpsc::channel(counting::WAITING_MAX);
    let feed = Feed {
        pop: view.pop.clone(),
        link: link.clone(),
        cache: view.cache.clone(),
        progress: Arc::clone(&view.progress),
        reports: Arc::clone(&reports),
        sessions: Arc::clone(&view.edge.sessions),
        counting,
    };
    let watch = LeaseWatch {
        cache: view.cache.clone(),
    };
    let reporter = Reporter {
        pop: view.pop.clone(),
        link: link.clone(),
        cache: view.cache.clone(),
        progress: Arc::clone(&view.progress),
        reports: Arc::clone(&reports),
        sums: Arc::clone(&view.sums),
        canary: Arc::new(CanaryReader::new(view.cache.clone(), link.clone())),
        platform: Arc::clone(&view.edge.platform),
        round_trip_us: AtomicU64::new(0),
        syncing: Mutex::new(()),
    };
    let counting = Counting {
        cache: view.cache.clone(),
        reports,
    };
    let (maintained, stop) = (link.clone(), stop.clone());
    let token = stop.clone();
    tasks.spawn(async move { maintained.maintain(token).await });
    let token = stop.clone();
    tasks.spawn(async move { feed.follow(token).await });
    let token = stop.clone();
    tasks.spawn(async move { watch.run(token).await });
    let token = stop.clone();
    tasks.spawn(async move { reporter.run(token).await });
    let token = stop.clone();
    tasks.spawn(async move { counting.run(counts, token).await });
    tasks.spawn(async move { deployments.follow(&link, stop).await });
}

/// Says once that the edge is ready, in the log and in `ready_file`.
async fn tell_ready(
    view: View,
    addresses: serde_json::Value,
    ready_file: Option<PathBuf>,
    stop: CancellationToken,
) {
    let ready = async {
        while unready(&view).is_some() {
            tokio::time::sleep(READY_LOOK).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => return,
        () = ready => {}
    }
    tracing::info!(%addresses, "ready");
    if let Some(path) = ready_file
        && let Err(error) = write_ready(&path, &addresses)
    {
        tracing::error!(%error, "the ready file could not be written");
    }
}

fn write_ready(path: &Path, addresses: &serde_json::Value) -> Result<(), Error> {
    files::replace(path, format!("{addresses}\n").as_bytes())
}
