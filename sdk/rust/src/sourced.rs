//! State that is made of events, with snapshots so that it need not be made of all of them each time.

use crate::events::{self, Event, PAGE_MAX, Stream};
use crate::problem::Problem;
use crate::records::{self, Key};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The sort key of snapshots, in the partition of their stream.
pub const SNAPSHOT_SORT: &str = "snapshot";

/// What a partition's events come to.
///
/// A partition has one snapshot. A state type that is not the one that wrote it, or takes events in otherwise than before, begins
/// at the first event: give it another [`State::VERSION`]. Events that have a lifetime must not have ended by then.
pub trait State: Default + Serialize + DeserializeOwned {
    /// To be changed with the type's fields and with what [`State::take`] makes of events: snapshots of other versions are
    /// passed over. Otherwise a snapshot that can be read is believed, whatever its numbers once meant.
    const VERSION: u32 = 0;

    /// Takes the next event in.
    ///
    /// # Errors
    /// The event cannot be: the state is not read at all.
    fn take(&mut self, event: &Event) -> Result<(), Problem>;
}

/// The state of a partition's stream: its last snapshot, and the events after it.
///
/// ```
/// use brink_sdk::{Problem, events::Event, sourced::{Sourced, State}, testing::Platform};
/// use serde::{Deserialize, Serialize};
/// #[derive(Default, Serialize, Deserialize)]
/// struct Account { balance: u64 }
/// impl State for Account {
///     fn take(&mut self, event: &Event) -> Result<(), Problem> {
///         let amount: u64 = event.json()?;
///         match event.kind.as_str() {
///             "withdrawn" => self.balance -= amount,
///             _ => self.balance += amount,
///         }
///         Ok(())
///     }
/// }
/// // In a command over the partition `accounts / ada`:
/// fn withdraw(amount: u64) -> Result<u64, Problem> {
///     let mut account = Sourced::<Account>::load("accounts", "ada")?;
///     if account.state().balance < amount {
///         return Err(Problem::unprocessable("there is not so much"));
///     }
///     account.append("withdrawn", &amount)?;
///     account.snapshot(100)?;
///     Ok(account.state().balance)
/// }
/// # let platform = Platform::new();
/// # platform.within("accounts", "ada").event("accounts", "ada", "deposited", &5);
/// # assert_eq!(withdraw(3).unwrap(), 2);
/// # assert!(withdraw(3).is_err());
/// ```
#[derive(Debug)]
pub struct Sourced<S> {
    collection: String,
    partition: String,
    state: S,
    /// The last event that is in the state.
    number: u64,
    /// The last event that is in the snapshot.
    snapshot: u64,
}

/// A snapshot, as its record holds it.
#[derive(Serialize, Deserialize)]
struct Snapshot<S> {
    number: u64,
    #[serde(default)]
    version: u32,
    state: S,
}

impl<S: State> Sourced<S> {
    /// Reads snapshot and stream. A snapshot of another version, or that is not of the form of `S`, is passed over: then all
    /// events are read.
    ///
    /// # Errors
    /// They cannot be read, an event cannot be taken in, or events that no snapshot holds have ended by their lifetime.
    pub fn load(
        collection: impl Into<String>,
        partition: impl Into<String>,
    ) -> Result<Self, Problem> {
        let (collection, partition) = (collection.into(), partition.into());
        let kept = records::get(&Key::new(&*collection, &*partition, SNAPSHOT_SORT))?;
        let kept = kept.and_then(|entry| serde_json::from_slice::<Snapshot<S>>(&entry.value).ok());
        let kept = kept.filter(|snapshot| snapshot.version == S::VERSION);
        let (number, state) = kept.map_or_else(Default::default, |kept| (kept.number, kept.state));
        let mut sourced = Self {
            collection,
            partition,
            state,
            number,
            snapshot: number,
        };
        sourced.catch_up()?;
        Ok(sourced)
    }

    /// What the events come to.
    pub fn state(&self) -> &S {
        &self.state
    }

    /// The number of the last event that is in the state; 0: none.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Takes in what has come since.
    ///
    /// # Errors
    /// As [`Sourced::load`].
    pub fn catch_up(&mut self) -> Result<(), Problem> {
        loop {
            let stream = Stream::of(&*self.collection, &*self.partition);
            let page = stream.after(self.number).limit(PAGE_MAX).read()?;
            for event in &page.events {
                if event.number != self.number + 1 {
                    return Err(self.gone(event.number - 1));
                }
                self.state.take(event)?;
                self.number = event.number;
            }
            if !page.more {
                if self.number < page.newest {
                    return Err(self.gone(page.newest));
                }
                return Ok(());
            }
        }
    }

    fn gone(&self, last: u64) -> Problem {
        let first = self.number + 1;
        Problem::new(500, "Internal error").detail(format!(
            "events {first} to {last} of {}/{} have ended, and no snapshot holds them",
            self.collection, self.partition
        ))
    }

    /// Appends an event whose payload is JSON, and takes it in. In a command over the partition.
    ///
    /// # Errors
    /// As [`events::append_json`] and [`Sourced::load`].
    pub fn append<T: Serialize + ?Sized>(
        &mut self,
        kind: &str,
        payload: &T,
    ) -> Result<u64, Problem> {
        let number = events::append_json(kind, payload)?;
        self.catch_up()?;
        Ok(number)
    }

    /// Writes a snapshot if it holds `every` events more than the last one, or as many more; whether it did. In a command over
    /// the partition: a snapshot is committed with its events.
    ///
    /// # Errors
    /// The record cannot be written: a state has at most 1 MiB.
    pub fn snapshot(&mut self, every: u64) -> Result<bool, Problem> {
        if self.number == self.snapshot || self.number - self.snapshot < every {
            return Ok(false);
        }
        let snapshot = Snapshot {
            number: self.number,
            version: S::VERSION,
            state: &self.state,
        };
        records::put_json(
            &Key::new(&*self.collection, &*self.partition, SNAPSHOT_SORT),
            &snapshot,
        )?;
        self.snapshot = self.number;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::Platform;
    use serde_json::{Value, json};

    #[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    struct Sum {
        sum: u64,
        taken: u64,
    }

    impl State for Sum {
        fn take(&mut self, event: &Event) -> Result<(), Problem> {
            self.sum += event.json::<u64>()?;
            self.taken += 1;
            Ok(())
        }
    }

    fn load() -> Result<Sourced<Sum>, Problem> {
        Sourced::load("c", "p")
    }

    #[test]
    fn a_snapshot_and_the_events_after_it() {
        let platform = Platform::new();
        platform.within("c", "p");
        let mut sum = load().unwrap();
        assert_eq!((sum.number(), sum.snapshot(0).unwrap()), (0, false));
        for n in 1..=3 {
            assert_eq!(sum.append("added", &n).unwrap(), n);
        }
        assert_eq!(sum.state(), &Sum { sum: 6, taken: 3 });
        assert!(!sum.snapshot(4).unwrap());
        assert!(sum.snapshot(3).unwrap());
        assert!(!sum.snapshot(0).unwrap(), "it is there already");
        // Not what its events come to, so that it is seen to be used.
        let state = json!({"number": 3, "state": {"sum": 100, "taken": 0}});
        platform.record("c", "p", SNAPSHOT_SORT, &state);
        platform.event("c", "p", "added", &4);
        let sum = load().unwrap();
        assert_eq!(sum.state(), &Sum { sum: 104, taken: 1 });
        assert_eq!(sum.number(), 4);
    }

    #[test]
    fn a_snapshot_of_another_form_is_passed_over() {
        let platform = Platform::new();
        let state = json!({"number": 1, "state": {"total": 100}});
        platform.record("c", "p", SNAPSHOT_SORT, &state);
        platform
            .event("c", "p", "added", &1)
            .event("c", "p", "added", &2);
        assert_eq!(load().unwrap().state(), &Sum { sum: 3, taken: 2 });
    }

    /// Takes events in otherwise, and looks the same.
    #[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    struct Doubled {
        sum: u64,
        taken: u64,
    }

    impl State for Doubled {
        const VERSION: u32 = 1;

        fn take(&mut self, event: &Event) -> Result<(), Problem> {
            self.sum += 2 * event.json::<u64>()?;
            self.taken += 1;
            Ok(())
        }
    }

    #[test]
    fn a_snapshot_of_another_version_is_passed_over() {
        let platform = Platform::new();
        platform.within("c", "p");
        let mut sum = load().unwrap();
        for n in 1..=3 {
            sum.append("added", &n).unwrap();
        }
        assert!(sum.snapshot(1).unwrap());
        let mut doubled = Sourced::<Doubled>::load("c", "p").unwrap();
        assert_eq!(doubled.state(), &Doubled { sum: 12, taken: 3 });
        assert!(doubled.snapshot(1).unwrap(), "the last one was not its own");
        let state = json!({"number": 3, "version": 1, "state": {"sum": 100, "taken": 0}});
        platform.record("c", "p", SNAPSHOT_SORT, &state);
        let doubled = Sourced::<Doubled>::load("c", "p").unwrap();
        assert_eq!(doubled.state().sum, 100);
        assert_eq!(load().unwrap().state().sum, 6);
    }

    #[test]
    fn what_is_not_known_any_more_is_not_made_up() {
        let platform = Platform::new();
        for n in 1..=4 {
            platform.event("c", "p", "added", &n);
        }
        platform.forget("c", "p", 2);
        let problem = load().unwrap_err();
        assert!(problem.to_string().contains("events 1 to 2"), "{problem}");
        let state = json!({"number": 2, "state": {"sum": 3, "taken": 2}});
        platform.record("c", "p", SNAPSHOT_SORT, &state);
        assert_eq!(load().unwrap().state().sum, 10);
        platform.event("c", "p", "added", &Value::Null);
        assert_eq!(load().unwrap_err().status(), 500);
    }
}
