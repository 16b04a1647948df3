//! A loaded component, and its runs.

use crate::{
    Body, Context, RunError, World,
    answer::{Answering, Cell},
    bindings::{
        command::CommandPre, plugin::PluginPre, projection::ProjectionPre, workflow::WorkflowPre,
    },
    engine::Ticker,
    fault::{self, CpuSpent},
    host::Host,
    invoke::{Call, Returned, invoke},
    meter::{Budget, Meter},
    pool::{Exports, GiveBack, Live, Pool, Slot, Slots},
    run::{Busy, Fault, Run},
};
use brink_protocol::{Digest, deployment::Limits};
use http::header::HOST;
use http_body_util::BodyExt;
use std::{fmt, sync::Arc};
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi_http::{
    WasiHttpView,
    p2::bindings::{ProxyPre, http::types::Scheme},
};

/// Largest amount of data that a guest may hand to the host in one call, in bytes.
const HOSTCALL_BYTES_MAX: usize = 16 << 20;

/// Compiled and linked code of one world.
#[derive(Clone)]
pub(crate) enum Pre {
    Module(ProxyPre<Host>),
    Command(CommandPre<Host>),
    Plugin(PluginPre<Host>),
    Projection(ProjectionPre<Host>),
    Workflow(WorkflowPre<Host>),
}

impl Pre {
    fn engine(&self) -> &wasmtime::Engine {
        match self {
            Self::Module(pre) => pre.engine(),
            Self::Command(pre) => pre.engine(),
            Self::Plugin(pre) => pre.engine(),
            Self::Projection(pre) => pre.engine(),
            Self::Workflow(pre) => pre.engine(),
        }
    }

    async fn instantiate(&self, store: &mut Store<Host>) -> wasmtime::Result<Exports> {
        Ok(match self {
            Self::Module(pre) => Exports::Module(pre.instantiate_async(store).await?),
            Self::Command(pre) => Exports::Command(pre.instantiate_async(store).await?),
            Self::Plugin(pre) => Exports::Plugin(pre.instantiate_async(store).await?),
            Self::Projection(pre) => Exports::Projection(pre.instantiate_async(store).await?),
            Self::Workflow(pre) => Exports::Workflow(pre.instantiate_async(store).await?),
        })
    }
}

/// What all components of a sandbox share.
pub(crate) struct Shared {
    pub(crate) ticker: Arc<Ticker>,
    pub(crate) slots: Arc<Slots>,
    /// Ceiling of every module's memory.
    pub(crate) memory_bytes_max: u64,
}

/// A component that is compiled and ready to run. Cheap to clone; clones share their idle instances. Two loads of one
/// digest share code and never instances: load once for each deployment.
#[derive(Clone)]
pub struct Component(Arc<Loaded>);

struct Loaded {
    digest: Digest,
    world: World,
    pre: Pre,
    shared: Arc<Shared>,
    pool: Arc<Pool>,
    /// Lets other loads of the digest find the code.
    _code: Arc<dyn Send + Sync>,
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Component")
            .field("digest", &self.0.digest)
            .field("world", &self.0.world)
            .finish()
    }
}

/// An instance to run in, or the right to make one.
enum Start {
    Again(Live),
    Fresh(Slot, Arc<Meter>),
}

/// A run about to begin.
struct Begun {
    start: Start,
    meter: Arc<Meter>,
    busy: Busy,
}

impl Component {
    pub(crate) fn new(
        digest: Digest,
        world: World,
        pre: Pre,
        shared: Arc<Shared>,
        code: Arc<dyn Send + Sync>,
    ) -> Self {
        let pool = shared.slots.new_pool();
        Self(Arc::new(Loaded {
            digest,
            world,
            pre,
            shared,
            pool,
            _code: code,
        }))
    }

    /// Its content address.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.0.digest
    }

    /// What it is.
    #[must_use]
    pub fn world(&self) -> World {
        self.0.world
    }

    /// Lets a module answer a request. The URI should be absolute; an authority is otherwise taken from `host`.
    ///
    /// The future may be dropped at any time, which ends the run; so does dropping the answer's body before its end.
    /// A body that ends with an error ends with a [`RunError`].
    ///
    /// # Errors
    /// See [`RunError`].
    pub async fn handle(
        &self,
        request: http::Request<Body>,
        context: Context,
        limits: &Limits,
    ) -> Result<http::Response<Body>, RunError> {
        self.expect(World::Module, "incoming-handler")?;
        let Begun { start, meter, busy } = self.begin(limits)?;
        let (cell, fault) = (Cell::default(), Fault::default());
        let method = request.method().clone();
        let guest = {
            let (loaded, limits) = (Arc::clone(&self.0), limits.clone());
            let (cell, fault) = (cell.clone(), Arc::clone(&fault));
            async move {
                loaded
                    .serve(start, request, context, limits, cell, fault)
                    .await
            }
        };
        let run = Run::new(
            guest,
            meter,
            limits.wall_time_ms_max,
            Arc::clone(&fault),
            busy,
        );
        let give_back = GiveBack {
            pool: Arc::clone(&self.0.pool),
            uses_max: limits.instance_reuse_max,
        };
        Answering {
            run,
            cell,
            fault,
            method,
            response_bytes_max: limits.response_bytes_max,
            give_back,
        }
        .answer()
        .await
    }

    pub(crate) fn expect(&self, world: World, call: &'static str) -> Result<(), RunError> {
        if self.0.world == world {
            return Ok(());
        }
        let world = self.0.world.as_str();
        Err(RunError::WrongWorld { world, call })
    }

    /// Takes a place among the runs, and an idle instance or a slot for a fresh one.
    fn begin(&self, limits: &Limits) -> Result<Begun, RunError> {
        let turn = self.0.pool.enter(limits.concurrency_max)?;
        let idle = (limits.instance_reuse_max > 1)
            .then(|| self.0.pool.take())
            .flatten();
        let start = match idle {
            Some(live) => Start::Again(live),
            None => Start::Fresh(self.0.shared.slots.acquire()?, Arc::default()),
        };
        let meter = match &start {
            Start::Again(live) => Arc::clone(&live.store.data().meter),
            Start::Fresh(_, meter) => Arc::clone(meter),
        };
        let busy = (turn, self.0.shared.ticker.run());
        Ok(Begun { start, meter, busy })
    }

    /// A run that is one call.
    pub(crate) async fn call(
        &self,
        call: Call,
        context: Context,
        limits: &Limits,
    ) -> Result<Returned, RunError> {
        let Begun { start, meter, busy } = self.begin(limits)?;
        let guest = {
            let (loaded, limits) = (Arc::clone(&self.0), limits.clone());
            async move {
                let mut live = loaded.enter(start, context, &limits).await?;
                let result = invoke(&mut live, call).await;
                match result {
                    Ok(returned) => {
                        loaded.pool.give(live, limits.instance_reuse_max);
                        Ok(returned)
                    }
                    Err(error) => Err(fault::of_run(&error, live.store.data(), &limits)),
                }
            }
        };
        Run::new(
            guest,
            meter,
            limits.wall_time_ms_max,
            Fault::default(),
            busy,
        )
        .await
    }
}

impl Loaded {
    /// An instance ready for one run.
    async fn enter(
        &self,
        start: Start,
        context: Context,
        limits: &Limits,
    ) -> Result<Live, RunError> {
        let memory_bytes_max = self.shared.memory_bytes_max;
        let mut live = match start {
            Start::Again(mut live) => {
                let host = live.store.data_mut();
                host.start(context, limits, memory_bytes_max);
                live.store.set_epoch_deadline(1);
                return Ok(live);
            }
            Start::Fresh(slot, meter) => {
                let mut host = Host::new(context, limits, memory_bytes_max, meter);
                host.is_pure = self.world == World::Workflow;
                (new_store(self.pre.engine(), host)?, slot)
            }
        };
        match self.pre.instantiate(&mut live.0).await {
            Ok(exports) => Ok(Live::new(live.0, exports, live.1)),
            Err(error) => Err(fault::of_instantiation(&error, live.0.data(), limits)),
        }
    }

    /// Lets a module answer. What it answers appears in `cell`.
    async fn serve(
        &self,
        start: Start,
        request: http::Request<Body>,
        context: Context,
        limits: Limits,
        cell: Cell,
        fault: Fault,
    ) -> Result<Live, RunError> {
        let failed = |error: RunError| {
            // Before the instance goes, with which its answer ends.
            let _ = fault.set(error.clone());
            error
        };
        let mut live = self.enter(start, context, &limits).await.map_err(failed)?;
        match handle(&mut live, request, cell).await {
            Ok(()) => Ok(live),
            Err(error) => Err(failed(fault::of_run(&error, live.store.data(), &limits))),
        }
    }
}

fn new_store(engine: &wasmtime::Engine, host: Host) -> Result<Store<Host>, RunError> {
    let mut store = Store::try_new(engine, host).map_err(|error| RunError::Instantiate {
        reason: error.to_string(),
    })?;
    store.limiter(|host| &mut host.limiter);
    store.set_hostcall_fuel(HOSTCALL_BYTES_MAX);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|store| match store.data().meter.budget() {
        Budget::Go => Ok(UpdateDeadline::Continue(1)),
        Budget::Yield => Ok(UpdateDeadline::Yield(1)),
        Budget::Spent => Err(CpuSpent.into()),
    });
    Ok(store)
}

async fn handle(
    live: &mut Live,
    mut request: http::Request<Body>,
    cell: Cell,
) -> wasmtime::Result<()> {
    let exports = Arc::clone(&live.exports);
    let Exports::Module(module) = exports.as_ref() else {
        wasmtime::bail!("a call of another world");
    };
    let scheme = match request.uri().scheme_str() {
        Some("https") => Scheme::Https,
        _ => Scheme::Http,
    };
    if request.uri().authority().is_none() && !request.headers().contains_key(HOST) {
        let unknown = http::HeaderValue::from_static("localhost");
        request.headers_mut().insert(HOST, unknown);
    }
    let request = request.map(|body| {
        body.map_err(|error| wasmtime_wasi_http::Error::InternalError(Some(error.to_string())))
    });
    let store = &mut live.store;
    store.data_mut().looks.begin(request.headers());
    let request = store
        .data_mut()
        .http()
        .new_incoming_request(scheme, request)?;
    let out = store
        .data_mut()
        .http()
        .new_response_outparam_from_callback(move |outcome| cell.set(outcome))?;
    module
        .wasi_http_incoming_handler()
        .call_handle(store, request, out)
        .await
}
