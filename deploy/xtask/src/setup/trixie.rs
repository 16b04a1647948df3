//! Programs of Debian 13 (trixie), beside whatever runs here: its nginx and HAProxy speak HTTP/3, and all are newer.
//!
//! Their packages, and all that these depend on, libc too, are fetched by `apt-get` with a state of its own and unpacked into
//! one folder. Nothing of the system is changed, and no root is needed. What is in the folder runs by the folder's own loader.

use super::{find, state_folder};
use crate::launch;
use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What is fetched.
const PACKAGES: [&str; 3] = ["nginx", "haproxy", "varnish"];
/// What they depend on and is not fetched: the C compiler that Varnish calls is the system's.
const ASSUMED: [&str; 5] = [
    "binutils",
    "gcc",
    "gcc-x86-64-linux-gnu",
    "libc6-dev",
    "systemd-standalone-sysusers",
];
/// Part of the folder's name: to be raised when what is fetched changes.
const VERSION: u32 = 1;
/// Debian's keys, of its package `debian-archive-keyring`.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Written last: without it the folder is not whole.
const COMPLETE: &str = "complete";

/// The folder with the unpacked programs; none if they are not fetched yet.
#[must_use]
pub fn trixie() -> Option<PathBuf> {
    let folder = folder().ok()?;
    folder.join(COMPLETE).exists().then(|| folder.join("root"))
}

pub(super) fn lack() -> Option<String> {
    trixie()
        .is_none()
        .then(|| "they are not fetched yet".to_owned())
}

fn folder() -> Result<PathBuf> {
    Ok(state_folder()?.join(format!("trixie-{VERSION}")))
}

/// Fetches and unpacks. `apt-get` holds each package against Debian's signature.
pub(super) fn fetch() -> Result<()> {
    if find("apt-get").is_none() || find("dpkg-deb").is_none() {
        bail!("only `apt-get` and `dpkg-deb` can fetch Debian's packages");
    }
    let folder = folder()?;
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("{} cannot be removed", folder.display()))?;
    }
    let apt = folder.join("apt");
    let write = |name: &str, text: &str| -> Result<()> {
        let path = apt.join(name);
        fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))
    };
    for part in ["state/lists/partial", "cache/archives/partial", "sources"] {
        let part = apt.join(part);
        fs::create_dir_all(&part).with_context(|| format!("{} cannot be made", part.display()))?;
    }
    // Nothing else is installed: so everything that the programs need is fetched.
    write("status", &ASSUMED.map(installed).concat())?;
    let sources = format!(
        "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: trixie\nComponents: main\nSigned-By: {KEYS}\n"
    );
    write("sources/trixie.sources", &sources)?;
    write("apt.conf", &settings(&apt))?;
    let log = folder.join("apt.log");
    let run = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command
            .args(arguments)
            .env("APT_CONFIG", apt.join("apt.conf"))
            .env("DEBIAN_FRONTEND", "noninteractive");
        launch::run(&launch::launcher(), "apt-get", &command, Some(&log))
    };
    run(&["update"])?;
    let download = ["install", "--yes", "--download-only"];
    run(&[&download[..], &PACKAGES].concat())?;
    unpack(&apt.join("cache/archives"), &folder.join("root"))?;
    fs::remove_dir_all(&apt).with_context(|| format!("{} cannot be removed", apt.display()))?;
    fs::write(folder.join(COMPLETE), "").context("the folder cannot be marked as whole")
}

/// An entry of dpkg's list of packages.
fn installed(package: &str) -> String {
    format!(
        "Package: {package}\nStatus: install ok installed\nArchitecture: amd64\nVersion: 9999\n\
         Maintainer: nobody\nDescription: taken from the system\n\n"
    )
}

/// A state apart from the system's; its settings of proxies and mirrors are kept.
fn settings(apt: &Path) -> String {
    let apt = apt.display();
    format!(
        "Dir::State \"{apt}/state\";\n\
         Dir::State::status \"{apt}/status\";\n\
         Dir::Cache \"{apt}/cache\";\n\
         Dir::Etc::sourcelist \"/dev/null\";\n\
         Dir::Etc::sourceparts \"{apt}/sources\";\n\
         Dir::Etc::preferences \"/dev/null\";\n\
         Dir::Etc::preferencesparts \"/dev/null\";\n\
         APT::Install-Recommends \"false\";\n\
         APT::Sandbox::User \"\";\n"
    )
}

fn unpack(archives: &Path, into: &Path) -> Result<()> {
    let entries =
        fs::read_dir(archives).with_context(|| format!("{} cannot be read", archives.display()))?;
    for entry in entries {
        let archive = entry.context("a package cannot be read")?.path();
        if archive
            .extension()
            .is_none_or(|extension| extension != "deb")
        {
            continue;
        }
        let mut command = Command::new("dpkg-deb");
        command.arg("--extract").arg(&archive).arg(into);
        launch::run(&launch::launcher(), "dpkg-deb", &command, None)?;
    }
    Ok(())
}
