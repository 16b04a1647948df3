//! Who asks, and where the module runs.

use crate::host;

/// Whose deployment this is.
#[must_use]
pub fn tenant() -> String {
    host::identity::tenant()
}

/// The authenticated caller, if there is one. Asking keeps the answer out of shared caches.
#[must_use]
pub fn subject() -> Option<String> {
    host::identity::subject()
}

/// What is known of the caller. Asking keeps the answer out of shared caches.
#[must_use]
pub fn claims() -> Vec<(String, String)> {
    host::identity::claims()
}

/// The region where the module runs.
#[must_use]
pub fn region() -> String {
    host::identity::region()
}

/// The PoP that answers; in a command, the core's node.
#[must_use]
pub fn pop() -> String {
    host::identity::pop()
}
