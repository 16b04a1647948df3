//! Replays: streams are read again from a number on.

use super::Oversight;
use crate::{
    Error,
    projections::{
        apply::{commit, put},
        rows::{self, Checkpoint, Control, Letter, Names, Place},
    },
    refusal::Refusal,
};
use brink_protocol::{
    ModuleName, TenantName, address::PartitionAddress, link::Condition, record::Bound,
};

/// How often a change is tried when others make one at the same time.
const ATTEMPTS_MAX: u32 = 16;

impl Oversight {
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

    pub(in crate::projections) async fn replay_known(
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
        self.drop_letters_behind(names, (generation, behind), stream)
            .await?;
        // Only now are those told that read on: what they give up from here on is new.
        Ok(generation)
    }

    async fn next_generation(
        &self,
        names: &Names,
        behind: u64,
        is_all: bool,
    ) -> Result<u64, Refusal> {
        let next = |control: Control| {
            let generation = control.generation + 1;
            if is_all {
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
            }
        };
        Ok(self.change_control(names, next).await?.generation)
    }

    /// Writes the control record anew, whoever else does so; gives what is written.
    async fn change_control(
        &self,
        names: &Names,
        change: impl Fn(Control) -> Control,
    ) -> Result<Control, Refusal> {
        for _ in 0..ATTEMPTS_MAX {
            let (control, version) = self.control(names).await?;
            let next = change(control);
            let condition = version.map_or(Condition::Absent, Condition::Version);
            let write = put(String::new(), rows::encode(&next)?, condition);
            if commit(&*self.store, names.control(), vec![write]).await? {
                return Ok(next);
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
                // Written again as it is: all cores look through their streams then.
                self.change_control(names, |control| control).await?;
                return Ok(());
            }
        }
        Err(Refusal::Core(Error::Busy))
    }

    /// Drops what was given up behind a number before this replay.
    pub(in crate::projections) async fn drop_letters_behind(
        &self,
        names: &Names,
        replay: (u64, u64),
        stream: Option<&str>,
    ) -> Result<(), Refusal> {
        for at in names.all_letters() {
            self.drop_letters_at(names, &at, replay, stream).await?;
        }
        Ok(())
    }

    async fn drop_letters_at(
        &self,
        names: &Names,
        at: &PartitionAddress,
        (generation, behind): (u64, u64),
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
                if is_meant && self.is_of_before(names, generation, &letter).await? {
                    self.drop_known(names, &entry.sort, &letter).await?;
                }
            }
            if !more {
                return Ok(());
            }
            lower = Bound::Exclusive(last);
        }
    }

    /// Whether a letter was written before a replay: the replay itself may have given the event up already.
    async fn is_of_before(
        &self,
        names: &Names,
        generation: u64,
        letter: &Letter,
    ) -> Result<bool, Refusal> {
        let applied = match &letter.target {
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
        Ok(applied.generation < generation || applied.number < letter.event.number)
    }
}
