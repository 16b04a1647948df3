//! `brink build`: from sources to a component.

mod cargo;
mod component;
mod npm;
mod std_library;

pub(crate) use std_library::StdChoice;

use crate::{
    error::Error,
    inspect::{self, Inspection},
    project::{Language, Project},
};
use brink_protocol::{Digest, deployment::World};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// How to build.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// Without optimisation, with function names and debug information.
    pub(crate) debug: bool,
    /// Keep the names of functions, for backtraces.
    pub(crate) names: bool,
    /// Where Rust's standard library comes from.
    pub(crate) std: StdChoice,
}

/// A component that was built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Built {
    /// The module's or package's name.
    pub(crate) name: String,
    /// Where it was written.
    pub(crate) path: PathBuf,
    /// What it exports.
    pub(crate) world: World,
    /// Its content address.
    pub(crate) digest: Digest,
    /// Its size.
    pub(crate) size_bytes: u64,
}

/// Builds a project into `target/brink/NAME.wasm`.
///
/// # Errors
/// A tool is missing (which, and how to get it), the build failed, or what was built is no component that Brink runs.
pub(crate) fn project(project: &Project, options: Options) -> Result<Built, Error> {
    let manifest = &project.manifest;
    let to = project.component();
    let bytes = match manifest.language {
        Language::Rust => {
            let package = manifest
                .package
                .as_deref()
                .unwrap_or(manifest.name.as_str());
            let wanted = cargo::Wanted {
                manifest_path: project.dir.join("Cargo.toml"),
                packages: vec![package.to_owned()],
            };
            let modules = cargo::build(&wanted, options)?;
            let module = modules.first().ok_or_else(|| no_module(package))?;
            component::of_core_module(&module.path, options)?
        }
        Language::JavaScript => npm::build(project)?,
    };
    finish(manifest.name.as_str(), &to, &bytes)
}

/// Builds packages of a Cargo workspace in one run, each into `out/PACKAGE.wasm`. No packages: all that are `cdylib`s.
///
/// # Errors
/// As [`project`].
pub(crate) fn packages(
    manifest_path: &Path,
    packages: &[String],
    out: &Path,
    options: Options,
) -> Result<Vec<Built>, Error> {
    let wanted = cargo::Wanted {
        manifest_path: manifest_path.to_owned(),
        packages: packages.to_vec(),
    };
    let mut modules = cargo::build(&wanted, options)?;
    // Cargo tells them in the order in which they were finished.
    modules.sort_by(|a, b| a.package.cmp(&b.package));
    if let Some(missing) = packages
        .iter()
        .find(|name| !modules.iter().any(|module| module.package == **name))
    {
        return Err(no_module(missing));
    }
    if modules.is_empty() {
        return Err(no_module(&manifest_path.display().to_string()));
    }
    modules
        .iter()
        .map(|module| {
            let bytes = component::of_core_module(&module.path, options)?;
            finish(
                &module.package,
                &out.join(format!("{}.wasm", module.package)),
                &bytes,
            )
        })
        .collect()
}

fn no_module(package: &str) -> Error {
    Error::Failed(format!(
        "{package}: the build made no WebAssembly module. Its Cargo.toml needs\n\n    [lib]\n    crate-type = [\"cdylib\"]\n"
    ))
}

/// Checks the component and writes it whole or not at all.
fn finish(name: &str, to: &Path, bytes: &[u8]) -> Result<Built, Error> {
    let inspection = inspect::inspect(bytes).map_err(|cause| Error::failed(name, cause))?;
    let world = inspection
        .world
        .ok_or_else(|| Error::Failed(no_world(name, &inspection)))?;
    write_whole(to, bytes)?;
    Ok(Built {
        name: name.to_owned(),
        path: to.to_owned(),
        world,
        digest: inspection.digest,
        size_bytes: inspection.size_bytes,
    })
}

fn no_world(name: &str, inspection: &Inspection) -> String {
    let exports: Vec<_> = inspection
        .exports
        .iter()
        .map(|export| export.name.as_str())
        .collect();
    let exports = if exports.is_empty() {
        "nothing".to_owned()
    } else {
        exports.join(", ")
    };
    format!(
        "{name}: the component exports {exports}. Brink runs components that export wasi:http/incoming-handler@0.2 (a module), \
         `execute` (a command), or `on-request` and `on-response` (a plugin). A Rust module says so with the macros of brink_sdk; \
         see `brink new x --template rust`."
    )
}

/// Writes beside the file and renames, so that a reader sees the old or the new one.
fn write_whole(to: &Path, bytes: &[u8]) -> Result<(), Error> {
    let wrong = |error: std::io::Error| {
        Error::failed(format_args!("{} cannot be written", to.display()), error)
    };
    let dir = to
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).map_err(wrong)?;
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(wrong)?;
    std::io::Write::write_all(&mut file, bytes).map_err(wrong)?;
    readable_by_all(file.path()).map_err(wrong)?;
    file.persist(to)
        .map(drop)
        .map_err(|error| wrong(error.error))
}

/// A temporary file is the owner's alone; a component is no secret.
fn readable_by_all(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))
}
