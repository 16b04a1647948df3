//! Rust's standard library for guests: the toolchain's own target, or a compiler that brings the library's source.
//!
//! `brink build` finds out by itself which of them is there.

use super::find;
use crate::{launch, step::Steps};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

const TARGET: &str = "wasm32-unknown-unknown";
/// Where distributions put a compiler that is not rustup's.
const SYSTEM_RUSTC: &str = "/usr/bin/rustc";

pub(super) fn lack(root: &Path) -> Option<String> {
    let Some(sysroot) = sysroot(root, Path::new("rustc")) else {
        return Some("`rustc --print sysroot` failed".to_owned());
    };
    if sysroot
        .join("lib/rustlib")
        .join(TARGET)
        .join("lib")
        .is_dir()
    {
        return None;
    }
    let own = sysroot.join("lib/rustlib/src/rust/library/std/Cargo.toml");
    let system = sysroot_of_system(root)
        .map(|sysroot| sysroot.join("lib/rustlib/src/rust/library/std/Cargo.toml"));
    if !own.exists() && !system.is_some_and(|library| library.exists()) {
        return Some("neither the target nor the library's source is installed".to_owned());
    }
    let host = std::env::consts::ARCH;
    let lld = sysroot.join(format!("lib/rustlib/{host}-unknown-linux-gnu/bin/rust-lld"));
    (!lld.exists() && find("wasm-ld").is_none())
        .then(|| "there is no rust-lld and no wasm-ld".to_owned())
}

/// Tries rustup; whether that worked shows [`lack`].
pub(super) fn add_target(root: &Path, steps: &Steps) {
    if find("rustup").is_none() {
        return;
    }
    let mut command = Command::new("rustup");
    command.current_dir(root).args(["target", "add", TARGET]);
    let outcome = steps.run("rustup target add", || {
        launch::run(&launch::launcher(), "rustup", &command, None)
    });
    if let Err(error) = outcome {
        steps.say(&format!(
            "rustup has no target to give here ({error:#}); trying the system's packages"
        ));
    }
}

fn sysroot(root: &Path, rustc: &Path) -> Option<PathBuf> {
    let output = Command::new(rustc)
        .current_dir(root)
        .args(["--print", "sysroot"])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(text.trim()))
}

fn sysroot_of_system(root: &Path) -> Option<PathBuf> {
    let rustc = Path::new(SYSTEM_RUSTC);
    rustc.exists().then(|| sysroot(root, rustc))?
}
