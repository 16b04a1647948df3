//! `cargo xtask fuzz`: libFuzzer over every target of `brink-fuzz`.
//!
//! The compiler is the pinned stable one: what libFuzzer needs (counters and traced comparisons) are passes of LLVM that it has.
//! A sanitizer of memory would need another one; our code has no `unsafe`, and a wrong index or an overflow is a panic, with or
//! without it. Inputs that reached something new stay in `benches/fuzz/corpus`, those that crashed in `benches/fuzz/crashes`.

use crate::{
    binaries::target_folder,
    cargo, interrupt, launch,
    setup::{self, Need},
    step::Steps,
};
use anyhow::{Context as _, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// The targets of `brink-fuzz`, which this tool is built without: those of the cache first.
const TARGETS: [&str; 14] = [
    "cache_control",
    "structured_fields",
    "vary",
    "ranges",
    "dates",
    "codings_and_keys",
    "disk_entries",
    "disk_segments",
    "disk_journal",
    "http_fields",
    "link_messages",
    "names_and_positions",
    "control_bodies",
    "routes",
];
/// What every crate is built with.
const FLAGS: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];
/// Longest input, in bytes.
const INPUT_BYTES_MAX: usize = 4096;
/// An input that takes longer is a finding, in seconds.
const INPUT_SECONDS_MAX: usize = 5;
/// Most memory of a fuzzer, and largest single allocation, in MiB.
const MEMORY_MIB_MAX: usize = 1024;

/// What to fuzz, and for how long.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Minutes, shared equally by the targets
    #[arg(long, default_value_t = 12.0)]
    minutes: f64,
    /// Targets; all if none is named
    targets: Vec<String>,
    /// Runs the inputs of this file once, and nothing else
    #[arg(long)]
    replay: Option<PathBuf>,
}

/// What libFuzzer says at the end.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Figures {
    executions: u64,
    /// Edges that were reached.
    covered: u64,
    /// Inputs in the corpus.
    corpus: u64,
}

impl Figures {
    /// Reads one line, such as `#1024 pulse  cov: 99 ft: 150 corp: 20/1Kb ...`.
    fn read(&mut self, line: &str) {
        let Some(executions) = line.strip_prefix('#') else {
            return;
        };
        let words: Vec<&str> = executions.split_whitespace().collect();
        let [first, rest @ ..] = words.as_slice() else {
            return;
        };
        let Ok(executions) = first.parse() else {
            return;
        };
        self.executions = executions;
        for pair in rest.windows(2) {
            let [name, value] = pair else { continue };
            let value = value.split('/').next().and_then(|value| value.parse().ok());
            match (*name, value) {
                ("cov:", Some(value)) => self.covered = value,
                ("corp:", Some(value)) => self.corpus = value,
                _ => {}
            }
        }
    }
}

/// Builds the fuzzer and feeds each target.
///
/// # Errors
/// Something is missing, a target is not known, or an input crashed one.
pub fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    let names = names(&arguments.targets)?;
    let steps = Steps::default();
    setup::ensure(root, &steps, &[Need::Compiler])?;
    let program = steps.run("build the fuzzer", || build(root))?;
    let count = u32::try_from(names.len()).unwrap_or(u32::MAX);
    let each =
        Duration::try_from_secs_f64(arguments.minutes * 60.0).context("--minutes")? / count.max(1);
    let mut crashed = Vec::new();
    println!(
        "{:<22}{:>8}{:>14}{:>10}{:>8}  outcome",
        "target", "seconds", "executions", "covered", "corpus"
    );
    for name in names {
        interrupt::check()?;
        let (figures, outcome) = feed(root, &program, name, each, arguments.replay.as_deref())?;
        let seconds = each.as_secs();
        let said = if outcome.is_ok() {
            "no crash"
        } else {
            "CRASHED"
        };
        let Figures {
            executions,
            covered,
            corpus,
        } = figures;
        println!("{name:<22}{seconds:>8}{executions:>14}{covered:>10}{corpus:>8}  {said}");
        if let Err(error) = outcome {
            interrupt::check()?;
            steps.say(&format!("{error:#}"));
            crashed.push(name);
        }
    }
    if !crashed.is_empty() {
        bail!(
            "{} crashed; the inputs are in benches/fuzz/crashes",
            crashed.join(", ")
        );
    }
    Ok(())
}

fn names(wanted: &[String]) -> Result<Vec<&'static str>> {
    if wanted.is_empty() {
        return Ok(TARGETS.to_vec());
    }
    let named = |name: &String| {
        let found = TARGETS.into_iter().find(|target| target == name);
        found.with_context(|| {
            format!(
                "there is no target {name}; there are {}",
                TARGETS.join(", ")
            )
        })
    };
    wanted.iter().map(named).collect()
}

/// With counters in all crates, in a folder of its own beside the other builds.
fn build(root: &Path) -> Result<PathBuf> {
    let folder = target_folder(root).join("fuzz");
    let said = launch::read(Command::new("rustc").arg("-vV").current_dir(root), &[])?;
    let said = String::from_utf8_lossy(&said);
    let triple = said.lines().find_map(|line| line.strip_prefix("host: "));
    let triple = triple.context("rustc does not say what it builds for")?;
    let mut command = Command::new(cargo());
    command
        .current_dir(root.join("benches/fuzz/fuzzer"))
        .args(["build", "--release", "--target", triple])
        .env("CARGO_TARGET_DIR", &folder)
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"));
    launch::run(&launch::launcher(), "cargo build", &command, None)?;
    Ok(folder.join(triple).join("release/brink-fuzzer"))
}

/// Feeds one target for so long; what it came to, and whether it crashed.
fn feed(
    root: &Path,
    program: &Path,
    name: &str,
    each: Duration,
    replay: Option<&Path>,
) -> Result<(Figures, Result<()>)> {
    let [corpus, crashes] =
        ["corpus", "crashes"].map(|kind| root.join("benches/fuzz").join(kind).join(name));
    for folder in [&corpus, &crashes] {
        fs::create_dir_all(folder)
            .with_context(|| format!("{} cannot be made", folder.display()))?;
    }
    let mut command = Command::new("sh");
    // libFuzzer speaks on the error output.
    command.args(["-c", "exec \"$0\" \"$@\" 2>&1"]).arg(program);
    command
        .env("BRINK_FUZZ_TARGET", name)
        .env("BRINK_FUZZ_SEEDS", &corpus)
        .env("RUST_BACKTRACE", "1")
        .arg(format!("-max_total_time={}", each.as_secs().max(1)))
        .arg(format!("-artifact_prefix={}/", crashes.display()))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"));
    match replay {
        Some(file) => command.arg(file),
        None => command.arg(&corpus),
    };
    let mut figures = Figures::default();
    let mut last = Vec::new();
    let outcome = launch::run_heard(&launch::launcher(), name, &command, |line| {
        figures.read(line);
        if !line.starts_with('#') {
            last.push(line.to_owned());
        }
    });
    let said = last
        .iter()
        .rev()
        .take(40)
        .rev()
        .cloned()
        .collect::<Vec<_>>();
    Ok((figures, outcome.with_context(|| said.join("\n"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_fuzzer_are_read() {
        let mut figures = Figures::default();
        for line in [
            "INFO: seed corpus: files: 5 min: 1b max: 82b total: 350b rss: 37Mb",
            "#6\tINITED cov: 500 ft: 640 corp: 5/350b exec/s: 0 rss: 40Mb",
            "#123456\tDONE   cov: 812 ft: 3020 corp: 411/36Kb lim: 4096 exec/s: 20576 rss: 61Mb",
            "Done 123456 runs in 6 second(s)",
        ] {
            figures.read(line);
        }
        let expected = Figures {
            executions: 123_456,
            covered: 812,
            corpus: 411,
        };
        assert_eq!(figures, expected);
    }

    #[test]
    fn targets_by_name() {
        assert_eq!(brink_fuzz::TARGETS.map(|target| target.name), TARGETS);
        assert_eq!(names(&[]).ok(), Some(TARGETS.to_vec()));
        assert_eq!(names(&["vary".to_owned()]).ok(), Some(vec!["vary"]));
        assert!(names(&["nothing".to_owned()]).is_err());
    }
}
