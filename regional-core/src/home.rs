//! The home of partitions: what is written or read at another region is asked of a core there, and what others ask for is
//! done here.
//!
//! One place for everything above the store: [`HomeStore`] is a store whose records are those of all regions. Records,
//! commands, events, projections and workflows need not know where a partition belongs.

mod cores;
mod forward;
mod kept;
mod message;
mod store;

pub use self::cores::{AllCores, Configured, CoreAddress, Cores};
pub use self::message::{HomeAnswer, HomeRefusal, HomeRequest, Operation, Outcome};
pub use self::store::HomeStore;

use self::forward::Forwarder;
use crate::{
    Error,
    archive::Archiver,
    hot::Hot,
    placement::{Home as Place, Placements, Regions, is_empty, refused},
    store::{AnswerKey, Commit, Store, Transaction},
    trail,
    turns::Turns,
};
use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use brink_listener::client::ClientTls;
use brink_protocol::{
    NodeName, RegionName, TenantName,
    address::PartitionAddress,
    link::{CommandAnswer, CommandError, CommandRequest},
    record::Key,
    trail::Author,
};
use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    time::Duration,
};

/// Longest time that another core is given, in milliseconds.
const TIME_MS_MAX: u64 = 60_000;

/// Asks other regions, and answers them.
pub struct Home {
    placements: Arc<Placements>,
    cores: Arc<dyn Cores>,
    forward: Forwarder,
    hot: Hot,
    /// Commits that leave a trail, one at a time in a partition.
    turns: Turns,
    /// Where what ends is archived; none yet: it stays.
    archiver: ArcSwapOption<Archiver>,
    /// The store of this core itself.
    store: Arc<dyn Store>,
}

fn unexpected() -> Error {
    Error::store("asking another region", "it answered something else")
}

fn address(tenant: &TenantName, key: &Key) -> PartitionAddress {
    PartitionAddress {
        tenant: tenant.clone(),
        collection: key.collection.clone(),
        partition: key.partition.clone(),
    }
}

/// Whether it is kept under the key of no partition, and so belongs to this core.
fn is_apart(key: &AnswerKey) -> bool {
    key.partition.collection.is_empty()
}

impl Home {
    /// Of a store and what is known of placements. Nobody is asked before [`Home::identify`].
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        placements: Arc<Placements>,
        own: NodeName,
        cores: Arc<dyn Cores>,
    ) -> Arc<Self> {
        let home = Arc::new(Self {
            placements,
            forward: Forwarder::new(own, Arc::clone(&cores)),
            hot: Hot::default(),
            turns: Turns::default(),
            archiver: ArcSwapOption::empty(),
            cores,
            store,
        });
        let regions: Weak<Self> = Arc::downgrade(&home);
        home.placements.begin_with(regions);
        home
    }

    /// The certificate that this core shows others.
    pub fn identify(&self, tls: ClientTls) {
        self.forward.identify(tls);
    }

    /// Archives what ends, where its collection asks for that.
    pub fn archive_to(&self, archiver: Arc<Archiver>) {
        self.archiver.store(Some(archiver));
    }

    /// What is known of placements.
    #[must_use]
    pub fn placements(&self) -> &Arc<Placements> {
        &self.placements
    }

    /// Which partitions are hot here.
    #[must_use]
    pub fn hot(&self) -> &Hot {
        &self.hot
    }

    /// The other cores of a region.
    #[must_use]
    pub fn cores(&self, region: &RegionName) -> Vec<CoreAddress> {
        self.cores.of(region)
    }

    /// Has a command run by a core of its partition's home; none: that is here.
    pub async fn command(
        &self,
        request: &CommandRequest,
        trace_id: Option<&String>,
    ) -> Option<Result<CommandAnswer, CommandError>> {
        let partition = PartitionAddress {
            tenant: request.tenant.clone(),
            collection: request.collection.clone(),
            partition: request.partition.clone(),
        };
        let region = match self.placements.writing(&partition) {
            Ok(writing) => match writing.home {
                Place::Here => return None,
                Place::At(region) => region,
            },
            Err(error) => return Some(Err(command_error(&error))),
        };
        let operation = Operation::Command {
            request: request.clone(),
            trace_id: trace_id.cloned(),
        };
        Some(match self.forward.ask(&region, operation).await {
            Ok(Outcome::Command(answer)) => Ok(answer),
            Ok(_) => Err(command_error(&unexpected())),
            Err(error) => Err(command_error(&error)),
        })
    }

    /// Does what another core asks for; a command by `run`. Nothing is passed on.
    pub async fn answer<F>(
        &self,
        asked: HomeRequest,
        run: impl FnOnce(CommandRequest, Option<String>) -> F + Send,
    ) -> HomeAnswer
    where
        F: Future<Output = CommandAnswer> + Send,
    {
        let time = Duration::from_millis(asked.time_ms.min(TIME_MS_MAX));
        let doing = async {
            let _under_way = match &asked.operation {
                Operation::Commit(..) => self.placements.under_way().await,
                _ => None,
            };
            if let Some(refusal) = self.refusal(&asked) {
                return Err(refusal);
            }
            match asked.operation {
                Operation::Command { request, trace_id } => {
                    Ok(Outcome::Command(run(request, trace_id).await))
                }
                operation => self.operate(operation).await.map_err(home_refusal),
            }
        };
        let done = tokio::time::timeout(time, doing).await;
        done.unwrap_or_else(|_| Err(HomeRefusal::Failed("it took too long".into())))
    }

    /// Why something is not done here.
    fn refusal(&self, asked: &HomeRequest) -> Option<HomeRefusal> {
        let own = self.placements.own();
        if own != Some(&asked.region) {
            let own = own.map_or("none", RegionName::as_str);
            return Some(HomeRefusal::NotNow(format!("this core's region is {own}")));
        }
        if asked.is_current {
            return self.vouch(&asked.operation).err().map(home_refusal);
        }
        let written = match &asked.operation {
            Operation::Commit(transaction, _) => transaction.partition.clone(),
            Operation::Command { request, .. } => PartitionAddress {
                tenant: request.tenant.clone(),
                collection: request.collection.clone(),
                partition: request.partition.clone(),
            },
            _ => return None,
        };
        match self.placements.writing(&written) {
            Ok(writing) if writing.home == Place::Here => None,
            Ok(_) => Some(HomeRefusal::NotNow(
                "by what this core knows, the home is another region".into(),
            )),
            Err(error) => Some(home_refusal(error)),
        }
    }

    /// Commits at this core, with an audit trail if the collection keeps one.
    async fn commit_here(
        &self,
        transaction: Transaction,
        audit_ms: Option<u64>,
        by: &Author,
    ) -> Result<Commit, Error> {
        match audit_ms {
            Some(kept_ms) => {
                trail::commit(&*self.store, &self.turns, transaction, kept_ms, by).await
            }
            None => self.store.commit(transaction).await,
        }
    }

    /// Whether this core is certainly the home of what is to be read.
    fn vouch(&self, read: &Operation) -> Result<(), Error> {
        let partitions = match read {
            Operation::Get { tenant, keys, .. } => {
                keys.iter().map(|key| address(tenant, key)).collect()
            }
            Operation::Scan { tenant, range, .. } => vec![PartitionAddress {
                tenant: tenant.clone(),
                collection: range.collection.clone(),
                partition: range.partition.clone(),
            }],
            Operation::LastVersion { tenant, key } => vec![address(tenant, key)],
            Operation::Answer { key, .. } => vec![key.partition.clone()],
            _ => return Err(unexpected()),
        };
        for partition in &partitions {
            let found = self.placements.reading_within(partition, Duration::ZERO)?;
            if let Place::At(region) = found {
                return Err(refused(
                    region.as_str(),
                    "by what this core knows, it is the home",
                ));
            }
        }
        Ok(())
    }

    async fn operate(&self, operation: Operation) -> Result<Outcome, Error> {
        let store = &self.store;
        Ok(match operation {
            Operation::Commit(transaction, by) => {
                let writing = self.placements.writing(&transaction.partition)?;
                let commit = self.commit_here(transaction, writing.audit_ms, &by);
                Outcome::Commit(commit.await?)
            }
            Operation::Get {
                tenant,
                keys,
                now_ms,
            } => Outcome::Entries(store.get_many(&tenant, &keys, now_ms).await?),
            Operation::Scan {
                tenant,
                range,
                now_ms,
            } => Outcome::Page(store.scan(&tenant, &range, now_ms).await?),
            Operation::LastVersion { tenant, key } => {
                Outcome::Version(store.last_version(&tenant, &key).await?)
            }
            Operation::Answer { key, now_ms } => Outcome::Answer(store.answer(&key, now_ms).await?),
            Operation::IsEmpty { tenant, collection } => {
                Outcome::IsEmpty(is_empty(&**store, Some(&tenant), Some(&collection)).await?)
            }
            Operation::Command { .. } => return Err(unexpected()),
        })
    }
}

#[async_trait]
impl Regions for Home {
    async fn is_empty_at(
        &self,
        region: &RegionName,
        tenant: &TenantName,
        collection: &str,
    ) -> Result<bool, Error> {
        let operation = Operation::IsEmpty {
            tenant: tenant.clone(),
            collection: collection.to_owned(),
        };
        match self.forward.ask(region, operation).await? {
            Outcome::IsEmpty(is_empty) => Ok(is_empty),
            _ => Err(unexpected()),
        }
    }

    fn known(&self) -> BTreeSet<RegionName> {
        self.cores.regions()
    }
}

fn home_refusal(error: Error) -> HomeRefusal {
    match error {
        Error::Limit(limit) => HomeRefusal::Invalid(limit.to_string()),
        Error::Busy => HomeRefusal::NotNow(Error::Busy.to_string()),
        error @ Error::Region { .. } => HomeRefusal::NotNow(error.to_string()),
        error => {
            tracing::error!(%error, "what another core asked for was not done");
            HomeRefusal::Failed("the store of the home failed".into())
        }
    }
}

fn command_error(error: &Error) -> CommandError {
    match error {
        Error::Limit(limit) => CommandError::Invalid(limit.to_string()),
        Error::Busy | Error::Region { .. } => CommandError::Unavailable(error.to_string()),
        error => {
            tracing::error!(%error, "a command was not run at its home");
            CommandError::Unavailable("the core's store failed".into())
        }
    }
}
