//! The feed over a real store, read as an edge reads it.
#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use crate::store::{Action, Options, RedbStore, Transaction, Write};
use brink_protocol::{
    address::PartitionAddress, codec::FrameReader, link::Condition, record::VALUE_BYTES_MAX,
};

struct Bench {
    _directory: tempfile::TempDir,
    store: Arc<dyn Store>,
    feed: Arc<Feed>,
    pops: Arc<Pops>,
}

async fn bench(log_changes_max: u64) -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let mut options = Options::new(directory.path(), "core-1".parse().unwrap());
    options.log_changes_max = log_changes_max;
    let store: Arc<dyn Store> = Arc::new(RedbStore::open(&options).unwrap());
    let pops = Pops::load(Arc::clone(&store)).await.unwrap();
    let terms = Terms {
        region: "eu".into(),
        lease_ms: 2000,
    };
    let feed = Feed::new(Arc::clone(&store), Arc::clone(&pops), terms);
    Bench {
        _directory: directory,
        store,
        feed,
        pops,
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

    fn follow(&self, position: Option<&str>) -> Reader {
        let request = FeedRequest {
            pop: "ams".parse().unwrap(),
            position: position.map(|text| text.parse().unwrap()),
        };
        let chunks = self
            .feed
            .follow(&request, 7, CancellationToken::new())
            .unwrap();
        Reader {
            chunks,
            frames: FrameReader::default(),
        }
    }
}

struct Reader {
    chunks: mpsc::Receiver<Bytes>,
    frames: FrameReader,
}

impl Reader {
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
        (Some("core-1.2=20"), ("core-1.1=25", false)),
        (Some("core-1.1=20,core-2.1=1"), ("core-1.1=25", false)),
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
    assert!(bench.feed.recent().bytes <= RECENT_BYTES_MAX + VALUE_BYTES_MAX);
    loop {
        if let FeedMessage::Heartbeat { head } = late.next().await.unwrap() {
            assert_eq!(head.to_string(), "core-1.1=60");
            break;
        }
    }
    let listed = bench.pops.list(&Position::default());
    assert!(
        listed
            .iter()
            .any(|pop| pop.name.as_str() == "ams" && pop.connected)
    );
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
