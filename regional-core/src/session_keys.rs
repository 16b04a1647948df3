//! The keys that session tokens are signed with: made, rotated and kept here, handed out to PoPs and to other cores.
//!
//! Each core makes its own; PoPs get those of all cores, so that a token of one is good at the PoPs of another.

use crate::{Error, clock::now_ms, random, store::Store};
use arc_swap::ArcSwap;
use brink_protocol::{
    NodeName, OriginId, Position,
    codec::encode_frame,
    link::FeedMessage,
    session::{KEYS_MAX, SIGNING_MS, SessionKey, SessionKeys, key_count, key_id},
};
use bytes::Bytes;
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::{Mutex, watch};

/// A key is handed out this long before it signs, in milliseconds: one hour.
pub const ANNOUNCED_MS: u64 = 3600 * 1000;
/// Most keys of one core that are known at a time.
pub const KEYS_PER_CORE_MAX: usize = 8;

/// A key to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewKey {
    /// See [`SessionKey::id`].
    pub id: u64,
    /// See [`SessionKey::from_ms`].
    pub from_ms: u64,
}

/// Whether a key verifies nothing any more.
#[must_use]
pub fn has_ended(key: &SessionKey, now_ms: u64) -> bool {
    key.from_ms.saturating_add(2 * SIGNING_MS) <= now_ms
}

/// The key to make now, if there is one to make: the first, the next one [`ANNOUNCED_MS`] before the newest has signed for
/// [`SIGNING_MS`], or one at once if it has signed for longer, since nothing was running.
#[must_use]
pub fn due(keys: &[SessionKey], origin: &OriginId, now_ms: u64) -> Option<NewKey> {
    let newest = keys.iter().map(|key| key.from_ms).max();
    let from_ms = match newest.map(|from_ms| from_ms.saturating_add(SIGNING_MS)) {
        None => now_ms,
        Some(end) if end <= now_ms => now_ms,
        Some(end) if end <= now_ms.saturating_add(ANNOUNCED_MS) => end,
        Some(_) => return None,
    };
    let whose = key_id(origin, 0);
    let count = keys
        .iter()
        .filter(|key| key.id - u64::from(key_count(key.id)) == whose)
        .map(|key| key_count(key.id))
        .max();
    Some(NewKey {
        id: key_id(origin, count.unwrap_or(0) + 1),
        from_ms,
    })
}

/// Keys as messages of the feed.
#[derive(Debug, Clone, Default)]
pub struct Frames {
    /// Of this core: for other cores.
    pub own: Bytes,
    /// Of all cores: for PoPs.
    pub all: Bytes,
}

/// Signs positions, and knows the keys of all cores.
pub struct SessionSigner {
    store: Arc<dyn Store>,
    known: Mutex<BTreeMap<NodeName, Vec<SessionKey>>>,
    signing: ArcSwap<SessionKeys>,
    frames: watch::Sender<Arc<Frames>>,
}

impl SessionSigner {
    /// With the keys that the store has; makes the first one.
    ///
    /// # Errors
    /// The store, or the system has no random bytes.
    pub async fn load(store: Arc<dyn Store>, now_ms: u64) -> Result<Arc<Self>, Error> {
        let known = store.session_keys().await?;
        let signer = Self {
            store,
            known: Mutex::new(known),
            signing: ArcSwap::default(),
            frames: watch::Sender::default(),
        };
        signer.rotate(now_ms).await?;
        signer.publish(&*signer.known.lock().await)?;
        Ok(Arc::new(signer))
    }

    /// The token of a position, signed by this core. None: it would be too long.
    #[must_use]
    pub fn sign(&self, position: &Position) -> Option<String> {
        self.signing.load().sign(position, now_ms())
    }

    /// The keys as messages; wakes when they change.
    #[must_use]
    pub fn frames(&self) -> watch::Receiver<Arc<Frames>> {
        self.frames.subscribe()
    }

    /// Forgets keys that have ended, and makes one if it is due.
    ///
    /// # Errors
    /// The store, or the system has no random bytes; it is tried again with the next call.
    pub async fn rotate(&self, now_ms: u64) -> Result<(), Error> {
        let mut known = self.known.lock().await;
        let own = self.store.origin();
        for (node, keys) in &mut *known {
            let mut left = keys.clone();
            left.retain(|key| !has_ended(key, now_ms));
            if *node != own.node && left.len() < keys.len() {
                self.store
                    .put_session_keys(node.clone(), left.clone())
                    .await?;
                *keys = left;
            }
        }
        let present = known.get(&own.node).cloned().unwrap_or_default();
        let mut keys = present.clone();
        keys.retain(|key| !has_ended(key, now_ms));
        if let Some(NewKey { id, from_ms }) = due(&present, own, now_ms) {
            keys.push(SessionKey {
                id,
                secret: random::bytes()?,
                from_ms,
            });
        }
        if keys != present {
            // On disk before anything is signed with it.
            self.store
                .put_session_keys(own.node.clone(), keys.clone())
                .await?;
            tracing::info!(keys = keys.len(), "session keys were rotated");
            known.insert(own.node.clone(), keys);
            self.publish(&known)?;
        }
        Ok(())
    }

    /// Takes the keys that another core has sent.
    ///
    /// # Errors
    /// There are too many, one has the number of another core's, or the store.
    pub async fn learn(&self, node: &NodeName, keys: Vec<SessionKey>) -> Result<(), Error> {
        let mut known = self.known.lock().await;
        if known.get(node).is_some_and(|present| *present == keys) {
            return Ok(());
        }
        check(&known, node, &keys)?;
        self.store
            .put_session_keys(node.clone(), keys.clone())
            .await?;
        known.insert(node.clone(), keys);
        self.publish(&known)
    }

    fn publish(&self, known: &BTreeMap<NodeName, Vec<SessionKey>>) -> Result<(), Error> {
        let own = known
            .get(&self.store.origin().node)
            .cloned()
            .unwrap_or_default();
        let all: Vec<SessionKey> = known.values().flatten().cloned().collect();
        let frames = Frames {
            own: encode_frame(&FeedMessage::SessionKeys(own.clone()))?,
            all: encode_frame(&FeedMessage::SessionKeys(all))?,
        };
        self.signing.store(Arc::new(SessionKeys::new(own)?));
        self.frames.send_replace(Arc::new(frames));
        Ok(())
    }
}

/// Whether another core's keys can stand beside those that are known.
fn check(
    known: &BTreeMap<NodeName, Vec<SessionKey>>,
    node: &NodeName,
    keys: &[SessionKey],
) -> Result<(), brink_protocol::Error> {
    let others = || known.iter().filter(|(other, _)| *other != node);
    let count: usize = others().map(|(_, keys)| keys.len()).sum();
    if keys.len() > KEYS_PER_CORE_MAX || count + keys.len() > KEYS_MAX {
        return Err(brink_protocol::Error::Limit {
            what: "session keys of other cores",
            actual: keys.len() as u64,
            limit: KEYS_PER_CORE_MAX.min(KEYS_MAX.saturating_sub(count)) as u64,
        });
    }
    let is_taken = |key: &SessionKey| {
        others().any(|(_, theirs)| theirs.iter().any(|other| other.id == key.id))
    };
    if keys.iter().any(is_taken) {
        return Err(brink_protocol::Error::Malformed {
            what: "session keys of another core",
            reason: "one has the number of a key of a third".into(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::store::{Options, RedbStore};
    use brink_protocol::session::TokenError;

    const HOUR: u64 = 3600 * 1000;
    const NOW: u64 = 1_700_000_000_000;

    fn key(origin: &str, count: u32, from_ms: u64) -> SessionKey {
        SessionKey {
            id: key_id(&origin.parse().unwrap(), count),
            secret: [1; 32],
            from_ms,
        }
    }

    #[test]
    fn keys_are_due_before_they_sign() {
        let origin: OriginId = "a.1".parse().unwrap();
        let of = |list: &[(u32, u64)]| -> Vec<SessionKey> {
            list.iter()
                .map(|(count, from)| key("a.1", *count, *from))
                .collect()
        };
        for (keys, now, expected) in [
            (of(&[]), NOW, Some((1, NOW))),
            (of(&[(1, NOW)]), NOW, None),
            (of(&[(1, NOW)]), NOW + 22 * HOUR, None),
            (of(&[(1, NOW)]), NOW + 23 * HOUR, Some((2, NOW + 24 * HOUR))),
            (of(&[(1, NOW), (2, NOW + 24 * HOUR)]), NOW + 23 * HOUR, None),
            // Nothing was running: no key signs for longer than its time.
            (of(&[(7, NOW)]), NOW + 30 * HOUR, Some((8, NOW + 30 * HOUR))),
            // The clock was set back: the keys stay as they are.
            (of(&[(1, NOW)]), NOW - 100 * HOUR, None),
            // Of an earlier incarnation: counting begins again.
            (
                vec![key("a.0", 9, NOW)],
                NOW + 24 * HOUR,
                Some((1, NOW + 24 * HOUR)),
            ),
        ] {
            let found = due(&keys, &origin, now).map(|new| (key_count(new.id), new.from_ms));
            assert_eq!(found, expected, "{keys:?} {now}");
        }
    }

    fn store(directory: &tempfile::TempDir) -> Arc<dyn Store> {
        Arc::new(RedbStore::open(&Options::new(directory.path(), "a".parse().unwrap())).unwrap())
    }

    #[tokio::test]
    async fn rotated_kept_and_handed_out() {
        let directory = tempfile::tempdir().unwrap();
        let position: Position = "a.1=3".parse().unwrap();
        let now = now_ms();
        let signer = SessionSigner::load(store(&directory), now).await.unwrap();
        let token = signer.sign(&position).unwrap();
        let decode = |frame: &Bytes| -> SessionKeys {
            let mut reader = brink_protocol::codec::FrameReader::default();
            reader.push(frame);
            match reader.next::<FeedMessage>().unwrap().unwrap() {
                FeedMessage::SessionKeys(keys) => SessionKeys::new(keys).unwrap(),
                other => panic!("{other:?}"),
            }
        };
        let mut frames = signer.frames();
        let all = decode(&frames.borrow_and_update().all);
        assert_eq!(all.verify(&token, now), Ok(position.clone()));
        // Another core's.
        let theirs = vec![key("b.1", 4, now)];
        signer
            .learn(&"b".parse().unwrap(), theirs.clone())
            .await
            .unwrap();
        assert!(frames.has_changed().unwrap());
        let by_b = SessionKeys::new(theirs.clone())
            .unwrap()
            .sign(&position, now)
            .unwrap();
        {
            let frames = frames.borrow_and_update();
            assert_eq!(decode(&frames.all).verify(&by_b, now), Ok(position.clone()));
            let own = decode(&frames.own).verify(&by_b, now);
            assert_eq!(
                own,
                Err(TokenError::KeyAhead),
                "peers get this core's alone"
            );
        }
        signer
            .learn(&"b".parse().unwrap(), theirs.clone())
            .await
            .unwrap();
        assert!(!frames.has_changed().unwrap(), "nothing new");
        for refused in [vec![key("x.1", 1, now); KEYS_PER_CORE_MAX + 1], theirs] {
            assert!(signer.learn(&"c".parse().unwrap(), refused).await.is_err());
        }
        signer.rotate(now + 23 * HOUR + 1).await.unwrap();
        assert!(frames.has_changed().unwrap());
        // A restart keeps them all; what has ended goes.
        drop((signer, frames));
        let store = store(&directory);
        let kept = store.session_keys().await.unwrap();
        assert_eq!(kept.values().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
        let signer = SessionSigner::load(Arc::clone(&store), now + 49 * HOUR)
            .await
            .unwrap();
        let all = decode(&signer.frames().borrow().all);
        assert_eq!(all.verify(&token, now), Err(TokenError::KeyEnded));
        let kept = store.session_keys().await.unwrap();
        assert_eq!(kept.values().map(Vec::len).collect::<Vec<_>>(), [2, 0]);
    }
}
