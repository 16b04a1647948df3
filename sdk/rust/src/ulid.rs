//! ULIDs: 128-bit identifiers that sort by the time of their making (<https://github.com/ulid/spec>).

use crate::{clock, random};

/// Crockford's base 32.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Length of a ULID in characters.
pub const LENGTH: usize = 26;

/// A new one, from [`clock::now_ms`] and [`random::bytes`]. Needs the grants `clock` and `random`.
#[must_use]
pub fn generate() -> String {
    encode(clock::now_ms(), random::array())
}

/// The one of a moment (48 bits are kept) and 80 random bits.
///
/// ```
/// let id = brink_sdk::ulid::encode(1_469_918_176_385, [0xff; 10]);
/// assert_eq!(id, "01ARYZ6S41ZZZZZZZZZZZZZZZZ");
/// assert!(brink_sdk::ulid::is_valid(&id));
/// ```
#[must_use]
pub fn encode(ms: u64, random: [u8; 10]) -> String {
    let bits = random
        .iter()
        .fold(u128::from(ms & 0xffff_ffff_ffff), |bits, &byte| {
            bits << 8 | u128::from(byte)
        });
    let digit = |place: usize| {
        usize::try_from(bits >> (5 * (LENGTH - 1 - place)) & 31)
            .ok()
            .and_then(|digit| ALPHABET.get(digit))
    };
    (0..LENGTH)
        .filter_map(digit)
        .map(|&byte| char::from(byte))
        .collect()
}

/// Whether this is a ULID in its canonical form: 26 characters, upper case, not above 2^128.
#[must_use]
pub fn is_valid(text: &str) -> bool {
    text.len() == LENGTH
        && text.bytes().all(|byte| ALPHABET.contains(&byte))
        && text.bytes().next().is_some_and(|first| first <= b'7')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Platform;

    #[test]
    fn order_follows_time() {
        assert!(encode(1, [0xff; 10]) < encode(2, [0; 10]));
        assert_eq!(encode(0, [0; 10]), "0".repeat(LENGTH));
        assert_eq!(encode(u64::MAX, [0xff; 10]), format!("7{}", "Z".repeat(25)));
    }

    #[test]
    fn only_the_canonical_form_is_valid() {
        let platform = Platform::new();
        platform.now_ms(1_700_000_000_000);
        assert!(is_valid(&generate()));
        assert_ne!(generate(), generate());
        for text in [
            "",
            "0",
            "01aryz6s41zzzzzzzzzzzzzzzz",
            "81ARYZ6S41ZZZZZZZZZZZZZZZZ",
            "01ARYZ6S41ZZZZZZZZZZZZZZZU",
            "01ARYZ6S41ZZZZZZZZZZZZZZZZZ",
        ] {
            assert!(!is_valid(text), "{text}");
        }
    }
}
