//! Packs templates, the Rust SDK and the WIT into the program, so that `brink new` needs nothing else.
//!
//! The SDK's manifest inherits from this repository's workspace; the packed one stands alone, with the same versions.

use std::{
    error::Error,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};
use toml::{Table, Value};

fn main() -> Result<(), Box<dyn Error>> {
    let here = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let root = here
        .ancestors()
        .nth(2)
        .ok_or("the crate lies two levels below the root")?
        .to_owned();
    let out = PathBuf::from(std::env::var("OUT_DIR")?);

    let rust_templates = root.join("sdk/rust/template");
    let mut sdk = Vec::new();
    collect(
        &root.join("sdk/rust/src"),
        Path::new("sdk/rust/src"),
        &mut sdk,
    )?;
    collect(&root.join("wit"), Path::new("wit"), &mut sdk)?;
    let manifest = out.join("sdk-Cargo.toml");
    fs::write(
        &manifest,
        standalone(&root.join("sdk/rust/Cargo.toml"), &root.join("Cargo.toml"))?,
    )?;
    sdk.push(("sdk/rust/Cargo.toml".into(), manifest));

    let mut code = String::new();
    for (name, files) in [
        ("RUST", all(&rust_templates.join("rust"))?),
        ("RUST_PLUGIN", all(&rust_templates.join("rust-plugin"))?),
        (
            "RUST_PROJECTION",
            all(&rust_templates.join("rust-projection"))?,
        ),
        ("RUST_WORKFLOW", all(&rust_templates.join("rust-workflow"))?),
        ("JS", all(&root.join("sdk/js/template"))?),
        ("WIT", all(&root.join("wit"))?),
        ("SDK", sdk),
    ] {
        writeln!(code, "const {name}: Packed = &[")?;
        for (path, file) in files {
            writeln!(
                code,
                "    ({path:?}, include_str!({:?})),",
                file.display().to_string()
            )?;
        }
        writeln!(code, "];")?;
    }
    fs::write(out.join("packed.rs"), code)?;
    Ok(())
}

fn all(dir: &Path) -> Result<Vec<(String, PathBuf)>, Box<dyn Error>> {
    let mut files = Vec::new();
    collect(dir, Path::new(""), &mut files)?;
    Ok(files)
}

/// The files below `dir` in order, each with its path below `prefix`. What tools leave behind is not taken.
fn collect(
    dir: &Path,
    prefix: &Path,
    files: &mut Vec<(String, PathBuf)>,
) -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={}", dir.display());
    let entries = fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        if ["target", "node_modules", "dist", "Cargo.lock"]
            .iter()
            .any(|left| name == *left)
        {
            continue;
        }
        let path = prefix.join(&name);
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &path, files)?;
        } else {
            println!("cargo::rerun-if-changed={}", entry.path().display());
            files.push((path.display().to_string(), entry.path()));
        }
    }
    Ok(())
}

/// The manifest at `path` with everything that it inherits from `workspace` written out.
fn standalone(path: &Path, workspace: &Path) -> Result<String, Box<dyn Error>> {
    println!("cargo::rerun-if-changed={}", path.display());
    println!("cargo::rerun-if-changed={}", workspace.display());
    let mut manifest: Table = fs::read_to_string(path)?.parse()?;
    let workspace: Table = fs::read_to_string(workspace)?.parse()?;
    let shared = |table: &str, name: &str| -> Result<Value, Box<dyn Error>> {
        let found = workspace
            .get("workspace")
            .and_then(|w| w.get(table))
            .and_then(|t| t.get(name));
        Ok(found
            .cloned()
            .ok_or_else(|| format!("[workspace.{table}] has no {name}"))?)
    };
    manifest.remove("lints");
    manifest.remove("dev-dependencies");
    if let Some(Value::Table(package)) = manifest.get_mut("package") {
        inherit(package, |name| shared("package", name))?;
    }
    for (name, value) in &mut manifest {
        match (name.as_str(), value) {
            ("dependencies", Value::Table(dependencies)) => {
                inherit(dependencies, |name| shared("dependencies", name))?
            }
            ("target", Value::Table(targets)) => {
                for (_, target) in targets {
                    if let Some(Value::Table(dependencies)) = target.get_mut("dependencies") {
                        inherit(dependencies, |name| shared("dependencies", name))?;
                    }
                    if let Value::Table(target) = target {
                        target.remove("dev-dependencies");
                    }
                }
            }
            _ => {}
        }
    }
    Ok(format!(
        "# Brink's SDK for Rust, as it came with `brink` {}. Kept here so that the project builds anywhere.\n\n{manifest}",
        env!("CARGO_PKG_VERSION")
    ))
}

/// Puts the workspace's value in the place of `workspace = true`; features add up.
fn inherit(
    table: &mut Table,
    shared: impl Fn(&str) -> Result<Value, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    for (name, value) in table {
        let Value::Table(own) = value else { continue };
        if own.get("workspace") != Some(&Value::Boolean(true)) {
            continue;
        }
        let mut whole = match shared(name)? {
            Value::Table(whole) => whole,
            version if own.len() == 1 => {
                *value = version;
                continue;
            }
            version => Table::from_iter([("version".to_owned(), version)]),
        };
        for (key, addition) in own.iter().filter(|(key, _)| *key != "workspace") {
            match (whole.get_mut(key), addition) {
                (Some(Value::Array(present)), Value::Array(more)) => {
                    present.extend(more.iter().cloned())
                }
                _ => {
                    whole.insert(key.clone(), addition.clone());
                }
            }
        }
        *value = Value::Table(whole);
    }
    Ok(())
}
