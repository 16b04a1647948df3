//! Session tokens: signed positions (coherence.md, P4).
//!
//! An answer to a write carries a token; a request that carries it back never sees an older state. The signature keeps
//! clients from making up positions that no core has reached, which would cost a miss and a wait each time. Keys rotate:
//! a key signs for [`SIGNING_MS`] and verifies for twice as long. A token whose key has ended says nothing that a place
//! with a live feed does not know already, since it is older than any lease.

use crate::{Error, OriginId, Position, codec, position::ORIGINS_MAX};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// Request and response field of a token.
pub const SESSION_HEADER: &str = "brink-session";
/// Cookie of a token, for browsers: set where the route says so, read everywhere.
pub const SESSION_COOKIE: &str = "brink-session";
/// Longest token, in bytes: with its name and attributes it fits into a cookie (RFC 6265 §6.1: 4096 bytes).
pub const TOKEN_BYTES_MAX: usize = 3072;
/// Most keys that are known at a time: three of each log that a position may name, and one to spare.
pub const KEYS_MAX: usize = 4 * ORIGINS_MAX;
/// How long a key signs, in milliseconds: 24 hours.
pub const SIGNING_MS: u64 = 24 * 3600 * 1000;

const VERSION: u8 = 1;
const MAC_BYTES: usize = 16;
/// Version and the number of the key.
const HEAD_BYTES: usize = 9;
/// Lower bits of a key's number: which key of its core it is. Those above say whose.
const COUNT_BITS: u32 = 24;

/// A key that signs tokens.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionKey {
    /// Its number, see [`key_id`]; later keys of a core have greater ones.
    pub id: u64,
    /// 256 random bits.
    pub secret: [u8; 32],
    /// When it begins to sign, in milliseconds since 1970. It verifies for 2 × [`SIGNING_MS`] from then.
    pub from_ms: u64,
}

/// The number of the `count`-th key of an origin; counting begins at 1. Keys of two origins do not get the same number,
/// but by a chance of 1 in 2^40.
#[must_use]
pub fn key_id(origin: &OriginId, count: u32) -> u64 {
    let hash = Sha256::digest(origin.to_string().as_bytes());
    let hash = hash
        .first_chunk()
        .map_or(0, |first| u64::from_le_bytes(*first));
    let count = u64::from(count) & ((1 << COUNT_BITS) - 1);
    (hash >> COUNT_BITS << COUNT_BITS) | count
}

/// Which key of its origin it is.
#[must_use]
pub fn key_count(id: u64) -> u32 {
    u32::try_from(id & ((1 << COUNT_BITS) - 1)).unwrap_or(0)
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionKey")
            .field("id", &self.id)
            .field("from_ms", &self.from_ms)
            .finish_non_exhaustive()
    }
}

/// Why a token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is no token.
    #[error("it is no session token of this platform")]
    Malformed,
    /// Its signature does not fit: it was made up or changed.
    #[error("its signature is not valid")]
    Signature,
    /// Its key is newer than those known here of its core, or none of that core's are known: they are on their way.
    #[error("it was signed with a key that is not known here yet; try again")]
    KeyAhead,
    /// Its key has ended: what it says is long known everywhere. Callers go on as if there were none.
    #[error("its key has ended")]
    KeyEnded,
}

/// The keys of one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionKeys(Vec<SessionKey>);

impl SessionKeys {
    /// Keys in any order.
    ///
    /// # Errors
    /// There are more than [`KEYS_MAX`].
    pub fn new(mut keys: Vec<SessionKey>) -> Result<Self, Error> {
        if keys.len() > KEYS_MAX {
            return Err(Error::Limit {
                what: "session keys",
                actual: keys.len() as u64,
                limit: KEYS_MAX as u64,
            });
        }
        keys.sort_by_key(|key| (key.from_ms, key.id));
        Ok(Self(keys))
    }

    /// Whether there is none: nothing can be signed or verified.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are, for people.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The token of a position: by the newest key that has begun, or the oldest if none has (a clock is behind). None:
    /// there is no key, or the token would be longer than [`TOKEN_BYTES_MAX`].
    #[must_use]
    pub fn sign(&self, position: &Position, now_ms: u64) -> Option<String> {
        let begun = self.0.iter().rev().find(|key| key.from_ms <= now_ms);
        let key = begun.or(self.0.first())?;
        let mut bytes = vec![VERSION];
        bytes.extend(key.id.to_le_bytes());
        bytes.extend(codec::encode(position).ok()?);
        let mac = mac(key, &bytes)?.finalize().into_bytes();
        bytes.extend(mac.get(..MAC_BYTES)?);
        let token = URL_SAFE_NO_PAD.encode(bytes);
        (token.len() <= TOKEN_BYTES_MAX).then_some(token)
    }

    /// The position that a token vouches for.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn verify(&self, token: &str, now_ms: u64) -> Result<Position, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(token)
            .map_err(|_| TokenError::Malformed)?;
        let signed = bytes.len().checked_sub(MAC_BYTES);
        let (signed, tag) = signed
            .and_then(|at| bytes.split_at_checked(at))
            .ok_or(TokenError::Malformed)?;
        let (head, position) = signed
            .split_at_checked(HEAD_BYTES)
            .ok_or(TokenError::Malformed)?;
        let &[VERSION, ref id @ ..] = head else {
            return Err(TokenError::Malformed);
        };
        let id = u64::from_le_bytes(id.try_into().map_err(|_| TokenError::Malformed)?);
        let Some(key) = self.0.iter().find(|key| key.id == id) else {
            let is_theirs = |key: &&SessionKey| key.id >> COUNT_BITS == id >> COUNT_BITS;
            let newest = self.0.iter().filter(is_theirs).map(|key| key.id).max();
            return Err(if newest.is_none_or(|newest| newest < id) {
                TokenError::KeyAhead
            } else {
                TokenError::KeyEnded
            });
        };
        mac(key, signed)
            .ok_or(TokenError::Signature)?
            .verify_truncated_left(tag)
            .map_err(|_| TokenError::Signature)?;
        if key.from_ms.saturating_add(2 * SIGNING_MS) <= now_ms {
            return Err(TokenError::KeyEnded);
        }
        codec::decode(position).map_err(|_| TokenError::Malformed)
    }
}

/// What a token says, without a look at its signature: for tools that hold a run against its tokens, and never for a
/// decision.
#[must_use]
pub fn unverified(token: &str) -> Option<Position> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let signed = bytes.get(..bytes.len().checked_sub(MAC_BYTES)?)?;
    codec::decode(signed.get(HEAD_BYTES..)?).ok()
}

fn mac(key: &SessionKey, bytes: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&key.secret).ok()?;
    mac.update(bytes);
    Some(mac)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::position::NODE_BYTES_MAX;
    use proptest::prelude::*;

    fn key(id: u64, from_ms: u64) -> SessionKey {
        SessionKey {
            id,
            secret: [u8::try_from(id).unwrap(); 32],
            from_ms,
        }
    }

    fn keys(list: &[(u64, u64)]) -> SessionKeys {
        SessionKeys::new(list.iter().map(|(id, from)| key(*id, *from)).collect()).unwrap()
    }

    /// Of all the cores that there may be, after three billion changes of each and many lives.
    #[test]
    fn a_token_may_name_every_core() {
        let name = |n: usize| format!("{n:0>width$}", width = NODE_BYTES_MAX);
        let all: Vec<_> = (0..ORIGINS_MAX)
            .map(|n| format!("{}.999={}", name(n), 3_000_000_000 + n))
            .collect();
        let position: Position = all.join(",").parse().unwrap();
        let keys = keys(&[(1, 0)]);
        let token = keys.sign(&position, 5).unwrap();
        assert_eq!(keys.verify(&token, 5), Ok(position.clone()));
        // What a report, an answer with a position and a cookie carry.
        let bytes = codec::encode(&position).unwrap().len();
        assert!(
            bytes <= 2_304 && token.len() <= 3_072,
            "{bytes} {}",
            token.len()
        );
    }

    #[test]
    fn a_token_is_short_and_comes_back() {
        let position: Position = "core-1.1=123456,core-2.3=99".parse().unwrap();
        let keys = keys(&[(1, 0)]);
        let token = keys.sign(&position, 5).unwrap();
        assert!(token.len() < 100, "{token}");
        assert_eq!(unverified(&token), Some(position.clone()));
        assert_eq!(unverified("x"), None);
        assert_eq!(keys.verify(&token, 5), Ok(position));
    }

    #[test]
    fn keys_rotate() {
        let position: Position = "a.1=1".parse().unwrap();
        let old = keys(&[(1, 0)]);
        let both = keys(&[(2, SIGNING_MS), (1, 0)]);
        let next = keys(&[(2, SIGNING_MS), (3, 2 * SIGNING_MS)]);
        let by_old = old.sign(&position, 1).unwrap();
        let by_new = both.sign(&position, SIGNING_MS).unwrap();
        assert_eq!(both.verify(&by_old, SIGNING_MS), Ok(position.clone()));
        assert_eq!(
            both.verify(&by_old, 2 * SIGNING_MS),
            Err(TokenError::KeyEnded)
        );
        assert_eq!(next.verify(&by_old, SIGNING_MS), Err(TokenError::KeyEnded));
        assert_eq!(old.verify(&by_new, SIGNING_MS), Err(TokenError::KeyAhead));
        assert_eq!(next.verify(&by_new, SIGNING_MS), Ok(position.clone()));
        let early = keys(&[(2, 50), (1, 10)]).sign(&position, 1).unwrap();
        assert_eq!(keys(&[(1, 10)]).verify(&early, 1), Ok(position));
        assert!(
            SessionKeys::default()
                .sign(&Position::default(), 0)
                .is_none()
        );
        assert!(SessionKeys::new(vec![key(1, 0); KEYS_MAX + 1]).is_err());
    }

    #[test]
    fn keys_of_several_cores() {
        let (a, b) = ("a.1".parse().unwrap(), "b.1".parse().unwrap());
        assert_eq!(key_count(key_id(&a, 7)), 7);
        let of = |origin: &OriginId, count: u32, from_ms| SessionKey {
            id: key_id(origin, count),
            secret: [u8::try_from(count).unwrap(); 32],
            from_ms,
        };
        let position: Position = "a.1=1".parse().unwrap();
        let sign = |key: SessionKey| SessionKeys::new(vec![key]).unwrap().sign(&position, 9);
        let known = SessionKeys::new(vec![of(&a, 3, 0), of(&b, 9, 5)]).unwrap();
        for (origin, count, expected) in [
            (&a, 3, Ok(position.clone())),
            (&a, 2, Err(TokenError::KeyEnded)),
            (&a, 4, Err(TokenError::KeyAhead)),
            (&b, 8, Err(TokenError::KeyEnded)),
            (&"c.1".parse().unwrap(), 1, Err(TokenError::KeyAhead)),
        ] {
            let token = sign(of(origin, count, 0)).unwrap();
            assert_eq!(known.verify(&token, 9), expected, "{origin} {count}");
        }
        // The one that began last signs, whoever made it.
        let by_b = known.sign(&position, 9).unwrap();
        let only_b = SessionKeys::new(vec![of(&b, 9, 5)]).unwrap();
        assert_eq!(only_b.verify(&by_b, 9), Ok(position));
    }

    #[test]
    fn secrets_are_not_shown() {
        assert!(!format!("{:?}", keys(&[(7, 0)])).contains("secret"));
    }

    proptest! {
        #[test]
        fn what_was_changed_is_refused(at in 0usize..200, bit in 0u8..6) {
            let keys = keys(&[(1, 0)]);
            let token = keys.sign(&"core-1.1=77".parse().unwrap(), 0).unwrap();
            let mut bytes = token.clone().into_bytes();
            let at = at % bytes.len();
            let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            let index = alphabet.iter().position(|b| *b == bytes[at]).unwrap();
            bytes[at] = alphabet[index ^ (1 << bit)];
            let changed = String::from_utf8(bytes).unwrap();
            prop_assert!(keys.verify(&changed, 0).is_err());
        }

        #[test]
        fn any_text_is_refused(text in ".{0,200}") {
            prop_assert!(keys(&[(1, 0)]).verify(&text, 0).is_err());
        }
    }
}
