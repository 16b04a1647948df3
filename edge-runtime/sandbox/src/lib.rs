//! Runs WebAssembly components for Brink: one engine, instances from a pool, limits on everything, fair CPU time.
//!
//! - [`inspect`] says what a component is and whether it can run here, without compiling it.
//! - [`Sandbox::load`] compiles it, or takes it from the cache of compiled components, and gives a [`Component`].
//! - [`Component::handle`], [`Component::execute`], [`Component::on_request`] and [`Component::on_response`],
//!   [`Component::project_target`] and [`Component::project_apply`], [`Component::decide`] run it, each those of its
//!   world. What it may reach is in the [`Context`], how much it may use in the [`Limits`].
//!
//! A run happens in the caller's own task: there is no task per run and no queue. Dropping the future, or the body of
//! an answer that is still being written, ends the run.

mod answer;
mod bindings;
mod calls;
mod compile_cache;
mod component;
mod config;
mod context;
mod decisions;
pub mod denied;
mod egress;
mod engine;
mod error;
mod fault;
mod heads;
mod host;
mod inspect;
mod invoke;
mod limiter;
mod lines;
mod linkers;
mod looks;
mod meter;
mod platform;
mod plugin;
mod pool;
mod run;
mod sandbox;
mod watch;

pub use brink_protocol::deployment::{Grants, Limits, World};
pub use component::Component;
pub use config::{Config, INSTANCES_MAX, MEMORY_BYTES_MAX};
pub use context::{
    CacheError, CommandCall, Commands, Context, Egress, EgressError, EgressTimeouts, EventLog,
    Events, Identity, Level, LogSink, MODULE_SUFFIX, Records, ResponseCache, Witness, Workflows,
};
pub use error::{BoxError, Error, MissingImport, RunError};
pub use inspect::{Inspection, inspect};
pub use lines::{LOG_FIELDS_MAX, LOG_LINE_BYTES_MAX, LOG_LINES_MAX};
pub use looks::CREDENTIALS;
pub use plugin::{
    PLUGIN_BODY_BYTES_MAX, RequestAction, RequestChange, RequestHead, ResponseAction, ResponseHead,
};
pub use sandbox::Sandbox;

/// The body of requests to and answers from components.
pub type Body = http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, BoxError>;

/// Largest component that is accepted, in bytes.
pub const COMPONENT_BYTES_MAX: u64 = 64 << 20;
