//! What waits to be written: the newest operation of each key, and its order.
//!
//! Whatever is asked of the disk takes this lock first and the index second, so that an entry is in one of the two or in
//! none. What waits can be read.

use super::{
    super::stored::{Key, Slot},
    index::Index,
    layout::Place,
};
use rustc_hash::FxHashMap;
use std::{
    collections::{VecDeque, hash_map},
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::{Notify, oneshot};

/// What a waiting operation costs beside its entry, in bytes.
const OPERATION_BYTES: usize = 128;

/// What is to be written.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    Entry {
        key: Key,
        slot: Slot,
        share: u32,
    },
    /// What was there before is not to come back after a restart.
    Removal,
    /// It was called off.
    Nothing,
}

/// What the writer is given.
#[derive(Debug)]
pub(super) enum Work {
    Write {
        hash: u64,
        sequence: u64,
        operation: Operation,
    },
    /// Says when everything before is written.
    Flush(oneshot::Sender<()>),
    /// The same; nothing comes afterwards.
    Close(oneshot::Sender<()>),
}

#[derive(Debug)]
enum Turn {
    Write(u64),
    Flush(oneshot::Sender<()>),
    Close(oneshot::Sender<()>),
}

#[derive(Debug)]
struct Pending {
    sequence: u64,
    operation: Operation,
    bytes: usize,
    /// Something of this key may lie on disk.
    is_on_disk: bool,
    /// It is being written.
    is_taken: bool,
}

#[derive(Debug, Default)]
struct State {
    order: VecDeque<Turn>,
    /// Removals that could not be written: they are tried again with what comes next.
    owed: Vec<u64>,
    pending: FxHashMap<u64, Pending>,
    bytes: usize,
    sequence: u64,
    is_closed: bool,
    is_stopped: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// There is something to do.
    work: Condvar,
    /// How many operations wait.
    length: AtomicUsize,
    /// Bytes that wait: of the state, to be read without it.
    bytes: AtomicUsize,
    /// Something left.
    left: Notify,
    bytes_max: usize,
}

impl Queue {
    /// Nothing yet, and never entries of more than `bytes_max`.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            work: Condvar::new(),
            length: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            left: Notify::new(),
            bytes_max,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_length(&self, state: &State) {
        self.length.store(state.pending.len(), Ordering::Release);
        self.bytes.store(state.bytes, Ordering::Release);
    }

    /// Has an entry written. What was there before is not there any more, whether or not there is room for this. Gives
    /// whether there was.
    pub(super) fn insert(
        &self,
        index: &Index,
        hash: u64,
        (key, slot, share): (Key, Slot, u32),
        bytes: usize,
    ) -> bool {
        let bytes = bytes + OPERATION_BYTES;
        let mut state = self.state();
        let is_on_disk = index.remove(hash);
        // The largest entry is taken too where nothing else waits.
        let has_room = state.bytes == 0 || state.bytes + bytes <= self.bytes_max;
        if state.is_closed || !has_room {
            self.call_off(&mut state, hash, is_on_disk);
            return false;
        }
        let operation = Operation::Entry { key, slot, share };
        self.put(&mut state, hash, operation, bytes, is_on_disk);
        true
    }

    /// Removes what there is.
    pub(super) fn remove(&self, index: &Index, hash: u64) {
        let mut state = self.state();
        let is_on_disk = index.remove(hash);
        self.call_off(&mut state, hash, is_on_disk);
    }

    /// Calls off what waits for a key. If something of it may lie on disk, its removal is written.
    fn call_off(&self, state: &mut State, hash: u64, is_on_disk: bool) {
        let waiting = state.pending.get(&hash);
        let may_lie = is_on_disk || waiting.is_some_and(|p| p.is_on_disk || p.is_taken);
        if may_lie && !state.is_closed {
            self.put(state, hash, Operation::Removal, OPERATION_BYTES, true);
        } else if waiting.is_some() {
            self.put(state, hash, Operation::Nothing, OPERATION_BYTES, false);
        }
    }

    fn put(
        &self,
        state: &mut State,
        hash: u64,
        operation: Operation,
        bytes: usize,
        is_on_disk: bool,
    ) {
        state.sequence += 1;
        state.bytes += bytes;
        let mut new = Pending {
            sequence: state.sequence,
            operation,
            bytes,
            is_on_disk,
            is_taken: false,
        };
        match state.pending.entry(hash) {
            hash_map::Entry::Vacant(place) => {
                place.insert(new);
                state.order.push_back(Turn::Write(hash));
            }
            hash_map::Entry::Occupied(mut place) => {
                let old = place.get_mut();
                state.bytes = state.bytes.saturating_sub(old.bytes);
                new.is_on_disk |= old.is_on_disk || old.is_taken;
                if old.is_taken {
                    state.order.push_back(Turn::Write(hash));
                }
                *old = new;
            }
        }
        self.wake(state);
    }

    fn wake(&self, state: &mut State) {
        for hash in state.owed.split_off(0) {
            state.order.push_front(Turn::Write(hash));
        }
        self.note_length(state);
        self.work.notify_one();
    }

    /// The entry that waits for this key. None if none does; then the index knows.
    pub(super) fn get(&self, hash: u64, key: &Key) -> Option<Slot> {
        if self.length.load(Ordering::Acquire) == 0 {
            return None;
        }
        match &self.state().pending.get(&hash)?.operation {
            Operation::Entry {
                key: other, slot, ..
            } if other == key => Some(slot.clone()),
            Operation::Entry { .. } | Operation::Removal | Operation::Nothing => None,
        }
    }

    /// Whether an entry waits.
    pub(super) fn contains(&self, hash: u64) -> bool {
        self.length.load(Ordering::Acquire) > 0
            && matches!(
                self.state().pending.get(&hash),
                Some(Pending {
                    operation: Operation::Entry { .. },
                    ..
                })
            )
    }

    /// Waits for work; about `bytes` of it. None: the writer is to end.
    pub(super) fn take(&self, bytes: usize) -> Option<Vec<Work>> {
        let mut state = self.state();
        loop {
            if state.is_stopped {
                return None;
            }
            let batch = batch(&mut state, bytes);
            self.note_length(&state);
            if !batch.is_empty() {
                return Some(batch);
            }
            state = self
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Notes what was written, and where (removals: nowhere). What was replaced or called off meanwhile is not there.
    pub(super) fn written(
        &self,
        index: &Index,
        done: impl Iterator<Item = (u64, u64, Option<Place>)>,
    ) {
        let mut state = self.state();
        for (hash, sequence, place) in done {
            if forget(&mut state, hash, sequence).is_some()
                && let Some(place) = place
            {
                index.insert(hash, place);
            }
        }
        self.note_length(&state);
        drop(state);
        self.left.notify_waiters();
    }

    /// Notes what could not be written. Where something older may lie on disk, its removal is owed. Gives whether it still
    /// waited.
    pub(super) fn failed(&self, hash: u64, sequence: u64) -> bool {
        let mut state = self.state();
        let failed = forget(&mut state, hash, sequence);
        let still_waited = failed.is_some();
        if failed.is_some_and(|pending| pending.is_on_disk) && !state.is_closed {
            state.sequence += 1;
            state.bytes += OPERATION_BYTES;
            let owed = Pending {
                sequence: state.sequence,
                operation: Operation::Removal,
                bytes: OPERATION_BYTES,
                is_on_disk: true,
                is_taken: false,
            };
            state.pending.insert(hash, owed);
            state.owed.push(hash);
        }
        self.note_length(&state);
        drop(state);
        self.left.notify_waiters();
        still_waited
    }

    /// Ready when everything that waits now is written. None: nothing is written any more.
    pub(super) fn flush(&self) -> Option<oneshot::Receiver<()>> {
        let (done, written) = oneshot::channel();
        self.turn(Turn::Flush(done)).then_some(written)
    }

    /// The same; nothing is taken from here on.
    pub(super) fn close(&self) -> Option<oneshot::Receiver<()>> {
        let (done, written) = oneshot::channel();
        let turned = self.turn(Turn::Close(done));
        self.state().is_closed = true;
        self.left.notify_waiters();
        turned.then_some(written)
    }

    fn turn(&self, turn: Turn) -> bool {
        let mut state = self.state();
        if state.is_closed || state.is_stopped {
            return false;
        }
        state.order.push_back(turn);
        self.wake(&mut state);
        true
    }

    /// The writer is to end at once, whatever waits.
    pub(super) fn stop(&self) {
        self.state().is_stopped = true;
        self.work.notify_all();
        self.left.notify_waiters();
    }

    /// Waits until no more than `bytes` wait. False: nothing is written any more.
    pub(super) async fn room(&self, bytes: usize) -> bool {
        loop {
            // From here on nothing is missed.
            let left = self.left.notified();
            {
                let state = self.state();
                if state.is_closed || state.is_stopped {
                    return false;
                }
                if state.bytes <= bytes {
                    return true;
                }
            }
            left.await;
        }
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire) as u64
    }
}

fn batch(state: &mut State, bytes_max: usize) -> Vec<Work> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while bytes < bytes_max {
        let hash = match state.order.pop_front() {
            None => break,
            Some(Turn::Flush(done)) => {
                batch.push(Work::Flush(done));
                continue;
            }
            Some(Turn::Close(done)) => {
                batch.push(Work::Close(done));
                break;
            }
            Some(Turn::Write(hash)) => hash,
        };
        let Some(pending) = state.pending.get_mut(&hash) else {
            continue;
        };
        if matches!(pending.operation, Operation::Nothing) {
            let sequence = pending.sequence;
            forget(state, hash, sequence);
            continue;
        }
        pending.is_taken = true;
        bytes += pending.bytes;
        batch.push(Work::Write {
            hash,
            sequence: pending.sequence,
            operation: pending.operation.clone(),
        });
    }
    batch
}

/// Takes out an operation, unless another took its place.
fn forget(state: &mut State, hash: u64, sequence: u64) -> Option<Pending> {
    match state.pending.entry(hash) {
        hash_map::Entry::Occupied(place) if place.get().sequence == sequence => {
            let pending = place.remove();
            state.bytes = state.bytes.saturating_sub(pending.bytes);
            Some(pending)
        }
        hash_map::Entry::Occupied(_) | hash_map::Entry::Vacant(_) => None,
    }
}
