//! What the cache keeps on disk. Its files are compiled in here, so that the fuzzer need not build the whole edge.

pub(crate) mod journals;

#[allow(dead_code, unreachable_pub, missing_docs)]
#[path = "../../../../edge-runtime/src/cache/error.rs"]
mod error;
#[allow(dead_code, unreachable_pub, missing_docs)]
#[path = "../../../../edge-runtime/src/cache/journal.rs"]
mod journal;
