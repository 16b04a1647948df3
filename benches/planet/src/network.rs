//! The network between nodes: ordered, reliable streams over lossy paths.
//!
//! A frame that is lost is sent again after a probe timeout, 1.5 round trips + 25 ms, doubled each time (RFC 9002 §6.2.1:
//! smoothed round trip + 4 variations, an eighth each at rest, + the peer's greatest delay of acknowledgements); faster
//! ways to notice a loss are left out. On one stream no frame overtakes another. What is sent into a cut arrives after it
//! has healed.

use crate::random::Random;
use rustc_hash::FxHashMap;

/// Most times that one frame is lost.
const LOSSES_MAX: u32 = 6;

/// A place in the network.
pub type Address = usize;

/// Which frames keep their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Those of one stream between two nodes.
    Ordered(u8),
    /// None: each is a stream of its own, as requests and their answers are.
    Single,
}

impl Stream {
    /// The ordered stream of a connection with this number.
    #[must_use]
    pub fn of(connection: u64) -> Self {
        Self::Ordered((connection % 256) as u8)
    }
}

/// What a cut takes apart, in one direction.
#[derive(Debug, Clone, Copy)]
struct Cut {
    /// None: every one.
    from: Option<Address>,
    /// None: every one.
    to: Option<Address>,
    until_us: u64,
}

/// All paths.
#[derive(Debug)]
pub struct Network {
    /// One-way delays in microseconds, by place of the sender and of the receiver.
    delays: Vec<Vec<u64>>,
    /// Where each node stands.
    places: Vec<usize>,
    loss: f64,
    cuts: Vec<Cut>,
    last_us: FxHashMap<(Address, Address, u8), u64>,
}

impl Network {
    /// Nodes at places between which there are these delays; each frame is lost with the probability `loss`.
    #[must_use]
    pub fn new(delays: Vec<Vec<u64>>, places: Vec<usize>, loss: f64) -> Self {
        Self {
            delays,
            places,
            loss,
            cuts: Vec::new(),
            last_us: FxHashMap::default(),
        }
    }

    /// The one-way delay without loss and without queues, in microseconds.
    #[must_use]
    pub fn delay_us(&self, from: Address, to: Address) -> u64 {
        let place = |address: Address| self.places.get(address).copied().unwrap_or(0);
        let row = self.delays.get(place(from));
        row.and_then(|row| row.get(place(to))).copied().unwrap_or(0)
    }

    /// Takes nodes apart until that time; none: from or to every node.
    pub fn cut(&mut self, from: Option<Address>, to: Option<Address>, until_us: u64) {
        self.cuts.push(Cut { from, to, until_us });
    }

    /// Lets an ordered stream stand still until that time.
    pub fn stall(&mut self, (from, to): (Address, Address), stream: Stream, until_us: u64) {
        if let Stream::Ordered(stream) = stream {
            let last = self.last_us.entry((from, to, stream)).or_default();
            *last = until_us.max(*last);
        }
    }

    /// Ends every cut, and loses no more.
    pub fn heal(&mut self) {
        self.cuts.clear();
        self.loss = 0.0;
    }

    /// When what is sent now arrives.
    pub fn arrival_us(
        &mut self,
        now_us: u64,
        (from, to): (Address, Address),
        stream: Stream,
        random: &mut Random,
    ) -> u64 {
        let delay = self.delay_us(from, to);
        let mut probe = delay * 3 + 25_000;
        let mut at = now_us + delay + random.between(0, delay / 50 + 20);
        self.cuts.retain(|cut| cut.until_us > now_us);
        let is_cut = |cut: &&Cut| {
            cut.from.is_none_or(|node| node == from) && cut.to.is_none_or(|node| node == to)
        };
        let healed = self
            .cuts
            .iter()
            .filter(is_cut)
            .map(|cut| cut.until_us)
            .max();
        if let Some(healed) = healed {
            at = healed + delay + random.between(0, probe);
        }
        for _ in 0..LOSSES_MAX {
            if self.loss == 0.0 || !random.chance(self.loss) {
                break;
            }
            at += probe;
            probe *= 2;
        }
        if let Stream::Ordered(stream) = stream {
            let last = self.last_us.entry((from, to, stream)).or_default();
            at = at.max(*last);
            *last = at;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(loss: f64) -> Network {
        Network::new(vec![vec![0, 10_000], vec![10_000, 0]], vec![0, 1], loss)
    }

    #[test]
    fn frames_of_a_stream_keep_their_order_and_none_is_lost() {
        let mut network = network(0.3);
        let mut random = Random::new(3);
        let (mut last, mut late) = (0, 0);
        for n in 0..1_000 {
            let at = network.arrival_us(n * 1_000, (0, 1), Stream::Ordered(0), &mut random);
            assert!(at >= last);
            assert!(at >= n * 1_000 + 10_000);
            late += u64::from(at > n * 1_000 + 20_000);
            last = at;
        }
        assert!(late > 300, "{late}");
    }

    #[test]
    fn cuts_hold_one_direction_until_they_heal() {
        let mut network = network(0.0);
        let mut random = Random::new(3);
        network.cut(Some(0), None, 5_000_000);
        let mut at = |now, way| network.arrival_us(now, way, Stream::Single, &mut random);
        assert!(at(0, (0, 1)) >= 5_010_000);
        assert!(at(0, (1, 0)) < 20_000);
        assert!(at(5_000_000, (0, 1)) < 5_020_000);
    }
}
