//! What becomes of each packet, and when: no clock, no socket, chance from a seed.
//!
//! The shells offer packets with the time at which they came and take them out when they are due.

use crate::chance::Chance;
use serde::{Deserialize, Serialize};
use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

/// Longest delay, jitter or holding of a path, in microseconds: 60 s.
pub const DELAY_US_MAX: u64 = 60_000_000;
/// Most nodes of a network.
pub const NODES_MAX: usize = 64;
/// Most bytes under way in the whole network; what comes beyond is dropped.
pub const BYTES_MAX: u64 = 256 << 20;

/// The way from one node to another; the way back is another one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Path {
    /// One-way delay, in microseconds.
    pub delay_us: u64,
    /// A packet takes up to this much longer, in microseconds. It does not let packets overtake each other.
    pub jitter_us: u64,
    /// Share of packets that are lost, 0 to 1.
    pub loss: f64,
    /// Share of packets that arrive twice, 0 to 1.
    pub duplicate: f64,
    /// Share of packets that are held back so that later ones overtake them, 0 to 1.
    pub reorder: f64,
    /// How long those are held, in microseconds.
    pub held_us: u64,
    /// Bandwidth in bytes per second; 0: as much as comes.
    pub bytes_per_second: u64,
    /// Bytes that wait for the bandwidth; what comes beyond is dropped (tail drop).
    pub queue_bytes_max: u64,
    /// Nothing goes through, and what is under way is lost.
    pub is_cut: bool,
}

impl Default for Path {
    /// At once, everything, without a limit but a queue of 256 KiB should there be a bandwidth.
    fn default() -> Self {
        Self {
            delay_us: 0,
            jitter_us: 0,
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            held_us: 0,
            bytes_per_second: 0,
            queue_bytes_max: 256 << 10,
            is_cut: false,
        }
    }
}

impl Path {
    /// What is impossible about it.
    #[must_use]
    pub fn mistake(&self) -> Option<String> {
        for (name, share) in [
            ("loss", self.loss),
            ("duplicate", self.duplicate),
            ("reorder", self.reorder),
        ] {
            if !(0.0..=1.0).contains(&share) {
                return Some(format!("{name} is {share}: 0 to 1"));
            }
        }
        for (name, time) in [
            ("delay_us", self.delay_us),
            ("jitter_us", self.jitter_us),
            ("held_us", self.held_us),
        ] {
            if time > DELAY_US_MAX {
                return Some(format!("{name} is {time}: at most {DELAY_US_MAX}"));
            }
        }
        None
    }
}

/// What became of an offered packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is under way, once or twice.
    UnderWay {
        /// How many of it arrive.
        copies: u8,
    },
    /// It never arrives.
    Dropped(Drop),
}

/// Why a packet does not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drop {
    /// The way is cut.
    Cut,
    /// By chance.
    Loss,
    /// The queue before the bandwidth is full, or the network holds [`BYTES_MAX`].
    QueueFull,
    /// There is no such way.
    NoWay,
}

/// Packets so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Came in.
    pub offered: u64,
    /// Arrived, copies too.
    pub delivered: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Lost because the way was cut before they came or while they were under way.
    pub cut: u64,
    /// Dropped before a full queue.
    pub queue_full: u64,
    /// Arrive twice.
    pub duplicated: u64,
    /// Held back for others to overtake.
    pub held: u64,
    /// For nobody here.
    pub no_way: u64,
}

/// A packet that arrives.
#[derive(Debug, PartialEq, Eq)]
pub struct Delivery<P> {
    /// Where it came from.
    pub from: usize,
    /// Where it arrives.
    pub to: usize,
    /// The packet.
    pub packet: P,
}

#[derive(Debug, Default)]
struct Way {
    path: Path,
    /// When the bandwidth is free again.
    free_at: Duration,
    /// When the last packet that keeps its place arrives.
    last_due: Duration,
    /// How often it was cut: packets under way from before are lost.
    cuts: u64,
}

#[derive(Debug)]
struct Travelling<P> {
    due: Duration,
    /// Among those due at the same time, the first offered is the first.
    number: u64,
    cuts: u64,
    bytes: u64,
    delivery: Delivery<P>,
}

impl<P> PartialEq for Travelling<P> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<P> Eq for Travelling<P> {}

impl<P> PartialOrd for Travelling<P> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<P> Ord for Travelling<P> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

/// The whole network: ways between all nodes, and the packets under way.
#[derive(Debug)]
pub struct Wan<P> {
    nodes: usize,
    ways: Vec<Way>,
    chance: Chance,
    travelling: BinaryHeap<Reverse<Travelling<P>>>,
    bytes: u64,
    number: u64,
    counts: Counts,
}

impl<P: Clone> Wan<P> {
    /// `nodes` nodes (at most [`NODES_MAX`]) with the default [`Path`] between all.
    #[must_use]
    pub fn new(seed: u64, nodes: usize) -> Self {
        let nodes = nodes.min(NODES_MAX);
        Self {
            nodes,
            ways: std::iter::repeat_with(Way::default)
                .take(nodes * nodes)
                .collect(),
            chance: Chance::new(seed),
            travelling: BinaryHeap::new(),
            bytes: 0,
            number: 0,
            counts: Counts::default(),
        }
    }

    /// Packets so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How a way is now; none: there is no such way.
    #[must_use]
    pub fn path(&self, from: usize, to: usize) -> Option<&Path> {
        self.ways.get(self.index(from, to)?).map(|way| &way.path)
    }

    /// Changes a way for what comes from now on. Cutting it also loses what is under way on it.
    pub fn set(&mut self, from: usize, to: usize, path: Path) {
        let index = self.index(from, to);
        if let Some(way) = index.and_then(|index| self.ways.get_mut(index)) {
            if path.is_cut && !way.path.is_cut {
                way.cuts += 1;
            }
            way.path = path;
        }
    }

    /// Takes a packet of `bytes` bytes that came at `now`.
    pub fn offer(&mut self, from: usize, to: usize, packet: P, bytes: u64, now: Duration) -> Fate {
        self.counts.offered += 1;
        let index = self.index(from, to).filter(|_| from != to);
        let Some(way) = index.and_then(|index| self.ways.get_mut(index)) else {
            self.counts.no_way += 1;
            return Fate::Dropped(Drop::NoWay);
        };
        let path = way.path;
        if path.is_cut {
            self.counts.cut += 1;
            return Fate::Dropped(Drop::Cut);
        }
        if self.chance.happens(path.loss) {
            self.counts.lost += 1;
            return Fate::Dropped(Drop::Loss);
        }
        let copies = 1 + u8::from(self.chance.happens(path.duplicate));
        let under_way = self.bytes + bytes * u64::from(copies);
        let Some(sent) = way.transmit(bytes, now).filter(|_| under_way <= BYTES_MAX) else {
            self.counts.queue_full += 1;
            return Fate::Dropped(Drop::QueueFull);
        };
        self.bytes = under_way;
        self.counts.duplicated += u64::from(copies - 1);
        let jitter = self.chance.below(path.jitter_us.saturating_add(1));
        let mut due = sent + Duration::from_micros(path.delay_us + jitter);
        if self.chance.happens(path.reorder) {
            self.counts.held += 1;
            due += Duration::from_micros(path.held_us);
        } else {
            due = due.max(way.last_due);
            way.last_due = due;
        }
        let cuts = way.cuts;
        for _ in 0..copies {
            self.number += 1;
            let delivery = Delivery {
                from,
                to,
                packet: packet.clone(),
            };
            self.travelling.push(Reverse(Travelling {
                due,
                number: self.number,
                cuts,
                bytes,
                delivery,
            }));
        }
        Fate::UnderWay { copies }
    }

    /// When the next packet is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        self.travelling.peek().map(|Reverse(next)| next.due)
    }

    /// The next packet that is due at `now`.
    pub fn take(&mut self, now: Duration) -> Option<Delivery<P>> {
        while self.next_due().is_some_and(|due| due <= now) {
            let Reverse(next) = self.travelling.pop()?;
            self.bytes = self.bytes.saturating_sub(next.bytes);
            let index = self.index(next.delivery.from, next.delivery.to);
            let way = index.and_then(|index| self.ways.get(index));
            if way.is_some_and(|way| way.cuts == next.cuts) {
                self.counts.delivered += 1;
                return Some(next.delivery);
            }
            self.counts.cut += 1;
        }
        None
    }

    /// When a piece of a reliable stream arrives that is sent at `now`: a loss costs it a retransmission, as it would
    /// TCP. None: the way is cut, it has to wait.
    pub fn stream(
        &mut self,
        from: usize,
        to: usize,
        bytes: u64,
        now: Duration,
    ) -> Option<Duration> {
        let index = self.index(from, to)?;
        let way = self.ways.get_mut(index)?;
        let path = way.path;
        if path.is_cut {
            return None;
        }
        let mut due = way.transmit(bytes, now).unwrap_or(way.free_at.max(now));
        let jitter = self.chance.below(path.jitter_us.saturating_add(1));
        due += Duration::from_micros(path.delay_us + jitter);
        if self.chance.happens(path.loss) {
            due += RETRANSMISSION + Duration::from_micros(2 * path.delay_us);
        }
        Some(due)
    }

    fn index(&self, from: usize, to: usize) -> Option<usize> {
        (from < self.nodes && to < self.nodes).then_some(from * self.nodes + to)
    }
}

/// What TCP waits at least before it sends again (Linux's minimum; RFC 6298 would have 1 s).
const RETRANSMISSION: Duration = Duration::from_millis(200);

impl Way {
    /// When the last bit of a packet has left, at the path's bandwidth. None: the queue is full.
    fn transmit(&mut self, bytes: u64, now: Duration) -> Option<Duration> {
        let rate = self.path.bytes_per_second;
        if rate == 0 {
            return Some(now);
        }
        let begin = self.free_at.max(now);
        let waiting = (begin - now).as_nanos() * u128::from(rate) / 1_000_000_000;
        if waiting + u128::from(bytes) > u128::from(self.path.queue_bytes_max.max(bytes)) {
            return None;
        }
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
        self.free_at = begin + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX >> 1));
        Some(self.free_at)
    }
}

#[cfg(test)]
mod tests;
