//! Projections over an embedded store, with a module made of Rust.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
use super::{
    apply::{Application, Applied, Mark},
    queue::Queue,
    retry::Failures,
    rows::{Control, Place, key_in},
    runner::{Looking, look_through},
    stream::Turn,
    *,
};
use crate::{
    clock::now_ms,
    components::Components,
    deployments::Tables,
    events::{Events, NewEvent},
    refusal::Refusal,
    store::{Options, RedbStore, Store},
};
use async_trait::async_trait;
use brink_protocol::{
    event::Event,
    link::Condition,
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
    /// Events of kinds `poison`, `riddle` and `slow` are not refused any more.
    is_mended: AtomicBool,
}

/// A payload as a name.
fn named(event: &Event) -> String {
    String::from_utf8(event.payload.to_vec()).unwrap()
}

#[async_trait]
impl Projection for Lists {
    async fn target(&self, _: &str, event: &Event) -> Result<Option<String>, Fault> {
        match event.kind.as_str() {
            "nothing" => Ok(None),
            "riddle" if !self.is_mended.load(Ordering::Relaxed) => {
                Err(Fault::Failed("whom is it for?".into()))
            }
            _ => Ok(Some(named(event))),
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
            if event.kind == "slow" && !self.is_mended.load(Ordering::Relaxed) {
                return Err(Fault::Late("it did not finish".into()));
            }
            let key = Key {
                collection: "lists".into(),
                partition: named(event),
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

fn names(store: &Arc<dyn Store>, target: &str) -> Names {
    let config = [("source", "orders"), ("target", target)];
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
            names: names(&store, "lists"),
            attempts_max: 3,
            letters_max: 1000,
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
        Condition::Always,
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
    // What it never wrote to is not dropped, whoever asks for that.
    let stays = apply::put("s".into(), Bytes::new(), Condition::Always);
    let others = names(&bench.work.store, "others");
    let at = others.target("x");
    apply::commit(&*bench.work.store, at.clone(), vec![stays])
        .await
        .unwrap();
    for others in [others, names(&bench.work.store, "orders")] {
        let refused = operate.drop_target(&others).await;
        assert!(matches!(refused, Err(Refusal::NotFound(_))), "{refused:?}");
    }
    let key = key_in(&at, "s");
    let stays = bench.work.store.get(&tenant(), &key, now_ms()).await;
    assert!(stays.unwrap().is_some());
    assert_eq!(operate.drop_target(&bench.work.names).await.unwrap(), 2);
    assert!(operate.drop_target(&bench.work.names).await.is_err());
    assert_eq!(bench.list("x", "s").await, [0; 0]);
    assert_eq!(bench.letters().await, []);
    // The events are there still: the same projection may begin anew.
    bench.work.noted.lock().unwrap().clear();
    bench.drain("s").await;
    assert_eq!(bench.list("x", "s").await, [1]);
}

/// Writes what [`Lists`] does to another collection.
struct Elsewhere(&'static str);

#[async_trait]
impl Projection for Elsewhere {
    async fn target(&self, _: &str, event: &Event) -> Result<Option<String>, Fault> {
        Ok(Some(named(event)))
    }

    async fn apply(
        &self,
        stream: &str,
        events: &[Event],
        records: Arc<dyn Records>,
        _: u64,
    ) -> Result<(), Fault> {
        for event in events {
            let key = Key {
                collection: self.0.into(),
                partition: named(event),
                sort: format!("{stream}{}", event.number),
            };
            let put = records.put(key, Bytes::new(), None).await;
            put.map_err(|error| Fault::Failed(error.to_string()))?;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_target_under_the_same_name_begins_from_the_first_event() {
    let bench = Bench::new();
    bench.append("s", &["add x", "poison x", "add x"]).await;
    bench.drain("s").await;
    let again = Work {
        store: Arc::clone(&bench.work.store),
        projection: Arc::new(Elsewhere("again")),
        names: names(&bench.work.store, "again"),
        attempts_max: 3,
        letters_max: 2,
        noted: Default::default(),
    };
    assert_eq!(again.standing("s").await.unwrap().behind(), 3);
    let mut failures = Failures::default();
    while again.turn("s", &mut failures).await != Turn::Done {}
    let written = async |number: u64| {
        let key = key_in(&again.names.target("x"), &format!("s{number}"));
        let found = again.store.get(&tenant(), &key, now_ms()).await;
        found.unwrap().is_some()
    };
    for number in 1..=3 {
        assert!(written(number).await, "{number}");
    }
    // Each has its own of everything: dropping the former target is no matter of the new one.
    assert_eq!(bench.list("x", "s").await, [1, 3]);
    assert_eq!(bench.letters().await.len(), 1);
    let operate = bench.operate();
    assert_eq!(operate.drop_target(&bench.work.names).await.unwrap(), 1);
    assert!(written(1).await);
    assert_eq!(again.standing("s").await.unwrap().behind(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_counted_and_have_a_limit() {
    let mut bench = Bench::new();
    Arc::get_mut(&mut bench.work).unwrap().letters_max = 2;
    let count = async || {
        letters::count(&*bench.work.store, &bench.work.names)
            .await
            .unwrap()
    };
    for (stream, events) in [
        ("s", &["poison x", "add x"][..]),
        ("t", &["riddle y", "add y"]),
    ] {
        bench.append(stream, events).await;
        bench.drain(stream).await;
    }
    assert_eq!(count().await, 2);
    let given_up = bench.letters().await;
    let (id, letter) = &given_up[0];
    // The same letter again is one.
    let kept = letters::keep(&*bench.work.store, &bench.work.names, letter, 2).await;
    assert!(kept.unwrap());
    assert_eq!(count().await, 2);
    bench.append("u", &["add z", "poison z", "add z"]).await;
    let mut failures = Failures::default();
    for _ in 0..6 {
        let turn = bench.work.turn("u", &mut failures).await;
        assert!(matches!(turn, Turn::Later(_) | Turn::More), "{turn:?}");
    }
    assert_eq!(bench.list("z", "u").await, [1], "it waits at the second");
    assert_eq!((count().await, bench.letters().await.len()), (2, 2));
    // With room it goes on.
    let operate = bench.operate();
    for _ in 0..2 {
        let dropped = operate.drop_known(&bench.work.names, id, letter).await;
        dropped.unwrap();
        assert_eq!(count().await, 1);
    }
    while bench.work.turn("u", &mut failures).await != Turn::Done {}
    assert_eq!(bench.list("z", "u").await, [1, 3]);
    assert_eq!((count().await, bench.letters().await.len()), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn want_of_time_gives_no_event_up_at_once() {
    let bench = Bench::new();
    bench.append("s", &["add x", "slow x", "add x"]).await;
    let mut failures = Failures::default();
    for _ in 0..10 {
        let turn = bench.work.turn("s", &mut failures).await;
        assert!(matches!(turn, Turn::Later(_)), "{turn:?}");
    }
    assert_eq!(bench.list("x", "s").await, [1]);
    bench.lists.is_mended.store(true, Ordering::Relaxed);
    bench.drain("s").await;
    assert_eq!(bench.list("x", "s").await, [1, 2, 3]);
    assert_eq!(bench.letters().await, []);
}

/// Handles a letter to its end while somebody else is in the midst of it.
struct Meanwhile<'a> {
    bench: &'a Bench,
    letter: &'a (String, Letter),
    /// When: as the target is named, or as the event is applied.
    is_naming: bool,
    is_done: AtomicBool,
}

impl Meanwhile<'_> {
    async fn handle(&self) {
        if self.is_done.swap(true, Ordering::Relaxed) {
            return;
        }
        let (id, letter) = self.letter;
        let operate = self.bench.operate();
        let handled = operate
            .retry_with(&*self.bench.lists, &self.bench.work.names, id, letter)
            .await;
        assert_eq!(handled.map_err(|e| e.to_string()), Ok(Handled::Applied));
    }
}

#[async_trait]
impl Projection for Meanwhile<'_> {
    async fn target(&self, _: &str, event: &Event) -> Result<Option<String>, Fault> {
        if self.is_naming {
            self.handle().await;
        }
        Ok(Some(named(event)))
    }

    async fn apply(
        &self,
        stream: &str,
        events: &[Event],
        records: Arc<dyn Records>,
        now_ms: u64,
    ) -> Result<(), Fault> {
        self.handle().await;
        self.bench
            .lists
            .apply(stream, events, records, now_ms)
            .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_handles_a_letter_at_the_same_time_it_is_applied_once() {
    for kind in ["riddle y", "poison y"] {
        for is_naming in [false, true] {
            let bench = Bench::new();
            bench.append("s", &[kind]).await;
            bench.drain("s").await;
            let letters = bench.letters().await;
            bench.lists.is_mended.store(true, Ordering::Relaxed);
            let late = Meanwhile {
                bench: &bench,
                letter: &letters[0],
                is_naming,
                is_done: AtomicBool::new(false),
            };
            let (id, letter) = &letters[0];
            let handled = bench
                .operate()
                .retry_with(&late, &bench.work.names, id, letter)
                .await;
            assert!(handled.is_ok(), "{kind} {is_naming}");
            assert_eq!(bench.list("y", "s").await, [1], "{kind} {is_naming}");
            assert_eq!(bench.letters().await, []);
            // A replay begins anew: what was given up once is no matter then.
            let operate = bench.operate();
            bench.lists.is_mended.store(false, Ordering::Relaxed);
            operate
                .replay_known(&bench.work.names, 0, None)
                .await
                .unwrap();
            bench.drain("s").await;
            bench.lists.is_mended.store(true, Ordering::Relaxed);
            let letters = bench.letters().await;
            let (id, letter) = &letters[0];
            let handled = operate
                .retry_with(&*bench.lists, &bench.work.names, id, letter)
                .await;
            assert_eq!(handled.map_err(|e| e.to_string()), Ok(Handled::Applied));
            assert_eq!(bench.list("y", "s").await, [1, 1], "{kind} {is_naming}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_streams_than_there_is_room_for_are_looked_through_once() {
    const STREAMS: usize = 200;
    const ROOM: usize = 60;
    let bench = Bench::new();
    for n in 0..STREAMS {
        bench.append(&format!("s{n}"), &["add x"]).await;
    }
    let inbox = Arc::<Inbox>::default();
    *inbox.queue.lock().unwrap() = Queue::with_room_for(ROOM);
    let runner = Runner {
        work: Arc::clone(&bench.work),
        inbox: Arc::clone(&inbox),
        share: Arc::new(|_| true),
    };
    let mut looking = Looking {
        look: None,
        again: tokio::time::Instant::now(),
    };
    let mut found = BTreeSet::new();
    runner.look(&mut looking).await;
    while looking.look.is_some() {
        let before = looking.look.clone();
        runner.look(&mut looking).await;
        let (waiting, _) = inbox.sizes();
        assert!(waiting <= ROOM);
        if looking.look == before {
            // There is no room: it waits where it is, and goes on when what was found is done.
            let mut queue = inbox.queue.lock().unwrap();
            while let Some(stream) = queue.take(0) {
                queue.put_back(&stream, true);
                assert!(found.insert(stream), "it was looked at twice");
            }
        }
    }
    let mut queue = inbox.queue.lock().unwrap();
    while let Some(stream) = queue.take(0) {
        queue.put_back(&stream, true);
        assert!(found.insert(stream));
    }
    assert_eq!(found.len(), STREAMS);
}
