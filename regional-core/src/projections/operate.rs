//! What operators do with projections: see where they stand, handle dead letters, replay, and drop a former target.

mod former;
mod replay;

use super::{
    Share,
    apply::{Application, Applied, Mark, commit, put},
    letters::{self, LETTERS_MAX},
    module::{Fault, Module, Projection},
    retry::Failure,
    rows::{self, Control, Letter, Names, Passed, Place, key_in},
    runner::look_through,
};
use crate::{
    Error,
    clock::now_ms,
    components::Components,
    deployments::Tables,
    logs::Logs,
    refusal::Refusal,
    store::{Action, Store, Write},
};
use brink_protocol::{
    ModuleName, TenantName,
    address::PartitionAddress,
    deployment::{Deployment, World},
    link::Condition,
    record::{Bound, Entry, Range},
};
use std::sync::Arc;

/// How often a change is tried when others make one at the same time.
const ATTEMPTS_MAX: u32 = 16;
/// How long the mark stays that an event was applied out of its turn, after its letter is done with: far longer than whoever
/// handles the same letter takes.
const REDONE_LIFETIME_MS: u64 = 24 * 3600 * 1000;

/// Where a projection stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stands {
    /// Its deployment.
    pub deployment: Deployment,
    /// What its settings say; or what is wrong with them.
    pub names: Result<Names, brink_protocol::Error>,
    /// Streams of its source.
    pub streams: u64,
    /// Of these, with events that are not applied.
    pub behind: u64,
    /// Events that are not applied.
    pub lag: u64,
    /// Dead letters.
    pub letters: u64,
    /// How often it was replayed.
    pub generation: u64,
}

/// What came of handling a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handled {
    /// It was applied, and is gone.
    Applied,
    /// There was nothing to apply any more; it is gone.
    Gone,
}

/// Operates projections.
#[derive(Clone)]
pub struct Oversight {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Loaded components.
    pub components: Arc<Components>,
    /// What is deployed.
    pub tables: Arc<Tables>,
    /// Where modules' lines go.
    pub logs: Arc<Logs>,
    /// The core node's name.
    pub node: String,
}

fn stopped(applied: Applied) -> Refusal {
    match applied {
        Applied::Unavailable(text) => Refusal::Core(Error::store("a projection", text)),
        Applied::Failed(_, text) => Refusal::Unfit {
            slug: "projection-failed",
            title: "The projection failed again",
            detail: text,
        },
        Applied::Late | Applied::Done(_) => {
            Refusal::Conflict("a later replay has begun meanwhile".into())
        }
    }
}

fn of_fault(fault: Fault) -> Refusal {
    stopped(match fault {
        Fault::Failed(text) => Applied::Failed(Failure::OfEvent, text),
        Fault::Late(text) => Applied::Failed(Failure::OfTime, text),
        Fault::Unavailable(text) => Applied::Unavailable(text),
    })
}

fn delete(sort: String) -> Write {
    Write {
        sort,
        action: Action::Delete,
        condition: Condition::Always,
    }
}

impl Stands {
    /// Why it does not run, or not all of it; none: it does.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        match &self.names {
            Err(error) => Some(error.to_string()),
            Ok(_) if self.letters < LETTERS_MAX => None,
            Ok(_) => Some(format!(
                "it has {} dead letters, as many as it may: streams wait where a further event fails; see why, mend it, and \
                 retry or drop letters",
                self.letters
            )),
        }
    }
}

impl Oversight {
    fn deployed(&self, tenant: &TenantName, name: &ModuleName) -> Option<Deployment> {
        let table = self.tables.current();
        let found = table
            .deployments
            .iter()
            .find(|d| d.tenant == *tenant && d.name == *name && d.world == World::Projection);
        found.cloned()
    }

    fn names(
        &self,
        tenant: &TenantName,
        name: &ModuleName,
    ) -> Result<(Deployment, Names), Refusal> {
        let deployment = self
            .deployed(tenant, name)
            .ok_or_else(|| Refusal::NotFound(format!("no projection {name} is deployed")))?;
        let names = Names::of(
            &self.store,
            tenant.clone(),
            name.clone(),
            &deployment.config,
        )
        .map_err(|error| Refusal::Conflict(error.to_string()))?;
        Ok((deployment, names))
    }

    pub(super) fn module(&self, deployment: Deployment) -> Module {
        Module {
            components: Arc::clone(&self.components),
            deployment,
            logs: Arc::clone(&self.logs),
            node: self.node.clone(),
        }
    }

    /// Where the projections of a tenant stand.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(&self, tenant: &TenantName) -> Result<Vec<Stands>, Error> {
        let table = self.tables.current();
        let of = |d: &&Deployment| d.tenant == *tenant && d.world == World::Projection;
        let mut all = Vec::new();
        for deployment in table.deployments.iter().filter(of) {
            all.push(self.stands(deployment).await?);
        }
        Ok(all)
    }

    async fn stands(&self, deployment: &Deployment) -> Result<Stands, Error> {
        let (tenant, name) = (&deployment.tenant, &deployment.name);
        let names = Names::of(
            &self.store,
            tenant.clone(),
            name.clone(),
            &deployment.config,
        );
        let mut stands = Stands {
            deployment: deployment.clone(),
            names: names.clone(),
            streams: 0,
            behind: 0,
            lag: 0,
            letters: 0,
            generation: 0,
        };
        let Ok(names) = names else {
            return Ok(stands);
        };
        let all: Share = Arc::new(|_| true);
        let (mut streams, mut behind) = (0, 0);
        stands.lag = look_through(&*self.store, &names, &all, |_, standing| {
            streams += 1;
            behind += u64::from(standing.behind() > 0);
        })
        .await?;
        (stands.streams, stands.behind) = (streams, behind);
        stands.letters = letters::count(&*self.store, &names).await?;
        stands.generation = self.control(&names).await?.0.generation;
        Ok(stands)
    }

    async fn page(
        &self,
        at: &PartitionAddress,
        lower: Bound,
        limit: u32,
    ) -> Result<(Vec<Entry>, bool), Error> {
        let range = Range {
            collection: at.collection.clone(),
            partition: at.partition.clone(),
            lower,
            upper: Bound::Unbounded,
            limit,
            descending: false,
        };
        let page = self.store.scan(&at.tenant, &range, now_ms()).await?;
        Ok((page.entries, page.more))
    }

    async fn control(&self, names: &Names) -> Result<(Control, Option<u64>), Error> {
        let found = self.entry(&names.control(), "").await?;
        let control = found
            .as_ref()
            .map_or(Ok(Control::default()), |entry| rows::decode(&entry.value))?;
        Ok((control, found.map(|entry| entry.version)))
    }

    async fn entry(&self, at: &PartitionAddress, sort: &str) -> Result<Option<Entry>, Error> {
        self.store
            .get(&at.tenant, &key_in(at, sort), now_ms())
            .await
    }

    /// Dead letters after an id, by stream and number; and whether there are more.
    ///
    /// # Errors
    /// No such projection, or the store's.
    pub async fn letters(
        &self,
        tenant: &TenantName,
        name: &ModuleName,
        after: Option<String>,
        limit: u32,
    ) -> Result<(Vec<(String, Letter)>, bool), Refusal> {
        let (_, names) = self.names(tenant, name)?;
        let lower = after.map_or(Bound::Unbounded, Bound::Exclusive);
        let (mut all, mut more) = (Vec::new(), false);
        for at in names.all_letters() {
            let page = self.page(&at, lower.clone(), limit).await?;
            all.extend(page.0);
            more |= page.1;
        }
        all.sort_unstable_by(|a, b| a.sort.cmp(&b.sort));
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        more |= all.len() > limit;
        let letters = all
            .into_iter()
            .take(limit)
            .map(|entry| Ok((entry.sort, rows::decode(&entry.value)?)))
            .collect::<Result<_, brink_protocol::Error>>()?;
        Ok((letters, more))
    }

    async fn letter(&self, names: &Names, id: &str) -> Result<Letter, Refusal> {
        for at in names.all_letters() {
            if let Some(found) = self.entry(&at, id).await? {
                return Ok(rows::decode(&found.value)?);
            }
        }
        let text = format!("there is no dead letter {id} of {}", names.name);
        Err(Refusal::NotFound(text))
    }

    /// Applies a dead letter now, out of its turn; exactly once, however often this is asked.
    ///
    /// # Errors
    /// No such letter; the projection failed again, and the letter stays; or the store's.
    pub async fn retry(
        &self,
        tenant: &TenantName,
        name: &ModuleName,
        id: &str,
    ) -> Result<Handled, Refusal> {
        let (deployment, names) = self.names(tenant, name)?;
        let letter = self.letter(&names, id).await?;
        self.retry_with(&self.module(deployment), &names, id, &letter)
            .await
    }

    pub(super) async fn retry_with(
        &self,
        projection: &dyn Projection,
        names: &Names,
        id: &str,
        letter: &Letter,
    ) -> Result<Handled, Refusal> {
        let handled = match &letter.target {
            Some(target) => {
                self.apply(projection, names, letter, target, Mark::Passed)
                    .await?
            }
            None => self.retry_without_target(projection, names, letter).await?,
        };
        letters::forget(&*self.store, names, id, &letter.stream).await?;
        Ok(handled)
    }

    async fn apply(
        &self,
        projection: &dyn Projection,
        names: &Names,
        letter: &Letter,
        target: &str,
        mark: Mark,
    ) -> Result<Handled, Refusal> {
        let application = Application {
            store: &self.store,
            projection,
            names,
            stream: &letter.stream,
            target,
            place: Place::default(),
            mark,
        };
        match application.run(std::slice::from_ref(&letter.event)).await {
            Applied::Done(0) => Ok(Handled::Gone),
            Applied::Done(_) => Ok(Handled::Applied),
            other => Err(stopped(other)),
        }
    }

    /// The mark that it was passed over is beside the stream's place. The target that is named first is noted in it, and
    /// whoever tries it too goes on with that one. The mark goes only after the event is applied, and the target keeps one
    /// until nobody can be at it any more.
    async fn retry_without_target(
        &self,
        projection: &dyn Projection,
        names: &Names,
        letter: &Letter,
    ) -> Result<Handled, Refusal> {
        let (stream, number) = (letter.stream.as_str(), letter.event.number);
        let (at, sort) = (names.places(stream), names.passed_sort(stream, number));
        for _ in 0..ATTEMPTS_MAX {
            let Some(mark) = self.entry(&at, &sort).await? else {
                return Ok(Handled::Gone);
            };
            let still = Condition::Version(mark.version);
            let mut passed: Passed = rows::decode(&mark.value)?;
            if let Some(target) = &passed.target {
                let redone = Mark::Redone(passed.at_ms);
                let handled = self
                    .apply(projection, names, letter, target, redone)
                    .await?;
                let gone = Write {
                    condition: still,
                    ..delete(sort)
                };
                commit(&*self.store, at, vec![gone]).await?;
                self.forget_redone(names, (stream, number), target, passed.at_ms)
                    .await?;
                return Ok(handled);
            }
            passed.target = projection
                .target(stream, &letter.event)
                .await
                .map_err(of_fault)?;
            let is_for_none = passed.target.is_none();
            let write = if is_for_none {
                Write {
                    condition: still,
                    ..delete(sort.clone())
                }
            } else {
                put(sort.clone(), rows::encode(&passed)?, still)
            };
            if commit(&*self.store, at.clone(), vec![write]).await? && is_for_none {
                return Ok(Handled::Applied);
            }
        }
        Err(Refusal::Core(Error::Busy))
    }

    /// Lets the mark end that an event was applied out of turn, unless it stands for another time by now.
    async fn forget_redone(
        &self,
        names: &Names,
        (stream, number): (&str, u64),
        target: &str,
        at_ms: u64,
    ) -> Result<(), Error> {
        let (at, sort) = (names.target(target), names.redone_sort(stream, number));
        let Some(mark) = self.entry(&at, &sort).await? else {
            return Ok(());
        };
        if rows::decode::<u64>(&mark.value)? == at_ms {
            let write = Write {
                sort,
                action: Action::Put {
                    value: mark.value,
                    expires_at_ms: Some(now_ms() + REDONE_LIFETIME_MS),
                },
                condition: Condition::Version(mark.version),
            };
            commit(&*self.store, at, vec![write]).await?;
        }
        Ok(())
    }

    /// Drops a dead letter: its event will not be applied.
    ///
    /// # Errors
    /// No such letter, or the store's.
    pub async fn drop_letter(
        &self,
        tenant: &TenantName,
        name: &ModuleName,
        id: &str,
    ) -> Result<(), Refusal> {
        let (_, names) = self.names(tenant, name)?;
        let letter = self.letter(&names, id).await?;
        Ok(self.drop_known(&names, id, &letter).await?)
    }

    pub(super) async fn drop_known(
        &self,
        names: &Names,
        id: &str,
        letter: &Letter,
    ) -> Result<(), Error> {
        let passed = names.passed_sort(&letter.stream, letter.event.number);
        let at = match &letter.target {
            Some(target) => names.target(target),
            None => names.places(&letter.stream),
        };
        commit(&*self.store, at, vec![delete(passed)]).await?;
        letters::forget(&*self.store, names, id, &letter.stream).await
    }
}
