//! What a body on its way holds, and for whom.

use super::{End, PIECE_BYTES, WINDOW_BYTES_MAX};
use bytes::{Bytes, BytesMut};
use rustc_hash::FxHashMap;
use std::{collections::VecDeque, task::Waker};
use tokio::sync::OwnedSemaphorePermit;

/// Blocks one after the other, up to the last byte that came: full pieces first, then what came behind them as it came.
#[derive(Debug, Default)]
pub(super) struct State {
    blocks: VecDeque<Block>,
    /// Bytes that came.
    pub(super) came: u64,
    /// Bytes that are held.
    pub(super) held: u64,
    /// How many pieces are in the tiers.
    pub(super) pieces: usize,
    pub(super) end: Option<End>,
    /// Nobody begins to read it any more: blocks leave when all have read them.
    pub(super) is_leaving: bool,
    pub(super) readers: FxHashMap<u64, Reading>,
    next_id: u64,
    /// Who takes the body from the origin waits for room.
    pub(super) filler: Option<Waker>,
}

#[derive(Debug)]
struct Block {
    start: u64,
    bytes: Bytes,
    /// How many have yet to read it; counted when it is leaving.
    left: usize,
    /// See [`crate::cache::tiers::Tiers::hold`].
    _leave: Option<OwnedSemaphorePermit>,
}

impl Block {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

#[derive(Debug)]
pub(super) struct Reading {
    pub(super) at: u64,
    pub(super) is_told: bool,
    pub(super) waker: Option<Waker>,
}

impl State {
    /// Where what is held begins.
    pub(super) fn start(&self) -> u64 {
        self.blocks.front().map_or(self.came, |block| block.start)
    }

    /// How many blocks are held.
    #[cfg(test)]
    pub(super) fn blocks(&self) -> usize {
        self.blocks.len()
    }

    pub(super) fn push(&mut self, bytes: Bytes) {
        let (start, length, left) = (self.came, bytes.len() as u64, self.readers.len());
        self.blocks.push_back(Block {
            start,
            bytes,
            left,
            _leave: None,
        });
        self.came += length;
        self.held += length;
        if self.is_leaving {
            self.release();
        }
    }

    /// All of it in one block.
    pub(super) fn whole(&mut self) -> Bytes {
        if self.blocks.len() != 1 {
            let blocks: Vec<&[u8]> = self.blocks.iter().map(|b| b.bytes.as_ref()).collect();
            let bytes = Bytes::from(blocks.concat());
            let block = Block {
                start: 0,
                bytes,
                left: 0,
                _leave: None,
            };
            self.blocks = VecDeque::from([block]);
        }
        let whole = self.blocks.front();
        whole.map(|block| block.bytes.clone()).unwrap_or_default()
    }

    /// Where the pieces that are in the tiers end.
    fn laid(&self) -> u64 {
        (self.pieces as u64 * PIECE_BYTES as u64).min(self.came)
    }

    /// The first block behind the pieces that are in the tiers.
    fn tail(&self) -> usize {
        let laid = self.laid();
        self.blocks.partition_point(|block| block.start < laid)
    }

    /// See [`super::Growing::next_piece`]. Nothing that is held changes.
    pub(super) fn next_piece(&self, is_over: bool) -> Option<(usize, Bytes)> {
        let behind = usize::try_from(self.came - self.laid()).ok()?;
        let is_last = is_over && self.pieces > 0 && behind > 0;
        if behind <= PIECE_BYTES && !is_last {
            return None;
        }
        let length = behind.min(PIECE_BYTES);
        let mut piece = BytesMut::with_capacity(length);
        for block in self.blocks.range(self.tail()..) {
            let missing = length - piece.len();
            piece.extend_from_slice(block.bytes.get(..missing).unwrap_or(&block.bytes));
        }
        Some((self.pieces, piece.freeze()))
    }

    /// The next piece is in the tiers: it takes the place of the blocks that it was made of.
    pub(super) fn note_piece(&mut self, piece: Bytes, leave: Option<OwnedSemaphorePermit>) {
        let (start, at) = (self.laid(), self.tail());
        let end = start + piece.len() as u64;
        while let Some(block) = self.blocks.get_mut(at).filter(|block| block.start < end) {
            if block.end() <= end {
                self.blocks.remove(at);
            } else {
                // What is behind it begins the next one.
                let own = usize::try_from(end - block.start).unwrap_or(0);
                block.bytes = block.bytes.slice(own..);
                block.start = end;
            }
        }
        let block = Block {
            start,
            bytes: piece,
            left: 0,
            _leave: leave,
        };
        self.blocks.insert(at, block);
        self.pieces += 1;
    }

    /// The first piece that is held, by its number.
    pub(super) fn oldest_piece(&self) -> Option<usize> {
        let first = self.blocks.front()?.start;
        let may_leave = !self.is_leaving || self.end.is_some();
        let is_piece = may_leave && first < self.laid();
        is_piece.then(|| usize::try_from(first).unwrap_or(0) / PIECE_BYTES)
    }

    /// Lets the first block go.
    pub(super) fn let_go(&mut self) {
        if let Some(block) = self.blocks.pop_front() {
            self.held -= block.bytes.len() as u64;
        }
    }

    /// Nobody begins to read any more: each block counts who has yet to read it.
    pub(super) fn leave(&mut self) {
        if self.is_leaving {
            return;
        }
        self.is_leaving = true;
        let mut at: Vec<u64> = self.readers.values().map(|reading| reading.at).collect();
        at.sort_unstable();
        for block in &mut self.blocks {
            let end = block.end();
            block.left = at.partition_point(|at| *at < end);
        }
        self.release();
    }

    /// Lets blocks go that all have read.
    fn release(&mut self) {
        while self.blocks.front().is_some_and(|block| block.left == 0) {
            self.let_go();
        }
        if self.held <= WINDOW_BYTES_MAX
            && let Some(filler) = self.filler.take()
        {
            filler.wake();
        }
    }

    pub(super) fn add_reader(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let reading = Reading {
            at: 0,
            is_told: false,
            waker: None,
        };
        self.readers.insert(id, reading);
        id
    }

    /// What a reader that is `at` reads next: the block there, or its rest.
    pub(super) fn read(&mut self, id: u64, at: u64) -> Option<Bytes> {
        let next = self.blocks.partition_point(|block| block.start <= at);
        let block = self.blocks.get_mut(next.checked_sub(1)?)?;
        let from = usize::try_from(at - block.start).ok()?;
        if from >= block.bytes.len() {
            return None;
        }
        let bytes = block.bytes.slice(from..);
        if self.is_leaving {
            block.left = block.left.saturating_sub(1);
        }
        self.advance(id, bytes.len());
        if self.is_leaving {
            self.release();
        }
        Some(bytes)
    }

    /// A reader has read so many bytes more.
    pub(super) fn advance(&mut self, id: u64, bytes: usize) {
        if let Some(reading) = self.readers.get_mut(&id) {
            reading.at += bytes as u64;
        }
    }

    /// A reader has gone, or nothing more comes for it.
    pub(super) fn remove_reader(&mut self, id: u64) {
        let Some(reading) = self.readers.remove(&id) else {
            return;
        };
        if self.is_leaving {
            for block in &mut self.blocks {
                if block.end() > reading.at {
                    block.left = block.left.saturating_sub(1);
                }
            }
            self.release();
        }
        if self.readers.is_empty()
            && let Some(filler) = self.filler.take()
        {
            filler.wake();
        }
    }
}
