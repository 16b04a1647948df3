//! `POST`s on their way whose answers may be stored: whether something else has ended what is stored for their URI meanwhile.

use super::Flights;
use std::sync::Arc;

/// One open `POST`.
#[derive(Debug)]
pub(in crate::cache) struct Posted {
    flights: Arc<Flights>,
    uri: u64,
    /// How often before it began.
    ended: u64,
}

impl Flights {
    /// A `POST` begins whose answer may be stored.
    pub(in crate::cache) fn post(self: &Arc<Self>, uri: u64) -> Posted {
        let mut shard = self.shard(uri);
        let (open, ended) = shard.posts.entry(uri).or_default();
        *open += 1;
        Posted {
            flights: self.clone(),
            uri,
            ended: *ended,
        }
    }

    /// An unsafe request has ended what is stored for a URI, or what will be.
    pub(in crate::cache) fn ended(&self, uri: u64) {
        if let Some((_, ended)) = self.shard(uri).posts.get_mut(&uri) {
            *ended += 1;
        }
    }
}

impl Posted {
    /// Whether another unsafe request of the URI than itself has ended since it began.
    pub(in crate::cache) fn is_outdated(&self) -> bool {
        let shard = self.flights.shard(self.uri);
        let ended = shard.posts.get(&self.uri).map(|(_, ended)| *ended);
        ended != Some(self.ended + 1)
    }
}

impl Drop for Posted {
    fn drop(&mut self) {
        let mut shard = self.flights.shard(self.uri);
        if let Some((open, _)) = shard.posts.get_mut(&self.uri) {
            *open -= 1;
            if *open == 0 {
                shard.posts.remove(&self.uri);
            }
        }
    }
}
