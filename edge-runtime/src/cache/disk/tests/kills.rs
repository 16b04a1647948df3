//! `kill -9` of a program that writes, at random points.

use super::*;
use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
};

const DIR: &str = "BRINK_TEST_DISK_DIR";
const SEED: &str = "BRINK_TEST_DISK_SEED";
const LIMITS: Limits = Limits {
    capacity_bytes: 400_000,
    segment_bytes: 16_000,
    entries_max: u64::MAX,
};

fn text(name: &str, step: u64) -> String {
    let length = (step * 37) % 900;
    format!("{name} {step} {}", "z".repeat(length as usize))
}

/// The program that is killed: it says after which step everything before was written.
#[tokio::test]
#[ignore = "a child of the test below"]
async fn child_that_writes() {
    let (Ok(dir), Ok(seed)) = (env::var(DIR), env::var(SEED)) else {
        return;
    };
    let mut chance = Chance(seed.parse().unwrap());
    let disk = open(Path::new(&dir), LIMITS);
    for step in 0..1_000_000 {
        let name = format!("k{}", chance.below(300));
        if chance.below(12) == 0 {
            disk.end(&name);
            println!("step {step} {name} removed");
        } else {
            disk.put(&name, &text(&name, step));
            println!("step {step} {name} stored");
        }
        if chance.below(20) == 0 {
            disk.written().await;
            println!("written {step}");
        }
        io::stdout().flush().unwrap();
    }
}

/// What the child said: what was done to each key, in order, and up to which step it was written.
#[derive(Default)]
struct Said {
    done: std::collections::BTreeMap<String, Vec<(u64, bool)>>,
    written: u64,
}

fn run_and_kill(dir: &Path, seed: u64, lines: u64) -> Said {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "cache::disk::tests::kills::child_that_writes"])
        .args(["--ignored", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .env(SEED, seed.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = Said::default();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    for (number, line) in stdout.lines().enumerate() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["step", step, name, what] => {
                let entry = said.done.entry((*name).to_owned()).or_default();
                entry.push((step.parse().unwrap(), *what == "stored"));
            }
            ["written", step] => said.written = step.parse().unwrap(),
            _ => {}
        }
        if number as u64 == lines {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    said
}

#[tokio::test]
async fn killed_while_it_writes() {
    let dir = tempfile::tempdir().unwrap();
    for seed in 0..6_u64 {
        let lines = 200 + Chance(seed).below(4_000);
        // Each child goes on with what the one before left; its steps begin anew, so that must be gone.
        fs::remove_dir_all(dir.path()).unwrap();
        let said = run_and_kill(dir.path(), seed, lines);
        let disk = open(dir.path(), LIMITS);
        let mut found = 0;
        for (name, done) in &said.done {
            let text_found = disk.text(name).await;
            let last_written = done.iter().rev().find(|(step, _)| *step <= said.written);
            let Some(found_text) = text_found else {
                continue;
            };
            found += 1;
            let step: u64 = found_text.split(' ').nth(1).unwrap().parse().unwrap();
            assert_eq!(found_text, text(name, step), "seed {seed}");
            // The step after the last that was said may have been done, too.
            let last_said = done.iter().any(|(other, stored)| *other == step && *stored);
            assert!(
                last_said || step > said.written,
                "seed {seed}: {name} {step}"
            );
            if let Some((last, stored)) = last_written {
                assert!(
                    step > *last || (step == *last && *stored),
                    "seed {seed}: {name} {step} is old"
                );
            }
        }
        assert!(
            found > 50,
            "seed {seed}: {found} of {} found",
            said.done.len()
        );
        assert_eq!(disk.figures().damaged, 0, "seed {seed}");
    }
}
