//! A core and three PoPs as real processes, each at its own place of the network, killed and started again.

use super::{
    network::{CONTROL, CORE, LINK, LISTEN, Network, OPS, ORIGIN, POPS, Place},
    settings::Run,
};
use crate::{
    binaries::Binaries, curl::Control, guests, launch::Running, platform, platform::Site, samples,
};
use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long a program may take until it answers everywhere.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// Modules that clients use, with what they may use.
const MODULES: [(&str, &[&str]); 4] = [
    ("register", &[]),
    ("inventory", &[]),
    ("place-order", &["--grant", "clock"]),
    ("orders", &["--grant", "clock", "--grant", "random"]),
];

/// The processes. Those that are down are not in the map.
pub(super) struct Stack {
    site: Site,
    running: BTreeMap<String, Running>,
    config: PathBuf,
}

/// Names of all that runs.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    std::iter::once(CORE).chain(POPS.iter().map(|(name, _)| *name))
}

impl Stack {
    /// Starts everything in the folder of the run and waits until it answers.
    pub(super) fn start(network: &Network, run: &Run) -> Result<Self> {
        let (binaries, folder) = (&run.binaries, run.folder.as_path());
        let core = network.place(CORE)?;
        let site = Site {
            binaries: Binaries {
                brink: folder.join("brink.sh"),
                ..binaries.clone()
            },
            launcher: run.launcher.clone(),
            data: folder.to_owned(),
        };
        site.prepare()?;
        // The operator's commands run beside the core: nothing outside the network reaches it.
        let words = [core.enter().join(" "), quoted(&binaries.brink)].join(" ");
        fs::write(
            &site.binaries.brink,
            format!("#!/bin/sh\nexec {words} \"$@\"\n"),
        )?;
        fs::set_permissions(&site.binaries.brink, fs::Permissions::from_mode(0o755))?;
        let config = folder.join("core.toml");
        fs::write(&config, core_config(core, run.lease_ms))?;
        let mut stack = Self {
            site,
            running: BTreeMap::new(),
            config,
        };
        stack.launch(network, CORE)?;
        stack.ready(CORE)?;
        for (pop, _) in POPS {
            stack.site.issue(pop)?;
            stack.launch(network, pop)?;
        }
        for (pop, _) in POPS {
            stack.ready(pop)?;
        }
        Ok(stack)
    }

    /// Starts a program without waiting for it.
    pub(super) fn launch(&mut self, network: &Network, name: &str) -> Result<()> {
        let place = network.place(name)?;
        let ready = self.ready_file(name);
        let _ = fs::remove_file(&ready);
        let command = if name == CORE {
            let mut command = place.command(&self.site.binaries.core);
            command.arg("run").arg("--config").arg(&self.config);
            command.arg("--data").arg(self.site.core_data());
            command
        } else {
            let identity = self.site.identity(name);
            let mut command = place.command(&self.site.binaries.edge);
            command.args(["run", "--pop", name, "--admin", "127.0.0.1:0"]);
            command.arg("--listen").arg(place.at(LISTEN).to_string());
            command
                .arg("--core")
                .arg(place.reach(CORE, LINK)?.to_string());
            command.arg("--data").arg(self.site.pop_data(name));
            command
                .arg("--certificate")
                .arg(identity.join("server.pem"));
            command.arg("--key").arg(identity.join("server.key"));
            command.arg("--identity").arg(&identity);
            command
        };
        let mut command = command;
        command.arg("--ready-file").arg(&ready);
        let log = self.site.log(name);
        let running = Running::start(&self.site.launcher, name, &command, Some(&log))?;
        self.running.insert(name.to_owned(), running);
        Ok(())
    }

    fn ready_file(&self, name: &str) -> PathBuf {
        self.site.data.join(format!("{name}.ready.json"))
    }

    /// Waits until a program answers.
    pub(super) fn ready(&mut self, name: &str) -> Result<()> {
        let file = self.ready_file(name);
        platform::wait_for(&format!("{name} to answer"), READY_WITHIN, || {
            self.watch()?;
            Ok(file.is_file().then_some(()))
        })
    }

    /// Ends with an error when a program ended that nobody killed.
    pub(super) fn watch(&mut self) -> Result<()> {
        for running in self.running.values_mut() {
            if let Some(status) = running.ended()? {
                bail!("{}", running.obituary(status));
            }
        }
        Ok(())
    }

    /// Kills a program as a power failure would.
    pub(super) fn kill(&mut self, name: &str) {
        if let Some(mut running) = self.running.remove(name) {
            running.kill();
        }
    }

    /// Whether it runs.
    pub(super) fn runs(&self, name: &str) -> bool {
        self.running.contains_key(name)
    }

    /// Holds a program, or lets it go on, as a busy host would.
    pub(super) fn hold(&self, name: &str, held: bool) {
        if let Some(running) = self.running.get(name) {
            running.signal(if held { Signal::STOP } else { Signal::CONT });
        }
    }

    /// Publishes and deploys what clients use.
    pub(super) fn deploy(&self, network: &Network, components: &Path) -> Result<()> {
        let control = self.control(network)?;
        let brink = |arguments: &[&str]| samples::brink(&self.site, &control, arguments);
        for (name, options) in MODULES {
            let component = guests::component(components, name)?;
            let component = component.to_str().context("a path that is not UTF-8")?;
            brink(&["publish", component, "--name", name])?;
            brink(&[&["deploy", name, "--no-wait"], options].concat())?;
        }
        let origin = format!("http://{}", network.place(OPS)?.at(ORIGIN));
        brink(&["routes", "set", "/site", "--origin", &origin])?;
        Ok(())
    }

    fn control(&self, network: &Network) -> Result<Control> {
        Ok(Control {
            url: format!("https://{}", network.place(CORE)?.at(CONTROL)),
            ca: self.site.ca(),
            header_file: PathBuf::new(),
        })
    }

    /// What the clients have to know of it.
    pub(super) fn described(&self, network: &Network) -> Result<Value> {
        let ops = network.place(OPS)?;
        let mut pops = Vec::new();
        for (name, _) in POPS {
            pops.push(json!({"name": name, "address": ops.reach(name, LISTEN)?}));
        }
        Ok(json!({
            "pops": pops,
            "control": ops.reach(CORE, CONTROL)?,
            "ca": self.site.ca(),
            "token_file": self.site.token_file(),
            "origin": ops.at(ORIGIN),
        }))
    }
}

/// The core's configuration.
fn core_config(core: &Place, lease_ms: Option<u64>) -> String {
    let mut text = format!(
        "names = [\"{}\"]\n[control]\nlisten = \"{}\"\n[link]\nlisten = \"{}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n",
        core.address,
        core.at(CONTROL),
        core.at(LINK),
    );
    if let Some(lease_ms) = lease_ms {
        text.push_str(&format!("[feed]\nlease_ms = {lease_ms}\n"));
    }
    text
}

/// A word of a shell's command line.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}
