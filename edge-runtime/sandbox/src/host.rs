//! What a store holds: the present run's context, and the state of WASI behind it.

use crate::{
    context::Context,
    egress::Hooks,
    limiter::Limiter,
    lines::{Lines, Stdio, Stream},
    looks::Looks,
    meter::Meter,
};
use brink_protocol::deployment::Limits;
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{
    Deterministic, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxBuilder, WasiCtxView,
    WasiView,
};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

/// Most resources (streams, header maps, pollables, ...) that an instance may hold at a time.
const RESOURCES_MAX: usize = 10_000;
/// Most random bytes that one call of `wasi:random` may ask for.
const RANDOM_BYTES_MAX: u64 = 64 << 10;

/// What `wasi:random` repeats where every run must be the same.
const FIXED_BYTES: [u8; 8] = *b"\x9e\x37\x79\xb9\x7f\x4a\x7c\x15";

/// The data of a store. It outlives a run when the instance is used again; what belongs to a run is set by
/// [`Host::start`] and taken back by [`Host::finish`].
pub(crate) struct Host {
    pub(crate) context: Context,
    pub(crate) limiter: Limiter,
    pub(crate) lines: Arc<Lines>,
    pub(crate) meter: Arc<Meter>,
    /// Names on the present answer.
    pub(crate) tag_names: usize,
    pub(crate) looks: Looks,
    /// Every run with the same arguments is the same: the time and random numbers of `wasi` are fixed.
    pub(crate) is_pure: bool,
    table: ResourceTable,
    hooks: Hooks,
    http: WasiHttpCtx,
    /// Made at the first use: modules of our own SDK never need it.
    wasi: Option<WasiCtx>,
}

impl Host {
    /// A host for a run in `context`.
    pub(crate) fn new(
        context: Context,
        limits: &Limits,
        memory_bytes_max: u64,
        meter: Arc<Meter>,
    ) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES_MAX);
        let mut host = Self {
            limiter: Limiter::default(),
            lines: Arc::new(Lines::new(Arc::clone(&context.log))),
            meter,
            tag_names: 0,
            looks: Looks::default(),
            is_pure: false,
            table,
            hooks: Hooks {
                egress: Arc::clone(&context.egress),
                granted: context.grants.outbound_http,
            },
            http: WasiHttpCtx::new(),
            wasi: None,
            context,
        };
        host.limit(limits, memory_bytes_max);
        host
    }

    fn limit(&mut self, limits: &Limits, memory_bytes_max: u64) {
        self.limiter.memory_bytes_max = limits.memory_bytes_max.min(memory_bytes_max);
        self.limiter.refused = false;
        self.meter.start(limits.cpu_time_ms_max);
    }

    /// A further run begins.
    pub(crate) fn start(&mut self, context: Context, limits: &Limits, memory_bytes_max: u64) {
        self.lines.start(Arc::clone(&context.log));
        self.hooks.egress = Arc::clone(&context.egress);
        self.hooks.granted = context.grants.outbound_http;
        self.tag_names = 0;
        self.context = context;
        self.limit(limits, memory_bytes_max);
    }

    /// The run has ended: nothing of it is kept.
    pub(crate) fn finish(&mut self) {
        self.lines.finish();
        let denied = Context::denied();
        self.hooks.egress = Arc::clone(&denied.egress);
        self.hooks.granted = false;
        self.lines.start(Arc::clone(&denied.log));
        self.context = denied;
    }

    /// The moment that clocks show.
    pub(crate) fn now(&self) -> SystemTime {
        self.context.now.unwrap_or_else(SystemTime::now)
    }
}

/// A clock that stands still: a transaction happens at one moment.
struct Still(Duration);

impl HostWallClock for Still {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        self.0
    }
}

impl HostMonotonicClock for Still {
    fn resolution(&self) -> u64 {
        1_000_000
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// No environment, no arguments, no directories, no network; stdout and stderr become log lines.
fn wasi_context(lines: &Arc<Lines>, now: Option<SystemTime>, is_pure: bool) -> WasiCtx {
    let stdio = |stream| Stdio {
        lines: Arc::clone(lines),
        stream,
    };
    let mut builder = WasiCtxBuilder::new();
    builder
        .stdout(stdio(Stream::Stdout))
        .stderr(stdio(Stream::Stderr))
        .max_random_size(RANDOM_BYTES_MAX)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false);
    if let Some(now) = now {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        builder.wall_clock(Still(now)).monotonic_clock(Still(now));
    }
    if is_pure {
        builder
            .secure_random(Deterministic::new(FIXED_BYTES.to_vec()))
            .insecure_random(Deterministic::new(FIXED_BYTES.to_vec()))
            .insecure_random_seed(0);
    }
    builder.build()
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let ctx = self
            .wasi
            .get_or_insert_with(|| wasi_context(&self.lines, self.context.now, self.is_pure));
        WasiCtxView {
            ctx,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: &mut self.hooks,
            table: &mut self.table,
            ctx: &mut self.http,
        }
    }
}
