//! Runs cargo for `wasm32-unknown-unknown` and finds what it wrote.

use super::{
    Options,
    std_library::{self, TARGET},
};
use crate::error::Error;
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What to build.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// `Cargo.toml` of the package or workspace.
    pub(super) manifest_path: PathBuf,
    /// Which packages; empty: the default ones.
    pub(super) packages: Vec<String>,
}

/// A core module that cargo wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CoreModule {
    /// The Cargo package.
    pub(super) package: String,
    /// The `.wasm` file.
    pub(super) path: PathBuf,
}

/// Builds. Cargo's own messages go to standard error as they come.
///
/// # Errors
/// There is no manifest, no cargo, no standard library for the target, or the build failed.
pub(super) fn build(wanted: &Wanted, options: Options) -> Result<Vec<CoreModule>, Error> {
    if !wanted.manifest_path.is_file() {
        return Err(Error::Usage(format!(
            "{} does not exist",
            wanted.manifest_path.display()
        )));
    }
    let manifest_path = std::path::absolute(&wanted.manifest_path)
        .map_err(|error| Error::failed(wanted.manifest_path.display(), error))?;
    let dir = manifest_path.parent().unwrap_or(Path::new("/"));
    let std_library = std_library::find(dir, options.std)?;
    let mut command = Command::new("cargo");
    // The project's own directory: its rust-toolchain.toml and .cargo/config.toml count.
    command.current_dir(dir).args([
        "build",
        "--lib",
        "--target",
        TARGET,
        "--message-format=json-render-diagnostics",
    ]);
    command.arg("--manifest-path").arg(&manifest_path);
    if !options.debug {
        command.arg("--release");
    }
    for package in &wanted.packages {
        command.args(["--package", package]);
    }
    std_library.apply(&mut command);
    // Set for the tool that runs us, not for guests.
    for name in [
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO_BUILD_TARGET",
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTFLAGS",
    ] {
        command.env_remove(name);
    }
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                Error::Failed("cargo is not on PATH: install Rust from https://rustup.rs".into())
            }
            _ => Error::failed("cargo did not start", error),
        })?;
    if !output.status.success() {
        return Err(Error::Failed(
            "cargo build failed; its messages are above".into(),
        ));
    }
    Ok(modules(&String::from_utf8_lossy(&output.stdout)))
}

/// The core modules among cargo's messages.
fn modules(messages: &str) -> Vec<CoreModule> {
    messages
        .lines()
        .filter_map(|line| module(&serde_json::from_str(line).ok()?))
        .collect()
}

fn module(message: &Value) -> Option<CoreModule> {
    let cdylib = |value: &Value| {
        value
            .as_array()
            .is_some_and(|types| types.iter().any(|kind| kind == "cdylib"))
    };
    if message.get("reason")? != "compiler-artifact"
        || !cdylib(message.get("target")?.get("crate_types")?)
    {
        return None;
    }
    let files = message.get("filenames")?.as_array()?;
    let path = files
        .iter()
        .filter_map(Value::as_str)
        .find(|file| file.ends_with(".wasm"))?;
    Some(CoreModule {
        package: package_name(message.get("package_id")?.as_str()?)?,
        path: path.into(),
    })
}

/// The package's name in a package id specification: `path+file:///a/hello#0.1.0`, `path+file:///a/b#hello@0.1.0`.
fn package_name(id: &str) -> Option<String> {
    let (source, fragment) = id.rsplit_once('#')?;
    match fragment.split_once('@') {
        Some((name, _)) => Some(name.to_owned()),
        None => source.rsplit('/').next().map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn package_names() {
        for (id, name) in [
            ("path+file:///a/hello#0.1.0", Some("hello")),
            ("path+file:///a/b#hello-x@0.1.0", Some("hello-x")),
            ("nonsense", None),
        ] {
            assert_eq!(package_name(id).as_deref(), name);
        }
    }

    #[test]
    fn modules_are_found_among_messages() {
        let messages = r##"
{"reason":"compiler-artifact","package_id":"registry+x#serde@1.0.0","target":{"crate_types":["lib"]},"filenames":["/t/libserde.rlib"]}
not json
{"reason":"compiler-artifact","package_id":"path+file:///a/hello#0.1.0","target":{"crate_types":["cdylib","rlib"]},"filenames":["/t/libhello.rlib","/t/hello.wasm"]}
{"reason":"build-finished","success":true}"##;
        assert_eq!(
            modules(messages),
            [CoreModule {
                package: "hello".into(),
                path: "/t/hello.wasm".into()
            }]
        );
    }
}
