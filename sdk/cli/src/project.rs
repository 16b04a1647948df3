//! `brink.toml`: what a directory builds, and how it is deployed.

use crate::error::Error;
use brink_protocol::{
    ModuleName,
    caching::RouteCache,
    deployment::{Grants, Limits},
};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Name of the file.
pub(crate) const FILE: &str = "brink.toml";
/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What builds the component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Language {
    /// Cargo, for `wasm32-unknown-unknown`.
    Rust,
    /// npm: the script `build` of package.json.
    JavaScript,
}

/// `brink.toml`. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// The module's name: what `publish` and `deploy` use, and the path at which it answers without a route.
    pub(crate) name: ModuleName,
    /// What builds it.
    pub(crate) language: Language,
    /// Rust: the Cargo package; `name` if it is left out.
    #[serde(default)]
    pub(crate) package: Option<String>,
    /// JavaScript: the component that `npm run build` writes; `dist/NAME.wasm` if it is left out.
    #[serde(default)]
    pub(crate) output: Option<PathBuf>,
    /// How it is deployed.
    #[serde(default)]
    pub(crate) deploy: DeployDefaults,
    /// Where it is deployed; flags and the environment win over it, it wins over the user's own configuration.
    #[serde(default)]
    pub(crate) platform: Platform,
}

/// `[deploy]`: what `brink deploy` and `brink dev` use unless flags say otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DeployDefaults {
    /// `[HOST]/PATH`. None: the module answers at `/NAME`.
    pub(crate) routes: Vec<String>,
    /// Names of plugins before the routes, in order.
    pub(crate) plugins: Vec<ModuleName>,
    /// Values for `brink:platform/config`.
    pub(crate) config: Option<BTreeMap<String, String>>,
    /// `clock`, `random`, `outbound_http`, `purge`.
    pub(crate) grants: Option<Grants>,
    /// Bounds of its runs.
    pub(crate) limits: Option<Limits>,
    /// What its routes say of caching.
    pub(crate) cache: RouteCache,
}

/// Where the control API is and how to speak to it: `[platform]` of `brink.toml`, and the user's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Platform {
    /// `https://HOST[:PORT]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) control: Option<String>,
    /// PEM file of the authority that signed its certificate; none: those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
    /// File that holds the token, and nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<PathBuf>,
    /// Admin addresses of PoPs by name. The user's own count alone: what is sent there may be a secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) pops: BTreeMap<String, String>,
}

/// A directory with a `brink.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Project {
    /// The directory.
    pub(crate) dir: PathBuf,
    /// Its `brink.toml`.
    pub(crate) manifest: Manifest,
}

impl Project {
    /// The project of `dir`.
    ///
    /// # Errors
    /// There is no `brink.toml`, or it is wrong.
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        Self::find(dir)?.ok_or_else(|| {
            Error::Usage(format!(
                "{} has no {FILE}. Go to a project's directory, name one with --dir, or begin one with `brink new NAME --template rust`.",
                dir.display()
            ))
        })
    }

    /// The project of `dir`, if there is one.
    ///
    /// # Errors
    /// Its `brink.toml` cannot be read or is wrong.
    pub(crate) fn find(dir: &Path) -> Result<Option<Self>, Error> {
        let path = dir.join(FILE);
        let Some(text) = read_small(&path)? else {
            return Ok(None);
        };
        let manifest =
            parse(&text).map_err(|cause| Error::Usage(format!("{}: {cause}", path.display())))?;
        Ok(Some(Self {
            dir: dir.to_owned(),
            manifest,
        }))
    }

    /// Where `brink build` puts the component.
    pub(crate) fn component(&self) -> PathBuf {
        let dir = if self.dir == Path::new(".") {
            Path::new("")
        } else {
            &self.dir
        };
        dir.join("target/brink")
            .join(format!("{}.wasm", self.manifest.name))
    }
}

/// Reads a file of configuration; none if it does not exist.
///
/// # Errors
/// It cannot be read, is larger than 1 MiB, or is not UTF-8.
pub(crate) fn read_small(path: &Path) -> Result<Option<String>, Error> {
    let wrong = |cause: &dyn std::fmt::Display| {
        Error::Usage(format!("{} cannot be read: {cause}", path.display()))
    };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(&error)),
        Ok(metadata) if metadata.len() > FILE_BYTES_MAX => {
            return Err(wrong(&"it is larger than 1 MiB"));
        }
        Ok(_) => {}
    }
    std::fs::read_to_string(path)
        .map(Some)
        .map_err(|error| wrong(&error))
}

fn parse(text: &str) -> Result<Manifest, String> {
    let manifest: Manifest = toml::from_str(text).map_err(|error| error.to_string())?;
    match (manifest.language, &manifest.package, &manifest.output) {
        (Language::JavaScript, Some(_), _) => Err("`package` is for language = \"rust\"".into()),
        (Language::Rust, _, Some(_)) => Err("`output` is for language = \"javascript\"".into()),
        _ => Ok(manifest),
    }
}

/// Whether `text` is a whole `brink.toml`.
#[cfg(test)]
pub(crate) fn check(text: &str) -> Result<Manifest, String> {
    parse(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn manifests() {
        let full = r#"
            name = "hello"
            language = "rust"
            package = "hello-module"
            [deploy]
            routes = ["/hello", "shop.example/hi"]
            plugins = ["api-key"]
            config = { greeting = "hi" }
            grants = { clock = true }
            limits = { wall_time_ms_max = 500 }
            [platform]
            control = "https://127.0.0.1:7400"
        "#;
        let manifest = parse(full).unwrap();
        assert_eq!(manifest.name.as_str(), "hello");
        assert!(manifest.deploy.grants.unwrap().clock);
        assert_eq!(manifest.deploy.limits.unwrap().wall_time_ms_max, 500);
        for (text, says) in [
            ("", "name"),
            ("name = \"A\"\nlanguage = \"rust\"", "module name"),
            ("name = \"a\"\nlanguage = \"cobol\"", "cobol"),
            ("name = \"a\"\nlanguage = \"rust\"\nnmae = 1", "nmae"),
            (
                "name = \"a\"\nlanguage = \"rust\"\noutput = \"x\"",
                "output",
            ),
            (
                "name = \"a\"\nlanguage = \"javascript\"\npackage = \"x\"",
                "package",
            ),
            (
                "name = \"a\"\nlanguage = \"rust\"\n[deploy]\ngrants = { fly = true }",
                "fly",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
