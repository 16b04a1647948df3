//! Reads of records on behalf of PoPs, at a position that covers what was asked for.

use super::Core;
use crate::{
    context::Context,
    history::Seen,
    messages::{Answer, StoreRequest},
};
use brink_protocol::{
    Position,
    log::{Reach, reach},
};
use rustc_hash::FxHashMap;

/// How long a read waits for a position, in microseconds.
const WAIT_US: u64 = 1_000_000;

#[derive(Debug)]
struct Read {
    pop: usize,
    id: u64,
    page: usize,
    at_least: Position,
    until_us: u64,
}

/// Reads under way.
#[derive(Debug, Default)]
pub(super) struct Reads {
    waiting: Vec<Read>,
    reading: FxHashMap<u64, Read>,
    count: u64,
}

fn is_reached(at: &Position, at_least: &Position) -> bool {
    matches!(reach(at, at_least), Reach::Reached)
}

impl Core {
    pub(super) fn on_read(
        &mut self,
        ctx: &mut Context,
        (pop, id): (usize, u64),
        page: usize,
        at_least: Position,
    ) {
        let read = Read {
            pop,
            id,
            page,
            at_least,
            until_us: ctx.now_us + WAIT_US,
        };
        if let Some(live) = &mut self.live {
            live.reads.waiting.push(read);
        }
        self.read_reached(ctx);
    }

    /// Reads what no longer has to wait.
    pub(super) fn read_reached(&mut self, ctx: &mut Context) {
        let Some(live) = &mut self.live else {
            return;
        };
        if live.reads.waiting.is_empty() {
            return;
        }
        let waiting = std::mem::take(&mut live.reads.waiting);
        let heads = live.held.heads();
        let (reached, waiting): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|read| is_reached(heads, &read.at_least));
        live.reads.waiting = waiting;
        for read in reached {
            self.read(ctx, read, ctx.scenario.read_lag_us);
        }
    }

    fn read(&mut self, ctx: &mut Context, read: Read, lag_us: u64) {
        let Some(live) = &mut self.live else {
            return;
        };
        live.reads.count += 1;
        let token = live.reads.count;
        let page = read.page;
        live.reads.reading.insert(token, read);
        let request = StoreRequest::Read {
            token,
            page,
            lag_us,
        };
        self.ask_store(ctx, request);
    }

    pub(super) fn on_store_read(
        &mut self,
        ctx: &mut Context,
        token: u64,
        seen: Vec<Seen>,
        read_at: Position,
    ) {
        let reading = self.live.as_mut().map(|live| &mut live.reads.reading);
        let Some(read) = reading.and_then(|reading| reading.remove(&token)) else {
            return;
        };
        if is_reached(&read_at, &read.at_least) {
            let answer = Answer::Read { seen, read_at };
            self.answer(ctx, read.pop, read.id, answer);
        } else {
            // What was read is older than the session: the newest will do.
            self.read(ctx, read, 0);
        }
    }

    pub(super) fn tick_reads(&mut self, ctx: &mut Context) {
        let Some(live) = &mut self.live else {
            return;
        };
        let now_us = ctx.now_us;
        let waiting = std::mem::take(&mut live.reads.waiting);
        let (late, waiting): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|read| read.until_us <= now_us);
        live.reads.waiting = waiting;
        for read in late {
            self.answer(ctx, read.pop, read.id, Answer::Unavailable);
        }
    }
}
