//! Cryptographically secure random bytes. Needs the grant `random`.

use crate::host;

/// That many bytes, at most 4096.
#[must_use]
pub fn bytes(length: u32) -> Vec<u8> {
    host::random::bytes(length)
}

/// A random array.
#[must_use]
pub fn array<const N: usize>() -> [u8; N] {
    let mut array = [0; N];
    let length = u32::try_from(N).unwrap_or(u32::MAX);
    for (slot, byte) in array.iter_mut().zip(bytes(length)) {
        *slot = byte;
    }
    array
}
