//! The table of the cores that write to the engine: each says every second that it lives, and reads what the others say.

use super::{
    json::{decode, encode},
    options::Options,
    session::{Bind, Cql},
    watched::{BEAT, Said, Watched},
};
use crate::{
    Error, clock, random,
    store::{Member, members::responsible},
};
use brink_protocol::NodeName;
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

const WHAT: &str = "member";

const PUT: &str = "INSERT INTO members (every, node, row, beat) VALUES (0, ?, ?, ?)";
const OWN: &str = "SELECT row FROM members WHERE every = 0 AND node = ?";
const FORGET: &str = "DELETE FROM members WHERE every = 0 AND node = ?";
const ALL: &str = "SELECT node, row, beat FROM members WHERE every = 0 LIMIT 1000";

/// The cores that write to the engine.
pub(super) struct Members {
    session: Arc<Cql>,
    own: NodeName,
    said: Mutex<Said>,
    beat: AtomicI64,
    silent_max: Duration,
    watched: Mutex<Watched>,
    live: watch::Sender<Arc<Vec<Member>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Members {
    /// Says that this core lives, before it takes anything over: others that had given it up see that it is back.
    pub(super) async fn join(session: Arc<Cql>, options: &Options) -> Result<Arc<Self>, Error> {
        // Whose log an earlier process went on with it still says: else nobody would.
        let own = vec![options.node.as_str().into()];
        let former: Vec<(Option<String>,)> = session.rows(OWN, own).await?;
        let former = former.into_iter().find_map(|(row,)| row);
        let former: Option<Said> = former.map(|row| decode(WHAT, &row)).transpose()?;
        let members = Arc::new(Self {
            session,
            own: options.node.clone(),
            said: Mutex::new(Said {
                region: options.region.as_ref().map(ToString::to_string),
                data_center: options.data_center.clone(),
                link: None,
                control: None,
                started_at_ms: clock::now_ms(),
                has_left: false,
                log: former.and_then(|said| said.log),
            }),
            // Unlike those of an earlier process.
            beat: AtomicI64::new(i64::from(u32::from_le_bytes(random::bytes()?)) << 24),
            silent_max: options.silent_max,
            watched: Mutex::default(),
            live: watch::Sender::default(),
        });
        members.beat().await?;
        members.read().await?;
        Ok(members)
    }

    async fn beat(&self) -> Result<(), Error> {
        let said = lock(&self.said).clone();
        let values = vec![
            self.own.as_str().into(),
            encode(WHAT, &said)?,
            Bind::Big(self.beat.fetch_add(1, Ordering::Relaxed)),
        ];
        self.session.write(PUT, values).await
    }

    /// Reads what all say.
    pub(super) async fn read(&self) -> Result<(), Error> {
        let began = Instant::now();
        let rows: Vec<(String, Option<String>, Option<i64>)> =
            self.session.rows(ALL, Vec::new()).await?;
        let mut found = Vec::with_capacity(rows.len());
        for (node, said, beat) in rows {
            // A row that is there in part is there whole the next time.
            if let (Some(said), Some(beat)) = (said, beat) {
                found.push((node.parse()?, decode(WHAT, &said)?, beat));
            }
        }
        let mut watched = lock(&self.watched);
        watched.read(found, began);
        let live: Vec<Member> = watched
            .live(self.silent_max)
            .map(|(node, said)| member(node, said))
            .collect();
        drop(watched);
        self.live.send_if_modified(|present| {
            let is_new = **present != live;
            if is_new {
                *present = Arc::new(live);
            }
            is_new
        });
        Ok(())
    }

    /// Says and reads it every second.
    pub(super) async fn run(self: Arc<Self>, closing: CancellationToken) {
        let mut ticks = tokio::time::interval(BEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while closing.run_until_cancelled(ticks.tick()).await.is_some() {
            for done in [self.beat().await, self.read().await] {
                if let Err(error) = done {
                    tracing::debug!(%error, "the members were not read, or not told");
                }
            }
        }
    }

    /// Says where this core answers.
    pub(super) async fn announce(&self, link: String, control: String) -> Result<(), Error> {
        {
            let mut said = lock(&self.said);
            (said.link, said.control) = (Some(link), Some(control));
        }
        self.beat().await
    }

    /// Says that this core ends.
    pub(super) async fn leave(&self) -> Result<(), Error> {
        lock(&self.said).has_left = true;
        self.beat().await
    }

    /// Those that live, this core among them.
    pub(super) fn live(&self) -> watch::Receiver<Arc<Vec<Member>>> {
        self.live.subscribe()
    }

    /// Says under which node's name this core's log is, before it takes it.
    pub(super) async fn say_log(&self, log: &NodeName) -> Result<(), Error> {
        lock(&self.said).log = (*log != self.own).then(|| log.to_string());
        self.beat().await
    }

    /// Under which node's name this core's log is, as far as it says.
    pub(super) fn log(&self) -> NodeName {
        let log = lock(&self.said).log.clone();
        let log = log.and_then(|log| log.parse().ok());
        log.unwrap_or_else(|| self.own.clone())
    }

    /// Says nothing of this core any more: it has no log, and never had one.
    pub(super) async fn withdraw(&self) -> Result<(), Error> {
        let own = vec![self.own.as_str().into()];
        self.session.write(FORGET, own).await
    }

    /// Forgets those that are gone and whose log is this core's now: whoever of them lives says so anew.
    pub(super) async fn forget_former(&self, log: &NodeName) -> Result<(), Error> {
        let former: Vec<NodeName> = {
            let watched = lock(&self.watched);
            let writers = watched.writers(log, self.silent_max);
            let former = writers.filter(|(node, _, is_gone)| *is_gone && **node != self.own);
            former.map(|(node, ..)| node.clone()).collect()
        };
        for node in former {
            let values = vec![node.as_str().into()];
            self.session.write(FORGET, values).await?;
        }
        Ok(())
    }

    /// Whether no other core that lives says that a log is its own.
    pub(super) fn is_free(&self, log: &NodeName) -> bool {
        let watched = lock(&self.watched);
        let mut writers = watched.writers(log, self.silent_max);
        writers.all(|(node, _, is_gone)| is_gone || *node == self.own)
    }

    /// Whether whoever wrote a log is gone, so that a core like this one may go on with it.
    pub(super) fn is_left(&self, log: &NodeName) -> bool {
        let own = lock(&self.said).clone();
        lock(&self.watched).is_left(log, (&self.own, &own), self.silent_max)
    }

    /// For how long a core is waited for.
    pub(super) fn silent_max(&self) -> Duration {
        self.silent_max
    }

    /// Whether this core takes over what is open in a log: whoever wrote it is gone, both are in one region and ask one data
    /// centre, and of the cores of which that is so this one is responsible.
    pub(super) fn is_heir_of(&self, log: &NodeName) -> bool {
        let own = lock(&self.said).clone();
        let watched = lock(&self.watched);
        let heirs = watched.live(self.silent_max);
        let heirs = heirs.filter(|(_, said)| said.is_near(&own));
        watched.is_left(log, (&self.own, &own), self.silent_max)
            && !own.has_left
            && responsible(log.as_str(), heirs.map(|(node, _)| node)) == Some(&self.own)
    }
}

fn member(node: &NodeName, said: &Said) -> Member {
    Member {
        node: node.clone(),
        log: said
            .log
            .as_ref()
            .and_then(|log| log.parse().ok())
            .unwrap_or_else(|| node.clone()),
        region: said.region.as_ref().and_then(|region| region.parse().ok()),
        link: said.link.clone(),
        control: said.control.clone(),
        started_at_ms: said.started_at_ms,
    }
}
