//! The one unsafe call of this crate: `docs/decisions/0002-unsafe-deserialize.md`.

use wasmtime::{Engine, Result, component::Component};

/// Compiled code that this installation wrote for this engine: its MAC has been verified.
pub(super) struct Authentic<'a>(&'a [u8]);

impl<'a> Authentic<'a> {
    /// To be called with code whose MAC has just been verified, and by nothing else.
    pub(super) fn verified(code: &'a [u8]) -> Self {
        Self(code)
    }
}

/// Loads compiled code.
///
/// # Errors
/// It was made by an engine of another version or configuration.
#[allow(unsafe_code)]
pub(super) fn deserialize(engine: &Engine, code: Authentic<'_>) -> Result<Component> {
    // SAFETY: `Component::deserialize` runs whatever machine code it is given, so the bytes must come from
    // `Component::serialize`. They do: `Authentic` holds bytes in memory (no file that may still change) whose HMAC was
    // made by this installation over exactly what `serialize` gave, together with the fingerprint of this engine and
    // CPU; the key is readable by the owner of the process only.
    unsafe { Component::deserialize(engine, code.0) }
}
