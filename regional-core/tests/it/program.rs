//! The program itself: flags, readiness, signals, and what is left after kill -9.

use crate::{
    client::{Control, Link},
    link::{key, put, records},
};
use brink_protocol::{
    link::{Condition, RecordOperation, RecordOutcome, RecordsAnswer, path},
    record::GET_MANY_MAX,
};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_brink-core");
/// Far beyond what a start takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Program {
    pub child: Child,
    pub control: SocketAddr,
    pub link: SocketAddr,
    pub admin: SocketAddr,
}

async fn start(directory: &Path) -> Program {
    start_with(directory, "").await
}

/// With more in its configuration.
pub async fn start_with(directory: &Path, more: &str) -> Program {
    // Nothing is in the log but what a test writes.
    start_from(directory, &format!("[prober]\ninterval_ms = 0\n{more}")).await
}

/// With this configuration.
pub async fn start_from(directory: &Path, configuration: &str) -> Program {
    let ready = directory.join("ready.json");
    let _ = std::fs::remove_file(&ready);
    let config = directory.join("core.toml");
    std::fs::write(&config, configuration).unwrap();
    let mut command = Command::new(PROGRAM);
    command
        .arg("run")
        .arg("--config")
        .arg(&config)
        .arg("--data")
        .arg(directory.join("core"))
        .arg("--ready-file")
        .arg(&ready);
    for flag in ["--control", "--link", "--admin"] {
        command.args([flag, "127.0.0.1:0"]);
    }
    let mut child = command
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let text = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Ok(text) = std::fs::read_to_string(&ready) {
                return text;
            }
            assert!(child.try_wait().unwrap().is_none(), "it ended");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let addresses: BTreeMap<String, SocketAddr> =
        serde_json::from_str(&text.await.unwrap()).unwrap();
    Program {
        child,
        control: addresses["control"],
        link: addresses["link"],
        admin: addresses["admin"],
    }
}

async fn issue(directory: &Path) {
    let issued = Command::new(PROGRAM)
        .args([
            "issue-pop",
            "--name",
            "ams",
            "--host",
            "shop.example",
            "--data",
        ])
        .arg(directory.join("core"))
        .arg("--out")
        .arg(directory.join("ams"))
        .status();
    assert!(issued.await.unwrap().success());
}

pub async fn admin(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_answers_and_drains() {
    let directory = tempfile::tempdir().unwrap();
    let mut program = start(directory.path()).await;
    issue(directory.path()).await;
    for name in ["pop.pem", "pop.key", "ca.pem", "server.pem", "server.key"] {
        assert!(directory.path().join("ams").join(name).is_file(), "{name}");
    }
    let link = Link::connect(program.link, &directory.path().join("ams"))
        .await
        .unwrap();
    let answer: RecordsAnswer = link
        .call(path::RECORDS, &records(put("1", Condition::Always)))
        .await;
    assert!(answer.outcome.is_ok());
    let token = std::fs::read_to_string(directory.path().join("core/root.token")).unwrap();
    let control = Control {
        address: program.control,
        ca: directory.path().join("core/ca/ca.pem"),
        token: Some(token.trim().into()),
    };
    control.get("/v1/status").await.expect(200);
    assert!(
        admin(program.admin, "/ready")
            .await
            .starts_with("HTTP/1.1 200")
    );
    let metrics = admin(program.admin, "/metrics").await;
    for name in [
        "brink_core_requests_total",
        "brink_core_request_seconds",
        "brink_core_store_commit_seconds",
        "brink_core_store_batch_writes",
        "brink_core_log_head 1",
        "brink_core_feed_followers 0",
    ] {
        assert!(metrics.contains(name), "{name} is not in\n{metrics}");
    }
    // A feed is open while it drains.
    let request = brink_protocol::link::FeedRequest {
        pop: "ams".parse().unwrap(),
        position: None,
    };
    let mut feed = link.feed(&request).await;
    assert!(feed.next().await.is_some());
    let id = program.child.id().unwrap().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .await
            .unwrap()
            .success()
    );
    let ended = tokio::time::timeout(PATIENCE, program.child.wait())
        .await
        .unwrap()
        .unwrap();
    assert!(ended.success(), "{ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_told_together() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("core.toml");
    std::fs::write(
        &config,
        "dat = '/x'\n[control]\nlistn = '127.0.0.1:0'\n[store]\nqueue_max = 0\n",
    )
    .unwrap();
    let output = Command::new(PROGRAM)
        .arg("--config")
        .arg(&config)
        .output()
        .await
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    for part in ["data:", "dat:", "control:", "store.queue_max"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

/// Sort key -> version, of every write that the core has acknowledged.
type Acknowledged = Arc<Mutex<BTreeMap<String, u64>>>;

async fn write_until_the_end(link: Link, round: usize, writer: usize, acknowledged: Acknowledged) {
    for n in 0.. {
        let sort = format!("{round}-{writer}-{}", n % 50);
        let request = records(put(&sort, Condition::Always));
        let Some(answer) = link
            .try_call::<RecordsAnswer>(path::RECORDS, &request)
            .await
        else {
            return;
        };
        let Ok(RecordOutcome::Written(version)) = answer.outcome else {
            return;
        };
        acknowledged.lock().unwrap().insert(sort, version);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_loses_no_acknowledged_write() {
    let directory = tempfile::tempdir().unwrap();
    let acknowledged = Acknowledged::default();
    let mut head = 0;
    let mut program = start(directory.path()).await;
    issue(directory.path()).await;
    for round in 0..4 {
        let link = Link::connect(program.link, &directory.path().join("ams"))
            .await
            .unwrap();
        let before = acknowledged.lock().unwrap().len();
        let writers: Vec<_> = (0..32)
            .map(|writer| {
                tokio::spawn(write_until_the_end(
                    link.clone(),
                    round,
                    writer,
                    Arc::clone(&acknowledged),
                ))
            })
            .collect();
        let enough = 200 + 150 * round;
        while acknowledged.lock().unwrap().len() < before + enough {
            tokio::task::yield_now().await;
        }
        program.child.kill().await.unwrap();
        for writer in writers {
            writer.await.unwrap();
        }
        program = start(directory.path()).await;
        let link = Link::connect(program.link, &directory.path().join("ams"))
            .await
            .unwrap();
        let expected: Vec<_> = acknowledged.lock().unwrap().clone().into_iter().collect();
        for chunk in expected.chunks(GET_MANY_MAX) {
            let keys = chunk.iter().map(|(sort, _)| key(sort)).collect();
            let answer: RecordsAnswer = link
                .call(path::RECORDS, &records(RecordOperation::Get(keys)))
                .await;
            let Ok(RecordOutcome::Entries(entries)) = answer.outcome else {
                panic!("{:?}", answer.outcome)
            };
            for ((sort, version), entry) in chunk.iter().zip(entries) {
                let found = entry.unwrap_or_else(|| panic!("round {round}: {sort} is lost"));
                assert!(
                    found.version >= *version,
                    "round {round}: {sort} is at {}, not {version}",
                    found.version
                );
            }
            // Still the same life of the origin: its log goes on.
            let (origin, sequence) = answer
                .position
                .iter()
                .next()
                .map(|(o, s)| (o.to_string(), s))
                .unwrap();
            assert_eq!(origin, "core-1.1");
            assert!(sequence >= head);
            head = sequence;
        }
    }
}
