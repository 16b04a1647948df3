//! `cargo xtask bench`: the figures of the README, measured on this machine.

use crate::{binaries::target_folder, cargo, guests, launch, setup, step::Steps};
use anyhow::Result;
use std::{path::Path, process::Command};

/// What is built for measuring, in one go: so each is built with the same features as beside the others.
const PACKAGES: [&str; 4] = ["brink-core", "brink-edge", "brink-cli", "brink-bench"];

/// Arguments of `bench`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What is measured
    #[arg(value_enum, default_value_t = Run::Table)]
    run: Run,
    /// Passed on: `--seconds 3 --rounds 3`, `--subscribers 1000`, ...; `-- --help` says what there is
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Run {
    /// Answers from the cache and of modules, beside bare servers: the README's table
    Table,
    /// Many followers of one core's feed: delay, CPU, memory
    Feed,
    /// What coherence costs on a hit
    Coherence,
    /// What records cost: the embedded store, a link, and a CQL engine beside the bare driver
    Core,
    /// Answers from the cache beside nginx, HAProxy and Varnish
    Peers,
    /// Hit ratios of the cache beside the policies of libcachesim
    Hits,
    /// Memory of the cache under answers of random sizes: `--minutes 10`
    Memory,
    /// The cache's disk tier across a restart: `--entries 1000000`
    Disk,
    /// Pure decisions, one at a time, by criterion
    Pure,
}

impl Run {
    const fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Feed => "feed",
            Self::Coherence => "coherence",
            Self::Core => "core",
            Self::Peers => "peers",
            Self::Hits => "hits",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Pure => "pure",
        }
    }
}

/// Builds for release, measures and prints.
///
/// # Errors
/// Something is missing, does not build, or a run fails.
pub fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    let steps = Steps::default();
    setup::ensure(root, &steps, &setup::BENCH)?;
    if arguments.run == Run::Core {
        setup::ensure(root, &steps, &setup::CQL)?;
    }
    if arguments.run == Run::Peers {
        setup::ensure(root, &steps, &setup::PEERS)?;
    }
    if arguments.run == Run::Pure {
        let mut command = Command::new(cargo());
        command.current_dir(root);
        command.args(["bench", "--package", "brink-bench", "--bench", "pure", "--"]);
        return measure(&steps, command.args(&arguments.arguments));
    }
    let mut command = Command::new(cargo());
    command
        .current_dir(root)
        .args(["build", "--locked", "--release", "--bins"]);
    for package in PACKAGES {
        command.args(["--package", package]);
    }
    steps.run("build for release", || {
        launch::run(&launch::launcher(), "cargo build", &command, None)
    })?;
    let folder = target_folder(root).join("release");
    let program = |name: &str| folder.join(name);
    let mut command = Command::new(program("brink-bench"));
    command.current_dir(root).arg(arguments.run.name());
    match arguments.run {
        Run::Table => {
            let guests = guests::build(root, &steps, &program("brink"))?;
            command.env(guests::VARIABLE, guests);
            command.arg("--edge").arg(program("brink-edge"));
        }
        Run::Feed | Run::Core => {
            command.arg("--core").arg(program("brink-core"));
        }
        Run::Coherence => {
            command.arg("--core").arg(program("brink-core"));
            command.arg("--brink").arg(program("brink"));
        }
        Run::Peers => {
            command.arg("--edge").arg(program("brink-edge"));
            match setup::trixie() {
                Some(folder) => {
                    command.arg("--trixie").arg(folder);
                }
                None => steps.say("going on without peers: Debian's programs are not there"),
            }
        }
        Run::Hits => match setup::libcachesim(&steps) {
            Ok(python) => {
                command.arg("--python").arg(python);
            }
            Err(error) => steps.say(&format!("going on without libcachesim: {error:#}")),
        },
        Run::Memory | Run::Disk | Run::Pure => {}
    }
    measure(&steps, command.args(&arguments.arguments))
}

fn measure(steps: &Steps, command: &Command) -> Result<()> {
    steps.run("measure", || {
        launch::run(&launch::launcher(), "the measurement", command, None)
    })
}
