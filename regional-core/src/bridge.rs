//! The bridge to Kafka: streams of events go to topics, messages of topics become events.
//!
//! **Out**, at least once: a stream's partition is the message's key, so all of its events are in one partition of the
//! topic and in their order. After the broker has acknowledged, the number is noted in [`COLLECTION`]. What was sent and
//! not noted when a core or a broker dies is sent again: whoever reads the topic passes over numbers (`brink-event`) that
//! are not above the last one that it has of a key.
//!
//! **In**, with one effect: a message is appended to the stream of its key in the transaction that also notes its offset
//! in that same partition. A message that comes again finds it noted, and so does an event that another bridge has sent
//! twice. Messages that cannot be events are kept as dead
//! letters, and the others go on.
//!
//! Nothing is held that the other side has not room for: a reader reads on when what it read is durable.

mod cluster;
mod letters;
mod message;
mod noted;
mod partitioner;
mod places;
mod receive;
mod send;
mod waits;

use crate::{Error, config::KafkaConfig, members::Members, store::Store};
use cluster::Cluster;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The platform's collection that holds how far bridges are, and their dead letters.
pub const COLLECTION: &str = "_bridge";

/// A bridge that is set up.
pub struct Bridge {
    store: Arc<dyn Store>,
    members: Arc<Members>,
    cluster: Arc<Cluster>,
    config: KafkaConfig,
}

impl Bridge {
    /// Reads the files that the configuration names. None: no bridge is declared.
    ///
    /// # Errors
    /// A file cannot be read, or does not hold what it should.
    pub fn new(
        config: &KafkaConfig,
        store: Arc<dyn Store>,
        members: Arc<Members>,
    ) -> Result<Option<Self>, Error> {
        if config.brokers.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            cluster: Arc::new(Cluster::new(config)?),
            store,
            members,
            config: config.clone(),
        }))
    }

    /// Carries events and messages until it is stopped, each bridge at one of the store's cores that live, in whichever
    /// region. What fails is tried
    /// again, for good.
    pub async fn run(self, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        for one in self.config.send {
            let (store, cluster) = (Arc::clone(&self.store), Arc::clone(&self.cluster));
            let key = format!("bridge/send/{}", one.name);
            let carry = move || send::run(Arc::clone(&store), Arc::clone(&cluster), one.clone());
            tasks.spawn(while_mine(Arc::clone(&self.members), key, carry));
        }
        for one in self.config.receive {
            let (store, cluster) = (Arc::clone(&self.store), Arc::clone(&self.cluster));
            let key = format!("bridge/receive/{}", one.name);
            let carry = move || receive::run(Arc::clone(&store), Arc::clone(&cluster), one.clone());
            tasks.spawn(while_mine(Arc::clone(&self.members), key, carry));
        }
        stop.cancelled().await;
        // Whatever they are at may be broken off: both directions go on from what is noted.
        tasks.shutdown().await;
    }
}

/// Does something as long as it is this core's to do, and begins anew when it is again. While cores come and go two may
/// do it: the one sends what the other has sent, or finds noted what the other has appended.
async fn while_mine<F: Future<Output = ()>>(
    members: Arc<Members>,
    key: String,
    carry: impl Fn() -> F,
) {
    let mut live = members.live();
    loop {
        let is_mine = members.mine_of_all(&key);
        let changed = async {
            while members.mine_of_all(&key) == is_mine {
                if live.changed().await.is_err() {
                    // Nobody comes or goes any more.
                    std::future::pending::<()>().await;
                }
            }
        };
        if is_mine {
            tokio::select! {
                () = carry() => {}
                () = changed => {}
            }
        } else {
            changed.await;
        }
    }
}
