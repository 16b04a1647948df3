//! Where Rust's standard library for `wasm32-unknown-unknown` comes from on this machine.
//!
//! First: the toolchain has the target installed. Second: rustup can install it. Third: a compiler with the library's source
//! (Debian's `rustc-web` and `rust-web-src`, or a toolchain with the component `rust-src`) builds it along with the project.
//! Otherwise the error says what to install.

use crate::error::Error;
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

/// The only target of pure components: it has no WASI, so they import what the WIT says and nothing else.
pub(super) const TARGET: &str = "wasm32-unknown-unknown";
/// Longest time that rustup gets to install the target.
const RUSTUP_TIME_MAX: Duration = Duration::from_secs(60);
/// For how long a failure of rustup is remembered.
const FAILURE_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Where distributions put a compiler that is not rustup's.
const SYSTEM_RUSTC: &str = "/usr/bin/rustc";

/// Which ways may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum StdChoice {
    /// The first that works: installed, rustup, source.
    #[default]
    Auto,
    /// Only a target that is installed.
    Installed,
    /// Only from source.
    Source,
}

/// The way that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StdLibrary {
    /// It is installed: nothing to do.
    Installed,
    /// It is built along with the project.
    Source {
        /// The compiler whose source there is.
        rustc: PathBuf,
        /// `rust-lld` or `wasm-ld`.
        linker: PathBuf,
    },
}

impl StdLibrary {
    /// Sets what cargo needs.
    pub(super) fn apply(&self, command: &mut Command) {
        match self {
            Self::Installed => {}
            Self::Source { rustc, linker } => {
                command.arg("-Zbuild-std=std,panic_abort");
                command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
                command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
            }
        }
    }
}

/// Finds a way for the project in `dir`.
///
/// # Errors
/// There is none; the text says what to install.
pub(super) fn find(dir: &Path, choice: StdChoice) -> Result<StdLibrary, Error> {
    let sysroot = sysroot(Path::new("rustc"), dir);
    if choice != StdChoice::Source && sysroot.as_deref().is_some_and(has_target) {
        return Ok(StdLibrary::Installed);
    }
    if choice == StdChoice::Auto
        && let Some(sysroot) = &sysroot
        && install_target(dir, sysroot)
        && has_target(sysroot)
    {
        return Ok(StdLibrary::Installed);
    }
    if choice != StdChoice::Installed
        && let Some(found) = from_source(dir, sysroot.as_deref())
    {
        return Ok(found);
    }
    Err(Error::Failed(advice(sysroot.is_some(), choice)))
}

fn advice(rustc: bool, choice: StdChoice) -> String {
    let rustup = if rustc {
        "with rustup:  rustup target add wasm32-unknown-unknown"
    } else {
        "with rustup:  install Rust from https://rustup.rs, then rustup target add wasm32-unknown-unknown"
    };
    let debian = "on Debian:    apt-get install rustc-web rust-web-src lld";
    let ways = match choice {
        StdChoice::Auto => format!("  {rustup}\n  {debian}"),
        StdChoice::Installed => format!("  {rustup}"),
        StdChoice::Source => format!("  {debian}"),
    };
    format!("Rust's standard library for {TARGET} is not on this machine. Get it\n{ways}")
}

/// The compiler's sysroot as it is for projects in `dir`; none if there is no such compiler.
fn sysroot(rustc: &Path, dir: &Path) -> Option<PathBuf> {
    let output = Command::new(rustc)
        .current_dir(dir)
        .args(["--print", "sysroot"])
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().into())
}

fn has_target(sysroot: &Path) -> bool {
    sysroot
        .join("lib/rustlib")
        .join(TARGET)
        .join("lib")
        .is_dir()
}

fn has_source(sysroot: &Path) -> bool {
    sysroot
        .join("lib/rustlib/src/rust/library/std/Cargo.toml")
        .is_file()
}

/// A compiler with source, and a linker for it.
fn from_source(dir: &Path, sysroot_here: Option<&Path>) -> Option<StdLibrary> {
    let candidates = [
        (PathBuf::from("rustc"), sysroot_here.map(Path::to_owned)),
        {
            let system = PathBuf::from(SYSTEM_RUSTC);
            let root = sysroot(&system, dir);
            (system, root)
        },
    ];
    let roots: Vec<PathBuf> = candidates
        .iter()
        .filter_map(|(_, root)| root.clone())
        .collect();
    let linker = linker(&roots, std::env::var_os("PATH"))?;
    candidates
        .into_iter()
        .find(|(_, root)| root.as_deref().is_some_and(has_source))
        .map(|(rustc, _)| StdLibrary::Source { rustc, linker })
}

/// `rust-lld` of one of the sysroots, else a linker on PATH.
fn linker(sysroots: &[PathBuf], path: Option<OsString>) -> Option<PathBuf> {
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let bundled = sysroots
        .iter()
        .map(|root| root.join("lib/rustlib").join(&host).join("bin/rust-lld"));
    let dirs: Vec<PathBuf> = path
        .map(|path| std::env::split_paths(&path).collect())
        .unwrap_or_default();
    let on_path = ["rust-lld", "wasm-ld"]
        .iter()
        .flat_map(|name| dirs.iter().map(move |dir| dir.join(name)));
    bundled.chain(on_path).find(|file| file.is_file())
}

/// Lets rustup install the target; whether it did. A failure is remembered for a day: machines without a network would
/// otherwise pay for it in every build.
fn install_target(dir: &Path, sysroot: &Path) -> bool {
    let remembered = failure_file(sysroot);
    if remembered.as_deref().is_some_and(is_recent) {
        return false;
    }
    let Ok(mut child) = Command::new("rustup")
        .current_dir(dir)
        .args(["target", "add", TARGET])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
    else {
        return false; // No rustup: nothing to remember either, looking is cheap.
    };
    eprintln!("Installing Rust's standard library for {TARGET} with rustup.");
    let begun = Instant::now();
    let installed = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status.success(),
            Ok(None) if begun.elapsed() < RUSTUP_TIME_MAX => {
                std::thread::sleep(Duration::from_millis(50))
            }
            Ok(None) | Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                break false;
            }
        }
    };
    if !installed {
        eprintln!("rustup could not install it; looking for other ways.");
        if let Some(file) = remembered {
            let _ = file.parent().map(std::fs::create_dir_all);
            let _ = std::fs::write(file, b"");
        }
    }
    installed
}

fn is_recent(file: &Path) -> bool {
    let modified = std::fs::metadata(file).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|at| {
        SystemTime::now()
            .duration_since(at)
            .is_ok_and(|age| age < FAILURE_LIFETIME)
    })
}

/// Where a failure for this toolchain is remembered: an empty file in the user's cache directory.
fn failure_file(sysroot: &Path) -> Option<PathBuf> {
    let cache = match std::env::var_os("XDG_CACHE_HOME") {
        Some(dir) if Path::new(&dir).is_absolute() => PathBuf::from(dir),
        _ => PathBuf::from(std::env::var_os("HOME")?).join(".cache"),
    };
    let toolchain = sysroot.file_name()?.to_string_lossy().into_owned();
    Some(
        cache
            .join("brink")
            .join(format!("rustup-failed-{toolchain}")),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn advice_names_what_to_install() {
        assert!(advice(true, StdChoice::Auto).contains("rustup target add"));
        assert!(advice(true, StdChoice::Auto).contains("rust-web-src"));
        assert!(advice(false, StdChoice::Installed).contains("rustup.rs"));
        assert!(!advice(true, StdChoice::Source).contains("rustup"));
    }

    #[test]
    fn linkers_are_looked_for_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = Some(dir.path().as_os_str().to_owned());
        assert_eq!(linker(&[dir.path().into()], path.clone()), None);
        std::fs::write(dir.path().join("wasm-ld"), "").unwrap();
        assert_eq!(
            linker(&[dir.path().into()], path.clone()),
            Some(dir.path().join("wasm-ld"))
        );
        let host = format!(
            "lib/rustlib/{}-unknown-linux-gnu/bin",
            std::env::consts::ARCH
        );
        std::fs::create_dir_all(dir.path().join(&host)).unwrap();
        let bundled = dir.path().join(host).join("rust-lld");
        std::fs::write(&bundled, "").unwrap();
        assert_eq!(linker(&[dir.path().into()], path), Some(bundled));
    }

    #[test]
    fn targets_and_sources_are_recognised() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!has_target(dir.path()) && !has_source(dir.path()));
        std::fs::create_dir_all(dir.path().join("lib/rustlib/wasm32-unknown-unknown/lib")).unwrap();
        std::fs::create_dir_all(dir.path().join("lib/rustlib/src/rust/library/std")).unwrap();
        std::fs::write(
            dir.path()
                .join("lib/rustlib/src/rust/library/std/Cargo.toml"),
            "",
        )
        .unwrap();
        assert!(has_target(dir.path()) && has_source(dir.path()));
    }
}
