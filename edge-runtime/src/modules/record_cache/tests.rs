//! Kept records against a log that goes on.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;
use crate::cache;
use brink_policy::coherence::Start;
use brink_protocol::{
    address::PartitionAddress,
    change::{Change, ChangeKind, Phase, RecordChange},
    deployment::default_tenant,
    purge::{Purge, Selector},
};
use proptest::prelude::*;

fn position(sequence: u64) -> Position {
    format!("core.1={sequence}").parse().unwrap()
}

fn partition() -> PartitionAddress {
    PartitionAddress {
        tenant: default_tenant(),
        collection: "stock".into(),
        partition: "ams".into(),
    }
}

fn key(sort: &str) -> Tag {
    Tag::Record {
        partition: partition(),
        sort: sort.into(),
    }
}

fn entry(sort: &str, version: u64) -> Option<Entry> {
    Some(Entry {
        sort: sort.into(),
        value: version.to_string().into(),
        version,
        lifetime_ms: None,
    })
}

fn change(sequence: u64, kind: ChangeKind) -> Change {
    Change {
        origin: "core.1".parse().unwrap(),
        sequence,
        at_ms: 0,
        kind,
    }
}

fn write(sequence: u64, sorts: &[&str]) -> Change {
    let record = |sort: &&str| RecordChange {
        sort: (*sort).into(),
        version: Some(sequence),
    };
    let kind = ChangeKind::Records {
        partition: partition(),
        records: sorts.iter().map(record).collect(),
        phase: Phase::Written,
    };
    change(sequence, kind)
}

/// A PoP that has applied everything up to 10.
struct Pop {
    cache: Cache,
    records: RecordCache,
}

impl Pop {
    async fn new() -> Self {
        Self::knowing(0).await
    }

    /// Its core's knowledge is that old.
    async fn knowing(age_ms: u64) -> Self {
        let config = cache::Config {
            follows_feed: true,
            memory_bytes_max: 1 << 20,
            ..cache::Config::default()
        };
        let cache = Cache::open(config, &"ams".parse().unwrap()).await.unwrap();
        let start = Start {
            position: position(10),
            head: position(10),
            resumed: false,
            lease_ms: 60_000,
            age_ms,
        };
        cache.start(&start, false, Instant::now());
        Self {
            cache,
            records: RecordCache::new(&Config::default()),
        }
    }

    fn apply(&self, change: &Change) {
        assert!(!self.cache.apply(change).gap);
    }

    /// Reads at a core that is at `read_at`.
    fn keep(&self, sorts: &[&str], entries: &[Option<Entry>], read_at: u64) {
        let fetch = self.records.fetch(&self.cache);
        self.keep_since(&fetch, sorts, entries, read_at);
    }

    fn keep_since(&self, fetch: &Fetch, sorts: &[&str], entries: &[Option<Entry>], read_at: u64) {
        let keys: Vec<Tag> = sorts.iter().map(|sort| key(sort)).collect();
        self.records
            .keep(&self.cache, fetch, &keys, entries, &position(read_at));
    }

    fn find(&self, sorts: &[&str], at_least: u64) -> Option<(Vec<Option<u64>>, String)> {
        let keys: Vec<Tag> = sorts.iter().map(|sort| key(sort)).collect();
        let found = self
            .records
            .find(&self.cache, &keys, &position(at_least), Instant::now())?;
        let versions = found.entries.iter().map(|e| e.as_ref().map(|e| e.version));
        Some((versions.collect(), found.read_at.to_string()))
    }
}

#[tokio::test]
async fn a_record_is_kept_until_it_is_written() {
    let pop = Pop::new().await;
    assert_eq!(pop.find(&["a"], 0), None);
    pop.keep(&["a"], &[entry("a", 3)], 10);
    assert_eq!(
        pop.find(&["a"], 0),
        Some((vec![Some(3)], "core.1=10".into()))
    );
    pop.apply(&write(11, &["b"]));
    assert_eq!(
        pop.find(&["a"], 11),
        Some((vec![Some(3)], "core.1=11".into()))
    );
    pop.apply(&write(12, &["b", "a"]));
    assert_eq!(pop.find(&["a"], 0), None);
    pop.keep(&["a"], &[entry("a", 4)], 12);
    assert_eq!(
        pop.find(&["a"], 12),
        Some((vec![Some(4)], "core.1=12".into()))
    );
    assert_eq!(pop.records.figures(), (3, 2));
}

#[tokio::test]
async fn that_there_is_none_is_kept_until_there_is_one() {
    let pop = Pop::new().await;
    pop.keep(&["a"], &[None], 10);
    assert_eq!(pop.find(&["a"], 10), Some((vec![None], "core.1=10".into())));
    pop.apply(&write(11, &["a"]));
    assert_eq!(pop.find(&["a"], 0), None);
}

#[tokio::test]
async fn what_was_written_meanwhile_is_not_kept() {
    let pop = Pop::new().await;
    let fetch = pop.records.fetch(&pop.cache);
    assert_eq!(fetch.at_least(), &position(10));
    pop.apply(&write(11, &["a"]));
    pop.keep_since(&fetch, &["a", "b"], &[entry("a", 3), entry("b", 3)], 10);
    assert_eq!(pop.find(&["a"], 0), None);
    assert!(pop.find(&["b"], 0).is_some());
    // Nor what a core read that had not got as far.
    pop.keep(&["a"], &[entry("a", 3)], 10);
    assert_eq!(pop.find(&["a"], 0), None);
}

#[tokio::test]
async fn nothing_older_than_the_session_is_found() {
    let pop = Pop::new().await;
    pop.keep(&["a"], &[entry("a", 3)], 10);
    assert_eq!(pop.find(&["a"], 11), None);
    // The core was further than this PoP when it read: as new as it was then.
    pop.keep(&["a"], &[entry("a", 4)], 12);
    assert_eq!(
        pop.find(&["a"], 12),
        Some((vec![Some(4)], "core.1=12".into()))
    );
    assert_eq!(pop.find(&["a"], 13), None);
    pop.apply(&write(11, &["b"]));
    assert_eq!(
        pop.find(&["a"], 12),
        Some((vec![Some(4)], "core.1=12".into()))
    );
    // What is applied now may be the very change that was read: nobody knows.
    pop.apply(&write(12, &["a"]));
    assert_eq!(pop.find(&["a"], 12), None);
}

#[tokio::test]
async fn several_hold_at_one_moment_or_not_at_all() {
    let pop = Pop::new().await;
    pop.keep(&["a"], &[entry("a", 3)], 10);
    pop.keep(&["b"], &[entry("b", 5)], 12);
    // 11 or 12 may have written both.
    assert_eq!(pop.find(&["a", "b"], 0), None);
    pop.apply(&write(11, &["c"]));
    assert_eq!(pop.find(&["a", "b"], 0), None);
    pop.apply(&write(12, &["c"]));
    let both = (vec![Some(3), Some(5)], "core.1=12".to_owned());
    assert_eq!(pop.find(&["a", "b"], 0), Some(both));
    assert_eq!(pop.find(&["a", "c"], 0), None, "one is missing");
    // Read together, they go together.
    pop.keep(&["a", "b"], &[entry("a", 6), entry("b", 6)], 14);
    let both = (vec![Some(6), Some(6)], "core.1=14".to_owned());
    assert_eq!(pop.find(&["a", "b"], 13), Some(both));
}

#[tokio::test]
async fn a_record_does_not_outlive_its_lifetime() {
    let pop = Pop::new().await;
    let lives = |lifetime_ms| {
        entry("a", 3).map(|entry| Entry {
            lifetime_ms: Some(lifetime_ms),
            ..entry
        })
    };
    pop.keep(&["a"], &[lives(3_600_000)], 10);
    let keys = [key("a")];
    let find = |now| pop.records.find(&pop.cache, &keys, &position(0), now);
    let hour = Duration::from_secs(3600);
    let until = find(Instant::now()).unwrap().until.unwrap();
    assert!(until <= Instant::now() + hour);
    assert!(find(until).is_none());
    assert!(find(until - Duration::from_millis(1)).is_some());
    pop.keep(&["a"], &[lives(0)], 10);
    assert!(find(Instant::now()).is_none());
    pop.keep(&["a"], &[lives(u64::MAX)], 10);
    assert_eq!(find(Instant::now()).unwrap().entries.len(), 1);
}

#[tokio::test]
async fn without_a_lease_nothing_is_found() {
    let pop = Pop::knowing(60_001).await;
    pop.keep(&["a"], &[entry("a", 3)], 10);
    assert_eq!(pop.find(&["a"], 0), None);
}

#[tokio::test]
async fn a_purge_of_everything_and_a_new_beginning_end_all() {
    let pop = Pop::new().await;
    pop.keep(&["a"], &[entry("a", 3)], 10);
    let purge = |tenant: &str| {
        ChangeKind::Purge(Purge {
            id: "P".into(),
            tenant: tenant.parse().unwrap(),
            selectors: vec![Selector::Everything],
            soft: false,
        })
    };
    pop.apply(&change(11, purge("other")));
    assert!(pop.find(&["a"], 0).is_some());
    pop.apply(&change(12, purge("default")));
    assert_eq!(pop.find(&["a"], 0), None);
    pop.keep(&["a"], &[entry("a", 3)], 12);
    assert!(pop.find(&["a"], 0).is_some());
    pop.cache.reset(position(20));
    pop.cache
        .claim(Instant::now(), position(20), Duration::ZERO);
    assert_eq!(pop.find(&["a"], 0), None);
}

#[tokio::test]
async fn none_is_kept_where_there_is_no_room() {
    let pop = Pop::new().await;
    let off = RecordCache::new(&Config { cache_bytes_max: 0 });
    let pop = Pop {
        records: off,
        ..pop
    };
    pop.keep(&["a"], &[entry("a", 3)], 10);
    assert_eq!(pop.find(&["a"], 0), None);
    assert_eq!(pop.records.figures(), (0, 1));
}

/// What a step of the model does.
#[derive(Debug, Clone)]
enum Step {
    /// A transaction writes both records.
    Write,
    /// The PoP applies the next change.
    Apply,
    /// A read of these begins; the core answers now.
    Ask(bool, bool),
    /// The answer to the oldest read arrives.
    Answer,
    /// A run reads these, having seen nothing, or all that it saw before.
    Read(bool, bool),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Write),
        3 => Just(Step::Apply),
        3 => (any::<bool>(), any::<bool>()).prop_map(|(a, b)| Step::Ask(a, b)),
        3 => Just(Step::Answer),
        4 => (any::<bool>(), any::<bool>()).prop_map(|(a, b)| Step::Read(a, b)),
    ]
}

fn sorts(a: bool, b: bool) -> Vec<&'static str> {
    let both = [("a", a), ("b", b)];
    both.into_iter()
        .filter_map(|(sort, is)| is.then_some(sort))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Two records that are always written together are never read apart, and never older than what was applied.
    #[test]
    fn what_is_read_was_so_at_one_moment(steps in proptest::collection::vec(any_step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let pop = Pop::new().await;
            // The version of both records is the sequence of the last write.
            let (mut head, mut applied) = (10, 10);
            let mut asked = std::collections::VecDeque::new();
            for step in steps {
                match step {
                    Step::Write => head += 1,
                    Step::Apply if applied < head => {
                        applied += 1;
                        pop.apply(&write(applied, &["a", "b"]));
                    }
                    Step::Apply => {}
                    Step::Ask(a, b) => asked.push_back((pop.records.fetch(&pop.cache), sorts(a, b), head)),
                    Step::Answer => if let Some((fetch, sorts, at)) = asked.pop_front() {
                        let entries: Vec<_> = sorts.iter().map(|sort| entry(sort, at)).collect();
                        pop.keep_since(&fetch, &sorts, &entries, at);
                    },
                    Step::Read(a, b) => {
                        let sorts = sorts(a, b);
                        let Some((versions, at)) = pop.find(&sorts, applied) else { continue };
                        let first = versions[0].unwrap();
                        assert!(versions.iter().all(|version| *version == Some(first)), "{versions:?}");
                        assert!((applied..=head).contains(&first), "{first} at {applied}");
                        assert_eq!(at, format!("core.1={first}"), "it holds where it says");
                    }
                }
            }
        });
    }
}
