//! Projections over an embedded store, with a module made of Rust.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
use super::{
    apply::{Application, Applied, Mark},
    retry::Failures,
    rows::{Control, Place, key_in},
    runner::look_through,
    stream::Turn,
    *,
};
use crate::{
    clock::now_ms,
    components::Components,
    deployments::Tables,
    events::{Events, NewEvent},
    store::{Options, RedbStore, Store},
};
use async_trait::async_trait;
use brink_protocol::{
    event::Event,
    record::{Bound, Key, Range},
};
use brink_sandbox::{Records, Sandbox};
use bytes::Bytes;
use std::{
    future::{Future as _, poll_fn},
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    task::Poll,
};

/// Adds the numbers of events to a list in the partition that the payload names, and counts applications.
#[derive(Default)]
struct Lists {
    /// Events of kind `poison` are not refused any more.
    is_mended: AtomicBool,
}

#[async_trait]
impl Projection for Lists {
    async fn target(&self, _: &str, event: &Event) -> Result<Option<String>, Fault> {
        match event.kind.as_str() {
            "nothing" => Ok(None),
            "riddle" if !self.is_mended.load(Ordering::Relaxed) => {
                Err(Fault::Failed("whom is it for?".into()))
            }
            _ => Ok(Some(String::from_utf8(event.payload.to_vec()).unwrap())),
        }
    }

    async fn apply(
        &self,
        stream: &str,
        events: &[Event],
        records: Arc<dyn Records>,
        _: u64,
    ) -> Result<(), Fault> {
        let failed = |error: brink_protocol::record::RecordError| Fault::Failed(error.to_string());
        for event in events {
            if event.kind == "poison" && !self.is_mended.load(Ordering::Relaxed) {
                return Err(Fault::Failed("it is poison".into()));
            }
            let key = Key {
                collection: "lists".into(),
                partition: String::from_utf8(event.payload.to_vec()).unwrap(),
                sort: stream.into(),
            };
            let mut list = records
                .get(key.clone())
                .await
                .map_err(failed)?
                .map_or(Vec::new(), |entry| entry.value.to_vec());
            list.push(u8::try_from(event.number).unwrap());
            records.put(key, list.into(), None).await.map_err(failed)?;
        }
        Ok(())
    }
}

struct Bench {
    _directory: tempfile::TempDir,
    events: Events,
    lists: Arc<Lists>,
    work: Arc<Work>,
}

fn tenant() -> TenantName {
    "default".parse().unwrap()
}

fn names(store: &Arc<dyn Store>) -> Names {
    let config = [("source", "orders"), ("target", "lists")];
    let config = config
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    Names::of(store, tenant(), "by-list".parse().unwrap(), &config).unwrap()
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = Options::new(directory.path(), "core-1".parse().unwrap());
        let store: Arc<dyn Store> = Arc::new(RedbStore::open(&options).unwrap());
        let lists = Arc::new(Lists::default());
        let work = Arc::new(Work {
            store: Arc::clone(&store),
            projection: Arc::clone(&lists) as Arc<dyn Projection>,
            names: names(&store),
            attempts_max: 3,
            noted: Default::default(),
        });
        Self {
            _directory: directory,
            events: Events::new(store),
            lists,
            work,
        }
    }

    /// Appends events, each `KIND TARGET`.
    async fn append(&self, stream: &str, events: &[&str]) {
        let new = events.iter().map(|text| {
            let (kind, target) = text.split_once(' ').unwrap();
            NewEvent {
                kind: kind.into(),
                payload: Bytes::copy_from_slice(target.as_bytes()),
                lifetime_ms: None,
            }
        });
        let at = self.work.names.stream(stream);
        self.events
            .append(at, new.collect(), None, now_ms())
            .await
            .unwrap();
    }

    async fn list(&self, target: &str, stream: &str) -> Vec<u8> {
        let key = key_in(&self.work.names.target(target), stream);
        let found = self
            .work
            .store
            .get(&tenant(), &key, now_ms())
            .await
            .unwrap();
        found.map_or(Vec::new(), |entry| entry.value.to_vec())
    }

    /// Takes turns until all is applied; without the waits after failures.
    async fn drain(&self, stream: &str) {
        let mut failures = Failures::default();
        while self.work.turn(stream, &mut failures).await != Turn::Done {}
        assert_eq!(self.work.standing(stream).await.unwrap().behind(), 0);
    }

    fn operate(&self) -> Oversight {
        let sandbox = Sandbox::new(Default::default()).unwrap();
        let store = Arc::clone(&self.work.store);
        Oversight {
            components: Arc::new(Components::new(Arc::clone(&store), sandbox)),
            tables: futures_util::FutureExt::now_or_never(Tables::load(Arc::clone(&store)))
                .unwrap()
                .unwrap(),
            logs: Arc::default(),
            node: "core-1".into(),
            store,
        }
    }

    async fn letters(&self) -> Vec<(String, Letter)> {
        let range = Range {
            collection: self.work.names.letters("").collection,
            partition: self.work.names.letters("").partition,
            lower: Bound::Unbounded,
            upper: Bound::Unbounded,
            limit: 100,
            descending: false,
        };
        let page = self
            .work
            .store
            .scan(&tenant(), &range, now_ms())
            .await
            .unwrap();
        page.entries
            .into_iter()
            .map(|entry| (entry.sort, rows::decode(&entry.value).unwrap()))
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_applied_in_order_and_once() {
    let bench = Bench::new();
    bench
        .append("s", &["add x", "add y", "nothing x", "add x"])
        .await;
    bench.append("t", &["add x"]).await;
    bench.drain("s").await;
    bench.drain("t").await;
    bench.drain("s").await;
    assert_eq!(bench.list("x", "s").await, [1, 4]);
    assert_eq!(bench.list("y", "s").await, [2]);
    assert_eq!(bench.list("x", "t").await, [1]);
    // A place that was lost is only a place to go on from.
    let at = bench.work.names.places("s");
    let lost = apply::put(
        "s".into(),
        rows::encode(&Place::default()).unwrap(),
        brink_protocol::link::Condition::Always,
    );
    assert!(
        apply::commit(&*bench.work.store, at, vec![lost])
            .await
            .unwrap()
    );
    bench.append("s", &["add y"]).await;
    bench.drain("s").await;
    assert_eq!(bench.list("x", "s").await, [1, 4]);
    assert_eq!(bench.list("y", "s").await, [2, 5]);
}

/// Whoever works is cut off at each point where it waits for something, and others work on the same stream at that time.
#[tokio::test(flavor = "multi_thread")]
async fn cut_off_at_each_point_it_is_still_once() {
    let bench = Bench::new();
    let mut cut_off = 0;
    for polls in 0.. {
        let stream = format!("s{polls}");
        bench
            .append(&stream, &["add x", "add y", "add x", "poison y", "add y"])
            .await;
        let mut failures = Failures::default();
        for _ in 0..3 {
            let mut turn = pin!(bench.work.turn(&stream, &mut failures));
            let mut left = polls;
            let ended = poll_fn(|context| {
                if left == 0 {
                    return Poll::Ready(None);
                }
                left -= 1;
                turn.as_mut().poll(context).map(Some)
            });
            if ended.await.is_none() {
                cut_off += 1;
            }
        }
        tokio::join!(bench.drain(&stream), bench.drain(&stream));
        assert_eq!(bench.list("x", &stream).await, [1, 3], "{polls}");
        assert_eq!(bench.list("y", &stream).await, [2, 5], "{polls}");
        let letters = bench.letters().await;
        let of_stream = letters.iter().filter(|(_, letter)| letter.stream == stream);
        assert_eq!(of_stream.count(), 1, "{polls}");
        if polls > 40 {
            break;
        }
    }
    assert!(cut_off > 3, "{cut_off}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_goes_among_the_dead_letters_and_comes_back() {
    let bench = Bench::new();
    bench
        .append(
            "s",
            &["add x", "poison x", "add x", "riddle y", "add y", "add x"],
        )
        .await;
    bench.drain("s").await;
    assert_eq!(bench.list("x", "s").await, [1, 3, 6]);
    assert_eq!(bench.list("y", "s").await, [5]);
    let letters = bench.letters().await;
    let told: Vec<_> = letters
        .iter()
        .map(|(_, letter)| {
            let target = letter.target.as_deref();
            (
                letter.event.number,
                target,
                letter.error.as_str(),
                letter.attempts,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (2, Some("x"), "it is poison", 3),
            (4, None, "whom is it for?", 3)
        ]
    );
    let operate = bench.operate();
    let retry = async |at: usize| {
        let (id, letter) = &letters[at];
        operate
            .retry_with(&*bench.lists, &bench.work.names, id, letter)
            .await
            .map_err(|refusal| refusal.to_string())
    };
    assert_eq!(retry(0).await, Err("it is poison".into()));
    assert_eq!(bench.letters().await.len(), 2, "a letter that fails stays");
    bench.lists.is_mended.store(true, Ordering::Relaxed);
    for at in 0..2 {
        assert_eq!(retry(at).await, Ok(Handled::Applied));
        assert_eq!(retry(at).await, Ok(Handled::Gone), "once");
    }
    assert_eq!(bench.list("x", "s").await, [1, 3, 6, 2]);
    assert_eq!(bench.list("y", "s").await, [5, 4]);
    assert_eq!(bench.letters().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn replays_apply_again_from_a_number_on() {
    let bench = Bench::new();
    bench
        .append("s", &["add x", "add y", "poison x", "add x"])
        .await;
    bench.append("t", &["add x", "add x"]).await;
    for stream in ["s", "t"] {
        bench.drain(stream).await;
    }
    let late = bench.work.standing("s").await.unwrap().place;
    bench.lists.is_mended.store(true, Ordering::Relaxed);
    let operate = bench.operate();
    assert_eq!(
        operate
            .replay_known(&bench.work.names, 2, Some("s"))
            .await
            .unwrap(),
        1
    );
    assert_eq!(bench.letters().await, [], "they come again");
    for stream in ["s", "t"] {
        bench.drain(stream).await;
    }
    assert_eq!(bench.list("x", "s").await, [1, 4, 3, 4]);
    assert_eq!(bench.list("y", "s").await, [2, 2]);
    assert_eq!(bench.list("x", "t").await, [1, 2]);
    // Who works from a place of before the replay is told so, and does nothing.
    let application = Application {
        store: &bench.work.store,
        projection: &*bench.lists,
        names: &bench.work.names,
        stream: "s",
        target: "x",
        place: late,
        mark: Mark::Checkpoint,
    };
    let event = Event {
        number: 5,
        kind: "add".into(),
        at_ms: 0,
        payload: Bytes::from_static(b"x"),
    };
    assert_eq!(application.run(&[event]).await, Applied::Late);
    // All streams, and again one that had been replayed by itself.
    assert_eq!(
        operate
            .replay_known(&bench.work.names, 0, None)
            .await
            .unwrap(),
        2
    );
    let all: Share = Arc::new(|_| true);
    let behind = look_through(&*bench.work.store, &bench.work.names, &all, |_, _| {}).await;
    assert_eq!(behind.unwrap(), 6);
    for stream in ["s", "t"] {
        bench.drain(stream).await;
    }
    assert_eq!(bench.list("x", "s").await, [1, 4, 3, 4, 1, 3, 4]);
    assert_eq!(bench.list("x", "t").await, [1, 2, 1, 2]);
    let control: Control = {
        let key = key_in(&bench.work.names.control(), "");
        let found = bench
            .work
            .store
            .get(&tenant(), &key, now_ms())
            .await
            .unwrap();
        rows::decode(&found.unwrap().value).unwrap()
    };
    assert_eq!((control.generation, control.all_since), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_keeps_what_it_gave_up_itself_whichever_begins_meanwhile() {
    let bench = Bench::new();
    bench.append("s", &["poison x", "riddle y"]).await;
    bench.append("t", &["add x"]).await;
    for stream in ["s", "t"] {
        bench.drain(stream).await;
    }
    let (operate, names) = (bench.operate(), &bench.work.names);
    assert_eq!(operate.replay_known(names, 0, None).await.unwrap(), 1);
    assert_eq!(bench.letters().await, [], "they come again");
    bench.drain("s").await;
    let given_up = bench.letters().await;
    assert_eq!(given_up.len(), 2);
    assert_eq!(operate.replay_known(names, 0, Some("t")).await.unwrap(), 2);
    // The first replay drops letters still.
    operate
        .drop_letters_behind(names, (1, 0), None)
        .await
        .unwrap();
    assert_eq!(bench.letters().await, given_up);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_have_ended_are_passed_over() {
    let bench = Bench::new();
    let ended = NewEvent {
        kind: "add".into(),
        payload: Bytes::from_static(b"x"),
        lifetime_ms: Some(1),
    };
    let at = bench.work.names.stream("s");
    bench.events.append(at, vec![ended], None, 1).await.unwrap();
    bench.drain("s").await;
    bench.append("s", &["add x"]).await;
    bench.drain("s").await;
    assert_eq!(bench.list("x", "s").await, [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_finds_its_streams() {
    let bench = Bench::new();
    bench.append("before", &["add x"]).await;
    let inbox = Arc::<Inbox>::default();
    let runner = Runner {
        work: Arc::clone(&bench.work),
        inbox: Arc::clone(&inbox),
        share: Arc::new(|_| true),
    };
    let mut held = bench.work.store.held();
    let running = tokio::spawn(runner.run());
    let mut wait = async |stream: &str, expected: &[u8]| {
        while bench.list("x", stream).await != expected {
            held.changed().await.unwrap();
        }
    };
    wait("before", &[1]).await;
    bench.append("after", &["add x", "add x"]).await;
    inbox.push("after");
    wait("after", &[1, 2]).await;
    running.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_former_target_is_dropped() {
    let bench = Bench::new();
    bench.append("s", &["add x", "add y", "poison x"]).await;
    bench.append("x", &["nothing x"]).await;
    bench.drain("s").await;
    let operate = bench.operate();
    assert_eq!(operate.drop_target(&bench.work.names).await.unwrap(), 2);
    assert_eq!(operate.drop_target(&bench.work.names).await.unwrap(), 0);
    assert_eq!(bench.list("x", "s").await, [0; 0]);
    assert_eq!(bench.letters().await, []);
    // The events are there still: the same projection may begin anew.
    bench.work.noted.lock().unwrap().clear();
    bench.drain("s").await;
    assert_eq!(bench.list("x", "s").await, [1]);
}
