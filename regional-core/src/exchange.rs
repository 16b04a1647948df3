//! The exchange between cores: this core follows the own log of each of its peers, keeps what they say beside its own log,
//! and so brings it to its PoPs.
//!
//! Every core follows every other; nobody passes on what a third has said. Records stay with the core that owns them: what
//! is exchanged are changes (invalidations, purges) and session keys.
//!
//! While a peer is not reached, what is known of it ages, and with it what this core's PoPs may call fresh: they cannot
//! know what the peer acknowledges meanwhile. A peer that is gone for good is taken out of the configuration. On a store
//! that cores share, what a peer acknowledges is in the store: nothing ages because of it, and peers come and go as they say
//! there.

mod client;
mod knowledge;
mod peers;
mod rosters;

pub(crate) use self::client::Client;
pub use self::client::Failed;
pub use self::knowledge::{AGE_MS_MAX, Knowledge};
pub use self::peers::Peers;
pub use self::rosters::Known;

use self::client::Answer;
use crate::{
    members::Members,
    session_keys::SessionSigner,
    store::{Appended, Held, Member, Store},
};
use brink_listener::client::ClientTls;
use brink_protocol::{
    NodeName, Position,
    change::{Change, ChangeKind},
    link::{ExchangeRequest, FeedMessage, HEARTBEAT_MS, HeadsRequest, ReportAnswer, path},
    position::ORIGINS_MAX,
};
use http::StatusCode;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

/// Peers that a core may have: a position names them and this core.
pub const PEERS_MAX: usize = ORIGINS_MAX - 1;

/// `[[peers]]`: another core, whose changes reach this core's PoPs. Every core names every other; cores on one CQL engine
/// find each other by themselves.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerConfig {
    /// Its `node`. Its certificate names `NODE.core.brink.internal`.
    pub name: NodeName,
    /// `HOST:PORT` of its link.
    pub link: String,
    /// Its `region`: writes of partitions whose home is there are sent to it. Default: none is sent.
    #[serde(default)]
    pub region: Option<String>,
}

/// How often a peer is asked how far its log is.
const ASKED_EVERY: Duration = Duration::from_millis(HEARTBEAT_MS);
/// A peer that says nothing for so long is connected anew: five heartbeats.
const SILENCE_MAX: Duration = Duration::from_millis(5 * HEARTBEAT_MS);
/// The shortest and the longest wait before a peer is tried again.
const WAITS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// How old the knowledge of the peers' logs is.
pub struct Ages {
    began: Instant,
    is_shared: bool,
    peers: Vec<(NodeName, Mutex<Knowledge>)>,
}

impl Ages {
    /// Of these peers; nothing is known of them yet. `is_shared`: the store is looked at by itself
    /// ([`crate::store::Store::is_shared`]), and says what there is to know.
    #[must_use]
    pub fn new(is_shared: bool, peers: impl IntoIterator<Item = NodeName>) -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            is_shared,
            peers: peers
                .into_iter()
                .map(|peer| (peer, Mutex::default()))
                .collect(),
        })
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// How old the knowledge of the core that is known least is at most, where this is held: see
    /// [`ReportAnswer::age_ms`]. 0 without other cores; [`AGE_MS_MAX`] at most. Say no older heads than those of `held`.
    ///
    /// On a store that cores share it is the time since the logs of all were last read, this core's own among them: a peer
    /// that is gone acknowledges nothing that is not in its log. Else it is that of the peers' answers.
    #[must_use]
    pub fn age_ms(&self, held: &Held) -> u64 {
        if self.is_shared {
            let age = held.looked_at.map(|at| at.elapsed().as_millis());
            let age = age.and_then(|age| u64::try_from(age).ok());
            return age.map_or(AGE_MS_MAX, |age| age.min(AGE_MS_MAX));
        }
        let now_ms = self.now_ms();
        let ages = self.peers.iter().map(|(_, knowledge)| {
            knowledge
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .age_ms(&held.heads, now_ms)
        });
        ages.max().unwrap_or(0)
    }

    fn claim(&self, peer: &NodeName, sent_ms: u64, head: Position) {
        if let Some((_, knowledge)) = self.peers.iter().find(|(name, _)| name == peer) {
            knowledge
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .claim(sent_ms, head);
        }
    }
}

/// A core that is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Peer {
    name: NodeName,
    link: String,
    /// Under which node's name its log is.
    log: NodeName,
}

/// Follows the peers.
pub struct Exchange {
    store: Arc<dyn Store>,
    sessions: Arc<SessionSigner>,
    ages: Arc<Ages>,
    others: Arc<Peers>,
    tls: ClientTls,
    peers: Vec<PeerConfig>,
    members: Arc<Members>,
}

impl Exchange {
    /// With the certificate that this core shows them.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        sessions: Arc<SessionSigner>,
        ages: Arc<Ages>,
        others: Arc<Peers>,
        tls: ClientTls,
        peers: Vec<PeerConfig>,
        members: Arc<Members>,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            sessions,
            ages,
            others,
            tls,
            peers,
            members,
        })
    }

    /// Follows all peers until `stop`: those of the configuration, and those that share the store while they live.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut live = self.members.live();
        let mut following: BTreeMap<NodeName, (Peer, CancellationToken)> = BTreeMap::new();
        let mut tasks = JoinSet::new();
        loop {
            live.mark_unchanged();
            let wanted = wanted(&self.peers, self.members.others());
            following.retain(|name, (peer, ends)| {
                let is_wanted = wanted.get(name) == Some(peer);
                if !is_wanted {
                    ends.cancel();
                }
                if !wanted.contains_key(name) {
                    tracing::info!(peer = %name, "a peer is gone");
                    self.others.gone(name);
                }
                is_wanted
            });
            for (name, peer) in wanted {
                if following.contains_key(&name) {
                    continue;
                }
                self.others.come(&name);
                let ends = stop.child_token();
                following.insert(name, (peer.clone(), ends.clone()));
                let exchange = Arc::clone(&self);
                tasks.spawn(async move {
                    ends.run_until_cancelled(exchange.keep_following(&peer))
                        .await;
                });
            }
            tokio::select! {
                Ok(()) = live.changed() => {}
                Some(Err(error)) = tasks.join_next() => {
                    tracing::error!(%error, "a peer is no longer followed");
                }
                () = stop.cancelled() => break,
            }
        }
        while tasks.join_next().await.is_some() {}
    }

    async fn keep_following(&self, peer: &Peer) {
        let connected =
            metrics::gauge!("brink_core_peer_connected", "peer" => peer.name.to_string());
        let (shortest, longest) = WAITS;
        let mut wait = shortest;
        let mut is_told = false;
        loop {
            let mut has_begun = false;
            let failed = self
                .follow(peer, || {
                    connected.set(1.0);
                    has_begun = true;
                })
                .await;
            connected.set(0.0);
            if has_begun {
                (wait, is_told) = (shortest, false);
            }
            if is_told {
                tracing::debug!(peer = %peer.name, link = peer.link, %failed, "a peer is not followed");
            } else {
                is_told = true;
                tracing::warn!(peer = %peer.name, link = peer.link, %failed,
                    "a peer is not followed, trying on; what PoPs know of it ages");
            }
            tokio::time::sleep(wait).await;
            wait = wait.saturating_mul(2).min(longest);
        }
    }

    /// Follows a peer over one connection; `begun` is told when it has. Gives why it ended.
    async fn follow(&self, peer: &Peer, begun: impl FnOnce()) -> Failed {
        let client = match Client::connect(&peer.name, &peer.link, &self.tls).await {
            Ok(client) => Arc::new(client),
            Err(failed) => return failed,
        };
        let sent_ms = self.ages.now_ms();
        let request = ExchangeRequest {
            node: self.own().clone(),
            position: self.position(&peer.log),
        };
        let answer = tokio::time::timeout(SILENCE_MAX, client.stream(path::EXCHANGE, &request));
        let answer = match answer.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(failed)) => {
                if matches!(failed, Failed::Refused(StatusCode::FORBIDDEN, _)) {
                    self.others.refused(&peer.name);
                }
                return failed;
            }
            Err(_) => return Failed::Silent,
        };
        begun();
        let _asked = self.others.connected(&peer.name, Arc::clone(&client));
        tokio::select! {
            failed = self.read(peer, answer, sent_ms) => failed,
            failed = self.ask(peer, &client) => failed,
            () = self.others.keep_known(&peer.name) => Failed::Silent,
        }
    }

    fn own(&self) -> &NodeName {
        self.others.own()
    }

    /// How far a log is held; none: nothing of it is.
    fn position(&self, log: &NodeName) -> Option<Position> {
        let held = self.store.held();
        let held = held.borrow();
        let mut position = Position::default();
        for (origin, sequence) in held.heads.iter() {
            if origin.node == *log {
                position.advance(origin, sequence);
            }
        }
        (!position.is_empty()).then_some(position)
    }

    /// Asks again and again how far the peer's log is.
    async fn ask(&self, peer: &Peer, client: &Client) -> Failed {
        let mut ticks = tokio::time::interval(ASKED_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let request = HeadsRequest {
            node: self.own().clone(),
        };
        loop {
            ticks.tick().await;
            let sent_ms = self.ages.now_ms();
            let asked = client.call::<_, ReportAnswer>(path::HEADS, &request);
            match tokio::time::timeout(SILENCE_MAX, asked).await {
                Ok(Ok(answer)) => {
                    if let Err(failed) = check_head(&peer.log, &answer.head) {
                        return failed;
                    }
                    self.ages.claim(&peer.name, sent_ms, answer.head);
                }
                Ok(Err(failed)) => return failed,
                Err(_) => return Failed::Silent,
            }
        }
    }

    /// Takes what the peer says.
    async fn read(&self, peer: &Peer, mut answer: Answer, sent_ms: u64) -> Failed {
        loop {
            let messages = match tokio::time::timeout(SILENCE_MAX, answer.messages()).await {
                Ok(Ok(messages)) => messages,
                Ok(Err(failed)) => return failed,
                Err(_) => return Failed::Silent,
            };
            let mut changes = Vec::new();
            for message in messages {
                let taken = match message {
                    FeedMessage::Change(change) => {
                        changes.push(change);
                        Ok(())
                    }
                    FeedMessage::Start {
                        position,
                        head,
                        resumed,
                        ..
                    } => self.start(peer, position, head, resumed, sent_ms).await,
                    FeedMessage::SessionKeys(keys) => {
                        let learnt = self.sessions.learn(&peer.log, keys).await;
                        learnt.map_err(Failed::from)
                    }
                    FeedMessage::Heartbeat { .. } | FeedMessage::Count(_) => Ok(()),
                };
                if let Err(failed) = taken {
                    return failed;
                }
            }
            if let Err(failed) = self.append(peer, changes).await {
                return failed;
            }
        }
    }

    async fn start(
        &self,
        peer: &Peer,
        position: Position,
        head: Position,
        resumed: bool,
        sent_ms: u64,
    ) -> Result<(), Failed> {
        check_head(&peer.log, &head)?;
        check_head(&peer.log, &position)?;
        tracing::info!(peer = %peer.name, resumed, %position, "a peer is followed");
        if !resumed {
            for (origin, sequence) in position.iter() {
                self.store.restart_foreign(origin.clone(), sequence).await?;
            }
        }
        self.ages.claim(&peer.name, sent_ms, head);
        Ok(())
    }

    async fn append(&self, peer: &Peer, mut changes: Vec<Change>) -> Result<(), Failed> {
        if changes.is_empty() {
            return Ok(());
        }
        for change in &mut changes {
            if change.origin.node != peer.log {
                return Err(Failed::Foreign(change.origin.clone()));
            }
            // A revision of another core's table: there is nothing to fetch, but answers leave the caches.
            if let ChangeKind::Deployments { revision, .. } = &mut change.kind {
                *revision = 0;
            }
        }
        metrics::counter!("brink_core_peer_changes_total", "peer" => peer.name.to_string())
            .increment(changes.len() as u64);
        match self.store.append_foreign(changes).await? {
            Appended::Held => Ok(()),
            Appended::Gap { origin, head } => Err(Failed::Gap(origin, head)),
        }
    }
}

/// Whom to follow: those of the configuration, and all that live on the same store.
fn wanted(configured: &[PeerConfig], others: Vec<Member>) -> BTreeMap<NodeName, Peer> {
    let configured = configured.iter().map(|peer| Peer {
        name: peer.name.clone(),
        link: peer.link.clone(),
        log: peer.name.clone(),
    });
    let live = others.into_iter().filter_map(|member| {
        Some(Peer {
            name: member.node,
            link: member.link?,
            log: member.log,
        })
    });
    // Where one of the configuration answers, the configuration says; which log it writes, it says itself.
    let mut wanted: BTreeMap<NodeName, Peer> = BTreeMap::new();
    for peer in configured.chain(live) {
        let log = peer.log.clone();
        wanted.entry(peer.name.clone()).or_insert(peer).log = log;
    }
    wanted
}

/// A peer speaks of its own log alone.
fn check_head(log: &NodeName, head: &Position) -> Result<(), Failed> {
    match head.iter().find(|(origin, _)| origin.node != *log) {
        Some((origin, _)) => Err(Failed::Foreign(origin.clone())),
        None => Ok(()),
    }
}

/// Whether a peer that asks from `asked` knows more of this core's own log than this core: its data was put back to an
/// earlier state without a new incarnation.
#[must_use]
pub fn knows_more(store: &dyn Store, asked: Option<&Position>) -> bool {
    let own = store.span();
    asked.is_some_and(|asked| asked.get(&own.origin) > own.head)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn all_that_live_are_followed() {
        let member = |n: usize| Member {
            node: format!("core-{n}").parse().unwrap(),
            log: "core-7".parse().unwrap(),
            region: None,
            link: (n > 0).then(|| format!("{n}:7444")),
            control: None,
            started_at_ms: 1,
        };
        let configured = PeerConfig {
            name: "core-1".parse().unwrap(),
            link: "said:7444".into(),
            region: None,
        };
        let others: Vec<Member> = (0..=PEERS_MAX).map(member).collect();
        let wanted = wanted(&[configured], others);
        assert_eq!(wanted.len(), PEERS_MAX, "one does not say where it answers");
        let one = &wanted[&"core-1".parse().unwrap()];
        assert_eq!(
            (one.link.as_str(), one.log.as_str()),
            ("said:7444", "core-7")
        );
    }

    #[test]
    fn the_peer_that_is_known_least_counts() {
        let heads: Position = "b.1=1,c.1=1".parse().unwrap();
        let held = Held {
            heads: heads.clone(),
            ..Held::default()
        };
        assert_eq!(Ages::new(false, []).age_ms(&held), 0);
        let (b, c): (NodeName, NodeName) = ("b".parse().unwrap(), "c".parse().unwrap());
        let ages = Ages::new(false, [b.clone(), c.clone()]);
        ages.claim(&b, ages.now_ms(), "b.1=1".parse().unwrap());
        assert_eq!(ages.age_ms(&held), AGE_MS_MAX);
        ages.claim(&c, ages.now_ms(), "c.1=1".parse().unwrap());
        assert!(ages.age_ms(&held) < AGE_MS_MAX);
        assert!(check_head(&b, &heads).is_err());
        assert!(check_head(&b, &"b.7=1".parse().unwrap()).is_ok());
    }

    #[test]
    fn a_shared_store_says_itself_when_it_was_looked_at() {
        let b: NodeName = "b".parse().unwrap();
        let ages = Ages::new(true, [b.clone()]);
        ages.claim(&b, ages.now_ms(), Position::default());
        let mut held = Held::default();
        assert_eq!(ages.age_ms(&held), AGE_MS_MAX, "never");
        held.looked_at = Some(Instant::now());
        assert!(ages.age_ms(&held) < AGE_MS_MAX);
        let hour = Duration::from_secs(3600);
        held.looked_at = Instant::now().checked_sub(hour);
        assert!(held.looked_at.is_none() || ages.age_ms(&held) >= 3_600_000);
    }
}
