//! `cargo xtask chaos`: a core and three PoPs as real processes behind a wide-area network, while links are cut, packets
//! are lost and processes are killed; every answer that a client saw is held against the promises of coherence.

mod faults;
mod network;
mod settings;
mod stack;
mod talk;

use crate::{
    binaries::{self, Binaries, Profile},
    cargo, guests, interrupt, launch, setup,
    step::Steps,
};
use anyhow::{Context, Result, bail};
use faults::{Fault, Faults, Planned};
use network::{CORE, Network, OPS, Weather};
use serde_json::{Value, json};
use stack::Stack;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use talk::Talk;

pub use settings::{Run, Tools};

/// How often faults and programs are looked at.
const TICK: Duration = Duration::from_millis(20);
/// How long clients may take until every PoP serves them.
const READY_WITHIN: Duration = Duration::from_secs(180);
/// How long the end of a run may take: proofs of purges, rest, the check.
const FINISH_WITHIN: Duration = Duration::from_secs(400);

/// Arguments of `chaos`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How long clients and faults run
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
    /// Where chance comes from; printed in any case
    #[arg(long)]
    seed: Option<u64>,
    /// Percent of packets lost between the core and PoPs when nothing else is the matter
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=50))]
    loss: u64,
    /// Clients that carry a session from PoP to PoP
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=200))]
    sessions: u32,
    /// No faults: what the clients meet on a calm day
    #[arg(long)]
    calm: bool,
    /// Relays on loopback, even where namespaces are permitted
    #[arg(long)]
    relays: bool,
    /// Build and run with optimisation
    #[arg(long)]
    release: bool,
    /// Build nothing: use the programs that lie beside this one, and the modules that were built last
    #[arg(long)]
    no_build: bool,
}

/// What a run showed.
#[derive(Debug, Clone)]
pub struct Report {
    /// `namespaces` or `relays`.
    pub kind: String,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// What the clients did and met.
    pub result: Value,
    /// Packets.
    pub packets: Value,
}

impl Report {
    /// Promises that were broken.
    #[must_use]
    pub fn violations(&self) -> u64 {
        self.result
            .get("violations")
            .and_then(Value::as_u64)
            .unwrap_or(u64::MAX)
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let number = |name: &str| self.result.get(name).and_then(Value::as_u64).unwrap_or(0);
        let _ = writeln!(
            text,
            "network of {}; {} events in {} s",
            self.kind,
            number("events"),
            number("load_ms") / 1_000
        );
        let ppm = number("reads_answered_ppm");
        let _ = writeln!(
            text,
            "reads {}, answered {}.{:02} %",
            number("reads"),
            ppm / 10_000,
            ppm % 10_000 / 100
        );
        let counts = self.result.get("counts").and_then(Value::as_object);
        for (name, count) in counts.into_iter().flatten() {
            let _ = writeln!(text, "  {name}: {count}");
        }
        for (name, what) in [
            (
                "propagation_ms",
                "purge accepted -> proven at a PoP, by the core's clock",
            ),
            (
                "proof_ms",
                "purge acknowledged -> its proof at the operator",
            ),
        ] {
            let figures = self.result.get(name).cloned().unwrap_or_default();
            let _ = writeln!(text, "{what}: [count, p50, p90, p99, max] ms = {figures}");
        }
        let _ = writeln!(text, "faults: {:?}", self.faults);
        let _ = writeln!(text, "packets: {}", self.packets);
        let _ = writeln!(text, "violations: {}", self.violations());
        let told = self.result.get("told").and_then(Value::as_array);
        for violation in told.into_iter().flatten() {
            let _ = writeln!(text, "  {}", violation.as_str().unwrap_or_default());
        }
        text
    }
}

/// Builds what is needed, runs, prints the figures.
///
/// # Errors
/// Something does not build or start, a program ends by itself, or a promise is broken.
pub fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    let steps = Steps::default();
    setup::ensure(root, &steps, &setup::UP)?;
    let (binaries, tools, guests) = build(root, &steps, arguments)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let seed = arguments
        .seed
        .unwrap_or_else(|| u64::from(now.subsec_nanos()) ^ now.as_secs());
    let folder = binaries::target_folder(root).join("chaos");
    let folder = folder.join(format!("{}-{seed}", now.as_secs()));
    steps.say(&format!(
        "seed {seed}; everything is in {}",
        folder.display()
    ));
    let report = Run {
        binaries,
        tools,
        launcher: launch::launcher(),
        guests,
        folder: std::path::absolute(&folder)?,
        seed,
        lasts: Duration::from_secs(arguments.minutes * 60),
        loss_percent: arguments.loss,
        sessions: arguments.sessions,
        calm: arguments.calm,
        relays: arguments.relays,
        lease_ms: None,
    }
    .go(&steps)?;
    print!("seed {seed}\n{}", report.text());
    if report.violations() > 0 {
        bail!(
            "promises were broken; the history is in {}",
            folder.display()
        );
    }
    Ok(())
}

fn build(root: &Path, steps: &Steps, arguments: &Arguments) -> Result<(Binaries, Tools, PathBuf)> {
    if arguments.no_build {
        let us = std::env::current_exe()?;
        let folder = us.parent().context("this program lies nowhere")?;
        return Ok((
            Binaries::in_folder(folder)?,
            Tools::in_folder(folder)?,
            guests::folder(root),
        ));
    }
    let profile = if arguments.release {
        Profile::Release
    } else {
        Profile::Dev
    };
    let binaries = Binaries::build(root, steps, profile)?;
    let mut command = Command::new(cargo());
    command
        .current_dir(root)
        .args(["build", "--locked", "--package", "brink-wan", "--bins"]);
    if arguments.release {
        command.arg("--release");
    }
    steps.run("build brink-wan and brink-load", || {
        launch::run(&launch::launcher(), "cargo build", &command, None)
    })?;
    let guests = guests::build(root, steps, &binaries.brink)?;
    let folder = binaries
        .core
        .parent()
        .context("programs that lie nowhere")?;
    let tools = Tools::in_folder(folder)?;
    Ok((binaries, tools, guests))
}

impl Run {
    /// Starts everything, lets it run, ends it, and says what it showed.
    ///
    /// # Errors
    /// Something does not start, or a program ends by itself. A broken promise is no error here.
    pub fn go(&self, steps: &Steps) -> Result<Report> {
        fs::create_dir_all(self.folder.join("logs"))?;
        let log = |name: &str| self.folder.join("logs").join(format!("{name}.log"));
        // At most 50: exact in a double.
        let loss = f64::from(u32::try_from(self.loss_percent).unwrap_or(50)) / 100.0;
        let mut network = steps.run("make the network", || {
            Network::open(&self.tools.wan, &log("wan"), self.seed, loss, self.relays)
        })?;
        steps.say(&format!("it is made of {}", network.kind));
        let mut stack = steps.run("start the core and three PoPs", || {
            Stack::start(&network, self)
        })?;
        steps.run("publish and deploy the modules", || {
            stack.deploy(&network, &self.guests)
        })?;
        let mut load = steps.run("start the clients", || {
            let command = network.place(OPS)?.command(&self.tools.load);
            let mut load = Talk::start("brink-load", command, &log("load"))?;
            load.say(&self.setup(&stack, &network)?)?;
            load.hear("ready", READY_WITHIN)?;
            Ok(load)
        })?;
        let faults = steps.run("run", || self.trouble(&mut network, &mut stack, &mut load))?;
        let result = steps.run("come to rest and check", || {
            load.say(&json!({"finish": {}}))?;
            load.hear("result", FINISH_WITHIN)
        })?;
        fs::write(
            self.folder.join("result.json"),
            serde_json::to_string_pretty(&result)?,
        )?;
        Ok(Report {
            kind: network.kind.clone(),
            faults,
            result,
            packets: network.counts()?,
        })
    }

    /// The first line for the clients.
    fn setup(&self, stack: &Stack, network: &Network) -> Result<Value> {
        let mut setup = stack.described(network)?;
        let more = json!({
            "seed": self.seed,
            "registers": 40,
            "objects": 12,
            "sessions": self.sessions,
            "readers": 3,
            "pause_ms_max": 60,
            "purge_pause_ms_max": 1_200,
            "history": self.folder.join("history.jsonl"),
        });
        if let (Value::Object(setup), Value::Object(more)) = (&mut setup, more) {
            setup.extend(more);
        }
        Ok(setup)
    }

    /// Lets things go wrong until the time is over, and makes all of them good again.
    fn trouble(
        &self,
        network: &mut Network,
        stack: &mut Stack,
        load: &mut Talk,
    ) -> Result<BTreeMap<&'static str, u64>> {
        let end = Instant::now() + self.lasts;
        let mut counts = BTreeMap::new();
        let mut active: Vec<(Instant, Fault)> = Vec::new();
        let mut faults = Faults::new(self.seed).peekable();
        let mut last = Instant::now();
        while Instant::now() < end {
            interrupt::check()?;
            stack.watch()?;
            if load.has_ended() {
                bail!("brink-load ended by itself");
            }
            let now = Instant::now();
            let (over, still): (Vec<_>, Vec<_>) =
                active.into_iter().partition(|(at, _)| *at <= now);
            active = still;
            for (_, fault) in over {
                self.undo(fault, network, stack, load)?;
            }
            let due = |planned: &Planned| last + Duration::from_millis(planned.pause_ms) <= now;
            if !self.calm
                && let Some(planned) = faults.next_if(due)
            {
                last = now;
                let subject = planned.fault.subject();
                if active.iter().all(|(_, fault)| fault.subject() != subject) {
                    self.begin(planned.fault, network, stack, load)?;
                    *counts.entry(planned.fault.kind()).or_default() += 1;
                    let ends = now + Duration::from_millis(planned.lasts_ms);
                    active.push((ends, planned.fault));
                }
            }
            thread::sleep(TICK);
        }
        for (_, fault) in active {
            self.undo(fault, network, stack, load)?;
        }
        for name in stack::names() {
            stack.ready(name)?;
        }
        Ok(counts)
    }

    fn begin(
        &self,
        fault: Fault,
        network: &mut Network,
        stack: &mut Stack,
        load: &mut Talk,
    ) -> Result<()> {
        load.say(&json!({"note": fault.to_string()}))?;
        match fault {
            Fault::Cut(pop) => network.cut(CORE, pop, true),
            Fault::CutFromCore(pop) => network.cut(CORE, pop, false),
            Fault::CutToCore(pop) => network.cut(pop, CORE, false),
            Fault::Slow(pop, ms) => network.weather(pop, Weather::Slow(ms)),
            Fault::Lossy(pop, percent) => network.weather(pop, Weather::Lossy(percent)),
            Fault::Kill(name) => {
                stack.kill(name);
                Ok(())
            }
            Fault::Hold(name) => {
                stack.hold(name, true);
                Ok(())
            }
        }
    }

    fn undo(
        &self,
        fault: Fault,
        network: &mut Network,
        stack: &mut Stack,
        load: &mut Talk,
    ) -> Result<()> {
        load.say(&json!({"note": format!("over: {fault}")}))?;
        match fault {
            Fault::Cut(pop) | Fault::CutFromCore(pop) | Fault::CutToCore(pop) => {
                network.heal(CORE, pop)
            }
            Fault::Slow(pop, _) | Fault::Lossy(pop, _) => network.weather(pop, Weather::Calm),
            Fault::Kill(name) if !stack.runs(name) => stack.launch(network, name),
            Fault::Kill(_) => Ok(()),
            Fault::Hold(name) => {
                stack.hold(name, false);
                Ok(())
            }
        }
    }
}
