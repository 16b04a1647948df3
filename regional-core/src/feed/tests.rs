//! The feed over a real store, read as an edge reads it.
#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use crate::{
    exchange::AGE_MS_MAX,
    store::{Action, Appended, Options, RedbStore, Transaction, Write},
};
use brink_protocol::{
    address::PartitionAddress,
    change::{Change, ChangeKind},
    codec::FrameReader,
    link::Condition,
    record::VALUE_BYTES_MAX,
    session::{SessionKey, SessionKeys, key_id},
};
use std::time::Duration;

struct Bench {
    _directory: tempfile::TempDir,
    store: Arc<dyn Store>,
    feed: Arc<Feed>,
    pops: Arc<Pops>,
    sessions: Arc<SessionSigner>,
}

async fn bench_with(log_changes_max: u64, peers: &[&str]) -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let mut options = Options::new(directory.path(), "core-1".parse().unwrap());
    options.log_changes_max = log_changes_max;
    let store: Arc<dyn Store> = Arc::new(RedbStore::open(&options).unwrap());
    let lease = Duration::from_millis(2000);
    let pops = Pops::load(Arc::clone(&store), lease).await.unwrap();
    let sessions = SessionSigner::load(Arc::clone(&store), now_ms())
        .await
        .unwrap();
    let terms = Terms {
        region: "eu".into(),
        lease_ms: 2000,
        stall_ms: 10_000,
    };
    let (one, two) = (Arc::clone(&pops), Arc::clone(&sessions));
    let ages = Ages::new(false, peers.iter().map(|peer| peer.parse().unwrap()));
    let feed = Feed::new(Arc::clone(&store), one, two, ages, terms);
    Bench {
        _directory: directory,
        store,
        feed,
        pops,
        sessions,
    }
}

async fn bench(log_changes_max: u64) -> Bench {
    bench_with(log_changes_max, &[]).await
}

fn change(origin: &str, sequence: u64) -> Change {
    Change {
        origin: origin.parse().unwrap(),
        sequence,
        at_ms: 0,
        kind: ChangeKind::Deployments {
            revision: 0,
            tenant: "default".parse().unwrap(),
            modules: Vec::new(),
        },
    }
}

impl Bench {
    async fn write(&self, count: usize, sorts: usize) {
        let writes = (0..sorts).map(|n| Write {
            sort: format!("{n:0500}"),
            action: Action::Put {
                value: Bytes::new(),
                expires_at_ms: None,
            },
            condition: Condition::Always,
        });
        let transaction = Transaction {
            partition: PartitionAddress {
                tenant: "default".parse().unwrap(),
                collection: "c".into(),
                partition: "p".into(),
            },
            seen: Vec::new(),
            writes: writes.collect(),
            answer: None,
            now_ms: 1,
        };
        for _ in 0..count {
            self.store.commit(transaction.clone()).await.unwrap();
        }
    }

    fn follow(&self, position: Option<&str>) -> Following {
        self.follow_as(Reader::Pop("ams".parse().unwrap()), position)
    }

    fn follow_as(&self, reader: Reader, position: Option<&str>) -> Following {
        let position: Option<Position> = position.map(|text| text.parse().unwrap());
        let chunks = self
            .feed
            .follow(reader, position.as_ref(), 7, CancellationToken::new())
            .unwrap()
            .unwrap();
        Following {
            chunks,
            frames: FrameReader::default(),
        }
    }

    async fn append(&self, origin: &str, sequences: std::ops::RangeInclusive<u64>) {
        let changes = sequences.map(|sequence| change(origin, sequence)).collect();
        let appended = self.store.append_foreign(changes).await.unwrap();
        assert_eq!(appended, Appended::Held);
    }
}

struct Following {
    chunks: mpsc::Receiver<Bytes>,
    frames: FrameReader,
}

impl Following {
    async fn next(&mut self) -> Option<FeedMessage> {
        loop {
            if let Some(message) = self.frames.next().unwrap() {
                return Some(message);
            }
            self.frames.push(&self.chunks.recv().await?);
        }
    }

    async fn start(&mut self) -> (String, bool) {
        match self.next().await.unwrap() {
            FeedMessage::Start {
                position,
                resumed,
                revision: 7,
                lease_ms: 2000,
                ..
            } => (position.to_string(), resumed),
            other => panic!("{other:?}"),
        }
    }

    /// Sequences up to and with `last`.
    async fn changes(&mut self, last: u64) -> Vec<u64> {
        let mut sequences = Vec::new();
        while sequences.last() != Some(&last) {
            if let FeedMessage::Change(change) = self.next().await.unwrap() {
                sequences.push(change.sequence);
            }
        }
        sequences
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn begins_where_the_log_allows() {
    let bench = bench(10).await;
    bench.write(25, 1).await;
    for (asked, expected) in [
        (None, ("core-1.1=25", false)),
        (Some("core-1.1=25"), ("core-1.1=25", true)),
        (Some("core-1.1=20"), ("core-1.1=20", true)),
        (Some("core-1.1=15"), ("core-1.1=15", true)),
        (Some("core-1.1=14"), ("core-1.1=25", false)),
        (Some("core-1.1=26"), ("core-1.1=25", false)),
        (Some(""), ("core-1.1=25", false)),
        // Only an earlier incarnation: its end may be lost.
        (Some("core-1.0=20"), ("core-1.1=25", false)),
        // This core does not know the other one's log (yet).
        (
            Some("core-1.1=20,core-2.1=1"),
            ("core-1.1=20,core-2.1=1", true),
        ),
    ] {
        let mut reader = bench.follow(asked);
        let (position, resumed) = reader.start().await;
        assert_eq!((position.as_str(), resumed), expected, "{asked:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_arrives_once_and_in_order() {
    let bench = bench(10_000).await;
    bench.write(20, 1).await;
    let mut late = bench.follow(Some("core-1.1=0"));
    let mut fresh = bench.follow(None);
    assert!(late.start().await.1);
    assert!(!fresh.start().await.1);
    assert_eq!(late.changes(20).await, (1..=20).collect::<Vec<u64>>());
    // Changes of half a MiB: several chunks, several readings of the store.
    let writer = bench.write(40, 1000);
    let reading = async { (late.changes(60).await, fresh.changes(60).await) };
    let ((), (late_saw, fresh_saw)) = tokio::join!(writer, reading);
    assert_eq!(late_saw, (21..=60).collect::<Vec<u64>>());
    assert_eq!(fresh_saw, (21..=60).collect::<Vec<u64>>());
    assert!(bench.feed.recent().bytes() <= RECENT_BYTES_MAX + VALUE_BYTES_MAX);
    loop {
        if let FeedMessage::Heartbeat { head } = late.next().await.unwrap() {
            assert_eq!(head.to_string(), "core-1.1=60");
            break;
        }
    }
    assert_eq!(bench.pops.following(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_takes_nothing_is_cut_off() {
    let bench = bench(100).await;
    let reader = bench.follow(None);
    let mut changed = bench.pops.changed();
    // Virtual time: the clock jumps whenever all tasks wait.
    changed
        .wait_for(|_| bench.pops.following() == 0)
        .await
        .unwrap();
    assert!(reader.chunks.is_closed());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_logs_of_all_origins_are_merged() {
    let bench = bench(10).await;
    bench.write(3, 1).await;
    bench.append("core-2.1", 1..=4).await;
    let mut pop = bench.follow(Some("core-1.1=1,core-2.1=2"));
    let mut core = bench.follow_as(Reader::Core("core-2".parse().unwrap()), Some("core-1.1=1"));
    assert_eq!(
        pop.start().await,
        ("core-1.1=1,core-2.1=2".to_owned(), true)
    );
    assert_eq!(core.start().await, ("core-1.1=1".to_owned(), true));
    bench.append("core-3.1", 1..=2).await;
    let mut seen = Position::default();
    let mut order = Vec::new();
    let all: Position = "core-1.1=3,core-2.1=4,core-3.1=2".parse().unwrap();
    while !seen.covers(&all) {
        if let FeedMessage::Change(change) = pop.next().await.unwrap() {
            seen.advance(&change.origin, change.sequence);
            order.push((change.origin.to_string(), change.sequence));
        }
    }
    order.sort();
    let expected = [
        ("core-1.1", 2),
        ("core-1.1", 3),
        ("core-2.1", 3),
        ("core-2.1", 4),
        ("core-3.1", 1),
        ("core-3.1", 2),
    ];
    assert_eq!(
        order,
        expected.map(|(origin, n)| (origin.to_owned(), n)),
        "each once"
    );
    // A core is told this core's own changes alone.
    bench.write(1, 1).await;
    let mut theirs = Vec::new();
    while theirs.last() != Some(&4) {
        match core.next().await.unwrap() {
            FeedMessage::Change(change) => {
                assert_eq!(change.origin.to_string(), "core-1.1");
                theirs.push(change.sequence);
            }
            FeedMessage::Heartbeat { head } => assert_eq!(head.iter().count(), 1),
            FeedMessage::SessionKeys(keys) => assert_eq!(keys.len(), 1),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(theirs, [2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_are_cut_off_when_something_is_missing() {
    let bench = bench(10).await;
    bench.write(1, 1).await;
    bench.append("core-2.1", 1..=3).await;
    let restart = async || {
        let origin = "core-2.1".parse().unwrap();
        bench.store.restart_foreign(origin, 9).await.unwrap();
    };
    let later_life = async || bench.append("core-2.2", 1..=1).await;
    for (n, head) in ["core-1.1=1,core-2.1=9", "core-1.1=1,core-2.2=1"]
        .iter()
        .enumerate()
    {
        let mut pop = bench.follow(None);
        let (position, _) = pop.start().await;
        if n == 0 {
            restart().await;
        } else {
            later_life().await;
        }
        loop {
            match pop.next().await {
                None => break,
                Some(FeedMessage::Change(change)) => panic!("{change:?}"),
                Some(_) => {}
            }
        }
        let mut again = bench.follow(Some(&position));
        assert_eq!(again.start().await, ((*head).to_owned(), false));
        // From there it goes on, and may come back.
        let mut resumed = bench.follow(Some(head));
        assert!(resumed.start().await.1, "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_come_under_constant_change() {
    let bench = bench(10_000).await;
    let mut pop = bench.follow(None);
    pop.start().await;
    let stop = CancellationToken::new();
    let writing = async {
        while !stop.is_cancelled() {
            bench.write(1, 1).await;
        }
    };
    let reading = async {
        let mut beats = Vec::new();
        let mut changes = 0;
        while beats.len() < 3 {
            match pop.next().await.unwrap() {
                FeedMessage::Change(_) => changes += 1,
                FeedMessage::Heartbeat { .. } => beats.push(changes),
                _ => {}
            }
        }
        stop.cancel();
        beats
    };
    let (beats, ()) = tokio::join!(reading, writing);
    assert!(
        beats.is_sorted_by(|a, b| a < b),
        "changes between: {beats:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_counts_ride_along() {
    let bench = bench_with(10, &["core-2"]).await;
    let mut pop = bench.follow(None);
    let Some(FeedMessage::Start { age_ms, .. }) = pop.next().await else {
        panic!()
    };
    assert_eq!(age_ms, AGE_MS_MAX, "nothing is known of the peer");
    let keys = |message| match message {
        Some(FeedMessage::SessionKeys(keys)) => SessionKeys::new(keys).unwrap(),
        other => panic!("{other:?}"),
    };
    let position: Position = "core-1.1=1".parse().unwrap();
    let token = bench.sessions.sign(&position).unwrap();
    let first = keys(pop.next().await);
    assert_eq!(first.verify(&token, now_ms()), Ok(position));
    let theirs = SessionKey {
        id: key_id(&"core-2.1".parse().unwrap(), 1),
        secret: [2; 32],
        from_ms: 0,
    };
    let node = "core-2".parse().unwrap();
    bench.sessions.learn(&node, vec![theirs]).await.unwrap();
    let request = CountRequest {
        id: "01C".into(),
        tenant: "default".parse().unwrap(),
        selectors: Vec::new(),
    };
    let (mut counts, mut updates) = (0, 0);
    while counts + updates < 2 {
        match pop.next().await {
            Some(FeedMessage::Heartbeat { .. }) if updates == 1 => {
                bench.feed.count(&request).unwrap();
            }
            Some(FeedMessage::Heartbeat { .. }) => {}
            Some(FeedMessage::Count(count)) => {
                assert_eq!(count, request);
                counts += 1;
            }
            other => {
                keys(other);
                updates += 1;
            }
        }
    }
    assert_eq!((counts, updates), (1, 1));
    // Nothing is read meanwhile: more than may wait.
    for _ in 0..2 * COUNTS_MAX {
        bench.feed.count(&request).unwrap();
    }
    let mut left = 0;
    while pop.next().await.is_some() {
        left += 1;
    }
    assert!(left <= COUNTS_MAX, "it is cut off");
}
