//! What the cache keeps on disk. Its files are compiled in here, so that the fuzzer need not build the whole edge.

pub(crate) mod entries;
pub(crate) mod journals;

/// The disk tier's log.
pub(crate) mod disk {
    #[allow(dead_code, unreachable_pub, missing_docs)]
    #[path = "../../../../../edge-runtime/src/cache/disk/layout.rs"]
    mod layout;
    pub(crate) mod segments;
}

#[allow(dead_code, unreachable_pub, missing_docs)]
#[path = "../../../../edge-runtime/src/cache/content.rs"]
mod content;
#[allow(dead_code, unreachable_pub, missing_docs)]
#[path = "../../../../edge-runtime/src/cache/encoding.rs"]
mod encoding;
#[allow(dead_code, unreachable_pub, missing_docs)]
#[path = "../../../../edge-runtime/src/cache/error.rs"]
mod error;
#[allow(dead_code, unreachable_pub, missing_docs)]
#[path = "../../../../edge-runtime/src/cache/journal.rs"]
mod journal;
#[allow(dead_code, unreachable_pub, missing_docs)]
#[path = "../../../../edge-runtime/src/cache/stored.rs"]
mod stored;

/// A head as HTTP/1.1 sends it is made of an entry on its first hit, and is no part of the format.
mod prepared {
    pub(super) fn prepare(_: http::StatusCode, _: &http::HeaderMap) -> Option<Box<[u8]>> {
        None
    }
}
