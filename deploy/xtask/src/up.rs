//! `cargo xtask up`: a core and its PoPs on this machine, with modules and data, until Ctrl-C.

mod engine;
mod lines;

use crate::{
    binaries::{Binaries, Profile},
    curl::{self, Control},
    guests, interrupt, launch,
    launch::Running,
    platform::{self, Core, CorePorts, POP_NAMES, Pop, PopPorts, Site},
    samples, setup,
    step::Steps,
};
use anyhow::{Context, Result, bail};
use brink_engines::Cluster;
use serde_json::json;
use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// Ports that are used when they are free: the core's control API, link and admin pages.
const CORE_PORTS: CorePorts = CorePorts {
    control: 7443,
    link: 7444,
    admin: 7480,
};
/// The first PoP's; the next has the next.
const POP_PORTS: PopPorts = PopPorts {
    listen: 8443,
    admin: 9443,
};
/// The PoP that is a shield, and its ports.
const SHIELD: &str = "shield";
const SHIELD_PORTS: PopPorts = PopPorts {
    listen: 8543,
    admin: 9543,
};
/// Lies in a data folder that `up` made, and may remove.
const MARK: &str = ".brink-up";
/// What every PoP answers when it serves the sample modules: the plugin before `/partner` wants a key.
const SERVED: [(&str, u16); 4] = [
    ("/hello", 200),
    ("/inventory/warehouses", 200),
    ("/orders/C100000", 200),
    ("/partner", 401),
];
/// How long PoPs may take until they serve the sample modules.
const SERVE_WITHIN: Duration = Duration::from_secs(30);
/// How often the programs are looked at while they run.
const WATCH: Duration = Duration::from_millis(50);

/// Most cores.
const CORES_MAX: i64 = 4;

/// Arguments of `up`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How many PoPs
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=8))]
    pops: u8,
    /// Starts one more PoP as a shield: the others ask it before an origin
    #[arg(long)]
    shield: bool,
    /// How many cores; more than one need --store cql
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=CORES_MAX))]
    cores: u8,
    /// Where the core keeps its data; with --keep-data, the same as the last time
    #[arg(long, value_enum, default_value_t = engine::Store::Embedded)]
    store: engine::Store,
    /// Build with optimisation
    #[arg(long)]
    release: bool,
    /// Go on with the data of the last time; otherwise it is removed first
    #[arg(long)]
    keep_data: bool,
    /// Where data, identities and logs go
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
    /// Written when everything answers: JSON with addresses and the printed lines
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Build nothing: use the programs that lie beside this one, and the modules that were built last
    #[arg(long)]
    no_build: bool,
}

/// What runs.
struct Platform {
    /// The first has the authority and is the one that is controlled.
    core: Core,
    others: Vec<Core>,
    pops: Vec<Pop>,
    control: Control,
    engine: Option<Cluster>,
}

/// Sets up, builds, starts and fills everything; then waits to be stopped.
///
/// # Errors
/// A step fails, or a program ends by itself.
pub fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    if arguments.cores > 1 && arguments.store == engine::Store::Embedded {
        bail!(
            "--cores {} needs --store cql: an embedded store is one core's own",
            arguments.cores
        );
    }
    let steps = Steps::default();
    let ready_file = arguments
        .ready_file
        .as_ref()
        .map(std::path::absolute)
        .transpose()?;
    if let Some(file) = &ready_file {
        let _ = fs::remove_file(file);
    }
    let mut needs = setup::UP.to_vec();
    needs.extend(arguments.store.needs());
    setup::ensure(root, &steps, &needs)?;
    let (binaries, guests) = build(root, &steps, arguments)?;
    let site = Site {
        binaries,
        launcher: launch::launcher(),
        data: root.join(&arguments.data),
    };
    prepare(&site, arguments.keep_data)?;

    let mut platform = start(&site, &steps, arguments)?;
    let outcome = fill(&site, &steps, &platform, &guests).and_then(|()| {
        let lines = lines::all(&platform.control, &platform.pops);
        print(&site, &platform, &lines);
        if let Some(file) = &ready_file {
            write_ready(file, &site, &platform, &lines)?;
        }
        watch(&mut platform)
    });
    if let Some(file) = &ready_file {
        let _ = fs::remove_file(file);
    }
    stop(&steps, platform);
    match outcome {
        Err(_) if interrupt::requested() => Ok(()),
        outcome => outcome,
    }
}

fn build(root: &Path, steps: &Steps, arguments: &Arguments) -> Result<(Binaries, PathBuf)> {
    if arguments.no_build {
        return Ok((Binaries::beside_us()?, guests::folder(root)));
    }
    let profile = if arguments.release {
        Profile::Release
    } else {
        Profile::Dev
    };
    let binaries = Binaries::build(root, steps, profile)?;
    let guests = guests::build(root, steps, &binaries.brink)?;
    Ok((binaries, guests))
}

/// Removes the data of the last time, unless it is to be kept or is not ours.
fn prepare(site: &Site, keep: bool) -> Result<()> {
    let mark = site.data.join(MARK);
    if site.data.exists() && !keep {
        let empty = fs::read_dir(&site.data)?.next().is_none();
        if !empty && !mark.exists() {
            bail!(
                "{} was not made by `cargo xtask up`: it is not removed; say --data DIR",
                site.data.display()
            );
        }
        fs::remove_dir_all(&site.data)
            .with_context(|| format!("{} cannot be removed", site.data.display()))?;
    }
    site.prepare()?;
    fs::write(
        &mark,
        "`cargo xtask up` removes this folder when it starts again.\n",
    )?;
    Ok(())
}

fn start(site: &Site, steps: &Steps, arguments: &Arguments) -> Result<Platform> {
    let names = POP_NAMES
        .get(..usize::from(arguments.pops))
        .context("too many PoPs")?;
    let engine = engine::start(site, steps, arguments.store)?;
    let others = other_cores(site, arguments)?;
    let core = steps.run("start the core", || {
        site.start_core(CorePorts {
            control: platform::free_or_any(CORE_PORTS.control),
            link: platform::free_or_any(CORE_PORTS.link),
            admin: platform::free_or_any(CORE_PORTS.admin),
        })
    })?;
    let others = others
        .iter()
        .map(|name| {
            steps.run(&format!("start {name}"), || {
                site.start_core_named(name, CorePorts::default())
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let links: Vec<_> = std::iter::once(&core)
        .chain(&others)
        .map(|core| core.link)
        .collect();
    let mut shield = None;
    let mut asks = String::new();
    if arguments.shield {
        let (started, address) = steps.run("start the shield", || start_shield(site, &links))?;
        asks = format!("[shield]\naddresses = [\"{address}\"]\n");
        shield = Some(started);
    }
    let mut pops = steps.run(&format!("start the PoPs {}", names.join(", ")), || {
        let mut starting = Vec::new();
        for (name, offset) in names.iter().zip(0..) {
            site.issue(name)?;
            fs::write(site.pop_config(name), &asks)?;
            let ports = PopPorts {
                listen: platform::free_or_any(POP_PORTS.listen + offset),
                admin: platform::free_or_any(POP_PORTS.admin + offset),
            };
            starting.push(site.launch_pop(name, &links, ports)?);
        }
        starting
            .into_iter()
            .map(platform::StartingPop::wait)
            .collect::<Result<Vec<_>>>()
    })?;
    pops.extend(shield);
    let control = site.control(&core)?;
    Ok(Platform {
        core,
        others,
        pops,
        control,
        engine,
    })
}

/// Starts a PoP that is a shield for the others; gives what they call it.
fn start_shield(site: &Site, links: &[SocketAddr]) -> Result<(Pop, String)> {
    site.issue(SHIELD)?;
    let text = "[shield]\nlisten = \"127.0.0.1:0\"\n";
    fs::write(site.pop_config(SHIELD), text)?;
    let ports = PopPorts {
        listen: platform::free_or_any(SHIELD_PORTS.listen),
        admin: platform::free_or_any(SHIELD_PORTS.admin),
    };
    let shield = site.launch_pop(SHIELD, links, ports)?.wait()?;
    let ready = fs::read(site.data.join(format!("{SHIELD}.ready.json")))?;
    let ready: serde_json::Value = serde_json::from_slice(&ready)?;
    let address: SocketAddr = ready
        .get("shield")
        .and_then(serde_json::Value::as_str)
        .context("the shield does not say where it listens")?
        .parse()?;
    Ok((shield, format!("localhost:{}", address.port())))
}

/// The names of the cores beside the first; their certificates and configurations are made.
fn other_cores(site: &Site, arguments: &Arguments) -> Result<Vec<String>> {
    let names: Vec<_> = (2..=arguments.cores).map(|n| format!("core-{n}")).collect();
    for name in &names {
        // Where the data of the last time goes on they are there.
        if !site.data.join(name).exists() {
            site.issue_core(name)?;
        }
        let text = fs::read_to_string(site.core_config())?;
        fs::write(
            site.data.join(format!("{name}.toml")),
            format!("node = \"{name}\"\n{text}"),
        )?;
    }
    Ok(names)
}

fn fill(site: &Site, steps: &Steps, platform: &Platform, guests: &Path) -> Result<()> {
    if samples::are_imported(&platform.control)? {
        steps.say("the sample data of the last time is kept, with what became of it");
    } else {
        steps.run("import the sample data", || {
            let count = samples::import(&platform.control)?;
            steps.say(&format!("{count} records"));
            Ok(())
        })?;
    }
    steps.run("publish and deploy the sample modules", || {
        samples::deploy(site, &platform.control, guests)
    })?;
    steps.run("wait until every PoP serves them", || {
        for pop in &platform.pops {
            for (path, expected) in SERVED {
                let url = format!("{}{path}", pop.url());
                platform::wait_for(&url, SERVE_WITHIN, || {
                    let answer = curl::status(&url, Some(&platform.control.ca));
                    Ok(answer.ok().filter(|(status, _)| *status == expected))
                })?;
            }
        }
        Ok(())
    })
}

/// Waits until somebody asks to stop or a program ends by itself.
fn watch(platform: &mut Platform) -> Result<()> {
    while !interrupt::requested() {
        let running = platform.pops.iter_mut().map(|pop| &mut pop.running);
        let others = platform.others.iter_mut().map(|core| &mut core.running);
        for running in running.chain([&mut platform.core.running]).chain(others) {
            if let Some(status) = running.ended()? {
                bail!("{}", running.obituary(status));
            }
        }
        if let Some(obituary) = platform.engine.as_mut().and_then(Cluster::ended) {
            bail!("{obituary}");
        }
        thread::sleep(WATCH);
    }
    Ok(())
}

fn stop(steps: &Steps, platform: Platform) {
    let begun = Instant::now();
    steps.say("stopping: PoPs first, then the core");
    let engine = platform.engine;
    let pops: Vec<Running> = platform.pops.into_iter().map(|pop| pop.running).collect();
    let cores = std::iter::once(platform.core).chain(platform.others);
    let cores = cores.map(|core| core.running).collect();
    let killed = launch::stop(vec![pops, cores]);
    if !killed.is_empty() {
        steps.say(&format!("had to be killed: {}", killed.join(", ")));
    }
    if let Some(engine) = engine {
        engine.stop(engine::STOP_WITHIN);
    }
    steps.say(&format!(
        "everything has ended, in {:.1} s",
        begun.elapsed().as_secs_f64()
    ));
}

fn print(site: &Site, platform: &Platform, lines: &[lines::Line]) {
    let mut text = String::from("\nBrink runs.\n\n");
    for pop in &platform.pops {
        let _ = writeln!(
            text,
            "  PoP {}   {} (HTTP/1.1, HTTP/2, HTTP/3)   http://{}/metrics",
            pop.name,
            pop.url(),
            pop.admin
        );
    }
    for core in &platform.others {
        let _ = writeln!(
            text,
            "  {}    https://localhost:{}/v1   http://{}/metrics",
            core.running.name,
            core.control.port(),
            core.admin
        );
    }
    let _ = writeln!(
        text,
        "  control   {}/v1   http://{}/metrics\n  store     {}\n  authority {}\n  token     {}\n  logs      {}\n\nTry:\n",
        platform.control.url,
        platform.core.admin,
        engine::named(platform.engine.as_ref()),
        site.ca().display(),
        site.token_file().display(),
        site.data.join("logs").display(),
    );
    for line in lines {
        let _ = writeln!(text, "# {}\n{}\n", line.shows, line.command);
    }
    text.push_str("Ctrl-C stops everything.\n");
    print!("{text}");
}

fn write_ready(file: &Path, site: &Site, platform: &Platform, lines: &[lines::Line]) -> Result<()> {
    let pops: Vec<_> = platform
        .pops
        .iter()
        .map(|pop| {
            json!({
                "name": pop.name, "url": pop.url(), "h3": format!("https://localhost:{}", pop.quic.port()),
                "admin": format!("http://{}", pop.admin),
            })
        })
        .collect();
    let commands: Vec<&str> = lines.iter().map(|line| line.command.as_str()).collect();
    let ready = json!({
        "control": platform.control.url, "ca": site.ca(), "token_file": site.token_file(),
        "pops": pops, "try": commands, "store": engine::named(platform.engine.as_ref()),
    });
    let text = serde_json::to_string_pretty(&ready)?;
    // Written whole or not at all: who waits for it must never read a part.
    let part = file.with_extension("part");
    fs::write(&part, text).with_context(|| format!("{} cannot be written", part.display()))?;
    fs::rename(&part, file).with_context(|| format!("{} cannot be written", file.display()))
}
