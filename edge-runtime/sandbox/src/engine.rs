//! The engine: how components are compiled, where instances live, and who ticks the clock of their turns.

use crate::{
    Config, Error,
    limiter::{CORE_INSTANCES_MAX, MEMORIES_MAX, TABLE_ELEMENTS_MAX, TABLES_MAX},
};
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread::Thread,
    time::{Duration, Instant},
};
use wasmtime::{Enabled, Engine, EngineWeak, InstanceAllocationStrategy, PoolingAllocationConfig};

/// Between two ticks; a run that holds its thread is asked at the next tick whether it may go on.
const TICK: Duration = Duration::from_millis(1);
/// Without a run for this long, the ticker sleeps until the next one begins.
const REST_AFTER: Duration = Duration::from_millis(100);
/// A sleeping ticker looks after idle instances this often.
const SWEEP: Duration = Duration::from_secs(1);

/// Stack of a run, of which WebAssembly gets half a megabyte: deeper recursion traps.
const STACK_BYTES: usize = 1 << 20;
/// Part of the stack for WebAssembly; the rest is for host calls.
const WASM_STACK_BYTES: usize = 512 << 10;
/// Memory of an ended instance that stays mapped for the next one: saves page faults.
const KEEP_RESIDENT_BYTES: usize = 256 << 10;

/// Which WebAssembly there is, the same for every engine of this crate.
fn base() -> wasmtime::Config {
    let mut config = wasmtime::Config::new();
    // WASI 0.2 needs no concurrency within a store, and stores without it are cheaper to make.
    config.concurrency_support(false);
    config.wasm_component_model(true);
    config.epoch_interruption(true);
    config.max_wasm_stack(WASM_STACK_BYTES);
    config.async_stack_size(STACK_BYTES);
    config.memory_init_cow(true);
    config
}

/// An engine that only looks at types.
pub(crate) fn inspecting() -> Result<Engine, Error> {
    Engine::new(&base()).map_err(|error| Error::Engine(format!("{error:#}")))
}

/// The engine that runs.
pub(crate) fn running(config: &Config) -> Result<Engine, Error> {
    let instances = config.instances_max;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(8).max(CORE_INSTANCES_MAX))
        .total_memories(instances.saturating_mul(2).max(MEMORIES_MAX))
        .total_tables(instances.saturating_mul(4).max(TABLES_MAX))
        .total_stacks(instances.saturating_mul(2))
        .total_gc_heaps(0)
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        .max_memories_per_module(MEMORIES_MAX)
        .max_tables_per_module(TABLES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_memory_size(usize::try_from(config.memory_bytes_max).unwrap_or(usize::MAX))
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(KEEP_RESIDENT_BYTES)
        // Where the kernel tells which pages were written (Linux 6.7), those alone are reset. Else the lowest ones are,
        // and the rest unmapped: with several threads that costs more than all else of a run.
        .pagemap_scan(Enabled::Auto);
    let mut engine = base();
    engine.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&engine).map_err(|error| Error::Engine(format!("{error:#}")))
}

/// Ticks the engine's epoch while something runs. Ends with the last clone of the engine.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Default)]
struct Shared {
    running: AtomicUsize,
    resting: AtomicBool,
    stop: AtomicBool,
}

impl Ticker {
    /// Starts the thread. `sweep` is called about once a second.
    pub(crate) fn start(engine: &Engine, sweep: impl Fn() + Send + 'static) -> Result<Self, Error> {
        let shared = Arc::new(Shared::default());
        let (engine, its) = (engine.weak(), Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("brink-ticker".into())
            .spawn(move || tick(&engine, &its, sweep))
            .map_err(|error| Error::Engine(format!("no thread for the ticker: {error}")))?;
        Ok(Self {
            shared,
            thread: thread.thread().clone(),
        })
    }

    /// A run begins.
    pub(crate) fn run(self: &Arc<Self>) -> Running {
        self.shared.running.fetch_add(1, SeqCst);
        if self.shared.resting.load(SeqCst) {
            self.thread.unpark();
        }
        Running(Arc::clone(self))
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        self.thread.unpark();
    }
}

/// A run that has not ended.
pub(crate) struct Running(Arc<Ticker>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.shared.running.fetch_sub(1, SeqCst);
    }
}

fn tick(engine: &EngineWeak, shared: &Shared, sweep: impl Fn()) {
    let mut last_run = Instant::now();
    let mut last_sweep = last_run;
    while !shared.stop.load(SeqCst) {
        if shared.running.load(SeqCst) > 0 || last_run.elapsed() < REST_AFTER {
            std::thread::sleep(TICK);
        } else {
            // Announce the rest before looking again, so that a run that begins meanwhile wakes this thread.
            shared.resting.store(true, SeqCst);
            if shared.running.load(SeqCst) == 0 && !shared.stop.load(SeqCst) {
                std::thread::park_timeout(SWEEP);
            }
            shared.resting.store(false, SeqCst);
        }
        let now = Instant::now();
        if shared.running.load(SeqCst) > 0 {
            last_run = now;
            let Some(engine) = engine.upgrade() else {
                return;
            };
            engine.increment_epoch();
        }
        if now.duration_since(last_sweep) >= SWEEP {
            last_sweep = now;
            sweep();
        }
    }
}

/// A digest of everything that compiled code depends on: it runs only where this is the same.
pub(crate) fn fingerprint(engine: &Engine) -> [u8; 32] {
    static CPU: OnceLock<String> = OnceLock::new();
    let cpu = CPU.get_or_init(cpu_features);
    let mut hasher = Sha(<sha2::Sha256 as sha2::Digest>::new());
    std::hash::Hash::hash(&engine.precompile_compatibility_hash(), &mut hasher);
    std::hash::Hash::hash(cpu, &mut hasher);
    std::hash::Hash::hash(env!("CARGO_PKG_VERSION"), &mut hasher);
    sha2::Digest::finalize(hasher.0).into()
}

/// SHA-256 as a hasher: what is hashed decides whether machine code is run, so 64 bits are too few.
struct Sha(sha2::Sha256);

impl std::hash::Hasher for Sha {
    fn write(&mut self, bytes: &[u8]) {
        sha2::Digest::update(&mut self.0, bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

fn cpu_features() -> String {
    let mut text = format!("{} {}", std::env::consts::ARCH, std::env::consts::OS);
    #[cfg(target_arch = "x86_64")]
    {
        macro_rules! features {
            ($($name:tt)*) => {$(
                if std::arch::is_x86_feature_detected!($name) {
                    text.push(' ');
                    text.push_str($name);
                }
            )*};
        }
        features!("sse3" "ssse3" "sse4.1" "sse4.2" "cmpxchg16b" "popcnt" "avx" "avx2" "fma" "bmi1" "bmi2" "lzcnt"
            "avx512f" "avx512bitalg" "avx512dq" "avx512vbmi" "avx512vl");
    }
    text
}
