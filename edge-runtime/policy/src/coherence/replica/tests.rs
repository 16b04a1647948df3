//! Tables of what a replica says, and a model of a small world: three cores that write and exchange their logs, one PoP
//! that follows one of them at a time, fills that read anywhere and take their time, claims that arrive late. The model
//! remembers everything, and holds each entry that the replica calls valid against it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;
use crate::coherence::{Dependency, TagHash, tags, touched_by};
use brink_protocol::{
    address::PartitionAddress,
    change::{ChangeKind, Phase, RecordChange},
    record::{Bound, Range},
    tag::Tag,
};

fn position(text: &str) -> Position {
    text.parse().unwrap()
}

fn partition(name: &str) -> PartitionAddress {
    PartitionAddress {
        tenant: "t".parse().unwrap(),
        collection: "c".into(),
        partition: name.into(),
    }
}

fn write(origin: &str, sequence: u64, partition_name: &str, sort: &str) -> Change {
    let records = vec![RecordChange {
        sort: sort.into(),
        version: None,
    }];
    Change {
        origin: origin.parse().unwrap(),
        sequence,
        at_ms: 0,
        kind: ChangeKind::Records {
            partition: partition(partition_name),
            records,
            phase: Phase::Written,
        },
    }
}

fn apply(replica: &mut Replica, change: &Change) -> Applied {
    replica.apply(change, &touched_by(change))
}

fn record(partition_name: &str, sort: &str) -> TagHash {
    tags::record(&partition(partition_name), sort)
}

fn start(position_text: &str, head: &str, resumed: bool) -> Start {
    Start {
        position: position(position_text),
        head: position(head),
        resumed,
        lease_ms: 2_000,
        age_ms: 0,
    }
}

#[test]
fn in_order_repeated_gap() {
    for (applied, origin, sequence, expected, after) in [
        ("", "a.1", 1, Applied::InOrder { index: 2 }, "a.1=1"),
        ("a.1=4", "a.1", 5, Applied::InOrder { index: 2 }, "a.1=5"),
        ("a.1=4", "a.1", 4, Applied::Repeated, "a.1=4"),
        ("a.1=4", "a.1", 1, Applied::Repeated, "a.1=4"),
        ("a.1=4", "a.1", 6, Applied::Gap, "a.1=6"),
        ("", "a.1", 2, Applied::Gap, "a.1=2"),
        ("a.1=4", "b.1", 5, Applied::Gap, "a.1=4,b.1=5"),
        (
            "a.1=4",
            "a.2",
            1,
            Applied::InOrder { index: 2 },
            "a.1=4,a.2=1",
        ),
    ] {
        let mut replica = Replica::new(10);
        replica.reset(position(applied));
        let found = apply(&mut replica, &write(origin, sequence, "p", "s"));
        assert_eq!(found, expected, "{applied} {origin} {sequence}");
        assert_eq!(replica.position().to_string(), after);
        let elsewhere = replica.verdict(&[record("q", "s")], 1);
        let ended = found == Applied::Gap;
        assert_eq!(elsewhere == Verdict::Unknown, ended, "{applied} {sequence}");
    }
}

#[test]
fn how_a_feed_begins() {
    for (applied, asked, begins, expected) in [
        (
            "a.1=4",
            true,
            start("a.1=4", "a.1=4", true),
            Started::Resumed,
        ),
        (
            "a.1=4",
            true,
            start("a.1=4", "a.1=9", true),
            Started::Resumed,
        ),
        (
            "a.1=4",
            true,
            start("a.1=3", "a.1=4", true),
            Started::Resumed,
        ),
        ("a.1=4", true, start("a.1=5", "a.1=5", true), Started::Reset),
        (
            "a.1=4",
            true,
            start("a.1=4", "a.1=4", false),
            Started::Reset,
        ),
        (
            "a.1=4",
            false,
            start("a.1=4", "a.1=4", true),
            Started::Reset,
        ),
        (
            "a.1=4,b.1=7",
            true,
            start("a.1=4", "a.1=4", true),
            Started::Resumed,
        ),
        ("a.1=4", true, start("b.1=1", "b.1=1", true), Started::Reset),
        ("", false, start("a.1=9", "a.1=9", false), Started::Reset),
    ] {
        let mut replica = Replica::new(10);
        replica.reset(position(applied));
        replica.claim(100, Position::default(), 0);
        let index = replica.begin().index;
        let name = format!("{applied} {asked} {begins:?}");
        assert_eq!(replica.start(&begins, asked, 200), expected, "{name}");
        let resumed = expected == Started::Resumed;
        let kept = replica.verdict(&[1u64], index) == Verdict::Valid;
        assert_eq!(kept, resumed, "{name}");
        let stands = if resumed {
            applied.to_owned()
        } else {
            begins.position.to_string()
        };
        assert_eq!(replica.position().to_string(), stands, "{name}");
        // What was known before is known still if the feed goes on, and not if it begins anew.
        let reached = position(&stands).covers(&begins.head);
        let known = match (reached, resumed) {
            (true, _) => Some(200),
            (false, true) => Some(100),
            (false, false) => None,
        };
        assert_eq!(replica.as_of_ms(), known, "{name}");
    }
}

#[test]
fn the_fence() {
    let mut replica = Replica::new(10);
    replica.reset(position("a.1=1"));
    let begun = replica.begin();
    apply(&mut replica, &write("a.1", 2, "p", "s"));
    let (touched, other) = ([record("p", "s")], [record("p", "t")]);
    for (on, read_at, expected) in [
        (&other, Some("a.1=1"), Admission::Store),
        (&other, Some("a.1=7,b.1=1"), Admission::Store),
        (&other, None, Admission::Store),
        (&touched, Some("a.1=2"), Admission::Fenced),
        (&touched, None, Admission::Fenced),
        (&other, Some(""), Admission::ReadBehind),
        (&other, Some("b.1=9"), Admission::ReadBehind),
        // A later life of the node has what the former left.
        (&other, Some("a.2=1"), Admission::Store),
    ] {
        let read = read_at.map(position);
        let found = replica.admit(&begun, on, read.as_ref());
        assert_eq!(found, expected, "{on:?} {read_at:?}");
    }
    replica.reset(position("a.1=9"));
    assert_eq!(replica.admit(&begun, &other, None), Admission::Unknown);
}

#[test]
fn the_bound_grows_until_the_next_claim() {
    let mut replica = Replica::new(10);
    assert_eq!(replica.staleness_bound_ms(500), None);
    replica.start(&start("a.1=1", "a.1=1", false), false, 1_000);
    for (now, bound, fresh) in [
        (1_000, 0, true),
        (3_000, 2_000, true),
        (3_001, 2_001, false),
    ] {
        assert_eq!(replica.staleness_bound_ms(now), Some(bound));
        assert_eq!(replica.fresh_at(now), fresh);
    }
    replica.claim(3_500, position("a.1=2"), 300);
    assert!(!replica.fresh_at(3_600), "its head is not reached");
    apply(&mut replica, &write("a.1", 2, "p", "s"));
    assert_eq!(replica.staleness_bound_ms(3_600), Some(400));
}

const CORES: usize = 3;
const NAMES: [&str; CORES] = ["a.1", "b.1", "c.1"];

/// A sequence of numbers that looks like chance; the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from((self.0 >> 33) % sides as u64).unwrap()
    }

    fn one_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == 0
    }
}

/// What a shell may forget to ask.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Forgets {
    Nothing,
    Fence,
    Lease,
    ReadBehind,
    Verdict,
}

/// What was written: when, where.
struct Written {
    at: u64,
    partition: &'static str,
    sort: String,
}

/// How far in each log.
type Seen = [usize; CORES];

struct Fill {
    start: FillStart,
    on: Vec<Tag>,
    read: Option<Seen>,
}

struct Entry {
    index: u64,
    on: Vec<Tag>,
    hashes: Vec<Dependency>,
    read: Seen,
}

struct World {
    dice: Dice,
    now: u64,
    logs: [Vec<Written>; CORES],
    /// What each core knows of each log, and as of when.
    known: [Seen; CORES],
    known_at: [u64; CORES],
    /// The core that is followed.
    followed: usize,
    replica: Replica,
    claims: Vec<(u64, Position, u64)>,
    fills: Vec<Fill>,
    entries: Vec<Entry>,
    forgets: Forgets,
    /// How often something valid and fresh was looked at, and how often what a range read survived a write beside it.
    served: u64,
    spared: u64,
}

fn at(seen: &Seen) -> Position {
    let mut position = Position::default();
    for (name, sequence) in NAMES.iter().zip(seen) {
        position.advance(&name.parse().unwrap(), *sequence as u64);
    }
    position
}

fn matches(tag: &Tag, written: &Written) -> bool {
    let change = RecordChange {
        sort: written.sort.clone(),
        version: None,
    };
    tag.touched_by_record(&partition(written.partition), &change)
}

impl World {
    fn new(seed: u64, forgets: Forgets) -> Self {
        let mut dice = Dice(seed);
        let tags_max = 2 + dice.roll(60);
        Self {
            dice,
            now: 1_000,
            logs: Default::default(),
            known: Default::default(),
            known_at: [1_000; CORES],
            followed: 0,
            replica: Replica::new(tags_max),
            claims: Vec::new(),
            fills: Vec::new(),
            entries: Vec::new(),
            forgets,
            served: 0,
            spared: 0,
        }
    }

    fn step(&mut self) {
        self.now += 1 + self.dice.roll(40) as u64;
        match self.dice.roll(20) {
            0..3 => self.write(),
            3..5 => self.exchange(),
            5..10 => self.deliver(),
            10 => self.ask(),
            11 => self.answer(),
            12 => self.follow(),
            13..15 => self.begin(),
            15..17 => self.read(),
            17..19 => self.store(),
            _ => self.recover(),
        }
    }

    fn place(&mut self) -> (&'static str, String) {
        let partition = ["p", "q"][self.dice.roll(2)];
        (partition, format!("s{}", self.dice.roll(6)))
    }

    fn write(&mut self) {
        let core = self.dice.roll(CORES);
        let (partition, sort) = self.place();
        let at = self.now;
        self.logs[core].push(Written {
            at,
            partition,
            sort,
        });
        self.known[core][core] += 1;
    }

    fn exchange(&mut self) {
        let core = self.dice.roll(CORES);
        self.known[core] = std::array::from_fn(|origin| self.logs[origin].len());
        self.known_at[core] = self.now;
    }

    /// The next change of a log, or one that was there before, or now and then one too far.
    fn deliver(&mut self) {
        let origin = self.dice.roll(CORES);
        let applied = self.replica.position().get(&NAMES[origin].parse().unwrap());
        let sequence = match self.dice.roll(40) {
            0..4 => applied,
            4 => applied + 2,
            _ => applied + 1,
        };
        if sequence > 0 && sequence <= self.known[self.followed][origin] as u64 {
            let Written {
                partition, sort, ..
            } = &self.logs[origin][usize::try_from(sequence).unwrap() - 1];
            let change = write(NAMES[origin], sequence, partition, sort);
            let applied = apply(&mut self.replica, &change);
            self.spared +=
                u64::from(matches!(applied, Applied::InOrder { .. }) && self.spares(&change));
        }
    }

    /// Whether an entry that read a range of the change's partition is valid after it.
    fn spares(&self, change: &Change) -> bool {
        let ChangeKind::Records { partition, .. } = &change.kind else {
            return false;
        };
        let in_partition = |tag: &Tag| matches!(tag, Tag::Range { range, .. } if range.partition == partition.partition);
        let spared = |entry: &Entry| {
            entry.on.iter().any(in_partition)
                && entry.index < self.replica.begin().index
                && self.replica.verdict(&entry.hashes, entry.index) == Verdict::Valid
        };
        self.entries.iter().any(spared)
    }

    fn ask(&mut self) {
        let core = self.followed;
        let sent = self.now;
        self.now += self.dice.roll(30) as u64;
        let age = self.now - self.known_at[core];
        self.claims.push((sent, at(&self.known[core]), age));
    }

    fn answer(&mut self) {
        if !self.claims.is_empty() {
            let claim = self.dice.roll(self.claims.len());
            let (sent, head, age) = self.claims.remove(claim);
            self.replica.claim(sent, head, age);
        }
    }

    /// Follows another core: from where this one was left, or from that one's head.
    fn follow(&mut self) {
        if !self.dice.one_in(3) {
            return;
        }
        self.followed = self.dice.roll(CORES);
        let head = at(&self.known[self.followed]);
        let resumed = !self.dice.one_in(3);
        let start = Start {
            position: if resumed {
                (**self.replica.position()).clone()
            } else {
                head.clone()
            },
            head,
            resumed,
            lease_ms: 400,
            age_ms: self.now - self.known_at[self.followed],
        };
        self.replica.start(&start, !self.dice.one_in(10), self.now);
    }

    fn begin(&mut self) {
        let (partition_name, sort) = self.place();
        let tag = if self.dice.one_in(2) {
            Tag::Record {
                partition: partition(partition_name),
                sort,
            }
        } else {
            let lower = Bound::Inclusive(sort);
            let upper = Bound::Exclusive(self.place().1);
            let range = Range {
                collection: "c".into(),
                partition: partition_name.into(),
                lower,
                upper: if self.dice.one_in(4) {
                    Bound::Unbounded
                } else {
                    upper
                },
                limit: 10,
                descending: false,
            };
            Tag::Range {
                tenant: "t".parse().unwrap(),
                range,
            }
        };
        self.fills.push(Fill {
            start: self.replica.begin(),
            on: vec![tag],
            read: None,
        });
    }

    /// A fill reads at any core, mostly at the one that is followed.
    fn read(&mut self) {
        let core = if self.dice.one_in(4) {
            self.dice.roll(CORES)
        } else {
            self.followed
        };
        let known = self.known[core];
        if let Some(fill) = self.fills.iter_mut().find(|fill| fill.read.is_none()) {
            fill.read = Some(known);
        }
    }

    fn store(&mut self) {
        let Some(ready) = self.fills.iter().position(|fill| fill.read.is_some()) else {
            return;
        };
        let Fill { start, on, read } = self.fills.remove(ready);
        let read = read.unwrap();
        let hashes: Vec<_> = on.iter().map(Dependency::on).collect();
        let read_at = (self.forgets != Forgets::ReadBehind).then(|| at(&read));
        let admission = self.replica.admit(&start, &hashes, read_at.as_ref());
        let forgets = self.forgets == Forgets::Fence && admission == Admission::Fenced;
        if admission == Admission::Store || forgets {
            let index = if forgets {
                self.replica.begin().index
            } else {
                start.index
            };
            self.entries.push(Entry {
                index,
                on,
                hashes,
                read,
            });
            if self.entries.len() > 12 {
                self.entries.remove(0);
            }
        }
    }

    /// The program was killed, and reads what it had written down.
    fn recover(&mut self) {
        if self.dice.one_in(8) {
            let tags_max = 2 + self.dice.roll(60);
            let snapshot = self.replica.changes().snapshot();
            let mut changes = LastChanges::from_snapshot(snapshot, tags_max);
            changes.leave_gap(1_000);
            let position = (**self.replica.position()).clone();
            self.replica = Replica::restore(position, changes);
            self.fills.clear();
        }
    }

    /// What is wrong with an entry that the replica would serve.
    fn check(&mut self) -> Result<(), String> {
        let fresh = self.replica.fresh_at(self.now) || self.forgets == Forgets::Lease;
        let as_of = match (self.forgets, self.replica.staleness_bound_ms(self.now)) {
            (Forgets::Lease, _) => Some(self.now.saturating_sub(400)),
            (_, bound) => bound.map(|bound| self.now - bound),
        };
        for entry in &self.entries {
            let verdict = self.replica.verdict(&entry.hashes, entry.index);
            if verdict != Verdict::Valid && self.forgets != Forgets::Verdict {
                continue;
            }
            self.served += u64::from(fresh);
            for (origin, log) in self.logs.iter().enumerate() {
                let applied = self.replica.position().get(&NAMES[origin].parse().unwrap());
                for (place, written) in log.iter().enumerate() {
                    if place < entry.read[origin] || !matches(&entry.on[0], written) {
                        continue;
                    }
                    if (place as u64) < applied {
                        return Err(format!("{} {} was applied", NAMES[origin], place + 1));
                    }
                    if fresh && as_of.is_some_and(|as_of| written.at <= as_of) {
                        return Err(format!(
                            "{} {} is older than the bound",
                            NAMES[origin],
                            place + 1
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

/// The first step at which something is wrong, and how often something was served and spared.
fn run(seed: u64, forgets: Forgets) -> (Option<String>, u64, u64) {
    let mut world = World::new(seed, forgets);
    for step in 0..600 {
        world.step();
        if let Err(wrong) = world.check() {
            return (Some(format!("seed {seed}, step {step}: {wrong}")), 0, 0);
        }
    }
    (None, world.served, world.spared)
}

#[test]
fn nothing_that_a_change_ended_is_valid_and_nothing_fresh_is_older_than_its_bound() {
    let (mut served, mut spared) = (0, 0);
    for seed in 0..300 {
        let (wrong, hits, beside) = run(seed, Forgets::Nothing);
        assert_eq!(wrong, None);
        served += hits;
        spared += beside;
    }
    assert!(served > 10_000, "{served}");
    assert!(spared > 300, "{spared}");
}

#[test]
fn each_rule_that_is_left_out_is_missed() {
    for forgets in [
        Forgets::Fence,
        Forgets::Lease,
        Forgets::ReadBehind,
        Forgets::Verdict,
    ] {
        let found = (0..200).find_map(|seed| run(seed, forgets).0);
        assert!(found.is_some(), "{forgets:?}");
    }
}
