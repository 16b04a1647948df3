//! Backups of a real core that is killed again and again, restored into another; erasures and the doctor over the control API.

use crate::{
    client::Control,
    program::{PATIENCE, PROGRAM, Program, start_from},
};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::process::Command;

fn configuration(backups: &Path) -> String {
    format!(
        "[prober]\ninterval_ms = 0\n[backup]\ndirectory = {:?}\ninterval_ms = 100\nkeep = 2\n",
        backups.display().to_string()
    )
}

fn control(directory: &Path, program: &Program, token: &str) -> Control {
    Control {
        address: program.control,
        ca: directory.join("core/ca/ca.pem"),
        token: Some(token.into()),
    }
}

fn token(directory: &Path) -> String {
    let text = std::fs::read_to_string(directory.join("core/root.token")).unwrap();
    text.trim().to_owned()
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

async fn write(control: &Control, round: usize, count: usize) {
    let lines: String = (0..count)
        .map(|index| {
            let (partition, sort) = (index % 7, index / 7);
            let line = json!({"collection": "c", "partition": format!("p{partition}"),
                "sort": format!("{round}-{sort}"), "value": {"round": round, "index": index}});
            format!("{line}\n")
        })
        .collect();
    let path = "/v1/records/import";
    let answer = control.send("POST", path, "application/x-ndjson", lines);
    answer.await.expect(200);
}

/// Waits until everything of before now is in the backup.
async fn kept(control: &Control) {
    let asked = now_ms();
    let begun = Instant::now();
    loop {
        let shown = control.get("/v1/backups").await.expect(200).json();
        if shown["kept_until_ms"]
            .as_u64()
            .is_some_and(|until| until > asked)
        {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{shown}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn restore(backups: &Path, to: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .arg("restore")
        .arg("--from")
        .arg(backups)
        .arg("--data")
        .arg(to)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn done(mut command: Command) -> Output {
    command.output().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_outlives_kills_of_core_and_restore() {
    let (directory, kept_in) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let backups: PathBuf = kept_in.path().join("backups");
    let configuration = configuration(&backups);
    for round in 0..4 {
        let mut program = start_from(directory.path(), &configuration).await;
        let control = control(directory.path(), &program, &token(directory.path()));
        write(&control, round, 60).await;
        if round == 3 {
            kept(&control).await;
        } else {
            // A snapshot is under way, or an increment, when it is killed.
            control
                .send("POST", "/v1/backups", "", "")
                .await
                .expect(202);
            tokio::time::sleep(Duration::from_millis(40 * round as u64)).await;
        }
        program.child.kill().await.unwrap();
    }
    let mut check = Command::new(PROGRAM);
    check.arg("check-backup").arg("--from").arg(&backups);
    let checked = done(check).await;
    assert!(checked.status.success(), "{checked:?}");

    let other = tempfile::tempdir().unwrap();
    let data = other.path().join("core");
    for after_ms in [5, 30, 80] {
        let mut child = restore(&backups, &data).spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(after_ms)).await;
        child.kill().await.unwrap();
    }
    let restored = done(restore(&backups, &data)).await;
    let text = String::from_utf8_lossy(&restored.stderr).into_owned();
    // One of those that were to be killed may have come to its end.
    let is_done =
        restored.status.success() || text.contains("a backup is put back into an empty one");
    assert!(is_done, "{text}");

    let program = start_from(other.path(), "[prober]\ninterval_ms = 0\n").await;
    let control = control(other.path(), &program, &token(directory.path()));
    for partition in 0..7 {
        let path = format!("/v1/records/c/p{partition}?limit=1000");
        let page = control.get(&path).await.expect(200).json();
        let expected = 4 * (60_usize - partition).div_ceil(7);
        assert_eq!(
            page["entries"].as_array().unwrap().len(),
            expected,
            "{path}"
        );
    }
    let status = control.get("/v1/status").await.expect(200).json();
    let position = status["position"].to_string();
    assert!(!position.contains("core-1.1\""), "a new life: {position}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_erased_and_the_doctor_is_asked() {
    let directory = tempfile::tempdir().unwrap();
    let program = start_from(directory.path(), "[prober]\ninterval_ms = 0\n").await;
    let control = control(directory.path(), &program, &token(directory.path()));
    write(&control, 1, 70).await;
    let asked = json!({"partitions": [{"collection": "c", "partition": "p3"}]});
    let begun = control
        .json("POST", "/v1/erasures", asked)
        .await
        .expect(202)
        .json();
    let path = format!("/v1/erasures/{}", begun["id"].as_str().unwrap());
    let waited = Instant::now();
    let done = loop {
        let now = control.get(&path).await.expect(200).json();
        if now["stage"] == "done" {
            break now;
        }
        assert!(waited.elapsed() < PATIENCE, "{now}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let text = done["certificate"]["certificate"].as_str().unwrap();
    let certificate: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(certificate["erased"][0]["records"], 10);
    let key = control.get("/v1/certificate-key").await.expect(200).json();
    assert_eq!(key["key"], done["certificate"]["key"]);
    let page = control.get("/v1/records/c/p3").await.expect(200).json();
    assert!(page["entries"].as_array().unwrap().is_empty());
    let page = control.get("/v1/records/c/p4").await.expect(200).json();
    assert_eq!(page["entries"].as_array().unwrap().len(), 10);
    control.get("/v1/erasures/01J").await.problem(404);

    let diagnosis = control.get("/v1/doctor").await.expect(200).json();
    let findings = diagnosis["findings"].as_array().unwrap();
    for name in [
        "store",
        "change log",
        "disk of the data",
        "backups",
        "PoPs",
        "certificate ca.pem",
    ] {
        assert!(
            findings.iter().any(|found| found["name"] == name),
            "{name}: {diagnosis}"
        );
    }
    let refused = json!({"label": "x", "role": "admin", "tenant": "other"});
    let made = control
        .json("POST", "/v1/tokens", refused)
        .await
        .expect(201)
        .json();
    let other = control.with_token(made["secret"].as_str().unwrap());
    for path in ["/v1/doctor", "/v1/backups"] {
        other.get(path).await.problem(403);
    }
    control
        .send("POST", "/v1/backups", "", "")
        .await
        .problem(409);
}
