//! Runs the `build` script of a JavaScript project.

use crate::{error::Error, project::Project};
use std::process::{Command, Stdio};

/// Installs the packages if they are not there, runs `npm run build`, and reads the component that it wrote.
///
/// # Errors
/// npm is missing, a step failed, or the component is not where `brink.toml` says.
pub(super) fn build(project: &Project) -> Result<Vec<u8>, Error> {
    let package = project.dir.join("package.json");
    if !package.is_file() {
        return Err(Error::Usage(format!(
            "{} does not exist",
            package.display()
        )));
    }
    if !project.dir.join("node_modules").is_dir() {
        // `ci` installs exactly what the lock file says.
        let install = if project.dir.join("package-lock.json").is_file() {
            "ci"
        } else {
            "install"
        };
        npm(project, &[install, "--no-audit", "--no-fund"])?;
    }
    npm(project, &["run", "build"])?;
    let manifest = &project.manifest;
    let output = manifest
        .output
        .clone()
        .unwrap_or_else(|| format!("dist/{}.wasm", manifest.name).into());
    let path = project.dir.join(output);
    std::fs::read(&path).map_err(|error| {
        Error::Failed(format!(
            "`npm run build` ended well, but {} cannot be read: {error}. Say in brink.toml where the component is: output = \"PATH\"",
            path.display()
        ))
    })
}

/// npm's own output goes to standard error: standard output is for results.
fn npm(project: &Project, arguments: &[&str]) -> Result<(), Error> {
    let status = Command::new("npm")
        .current_dir(&project.dir)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .stderr(Stdio::inherit())
        .status()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                Error::Failed("npm is not on PATH: install Node.js 20 or newer (Debian: apt-get install nodejs npm)".into())
            }
            _ => Error::failed("npm did not start", error),
        })?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::Failed(format!(
            "npm {} failed; its messages are above",
            arguments.join(" ")
        )))
    }
}
