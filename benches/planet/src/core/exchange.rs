//! Cores among themselves: entries, claims, the list of members, and the logs of the dead.

use super::Core;
use crate::{
    context::{Context, Node},
    messages::{Entry, Members, Message, StoreRequest},
    mutation::Mutation,
    network::Stream,
};
use brink_protocol::{OriginId, Position, log::Log};
use std::{collections::BTreeSet, sync::Arc};

/// A core that the store has not heard for so long is taken over, in milliseconds.
const SILENT_MS_MAX: u64 = 2_500;
/// When peers' claims are older than this, entries are fetched from the store, in milliseconds.
const AGE_MS_MAX: u64 = 700;
/// A takeover that takes longer is begun anew, in microseconds.
const TAKING_OVER_US_MAX: u64 = 2_000_000;

impl Core {
    fn to_peer(&self, ctx: &mut Context, peer: usize, stream: Stream, message: Message) {
        ctx.send(Node::Core(self.id), Node::Core(peer), stream, message);
    }

    pub(super) fn on_peer(&mut self, ctx: &mut Context, peer: usize, message: Message) {
        let Some(live) = &mut self.live else {
            return;
        };
        match message {
            Message::Subscribe { position } => {
                live.peers.insert(peer);
                for entry in live.held.after(&position, Some(&live.owned)) {
                    self.to_peer(ctx, peer, self.stream(), Message::Exchange { entry });
                }
            }
            Message::Exchange { entry } => self.hold(ctx, &entry),
            Message::Heads { sent_ms } => {
                let mut head = Position::default();
                for origin in &live.owned {
                    head.advance(origin, live.held.heads().get(origin));
                }
                let answer = Message::HeadsAnswer {
                    sent_ms,
                    head,
                    origins: live.owned.iter().cloned().collect(),
                    is_subscribed: live.peers.contains(&peer),
                };
                self.to_peer(ctx, peer, Stream::Single, answer);
            }
            Message::HeadsAnswer {
                sent_ms,
                head,
                origins,
                is_subscribed,
            } => {
                let held = live.held.heads().clone();
                live.knowledge.claim(sent_ms, head, origins, &held);
                if !is_subscribed {
                    let message = Message::Subscribe { position: held };
                    self.to_peer(ctx, peer, self.stream(), message);
                }
            }
            _ => {}
        }
    }

    pub(super) fn tick_exchange(&mut self, ctx: &mut Context) {
        let now_ms = self.clock.ms(ctx.now_us);
        let Some(live) = &mut self.live else {
            return;
        };
        let age_ms = live
            .knowledge
            .age_ms(&live.origin, live.held.heads(), now_ms);
        let wants = age_ms > AGE_MS_MAX || live.lacks_entries;
        live.lacks_entries = false;
        let after = wants.then(|| live.held.heads().clone());
        if live
            .taking_over
            .as_ref()
            .is_some_and(|(_, since_us)| ctx.now_us > since_us + TAKING_OVER_US_MAX)
        {
            live.taking_over = None;
        }
        let open = live.knowledge.members().values();
        let open = open.filter(|member| member.last.is_none() && member.core != self.id);
        let peers: BTreeSet<usize> = open.map(|member| member.core).collect();
        self.ask_store(
            ctx,
            StoreRequest::Poll {
                sent_ms: now_ms,
                after,
            },
        );
        for peer in peers {
            let message = Message::Heads { sent_ms: now_ms };
            self.to_peer(ctx, peer, Stream::Single, message);
        }
    }

    pub(super) fn on_polled(
        &mut self,
        ctx: &mut Context,
        sent_ms: u64,
        members: Members,
        heads: Position,
        entries: &[Arc<Entry>],
    ) {
        for entry in entries {
            self.hold(ctx, entry);
        }
        let Some(live) = &mut self.live else {
            return;
        };
        let origins = members.keys().cloned().collect();
        live.knowledge.learn(members, sent_ms);
        let held = live.held.heads().clone();
        live.knowledge.claim(sent_ms, heads, origins, &held);
        self.take_over_silent(ctx);
    }

    /// The first of those that are heard takes over the first of those that are not.
    fn take_over_silent(&mut self, ctx: &mut Context) {
        let Some(live) = &mut self.live else {
            return;
        };
        let members = live.knowledge.members();
        let open = || members.iter().filter(|(_, member)| member.last.is_none());
        let heard = open().filter(|(_, member)| member.silent_ms <= SILENT_MS_MAX);
        let is_first = heard.map(|(_, member)| member.core).min() == Some(self.id);
        let silent = open().find(|(_, member)| member.silent_ms > SILENT_MS_MAX);
        let Some((origin, _)) = silent.filter(|_| is_first && live.taking_over.is_none()) else {
            return;
        };
        let origin = origin.clone();
        live.taking_over = Some((origin.clone(), ctx.now_us));
        self.ask_store(ctx, StoreRequest::Open { origin });
    }

    /// The former writer of a log cannot write any more: what it left open is settled, and its log ends.
    pub(super) fn on_opened(
        &mut self,
        ctx: &mut Context,
        origin: &OriginId,
        term: u64,
        entries: &[Arc<Entry>],
    ) {
        let changes = entries.iter().map(|entry| &entry.change);
        let Ok(mut log) = Log::recover(origin.clone(), changes) else {
            return;
        };
        let Some(live) = &mut self.live else {
            return;
        };
        live.owned.insert(origin.clone());
        for entry in entries {
            self.hold(ctx, entry);
        }
        let at_ms = self.clock.ms(ctx.now_us);
        if !ctx.lacks(Mutation::Settle) {
            for change in log.take_over(at_ms) {
                self.send_append(ctx, change, term, None);
            }
        }
        let close = StoreRequest::Close {
            origin: origin.clone(),
            term,
            last: log.kept().head,
        };
        self.ask_store(ctx, close);
        ctx.figures.takeovers += 1;
    }
}
