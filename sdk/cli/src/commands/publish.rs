//! `brink publish` and `brink versions`.

use crate::{
    args::Publish,
    client::{Client, Content, PUBLISH_TIME_MAX},
    error::Error,
    inspect::{grant_names, inspect_file},
    moment::time,
    output::{Output, size, table},
    project::Project,
};
use brink_protocol::{ModuleName, control::Version};
use http::{Method, StatusCode};
use std::path::{Path, PathBuf};

/// Publishes a component as a new version.
pub(super) async fn run(
    args: &Publish,
    client: impl FnOnce() -> Result<Client, Error>,
    output: Output,
) -> Result<(), Error> {
    let (file, name) = what(args)?;
    let (bytes, inspection) = inspect_file(&file)?;
    let client = client()?;
    let path = format!("/v1/modules/{name}/versions");
    let answer = client
        .send::<Version>(
            Method::POST,
            &path,
            Content::Component(bytes),
            PUBLISH_TIME_MAX,
        )
        .await?;
    let fresh = answer.status == StatusCode::CREATED;
    let needed = grant_names(inspection.grants_needed);
    let mut optional = grant_names(inspection.grants_used);
    optional.retain(|grant| !needed.contains(grant));
    output.result(&answer.body, |version| {
        let mut text = format!(
            "{name} version {}{}: {}, {}, {}\n",
            version.version,
            if fresh { "" } else { " was published before" },
            version.world.as_str(),
            size(version.size_bytes),
            version.digest
        );
        let flags: String = needed
            .iter()
            .map(|grant| format!(" --grant {grant}"))
            .collect();
        text.push_str(&format!("Run it with: brink deploy {name}{flags}\n"));
        if !optional.is_empty() {
            text.push_str(&format!(
                "If it is to use it, also: --grant {}\n",
                optional.join(" --grant ")
            ));
        }
        text
    })
}

/// Which file, under which name.
fn what(args: &Publish) -> Result<(PathBuf, ModuleName), Error> {
    if let Some(file) = &args.file {
        let name = match &args.name {
            Some(name) => name.clone(),
            None => match Project::find(&args.dir)? {
                Some(project) if same_file(&project.component(), file) => project.manifest.name,
                _ => name_of(file)?,
            },
        };
        return Ok((file.clone(), name));
    }
    let project = Project::open(&args.dir)?;
    let file = project.component();
    if !file.is_file() {
        return Err(Error::Usage(format!(
            "{} does not exist: `brink build` makes it",
            file.display()
        )));
    }
    Ok((file, args.name.clone().unwrap_or(project.manifest.name)))
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// `out/my_module.wasm` is `my-module`.
fn name_of(file: &Path) -> Result<ModuleName, Error> {
    let stem = file
        .file_stem()
        .map(|stem| stem.to_string_lossy().replace('_', "-"))
        .unwrap_or_default();
    stem.parse()
        .map_err(|error| Error::Usage(format!("{error}. Name the module with --name NAME")))
}

/// Lists the versions of a module.
pub(super) async fn versions(
    name: &ModuleName,
    client: &Client,
    output: Output,
) -> Result<(), Error> {
    let versions: Vec<Version> = client.get(&format!("/v1/modules/{name}/versions")).await?;
    output.result(&versions, |versions| {
        let row = |version: &Version| {
            vec![
                version.version.to_string(),
                version.world.as_str().to_owned(),
                size(version.size_bytes),
                time(version.published_at_ms),
                version.published_by.clone(),
                version.digest.to_string(),
            ]
        };
        let rows: Vec<_> = versions.iter().map(row).collect();
        table(
            &["VERSION", "WORLD", "SIZE", "PUBLISHED", "BY", "DIGEST"],
            &rows,
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_of_files() {
        for (file, name) in [
            ("out/my_module.wasm", Some("my-module")),
            ("hello.component.wasm", None),
            ("A.wasm", None),
            ("/", None),
        ] {
            assert_eq!(
                name_of(Path::new(file))
                    .ok()
                    .map(|name| name.to_string())
                    .as_deref(),
                name,
                "{file}"
            );
        }
    }
}
