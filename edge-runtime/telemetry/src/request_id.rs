//! Names of single requests, for logs and support.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::random;

/// Crockford's base 32, as ULIDs are written.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// 128 bits, five a character.
const TEXT_BYTES: usize = 26;
/// Digits whose bits a 64-bit word holds.
const DIGITS_OF_WORD: usize = 12;

/// A request's name: a ULID, that is 48 bits of time (milliseconds) and 80 random ones. Sorts by time as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u128);

impl RequestId {
    /// A new name.
    pub fn generate() -> Self {
        Self::at(SystemTime::now())
    }

    /// A new name, for what began `now`.
    pub fn at(now: SystemTime) -> Self {
        let random = (u128::from(random::next()) << 64) | u128::from(random::next());
        Self::new(now, random)
    }

    /// The name of a moment and the lower 80 bits of `random`.
    pub fn new(now: SystemTime, random: u128) -> Self {
        let millis = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis());
        Self((millis << 80) | (random & ((1 << 80) - 1)))
    }
}

/// The digit of the five lowest bits.
fn digit(bits: u64) -> u8 {
    let at = usize::try_from(bits & 31).unwrap_or_default();
    ALPHABET.get(at).copied().unwrap_or_default()
}

impl RequestId {
    /// As it is written.
    pub fn text(&self) -> [u8; TEXT_BYTES] {
        let mut text = [b'0'; TEXT_BYTES];
        let mut rest = self.0;
        // Twelve digits at a time: a machine shifts 64 bits by itself.
        for digits in text.rchunks_mut(DIGITS_OF_WORD) {
            #[allow(clippy::cast_possible_truncation)]
            let mut word = rest as u64;
            for byte in digits.iter_mut().rev() {
                *byte = digit(word);
                word >>= 5;
            }
            rest >>= 5 * DIGITS_OF_WORD;
        }
        text
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;

    #[test]
    fn written_as_a_ulid() {
        for (millis, random, expected) in [
            (0, 0, "00000000000000000000000000"),
            (0, 31, "0000000000000000000000000Z"),
            (1, 0, "00000000010000000000000000"),
            (1_469_918_176_385, 0, "01ARYZ6S410000000000000000"),
            (0, u128::MAX, "0000000000ZZZZZZZZZZZZZZZZ"),
        ] {
            let now = UNIX_EPOCH + Duration::from_millis(millis);
            assert_eq!(RequestId::new(now, random).to_string(), expected);
        }
    }

    #[test]
    fn no_two_are_alike() {
        let ids: HashSet<_> = (0..10_000).map(|_| RequestId::generate()).collect();
        assert_eq!(ids.len(), 10_000);
    }
}
