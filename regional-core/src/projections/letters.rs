//! Dead letters and their count, which lies beside them and is changed with them.

use super::{
    apply::{commit, put},
    rows::{self, Letter, Names, key_in},
};
use crate::{
    Error,
    clock::now_ms,
    store::{Action, Store, Write},
};
use brink_protocol::{
    address::PartitionAddress,
    link::Condition,
    record::{Entry, Version},
};
use bytes::Bytes;

/// Most dead letters of a projection; of each region, where data lies in one region alone. Whoever would add one more waits.
pub(super) const LETTERS_MAX: u64 = 10_000;
/// Where the count is, in the partition of the letters.
const COUNT_SORT: &str = "\u{1}n";
/// How often a change is tried when others make one at the same time.
const ATTEMPTS_MAX: u32 = 16;

/// Keeps a letter; the same again is one. `false`: there is no room for it.
pub(super) async fn keep(
    store: &dyn Store,
    names: &Names,
    letter: &Letter,
    letters_max: u64,
) -> Result<bool, Error> {
    let id = names.letter_id(&letter.stream, letter.event.number);
    let value = rows::encode(letter)?;
    let at = names.letters(&letter.stream);
    change(store, &at, &id, Some(value), letters_max).await
}

/// Deletes a letter, if it is there.
pub(super) async fn forget(
    store: &dyn Store,
    names: &Names,
    id: &str,
    stream: &str,
) -> Result<(), Error> {
    let at = names.letters(stream);
    change(store, &at, id, None, LETTERS_MAX).await?;
    Ok(())
}

/// How many there are.
pub(super) async fn count(store: &dyn Store, names: &Names) -> Result<u64, Error> {
    let mut sum = 0;
    for at in names.all_letters() {
        let key = key_in(&at, COUNT_SORT);
        sum += counted(store.get(&at.tenant, &key, now_ms()).await?.as_ref())?;
    }
    Ok(sum)
}

fn counted(row: Option<&Entry>) -> Result<u64, Error> {
    Ok(row.map_or(Ok(0), |entry| rows::decode(&entry.value))?)
}

fn still(version: Option<Version>) -> Condition {
    version.map_or(Condition::Absent, Condition::Version)
}

/// Puts a letter, or deletes it, and counts.
async fn change(
    store: &dyn Store,
    at: &PartitionAddress,
    id: &str,
    value: Option<Bytes>,
    letters_max: u64,
) -> Result<bool, Error> {
    let keys = [key_in(at, id), key_in(at, COUNT_SORT)];
    for _ in 0..ATTEMPTS_MAX {
        let found = store.get_many(&at.tenant, &keys, now_ms()).await?;
        let version_at = |index: usize| found.get(index)?.as_ref().map(|entry| entry.version);
        let count = counted(found.get(1).and_then(Option::as_ref))?;
        let next = match (version_at(0), &value) {
            (None, None) => return Ok(true),
            (None, Some(_)) if count >= letters_max => return Ok(false),
            (None, Some(_)) => count + 1,
            (Some(_), Some(_)) => count,
            (Some(_), None) => count.saturating_sub(1),
        };
        let letter = match &value {
            Some(value) => put(id.to_owned(), value.clone(), still(version_at(0))),
            None => Write {
                sort: id.to_owned(),
                action: Action::Delete,
                condition: still(version_at(0)),
            },
        };
        let count = put(
            COUNT_SORT.to_owned(),
            rows::encode(&next)?,
            still(version_at(1)),
        );
        if commit(store, at.clone(), vec![letter, count]).await? {
            return Ok(true);
        }
    }
    Err(Error::Busy)
}
