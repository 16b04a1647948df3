//! The store on a CQL engine (ScyllaDB, Apache Cassandra): shared by any number of cores, each of which writes a log of
//! its own there and sees those of the others.
//!
//! Records of a partition are one partition of the engine. A commit reads what it needs, decides, and writes under the
//! condition that the partition's revision is what it was (docs/decisions/0008-cql-store.md). What an engine cannot do in
//! one step, log and records, is done in three: intended, written, settled.

mod answers;
mod archive;
mod audit;
mod bind;
mod claiming;
mod commit;
mod components;
mod decide;
mod engine;
mod expiry;
mod foreign;
mod group;
mod held;
mod identity;
mod json;
mod kept;
mod keyspaces;
mod known;
mod later;
mod lives;
mod log;
mod look;
mod members;
mod migrations;
mod options;
mod origins;
mod partition;
mod placed;
mod placements;
mod pops;
mod purge_answers;
mod purges;
mod purging;
mod put_back;
mod read_log;
mod records;
mod registry;
mod scan;
mod schema;
mod session;
mod session_keys;
mod sweep;
mod takeover;
mod tokens;
mod watched;

pub use self::options::{Confirm, Credentials, Options, Serial};

use self::engine::Engine;
use super::{
    Answer, AnswerKey, Appended, Commit, Held, Member, NewAudit, NewPurge, NewVersion, PopRow,
    Published, PurgeAdded, PurgeRow, Span, Spared, Store, Swept, TableChange, TokenRow,
    Transaction,
};
use crate::Error;
use async_trait::async_trait;
use brink_protocol::{
    Digest, ModuleName, NodeName, OriginId, PopName, Position, StoreId, TenantName,
    change::Change,
    control,
    deployment::{Deployment, DeploymentTable},
    link::AppliedPurge,
    record::{Entry, Key, Page, Range, Version},
    session::SessionKey,
};
use bytes::Bytes;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The store on a CQL engine. Dropping it takes no more writes; those under way go on to their end.
pub struct CqlStore {
    engine: Arc<Engine>,
}

impl CqlStore {
    /// Connects to the engine, brings its schema up to date, and takes over the log of this core: whoever wrote it before
    /// cannot any more, and what was left open is settled.
    ///
    /// # Errors
    /// The engine is not reached, does not let this core in, or does not answer; or as many cores write to it as a
    /// position may name.
    pub async fn open(options: &Options) -> Result<Self, Error> {
        let engine = Engine::open(options).await?;
        tokio::spawn(takeover::run(Arc::clone(&engine), engine.closing()));
        Ok(Self { engine })
    }

    /// The cores that write to the engine.
    #[must_use]
    pub fn members(&self) -> CqlMembers {
        CqlMembers {
            engine: Arc::clone(&self.engine),
        }
    }
}

/// The cores that write to one engine.
#[derive(Clone)]
pub struct CqlMembers {
    engine: Arc<Engine>,
}

impl CqlMembers {
    /// Those that live, this core among them: every core hears of one that comes within two seconds, of one that says that
    /// it ends as well, and of one that says nothing any more after [`Options::silent_max`].
    #[must_use]
    pub fn live(&self) -> watch::Receiver<Arc<Vec<Member>>> {
        self.engine.members.live()
    }

    /// Says where this core answers: `HOST:PORT` of its link and of its control API.
    ///
    /// # Errors
    /// The engine; it is said again with the next beat.
    pub async fn announce(&self, link: String, control: String) -> Result<(), Error> {
        self.engine.members.announce(link, control).await
    }

    /// Says that this core ends: nobody waits for it, and what it leaves open is settled at once.
    ///
    /// # Errors
    /// The engine: the others find out.
    pub async fn leave(&self) -> Result<(), Error> {
        self.engine.members.leave().await
    }
}

impl Drop for CqlStore {
    fn drop(&mut self) {
        self.engine.close();
    }
}

#[async_trait]
impl Store for CqlStore {
    fn origin(&self) -> &OriginId {
        &self.engine.claim.origin
    }

    fn id(&self) -> StoreId {
        self.engine.id
    }

    fn silence(&self) -> Duration {
        self.engine.looks.silence()
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn span(&self) -> Span {
        let own = self.engine.logs.own();
        Span {
            origin: self.engine.claim.origin.clone(),
            oldest: own.oldest,
            head: own.head,
        }
    }

    fn held(&self) -> watch::Receiver<Arc<Held>> {
        self.engine.logs.subscribe()
    }

    async fn append_foreign(&self, changes: Vec<Change>) -> Result<Appended, Error> {
        foreign::append(&self.engine, &changes).await
    }

    async fn restart_foreign(&self, origin: OriginId, head: u64) -> Result<(), Error> {
        foreign::restart(&self.engine, &origin, head).await
    }

    async fn session_keys(&self) -> Result<BTreeMap<NodeName, Vec<SessionKey>>, Error> {
        session_keys::session_keys(&self.engine).await
    }

    async fn put_session_keys(&self, node: NodeName, keys: Vec<SessionKey>) -> Result<(), Error> {
        session_keys::put_session_keys(&self.engine, node, keys).await
    }

    fn failed(&self) -> CancellationToken {
        self.engine.failed.clone()
    }

    async fn changes(
        &self,
        origin: &OriginId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Change>, Error> {
        let Some(kept) = self.engine.logs.kept(origin) else {
            return Ok(Vec::new());
        };
        read_log::changes(&self.engine.session, origin, after, kept, limit).await
    }

    async fn get(
        &self,
        tenant: &TenantName,
        key: &Key,
        now_ms: u64,
    ) -> Result<Option<Entry>, Error> {
        records::get(&self.engine.keyspaces, tenant, key, now_ms).await
    }

    async fn get_many(
        &self,
        tenant: &TenantName,
        keys: &[Key],
        now_ms: u64,
    ) -> Result<Vec<Option<Entry>>, Error> {
        records::get_many(&self.engine.keyspaces, tenant, keys, now_ms).await
    }

    async fn scan(&self, tenant: &TenantName, range: &Range, now_ms: u64) -> Result<Page, Error> {
        let session = self
            .engine
            .keyspaces
            .of(&scan::address(tenant, range))
            .await?;
        scan::page(&session, tenant, range, now_ms).await
    }

    async fn last_version(&self, tenant: &TenantName, key: &Key) -> Result<Version, Error> {
        records::last_version(&self.engine.keyspaces, tenant, key).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Commit, Error> {
        commit::commit(&self.engine, transaction).await
    }

    async fn answer(&self, key: &AnswerKey, now_ms: u64) -> Result<Option<Answer>, Error> {
        if purge_answers::is_ours(key) {
            return purge_answers::answer(&self.engine, key, now_ms).await;
        }
        answers::answer(&self.engine, key, now_ms).await
    }

    async fn sweep(&self, now_ms: u64, limit: usize) -> Result<Swept, Error> {
        sweep::sweep(&self.engine, now_ms, limit, &Spared::default()).await
    }

    async fn publish(
        &self,
        version: NewVersion,
        component: Bytes,
        audit: NewAudit,
    ) -> Result<Published, Error> {
        registry::publish(&self.engine, version, component, audit).await
    }

    async fn component(&self, digest: &Digest) -> Result<Option<Bytes>, Error> {
        components::component(&self.engine, digest).await
    }

    async fn versions(
        &self,
        tenant: &TenantName,
        module: Option<&ModuleName>,
    ) -> Result<Vec<control::Version>, Error> {
        registry::versions(&self.engine, tenant, module).await
    }

    async fn table(&self) -> Result<DeploymentTable, Error> {
        registry::table(&self.engine).await
    }

    async fn change_table(
        &self,
        change: TableChange,
        audit: NewAudit,
    ) -> Result<Option<Position>, Error> {
        registry::change_table(&self.engine, change, audit).await
    }

    async fn history(
        &self,
        tenant: &TenantName,
        module: &ModuleName,
    ) -> Result<Vec<Deployment>, Error> {
        registry::history(&self.engine, tenant, module).await
    }

    async fn add_purge(
        &self,
        purge: NewPurge,
        audit: Option<NewAudit>,
    ) -> Result<PurgeAdded, Error> {
        purging::add_purge(&self.engine, purge, audit).await
    }

    async fn release_purges(&self, now_ms: u64, limit: usize) -> Result<usize, Error> {
        purging::release_purges(&self.engine, now_ms, limit).await
    }

    async fn purge(&self, tenant: &TenantName, id: &str) -> Result<Option<PurgeRow>, Error> {
        purges::purge(&self.engine, tenant, id).await
    }

    async fn purges(
        &self,
        tenant: &TenantName,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<PurgeRow>, Error> {
        purges::purges(&self.engine, tenant, before, limit).await
    }

    async fn note_applied(
        &self,
        pop: &PopName,
        applied: &[AppliedPurge],
        now_ms: u64,
    ) -> Result<Vec<u64>, Error> {
        purges::note_applied(&self.engine, pop, applied, now_ms).await
    }

    async fn add_token(&self, token: TokenRow, audit: NewAudit) -> Result<(), Error> {
        tokens::add_token(&self.engine, token, audit).await
    }

    async fn token(&self, hash: &[u8; 32]) -> Result<Option<TokenRow>, Error> {
        tokens::token(&self.engine, hash).await
    }

    async fn tokens(&self, tenant: Option<&TenantName>) -> Result<Vec<TokenRow>, Error> {
        tokens::tokens(&self.engine, tenant).await
    }

    async fn remove_token(&self, id: &str, audit: NewAudit) -> Result<bool, Error> {
        tokens::remove_token(&self.engine, id, audit).await
    }

    async fn add_audit(&self, audit: NewAudit) -> Result<(), Error> {
        audit::add_audit(&self.engine, audit).await
    }

    async fn audit(
        &self,
        tenant: Option<&TenantName>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<control::AuditEntry>, Error> {
        audit::audit(&self.engine, tenant, before, limit).await
    }

    async fn put_pops(&self, pops: Vec<PopRow>) -> Result<(), Error> {
        pops::put_pops(&self.engine, pops).await
    }

    async fn pops(&self) -> Result<Vec<PopRow>, Error> {
        pops::pops(&self.engine).await
    }
}

#[cfg(test)]
pub(crate) mod tests;
