//! A PoP as the shield of others: what it has stored is worth to them what a core would say, if it has applied what they had
//! applied when their fills began.

use super::{Pop, fills::Asker};
use crate::{
    context::{Context, Next, Node},
    messages::{Message, Request, Told},
    mutation::Mutation,
    network::Stream,
};
use brink_policy::{coherence::Verdict, shield::BEHIND_MS_MAX};
use brink_protocol::{
    Position,
    log::{Reach, reach},
};

/// A question that waits for changes.
#[derive(Debug)]
pub(super) struct Sought {
    from: (usize, u64),
    page: usize,
    at_least: Position,
    until_us: u64,
}

impl Pop {
    /// The shield of a page; none: this PoP is one, or there are none.
    pub(super) fn shield_of(&self, ctx: &Context, page: usize) -> Option<usize> {
        let shields = ctx.scenario.shields;
        (self.id >= shields).then(|| page.checked_rem(shields))?
    }

    /// Another PoP asks.
    pub(super) fn on_sought(
        &mut self,
        ctx: &mut Context,
        from: (usize, u64),
        page: usize,
        at_least: Position,
    ) {
        let waits_us = BEHIND_MS_MAX * 1_000;
        self.sought.push(Sought {
            from,
            page,
            at_least,
            until_us: ctx.now_us + waits_us,
        });
        let overdue = Next::Overdue {
            pop: self.id,
            run: self.run,
        };
        ctx.after(waits_us, overdue);
        self.answer_sought(ctx);
    }

    /// Answers those who need not wait any longer.
    pub fn answer_sought(&mut self, ctx: &mut Context) {
        if self.sought.is_empty() {
            return;
        }
        let ignores = ctx.lacks(Mutation::Shield);
        let reached = |pop: &Self, sought: &Sought| {
            ignores
                || matches!(
                    reach(pop.replica.position(), &sought.at_least),
                    Reach::Reached
                )
        };
        let sought = std::mem::take(&mut self.sought);
        for sought in sought {
            let is_reached = reached(self, &sought);
            if !is_reached && ctx.now_us < sought.until_us {
                self.sought.push(sought);
                continue;
            }
            match self.told(ctx, &sought, is_reached) {
                Some(told) => self.tell(ctx, sought.from, Some(told)),
                None => {
                    let (pop, id) = sought.from;
                    let request = Request::Read {
                        page: sought.page,
                        at_least: sought.at_least,
                    };
                    self.forward(ctx, Asker::Pop(pop, id), request);
                }
            }
        }
    }

    /// What is stored, if it is as new as what the other PoP has applied: nothing stale, and nothing that was purged softly.
    fn told(&self, ctx: &Context, sought: &Sought, is_reached: bool) -> Option<Told> {
        let stored = self.stored(sought.page)?;
        let on = &ctx.pages.get(sought.page)?.on;
        let is_valid = ctx.lacks(Mutation::Verdict)
            || self.replica.verdict(on, stored.index) == Verdict::Valid;
        let is_new_enough = is_reached || stored.position.covers(&sought.at_least);
        (is_valid && is_new_enough && self.is_fresh(ctx)).then(|| Told {
            seen: stored.seen.to_vec(),
            is_kept: true,
        })
    }

    pub(super) fn tell(&self, ctx: &mut Context, (pop, id): (usize, u64), told: Option<Told>) {
        let (from, to) = (Node::Pop(self.id), Node::Pop(pop));
        ctx.send(from, to, Stream::Single, Message::Told { id, told });
    }
}
