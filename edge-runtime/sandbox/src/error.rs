//! What can go wrong: while a component is looked at, compiled and loaded ([`Error`]), and while it runs ([`RunError`]).

use brink_protocol::{Digest, problem::Problem};

/// Any error of a caller's own.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a component was not accepted or not loaded, or why the sandbox itself did not start. The texts are for
/// developers: they say what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine did not take its configuration, or the machine cannot give what it asks for.
    #[error("the WebAssembly engine did not start: {0}")]
    Engine(String),
    /// A value of the configuration is not allowed.
    #[error("configuration of the sandbox: {0}")]
    Config(String),
    /// The bytes are no WebAssembly.
    #[error("this is not WebAssembly: {0}")]
    NotWasm(String),
    /// A core module where a component is needed.
    #[error(
        "this is a core WebAssembly module, and Brink runs components. Build it with `brink build`, or make a component \
         of it with `wasm-tools component new MODULE.wasm -o COMPONENT.wasm` (add `--adapt` for a module that imports \
         wasi_snapshot_preview1)"
    )]
    CoreModule,
    /// It does not validate.
    #[error("this component is not valid: {0}")]
    Invalid(String),
    /// It is over the limit of [`crate::COMPONENT_BYTES_MAX`].
    #[error("this component is {actual} bytes, the limit is {limit}")]
    TooLarge {
        /// Its size in bytes.
        actual: u64,
        /// The largest that is accepted, in bytes.
        limit: u64,
    },
    /// It exports nothing that Brink calls.
    #[error("{}", no_world_text(exports))]
    NoWorld {
        /// What it exports.
        exports: Vec<String>,
    },
    /// It imports something that the host does not have.
    #[error("{}", missing_text(imports))]
    MissingImports {
        /// What is missing, and why each does not fit.
        imports: Vec<MissingImport>,
    },
    /// The bytes that came are not those that were asked for.
    #[error("component {wanted}: the bytes received are {actual}")]
    Digest {
        /// What was asked for.
        wanted: Digest,
        /// What came.
        actual: Digest,
    },
    /// The bytes of the component could not be had.
    #[error("component {digest} could not be fetched: {source}")]
    Fetch {
        /// Which component.
        digest: Digest,
        /// Why.
        source: BoxError,
    },
    /// It is valid but the compiler or the instance limits refuse it.
    #[error("component {digest} does not compile: {reason}")]
    Compile {
        /// Which component.
        digest: Digest,
        /// Why.
        reason: String,
    },
    /// The directory of compiled components cannot be used.
    #[error("compile cache {path}: {source}")]
    Cache {
        /// The directory or file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// One import that the host does not satisfy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingImport {
    /// The import's name, such as `wasi:keyvalue/store@0.2.0`.
    pub name: String,
    /// What about it does not fit.
    pub reason: String,
}

fn no_world_text(exports: &[String]) -> String {
    let listed = if exports.is_empty() {
        "nothing".to_owned()
    } else {
        exports.join(", ")
    };
    let hint = if exports
        .iter()
        .any(|e| e.starts_with("wasi:http/handler@0.3"))
    {
        " It is built for WASI 0.3, which is not supported yet: build it for WASI 0.2."
    } else if exports.iter().any(|e| e.starts_with("wasi:cli/run@")) {
        " It is a command-line program: an HTTP module answers requests instead of having a `main`."
    } else {
        ""
    };
    format!(
        "this component exports {listed}, which Brink does not call.{hint} Export one of: \
         `wasi:http/incoming-handler@0.2.x` (a module), `execute` (a command), `on-request` and `on-response` (a plugin), \
         `target` and `apply` (a projection), `decide` (a workflow)"
    )
}

fn missing_text(imports: &[MissingImport]) -> String {
    let mut text = "this component imports what Brink does not have:".to_owned();
    for MissingImport { name, reason } in imports {
        text.push_str("\n  ");
        text.push_str(name);
        text.push_str(": ");
        text.push_str(reason);
    }
    text
}

/// Why a run did not end with an answer. The next run of the same component begins anew; memory and slots are given
/// back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// An instance could not be made: its start function trapped, or it needs more than there is.
    #[error("the module could not be instantiated: {reason}")]
    Instantiate {
        /// Why, for the module's developer.
        reason: String,
    },
    /// The module trapped.
    #[error("the module trapped: {reason}")]
    Trap {
        /// The trap, such as ``wasm `unreachable` instruction executed``, or the grant that was missing.
        reason: String,
        /// Where, innermost first, for the log; may be empty. At most 4 KiB.
        backtrace: String,
    },
    /// It asked for more memory than `memory_bytes_max`, and did not go on without.
    #[error("the module needs more memory than its limit of {limit} bytes")]
    OutOfMemory {
        /// Bytes of linear memory.
        limit: u64,
    },
    /// It used more CPU time than `cpu_time_ms_max`.
    #[error("the module used more than its {limit_ms} ms of CPU time")]
    CpuTime {
        /// Milliseconds.
        limit_ms: u64,
    },
    /// It did not end within `wall_time_ms_max`.
    #[error("the module did not finish within {limit_ms} ms")]
    WallTime {
        /// Milliseconds.
        limit_ms: u64,
    },
    /// Its answer is longer than `response_bytes_max`.
    #[error("the module's answer is longer than its limit of {limit} bytes")]
    ResponseTooLarge {
        /// Bytes of the body.
        limit: u64,
    },
    /// Its answer is no HTTP answer.
    #[error("the module's answer cannot be sent: {reason}")]
    BadResponse {
        /// What is wrong with it.
        reason: String,
    },
    /// It returned without an answer.
    #[error("the module returned without setting a response")]
    NoResponse,
    /// As many instances run as may.
    #[error("too many runs at a time: {reason}")]
    Overloaded {
        /// Which limit was reached.
        reason: String,
    },
    /// A call for another world than the component has. A mistake of the caller, not of the component.
    #[error("the component is a {world}, it has no {call}")]
    WrongWorld {
        /// What it is.
        world: &'static str,
        /// What was called.
        call: &'static str,
    },
}

impl RunError {
    /// The HTTP status of the answer that tells the client: 503 if it may come again, 504 if it took too long, 500 if
    /// the module is at fault.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Overloaded { .. } => 503,
            Self::CpuTime { .. } | Self::WallTime { .. } => 504,
            Self::Instantiate { .. }
            | Self::Trap { .. }
            | Self::OutOfMemory { .. }
            | Self::ResponseTooLarge { .. }
            | Self::BadResponse { .. }
            | Self::NoResponse
            | Self::WrongWorld { .. } => 500,
        }
    }

    /// A short, stable name for metrics and problem types: `trap`, `cpu-time`, ...
    #[must_use]
    pub fn slug(&self) -> &'static str {
        match self {
            Self::Instantiate { .. } => "module-not-instantiated",
            Self::Trap { .. } => "module-trapped",
            Self::OutOfMemory { .. } => "module-out-of-memory",
            Self::CpuTime { .. } => "module-cpu-time",
            Self::WallTime { .. } => "module-wall-time",
            Self::ResponseTooLarge { .. } => "module-response-too-large",
            Self::BadResponse { .. } => "module-bad-response",
            Self::NoResponse => "module-no-response",
            Self::Overloaded { .. } => "module-overloaded",
            Self::WrongWorld { .. } => "module-wrong-world",
        }
    }

    /// The problem document for the client (RFC 9457). It names the limit or the kind of fault and no internals.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let title = match self {
            Self::Instantiate { .. } => "The module could not be started",
            Self::Trap { .. } => "The module trapped",
            Self::OutOfMemory { .. } => "The module ran out of memory",
            Self::CpuTime { .. } => "The module used up its CPU time",
            Self::WallTime { .. } => "The module did not answer in time",
            Self::ResponseTooLarge { .. } => "The module's answer is too large",
            Self::BadResponse { .. } => "The module's answer is not valid",
            Self::NoResponse => "The module did not answer",
            Self::Overloaded { .. } => "The module is overloaded",
            Self::WrongWorld { .. } => "The module cannot do this",
        };
        Problem::new(self.status(), self.slug(), title, self.to_string())
    }
}
