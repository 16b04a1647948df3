//! What operators do with projections: see where they stand, handle dead letters, replay, and drop a former target.

use super::{
    Share,
    apply::{Application, Applied, Mark, commit, put},
    module::{Fault, Module, Projection},
    rows::{self, Checkpoint, Control, Letter, Names, Place, key_in},
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
    change::RECORDS_PER_CHANGE_MAX,
    deployment::{Deployment, World},
    event::{TARGET, is_of_stream},
    link::Condition,
    record::{Bound, Entry, PLATFORM_SORT, Range},
};
use std::sync::Arc;

/// Dead letters that are counted at most.
const LETTERS_COUNTED: u32 = 1000;
/// How often a change is tried when others make one at the same time.
const ATTEMPTS_MAX: u32 = 16;

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
    /// Dead letters, at most 1000.
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
        Applied::Failed(text) => Refusal::Unfit {
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
        Fault::Failed(text) => Applied::Failed(text),
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
        for at in names.all_letters() {
            let letters = self.page(&at, Bound::Unbounded, LETTERS_COUNTED).await?.0;
            stands.letters += letters.len() as u64;
        }
        stands.letters = stands.letters.min(LETTERS_COUNTED.into());
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

    async fn forget(&self, names: &Names, id: &str, stream: &str) -> Result<(), Error> {
        let at = names.letters(stream);
        commit(&*self.store, at, vec![delete(id.to_owned())]).await?;
        Ok(())
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
        self.forget(names, id, &letter.stream).await?;
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

    /// The mark that it was passed over is beside the stream's place. It goes only after the event is applied, and the
    /// target keeps a mark until then.
    async fn retry_without_target(
        &self,
        projection: &dyn Projection,
        names: &Names,
        letter: &Letter,
    ) -> Result<Handled, Refusal> {
        let (stream, number) = (letter.stream.as_str(), letter.event.number);
        let passed = names.passed_sort(stream, number);
        if self.entry(&names.places(stream), &passed).await?.is_none() {
            return Ok(Handled::Gone);
        }
        let target = projection
            .target(stream, &letter.event)
            .await
            .map_err(of_fault)?;
        let Some(target) = target else {
            commit(&*self.store, names.places(stream), vec![delete(passed)]).await?;
            return Ok(Handled::Applied);
        };
        let handled = self
            .apply(projection, names, letter, &target, Mark::Redone)
            .await?;
        commit(&*self.store, names.places(stream), vec![delete(passed)]).await?;
        let redone = delete(names.redone_sort(stream, number));
        commit(&*self.store, names.target(&target), vec![redone]).await?;
        Ok(handled)
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

    async fn drop_known(&self, names: &Names, id: &str, letter: &Letter) -> Result<(), Error> {
        let passed = names.passed_sort(&letter.stream, letter.event.number);
        let at = match &letter.target {
            Some(target) => names.target(target),
            None => names.places(&letter.stream),
        };
        commit(&*self.store, at, vec![delete(passed)]).await?;
        self.forget(names, id, &letter.stream).await
    }

    /// Reads streams again from a number on: one, or all. What was applied before is applied again, in order, after it has
    /// been taken up again everywhere; dead letters of these events are dropped, for they come again too. Gives the number
    /// of the replay.
    ///
    /// # Errors
    /// No such projection, or the store's.
    pub async fn replay(
        &self,
        tenant: &TenantName,
        name: &ModuleName,
        from: u64,
        stream: Option<&str>,
    ) -> Result<u64, Refusal> {
        let (_, names) = self.names(tenant, name)?;
        self.replay_known(&names, from, stream).await
    }

    pub(super) async fn replay_known(
        &self,
        names: &Names,
        from: u64,
        stream: Option<&str>,
    ) -> Result<u64, Refusal> {
        let behind = from.max(1) - 1;
        let generation = self
            .next_generation(names, behind, stream.is_none())
            .await?;
        if let Some(stream) = stream {
            self.move_back(names, stream, generation, behind).await?;
        }
        self.drop_letters_behind(names, behind, stream).await?;
        // Only now are those told that read on: what they give up from here on is new.
        Ok(generation)
    }

    async fn next_generation(
        &self,
        names: &Names,
        behind: u64,
        is_all: bool,
    ) -> Result<u64, Refusal> {
        for _ in 0..ATTEMPTS_MAX {
            let (control, version) = self.control(names).await?;
            let generation = control.generation + 1;
            let next = if is_all {
                Control {
                    generation,
                    all_since: generation,
                    behind,
                }
            } else {
                Control {
                    generation,
                    ..control
                }
            };
            let condition = version.map_or(Condition::Absent, Condition::Version);
            let write = put(String::new(), rows::encode(&next)?, condition);
            if commit(&*self.store, names.control(), vec![write]).await? {
                return Ok(generation);
            }
        }
        Err(Refusal::Core(Error::Busy))
    }

    async fn move_back(
        &self,
        names: &Names,
        stream: &str,
        generation: u64,
        behind: u64,
    ) -> Result<(), Refusal> {
        let at = names.places(stream);
        for _ in 0..ATTEMPTS_MAX {
            let (control, _) = self.control(names).await?;
            let found = self.entry(&at, stream).await?;
            let place = found
                .as_ref()
                .map_or(Ok(Place::default()), |entry| rows::decode(&entry.value))?;
            let place = place.under(control);
            if place.generation >= generation {
                return Ok(());
            }
            let base = behind.min(place.number);
            let place = Place {
                generation,
                base,
                number: base,
            };
            let condition = found.map_or(Condition::Absent, |e| Condition::Version(e.version));
            let write = put(stream.to_owned(), rows::encode(&place)?, condition);
            if commit(&*self.store, at.clone(), vec![write]).await? {
                return self.touch(names).await;
            }
        }
        Err(Refusal::Core(Error::Busy))
    }

    /// Writes the control record anew, so that all cores look through their streams.
    async fn touch(&self, names: &Names) -> Result<(), Refusal> {
        for _ in 0..ATTEMPTS_MAX {
            let (control, version) = self.control(names).await?;
            let condition = version.map_or(Condition::Absent, Condition::Version);
            let write = put(String::new(), rows::encode(&control)?, condition);
            if commit(&*self.store, names.control(), vec![write]).await? {
                return Ok(());
            }
        }
        Err(Refusal::Core(Error::Busy))
    }

    async fn drop_letters_behind(
        &self,
        names: &Names,
        behind: u64,
        stream: Option<&str>,
    ) -> Result<(), Refusal> {
        for at in names.all_letters() {
            self.drop_letters_at(names, &at, behind, stream).await?;
        }
        Ok(())
    }

    async fn drop_letters_at(
        &self,
        names: &Names,
        at: &PartitionAddress,
        behind: u64,
        stream: Option<&str>,
    ) -> Result<(), Refusal> {
        let mut lower = Bound::Unbounded;
        loop {
            let (entries, more) = self.page(at, lower, 100).await?;
            let Some(last) = entries.last().map(|entry| entry.sort.clone()) else {
                return Ok(());
            };
            for entry in entries {
                let letter: Letter = rows::decode(&entry.value)?;
                let is_meant = stream.is_none_or(|stream| letter.stream == stream)
                    && letter.event.number > behind
                    && letter.source == names.source;
                if is_meant && self.is_of_before(names, &letter).await? {
                    self.drop_known(names, &entry.sort, &letter).await?;
                }
            }
            if !more {
                return Ok(());
            }
            lower = Bound::Exclusive(last);
        }
    }

    /// Whether a letter was written before the present replay: the replay itself may have given the event up already.
    async fn is_of_before(&self, names: &Names, letter: &Letter) -> Result<bool, Refusal> {
        let (control, _) = self.control(names).await?;
        let generation = match &letter.target {
            Some(target) => {
                let sort = names.checkpoint_sort(&letter.stream);
                let found = self.entry(&names.target(target), &sort).await?;
                found.map_or(Ok(Checkpoint::default()), |e| rows::decode(&e.value))?
            }
            None => {
                let found = self
                    .entry(&names.places(&letter.stream), &letter.stream)
                    .await?;
                let place = found.map_or(Ok(Place::default()), |e| rows::decode(&e.value))?;
                Checkpoint {
                    generation: place.generation,
                    number: place.number,
                }
            }
        };
        Ok(generation.generation < control.generation || generation.number < letter.event.number)
    }

    /// Deletes what a projection that is not deployed any more has written: the records of its targets, its checkpoints,
    /// places and dead letters. Gives how many records of targets were deleted.
    ///
    /// # Errors
    /// It is deployed, or the store's; to be asked for again until it is done.
    pub async fn drop_target(&self, names: &Names) -> Result<u64, Refusal> {
        let table = self.tables.current();
        let used = table.deployments.iter().find(|d| {
            d.tenant == names.tenant
                && d.world == World::Projection
                && (d.name == names.name || d.config.get(TARGET) == Some(&names.target))
        });
        if let Some(used) = used {
            return Err(Refusal::Conflict(format!(
                "the projection {} is deployed and writes to {}: remove its deployment first",
                used.name, names.target
            )));
        }
        let mut dropped = 0;
        for shard in Names::shards() {
            for index in names.targets_of_shard(shard) {
                dropped += self.drop_targets_of(names, &index).await?;
            }
            for at in names.places_of_shard(shard) {
                self.empty(&at).await?;
            }
        }
        for at in names.all_letters() {
            self.empty(&at).await?;
        }
        self.empty(&names.control()).await?;
        Ok(dropped)
    }

    async fn drop_targets_of(&self, names: &Names, index: &PartitionAddress) -> Result<u64, Error> {
        let mut dropped = 0;
        loop {
            let (targets, _) = self.page(index, Bound::Unbounded, 100).await?;
            if targets.is_empty() {
                return Ok(dropped);
            }
            for entry in targets {
                dropped += self.empty(&names.target(&entry.sort)).await?;
                commit(&*self.store, index.clone(), vec![delete(entry.sort)]).await?;
            }
        }
    }

    /// Deletes the records of a partition, also those of the platform, but for events. Gives how many were guests'.
    async fn empty(&self, at: &PartitionAddress) -> Result<u64, Error> {
        let mut deleted = 0;
        for lower in [
            Bound::Unbounded,
            Bound::Inclusive(PLATFORM_SORT.to_string()),
        ] {
            let mut lower = lower;
            loop {
                let limit = u32::try_from(RECORDS_PER_CHANGE_MAX / 2).unwrap_or(1);
                let (entries, more) = self.page(at, lower, limit).await?;
                let Some(last) = entries.last().map(|entry| entry.sort.clone()) else {
                    break;
                };
                let writes: Vec<_> = entries
                    .into_iter()
                    .filter(|entry| !is_of_stream(&entry.sort))
                    .map(|entry| delete(entry.sort))
                    .collect();
                let is_guests = |write: &&Write| !write.sort.starts_with(PLATFORM_SORT);
                deleted += writes.iter().filter(is_guests).count() as u64;
                if !writes.is_empty() {
                    commit(&*self.store, at.clone(), writes).await?;
                }
                if !more {
                    break;
                }
                lower = Bound::Exclusive(last);
            }
        }
        Ok(deleted)
    }
}
