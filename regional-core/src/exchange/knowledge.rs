//! How old this core's knowledge of another core's log is. Pure.
//!
//! The claim rule of the lease, between cores: a question is sent at `t` by this core's own clock, and answered with the
//! other's head. Once everything up to that head is held here, all is known that the other had acknowledged at `t`.

use brink_protocol::{
    Position,
    log::{Reach, reach},
};
use std::collections::VecDeque;

/// The greatest age that is told, in milliseconds: one day. Also that of what was never known.
pub const AGE_MS_MAX: u64 = 24 * 3600 * 1000;
/// Answers whose heads are not held yet. Beyond it the oldest go: at two a second they are older than the longest lease.
const OPEN_MAX: usize = 128;

/// What is known of one other core.
#[derive(Debug, Default)]
pub struct Knowledge {
    as_of_ms: Option<u64>,
    open: VecDeque<(u64, Position)>,
}

impl Knowledge {
    /// The other has answered that its log ends at `head`, to a question of `sent_ms`.
    pub fn claim(&mut self, sent_ms: u64, head: Position) {
        match self.open.back_mut() {
            // As good as the earlier one, and younger.
            Some((sent, last)) if *last == head => *sent = sent_ms.max(*sent),
            _ => self.open.push_back((sent_ms, head)),
        }
        if self.open.len() > OPEN_MAX {
            self.open.pop_front();
        }
    }

    /// How old the knowledge is at `now_ms`, where `held` is held.
    pub fn age_ms(&mut self, held: &Position, now_ms: u64) -> u64 {
        self.open.retain(|(sent_ms, head)| {
            let is_held = reach(held, head) == Reach::Reached;
            if is_held {
                self.as_of_ms = self.as_of_ms.max(Some(*sent_ms));
            }
            !is_held
        });
        self.as_of_ms
            .map_or(AGE_MS_MAX, |as_of| now_ms.saturating_sub(as_of))
            .min(AGE_MS_MAX)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn it_is_as_old_as_the_question_whose_answer_is_held() {
        let mut knowledge = Knowledge::default();
        let at = |text: &str| text.parse::<Position>().unwrap();
        assert_eq!(knowledge.age_ms(&at(""), 50), AGE_MS_MAX, "never");
        knowledge.claim(100, at("b.1=5"));
        assert_eq!(knowledge.age_ms(&at("b.1=4"), 150), AGE_MS_MAX);
        knowledge.claim(200, at("b.1=7"));
        knowledge.claim(300, at("b.1=7"));
        assert_eq!(knowledge.age_ms(&at("b.1=5"), 310), 210);
        assert_eq!(knowledge.age_ms(&at("b.1=7"), 310), 10);
        // Late answers to earlier questions make nothing younger, nor older.
        knowledge.claim(250, at("b.1=6"));
        assert_eq!(knowledge.age_ms(&at("b.1=7"), 400), 100);
        // Nothing comes any more: it ages.
        assert_eq!(knowledge.age_ms(&at("b.1=9"), 5_300), 5_000);
        // A later life of the other counts for what the earlier one said.
        knowledge.claim(6_000, at("b.1=99"));
        assert_eq!(knowledge.age_ms(&at("b.2=1"), 6_001), 1);
        // An empty log is known at once.
        knowledge.claim(7_000, at(""));
        assert_eq!(knowledge.age_ms(&at(""), 7_000), 0);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut knowledge = Knowledge::default();
        for n in 0..1000 {
            knowledge.claim(n, format!("b.1={}", n + 1).parse().unwrap());
        }
        assert!(knowledge.open.len() <= OPEN_MAX);
        assert_eq!(knowledge.age_ms(&"b.1=1000".parse().unwrap(), 1000), 1);
    }
}
