//! Several programs on one CQL engine, with nothing in their directories: killed, stopped, and started again.

use crate::{
    client::Link,
    link::records,
    program::{PATIENCE, PROGRAM, Program, admin, start_from},
};
use brink_protocol::{
    link::{
        Condition, PopFigures, RecordOperation, RecordOutcome, RecordsAnswer, Report, ReportAnswer,
        path,
    },
    record::{GET_MANY_MAX, Key},
};
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{process::Command, task::JoinHandle};

const TAKEN_OVER: &str = "brink_core_store_logs_taken_over_total ";
const WRITERS: usize = 16;

/// What the operator gives: an engine, certificates, the first token.
pub struct Place {
    directory: tempfile::TempDir,
    store: String,
}

/// Partition -> version, of every write that a core has acknowledged.
type Acknowledged = Arc<Mutex<BTreeMap<String, u64>>>;

async fn run(arguments: &[&str], data: &Path, out: &Path) {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).arg("--data").arg(data);
    let done = command.arg("--out").arg(out).status();
    assert!(done.await.unwrap().success(), "{arguments:?}");
}

impl Place {
    /// With identities for these cores, and a keyspace of this name.
    pub async fn new(name: &str, cores: &[&str]) -> Self {
        let engine = tokio::task::spawn_blocking(brink_engines::shared).await;
        let engine = engine.unwrap().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for core in cores {
            let arguments = ["issue-core", "--name", core];
            run(&arguments, &path("authority"), &path(core)).await;
        }
        let arguments = ["issue-pop", "--name", "ams"];
        run(&arguments, &path("authority"), &path("ams")).await;
        std::fs::write(path("root"), "a-secret-of-the-operator-for-all-cores\n").unwrap();
        let center = brink_engines::DATA_CENTRE;
        let store = format!(
            "[store]\nkind = 'cql'\n[store.cql]\ncontact_points = ['{engine}']\nkeyspace = '{name}{}'\n\
             data_center = '{center}'\nreplication = {{ {center} = 1 }}\nsilent_ms = 3000\n\
             request_timeout_ms = 20000\nwrite_timeout_ms = 60000\n",
            std::process::id()
        );
        Self { directory, store }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts a core in an empty directory.
    pub async fn start(&self, core: &str) -> Program {
        let empty = tempfile::tempdir_in(self.directory.path()).unwrap().keep();
        let configuration = format!(
            "node = '{core}'\nidentity = '{}'\nroot_token_file = '{}'\n[prober]\ninterval_ms = 0\n{}",
            self.path(core).display(),
            self.path("root").display(),
            self.store
        );
        start_from(&empty, &configuration).await
    }

    pub async fn link(&self, core: &Program) -> Link {
        Link::connect(core.link, &self.path("ams")).await.unwrap()
    }

    /// Writers until the core does not answer any more, each in partitions of its own.
    async fn load(&self, core: &Program, name: &str, all: &Acknowledged) -> Vec<JoinHandle<()>> {
        let link = self.link(core).await;
        let writers = (0..WRITERS).map(|writer| {
            let (link, all) = (link.clone(), Arc::clone(all));
            let name = format!("{name}-{writer}");
            tokio::spawn(async move {
                for n in 0.. {
                    let partition = format!("{name}-{}", n % 10);
                    let Some(version) = write(&link, &partition).await else {
                        return;
                    };
                    all.lock().unwrap().insert(partition, version);
                }
            })
        });
        writers.collect()
    }
}

fn key(partition: &str) -> Key {
    Key {
        collection: "stock".into(),
        partition: partition.into(),
        sort: "s".into(),
    }
}

/// None: it was not acknowledged.
async fn write(link: &Link, partition: &str) -> Option<u64> {
    let operation = RecordOperation::Put {
        key: key(partition),
        value: Bytes::from_static(b"v"),
        lifetime_ms: None,
        condition: Condition::Always,
    };
    let answer: RecordsAnswer = link.try_call(path::RECORDS, &records(operation)).await?;
    match answer.outcome {
        Ok(RecordOutcome::Written(version)) => Some(version),
        _ => None,
    }
}

pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let held = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let timed = tokio::time::timeout(2 * PATIENCE, held).await;
    assert!(timed.is_ok(), "{what}");
}

async fn until_written(all: &Acknowledged, more: usize) {
    let count = || all.lock().unwrap().values().sum::<u64>();
    let begun = count();
    let enough = async || count() >= begun + more as u64;
    until("writes are acknowledged", enough).await;
}

async fn taken_over(cores: &[&Program]) -> u64 {
    let mut sum = 0;
    for core in cores {
        let metrics = admin(core.admin, "/metrics").await;
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(TAKEN_OVER));
        sum += line.map_or(0, |count| count.parse::<u64>().unwrap());
    }
    sum
}

async fn signal(core: &Program, signal: &str) {
    let id = core.child.id().unwrap().to_string();
    let sent = Command::new("kill").args([signal, &id]).status().await;
    assert!(sent.unwrap().success());
}

async fn check_nothing_is_lost(link: &Link, all: &Acknowledged) {
    let expected: Vec<_> = all.lock().unwrap().clone().into_iter().collect();
    for chunk in expected.chunks(GET_MANY_MAX) {
        let keys = chunk.iter().map(|(partition, _)| key(partition)).collect();
        let request = records(RecordOperation::Get(keys));
        let answer: RecordsAnswer = link.call(path::RECORDS, &request).await;
        let Ok(RecordOutcome::Entries(entries)) = answer.outcome else {
            panic!("{:?}", answer.outcome)
        };
        for ((partition, version), entry) in chunk.iter().zip(entries) {
            let found = entry.unwrap_or_else(|| panic!("{partition} is lost"));
            assert!(found.version >= *version, "{partition}: {}", found.version);
        }
    }
}

/// How old a core's knowledge of what all have acknowledged is, as a PoP is told.
async fn age_ms(link: &Link) -> u64 {
    let report = Report {
        pop: "ams".parse().unwrap(),
        position: Default::default(),
        revision: 0,
        purges: Vec::new(),
        counts: Vec::new(),
        canary: None,
        log_lines: Vec::new(),
        log_lines_dropped: 0,
        figures: PopFigures::default(),
    };
    let answer: ReportAnswer = link.call(path::REPORTS, &report).await;
    answer.age_ms
}

async fn end(writers: Vec<JoinHandle<()>>) {
    for writer in writers {
        writer.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cores_are_stopped_and_killed_and_nothing_acknowledged_is_lost() {
    let place = Place::new("m", &["core-1", "core-2", "core-3", "core-4"]).await;
    let all = Acknowledged::default();
    let mut one = place.start("core-1").await;
    let mut two = place.start("core-2").await;
    let mut three = place.start("core-3").await;
    until("the cores find each other", async || {
        let metrics = admin(two.admin, "/metrics").await;
        let is_connected = |peer: &str| {
            metrics.contains(&format!("brink_core_peer_connected{{peer=\"{peer}\"}} 1"))
        };
        is_connected("core-1") && is_connected("core-3")
    })
    .await;
    // One stands still under load. When it wakes up its log is another's: it says so, and ends.
    let writers = place.load(&one, "stopped", &all).await;
    until_written(&all, 100).await;
    signal(&one, "-STOP").await;
    until("its log is taken over", async || {
        taken_over(&[&two, &three]).await > 0
    })
    .await;
    let link = place.link(&three).await;
    until("what is known is young", async || {
        age_ms(&link).await < 2_000
    })
    .await;
    signal(&one, "-CONT").await;
    let ended = tokio::time::timeout(PATIENCE, one.child.wait()).await;
    assert!(!ended.unwrap().unwrap().success());
    end(writers).await;
    check_nothing_is_lost(&link, &all).await;
    // It is back, and another is killed.
    let before = taken_over(&[&two, &three]).await;
    let mut one = place.start("core-1").await;
    let writers = place.load(&two, "killed", &all).await;
    until_written(&all, 100).await;
    two.child.kill().await.unwrap();
    end(writers).await;
    until("its log is taken over", async || {
        taken_over(&[&one, &three]).await > 0
    })
    .await;
    assert!(before > 0);
    check_nothing_is_lost(&link, &all).await;
    until("what is known is young", async || {
        age_ms(&link).await < 2_000
    })
    .await;
    // All that are left are killed. What is left is in the engine.
    let mut writers = place.load(&one, "all", &all).await;
    writers.extend(place.load(&three, "both", &all).await);
    until_written(&all, 200).await;
    let (first, second) = tokio::join!(one.child.kill(), three.child.kill());
    first.and(second).unwrap();
    end(writers).await;
    let four = place.start("core-4").await;
    let link = place.link(&four).await;
    check_nothing_is_lost(&link, &all).await;
    assert!(write(&link, "after").await.is_some());
    until("the logs of all are taken over", async || {
        taken_over(&[&four]).await > 0
    })
    .await;
}
