//! What a shield asks for when another PoP asks it for a part of an answer: the whole, if that is short, so that many
//! parts cost the origin one fetch.

use super::{fill::Fill, request::Dependencies, shared::Found, way::Way};
use brink_policy::{
    http::condition::remove_conditions,
    shield::{is_taken_whole, may_widen},
};
use http::{
    HeaderMap, Method,
    header::{IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE},
    response::Parts,
};
use std::time::{Instant, SystemTime};

/// Tells the keys whose wholes are not to be asked for from those that are not to be collapsed.
const WHOLE: u64 = 0x57_48_4f_4c_45;

impl Way<'_> {
    /// Whether the whole is asked for.
    pub(super) fn widens(&self, found: &Found) -> bool {
        let is_part = self.request.pop.is_some_and(|pop| pop.widens)
            && *self.request.method == Method::GET
            && self.request.headers.contains_key(RANGE)
            && !self.directives.no_store
            && !self.request.is_uncached;
        let stored = found.entry.as_ref().map(|entry| &entry.stored);
        let complete = stored.map(|stored| {
            let length = stored.body.len();
            stored.part().map_or(length, |held| held.complete)
        });
        is_part
            && may_widen(complete)
            && !self
                .shared
                .flights
                .is_uncollapsed(found.hash ^ WHOLE, Instant::now())
    }
}

impl Fill {
    /// Whether the answer is another one than was asked for on the client's behalf: a part of something else, or a whole of which
    /// the client wants a part, and that is long, or cannot be kept. `asked` is then made anew.
    pub fn refuses(
        &mut self,
        head: &Parts,
        dependencies: &Dependencies,
        asked: &mut HeaderMap,
    ) -> bool {
        self.refuses_part(head, asked) || self.refuses_whole(head, dependencies, asked)
    }

    fn refuses_whole(
        &mut self,
        head: &Parts,
        dependencies: &Dependencies,
        asked: &mut HeaderMap,
    ) -> bool {
        let is_taken = || {
            is_taken_whole(head.status, &head.headers)
                && self.judge(head, dependencies, SystemTime::now()).is_ok()
        };
        if !self.widens || !head.status.is_success() || is_taken() {
            return false;
        }
        let flights = &self.shared.flights;
        flights.set_uncollapsed(self.hash ^ WHOLE, Instant::now());
        self.widens = false;
        // Nobody is to wait for a part; that the fill is open is known still.
        self.ticket = self.ticket.take().map(|ticket| ticket.alone());
        asked.remove(RANGE);
        remove_conditions(asked);
        for name in [RANGE, IF_RANGE, IF_NONE_MATCH, IF_MODIFIED_SINCE] {
            if let Some(value) = self.subject.headers.get(&name) {
                asked.insert(name, value.clone());
            }
        }
        true
    }
}
