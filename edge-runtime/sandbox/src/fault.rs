//! From wasmtime's errors to [`RunError`]s with a precise reason.

use crate::{RunError, host::Host};
use brink_protocol::deployment::Limits;
use std::fmt;
use wasmtime::{Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

/// Longest backtrace kept, in bytes.
const BACKTRACE_BYTES_MAX: usize = 4096;
/// Longest reason kept, in bytes: parts of it may come from the guest.
const REASON_BYTES_MAX: usize = 1024;

/// The run has no CPU time left.
#[derive(Debug)]
pub(crate) struct CpuSpent;

impl fmt::Display for CpuSpent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no CPU time is left")
    }
}

impl std::error::Error for CpuSpent {}

/// Why a run ended, when it did not end well.
pub(crate) fn of_run(error: &wasmtime::Error, host: &Host, limits: &Limits) -> RunError {
    if let Some(known) = of_limits(error, host, limits) {
        return known;
    }
    RunError::Trap {
        reason: reason(error),
        backtrace: error
            .downcast_ref::<WasmBacktrace>()
            .map(|trace| bounded(trace.to_string(), BACKTRACE_BYTES_MAX))
            .unwrap_or_default(),
    }
}

/// Why an instance could not be made.
pub(crate) fn of_instantiation(error: &wasmtime::Error, host: &Host, limits: &Limits) -> RunError {
    if let Some(known) = of_limits(error, host, limits) {
        return known;
    }
    if error.is::<wasmtime::PoolConcurrencyLimitError>() {
        return RunError::Overloaded {
            reason: bounded(error.root_cause().to_string(), REASON_BYTES_MAX),
        };
    }
    RunError::Instantiate {
        reason: reason(error),
    }
}

fn of_limits(error: &wasmtime::Error, host: &Host, limits: &Limits) -> Option<RunError> {
    if error.is::<CpuSpent>() {
        return Some(RunError::CpuTime {
            limit_ms: limits.cpu_time_ms_max,
        });
    }
    // Allocators answer a refusal with a trap of their own: what matters is that they were refused.
    if host.limiter.refused && !error.is::<I32Exit>() {
        return Some(RunError::OutOfMemory {
            limit: host.limiter.memory_bytes_max,
        });
    }
    None
}

fn reason(error: &wasmtime::Error) -> String {
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return format!("it called exit({})", exit.0);
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        let text = trap.to_string();
        return text.strip_prefix("wasm trap: ").unwrap_or(&text).to_owned();
    }
    bounded(error.root_cause().to_string(), REASON_BYTES_MAX)
}

fn bounded(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}
