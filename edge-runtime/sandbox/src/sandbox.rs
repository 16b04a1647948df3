//! The sandbox: one engine, its instances, and the components that are loaded into it.

use crate::{
    BoxError, COMPONENT_BYTES_MAX, Config, Error, World,
    bindings::{
        command::CommandPre, plugin::PluginPre, projection::ProjectionPre, workflow::WorkflowPre,
    },
    compile_cache::CompileCache,
    component::{Component, Pre, Shared},
    engine::{self, Ticker},
    inspect::{inspect, world_of},
    linkers::Linkers,
    pool::Slots,
};
use brink_protocol::Digest;
use bytes::Bytes;
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use wasmtime::{Engine, component::Component as Code};
use wasmtime_wasi_http::p2::bindings::ProxyPre;

/// Where components run. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

struct Inner {
    engine: Engine,
    linkers: Linkers,
    cache: Option<CompileCache>,
    shared: Arc<Shared>,
    /// Code by digest, for as long as some component uses it. The lock of one digest is held while it is compiled.
    compiled: Mutex<HashMap<Digest, Arc<Entry>>>,
}

type Entry = tokio::sync::Mutex<Weak<Compiled>>;

/// Compiled and linked code.
struct Compiled {
    world: World,
    pre: Pre,
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox")
            .field("instances", &self.instances())
            .finish()
    }
}

impl Sandbox {
    /// Starts the engine.
    ///
    /// # Errors
    /// A value of `config` is not allowed, its directory cannot be used, or the machine has not the address space for
    /// so many instances.
    pub fn new(config: Config) -> Result<Self, Error> {
        config.check()?;
        let engine = engine::running(&config)?;
        let linkers = Linkers::new(&engine).map_err(|error| Error::Engine(format!("{error:#}")))?;
        let cache = match &config.cache_dir {
            Some(dir) => Some(CompileCache::open(dir, &engine)?),
            None => None,
        };
        let slots = Arc::new(Slots::new(config.instances_max));
        let swept = Arc::downgrade(&slots);
        let idle_max = Duration::from_millis(config.idle_ms_max);
        let ticker = Ticker::start(&engine, move || {
            if let Some(slots) = swept.upgrade() {
                slots.sweep(idle_max);
            }
        })?;
        let shared = Shared {
            ticker: Arc::new(ticker),
            slots,
            memory_bytes_max: config.memory_bytes_max,
        };
        Ok(Self(Arc::new(Inner {
            engine,
            linkers,
            cache,
            shared: Arc::new(shared),
            compiled: Mutex::default(),
        })))
    }

    /// Instances that are alive now, running or idle.
    #[must_use]
    pub fn instances(&self) -> u32 {
        self.0.shared.slots.alive()
    }

    /// Loads a component: from memory if some component uses its code already, from the cache of compiled components,
    /// or else by asking for its `bytes` and compiling them. Loads of one digest at a time compile it once.
    ///
    /// Every load gives a component of its own, which shares code but no instances with others.
    ///
    /// # Errors
    /// The bytes could not be had or are others, or see [`inspect`].
    pub async fn load<F, Fut>(&self, digest: &Digest, bytes: F) -> Result<Component, Error>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Bytes, BoxError>>,
    {
        let entry = self.entry(digest);
        let mut held = entry.lock().await;
        let compiled = match held.upgrade() {
            Some(compiled) => compiled,
            None => {
                let compiled = match self.cached(digest).await? {
                    Some(compiled) => compiled,
                    None => {
                        let fetched = bytes().await.map_err(|source| Error::Fetch {
                            digest: *digest,
                            source,
                        })?;
                        self.compile(*digest, fetched).await?
                    }
                };
                let compiled = Arc::new(compiled);
                *held = Arc::downgrade(&compiled);
                compiled
            }
        };
        Ok(Component::new(
            *digest,
            compiled.world,
            compiled.pre.clone(),
            Arc::clone(&self.0.shared),
            compiled,
        ))
    }

    fn entry(&self, digest: &Digest) -> Arc<Entry> {
        let mut compiled = self
            .0
            .compiled
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Entries that nobody waits for and whose code is gone.
        compiled.retain(|_, entry| {
            Arc::strong_count(entry) > 1
                || entry.try_lock().is_ok_and(|code| code.strong_count() > 0)
        });
        Arc::clone(compiled.entry(*digest).or_default())
    }

    /// From the cache of compiled components, on a thread that may block.
    async fn cached(&self, digest: &Digest) -> Result<Option<Compiled>, Error> {
        if self.0.cache.is_none() {
            return Ok(None);
        }
        let (this, digest) = (self.clone(), *digest);
        blocking(digest, move || {
            let Some(cache) = &this.0.cache else {
                return Ok(None);
            };
            let Some(code) = cache.get(&this.0.engine, &digest) else {
                return Ok(None);
            };
            let exports: Vec<String> = code
                .component_type()
                .exports(&this.0.engine)
                .map(|(name, _)| name.to_owned())
                .collect();
            let world = world_of(&exports).ok_or(Error::NoWorld { exports })?;
            this.link(digest, world, &code).map(Some)
        })
        .await
    }

    /// Checks and compiles, on a thread that may block.
    async fn compile(&self, digest: Digest, bytes: Bytes) -> Result<Compiled, Error> {
        let actual = bytes.len() as u64;
        if actual > COMPONENT_BYTES_MAX {
            return Err(Error::TooLarge {
                actual,
                limit: COMPONENT_BYTES_MAX,
            });
        }
        let this = self.clone();
        blocking(digest, move || {
            let actual = Digest::of(&bytes);
            if actual != digest {
                return Err(Error::Digest {
                    wanted: digest,
                    actual,
                });
            }
            let world = inspect(&bytes)?.world;
            let code = Code::new(&this.0.engine, &bytes).map_err(|error| Error::Compile {
                digest,
                reason: format!("{error:#}"),
            })?;
            if let Some(cache) = &this.0.cache {
                cache.put(&digest, &code);
            }
            this.link(digest, world, &code)
        })
        .await
    }

    fn link(&self, digest: Digest, world: World, code: &Code) -> Result<Compiled, Error> {
        let linked = self.0.linkers.of(world).instantiate_pre(code);
        let pre = linked.and_then(|pre| {
            Ok(match world {
                World::Module => Pre::Module(ProxyPre::new(pre)?),
                World::Command => Pre::Command(CommandPre::new(pre)?),
                World::Plugin => Pre::Plugin(PluginPre::new(pre)?),
                World::Projection => Pre::Projection(ProjectionPre::new(pre)?),
                World::Workflow => Pre::Workflow(WorkflowPre::new(pre)?),
            })
        });
        let pre = pre.map_err(|error| Error::Compile {
            digest,
            reason: format!("{error:#}"),
        })?;
        Ok(Compiled { world, pre })
    }
}

async fn blocking<T: Send + 'static>(
    digest: Digest,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::Compile {
            digest,
            reason: error.to_string(),
        })?
}
