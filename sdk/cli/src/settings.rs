//! Where the control API is, whom to trust there, and which token to show: flags, environment, project, user.

use crate::{
    args::Global,
    error::Error,
    project::{Platform, Project, read_small},
};
use std::{
    net::IpAddr,
    path::{Component, Path, PathBuf},
};

/// Reads a variable of the environment; empty ones count as not set.
pub(crate) type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The process's own environment.
pub(crate) fn process_variables(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The control API's base URL: `https://HOST[:PORT]`, or `http://` on this machine itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ControlUrl(String);

impl ControlUrl {
    /// The URL without a slash at its end.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for ControlUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| Error::Usage(format!("control URL {text:?}: {why}"));
        let uri: http::Uri = text
            .parse()
            .map_err(|_| wrong("it is written https://HOST[:PORT]"))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(wrong("it is written https://HOST[:PORT]"));
        };
        if uri.path() != "/" || uri.query().is_some() || authority.as_str().contains('@') {
            return Err(wrong("it has no path, query or user: https://HOST[:PORT]"));
        }
        match scheme {
            "https" => {}
            "http" if is_loopback(authority.host()) => {}
            "http" => {
                return Err(wrong(
                    "a token is not sent over plain HTTP to another machine: use https://",
                ));
            }
            _ => return Err(wrong("it begins with https://")),
        }
        Ok(Self(format!("{scheme}://{authority}")))
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.ends_with(".localhost")
        || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// What is needed to speak with the control API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Where it is.
    pub(crate) control: ControlUrl,
    /// PEM file of the authority; none: those of the system.
    pub(crate) ca: Option<PathBuf>,
    /// File with the token; none: no token is shown.
    pub(crate) token_file: Option<PathBuf>,
}

/// The user's configuration: `config.toml` and a token in a directory of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UserConfig {
    /// `$XDG_CONFIG_HOME/brink` or `~/.config/brink`.
    pub(crate) dir: PathBuf,
    /// What `config.toml` says; nothing if there is none.
    pub(crate) platform: Platform,
}

impl UserConfig {
    /// Reads the user's configuration; none if the user has no directory.
    ///
    /// # Errors
    /// `config.toml` cannot be read or is wrong.
    pub(crate) fn read(variables: Variables<'_>) -> Result<Option<Self>, Error> {
        let Some(dir) = directory(variables) else {
            return Ok(None);
        };
        let path = dir.join("config.toml");
        let platform = match read_small(&path)? {
            None => Platform::default(),
            Some(text) => toml::from_str(&text)
                .map_err(|error| Error::Usage(format!("{}: {error}", path.display())))?,
        };
        Ok(Some(Self { dir, platform }))
    }
}

/// XDG Base Directory Specification: `XDG_CONFIG_HOME` counts if it is absolute.
fn directory(variables: Variables<'_>) -> Option<PathBuf> {
    let configured = variables("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let base =
        configured.or_else(|| variables("HOME").map(|home| Path::new(&home).join(".config")));
    base.map(|base| base.join("brink"))
}

/// Settles the configuration for a command in `dir`.
///
/// # Errors
/// A file or URL is wrong, or no control URL is configured.
pub(crate) fn settle(
    global: &Global,
    variables: Variables<'_>,
    dir: &Path,
) -> Result<Settings, Error> {
    let project = Project::find(dir)?;
    let user = UserConfig::read(variables)?;
    combine(global, variables, project.as_ref(), user.as_ref())
}

/// The first of flags, environment, project and user counts, for each of the three by itself. Two rules keep tokens where
/// they belong: a project names only token files inside itself, and the user's own token and authority are used with the
/// user's own control URL only, so that no `brink.toml` from elsewhere can ask for them.
fn combine(
    global: &Global,
    variables: Variables<'_>,
    project: Option<&Project>,
    user: Option<&UserConfig>,
) -> Result<Settings, Error> {
    let from_project = project.map(|project| &project.manifest.platform);
    let from_user = user.map(|user| &user.platform);
    let control: ControlUrl = global
        .control
        .clone()
        .or_else(|| variables("BRINK_CONTROL"))
        .or_else(|| from_project.and_then(|platform| platform.control.clone()))
        .or_else(|| from_user.and_then(|platform| platform.control.clone()))
        .ok_or_else(no_control)?
        .parse()?;
    let users_own = from_user
        .and_then(|platform| platform.control.as_deref())
        .is_some_and(|own| own.parse::<ControlUrl>().is_ok_and(|own| own == control));
    let user = user.filter(|_| users_own);
    let ca = global
        .ca
        .clone()
        .or_else(|| variables("BRINK_CA").map(PathBuf::from))
        .or_else(|| {
            project
                .and_then(|project| Some(project.dir.join(project.manifest.platform.ca.as_ref()?)))
        })
        .or_else(|| user.and_then(|user| Some(user.dir.join(user.platform.ca.as_ref()?))));
    let token_file = match global
        .token_file
        .clone()
        .or_else(|| variables("BRINK_TOKEN_FILE").map(PathBuf::from))
    {
        Some(file) => Some(file),
        None => match project
            .and_then(|project| Some((project, project.manifest.platform.token_file.as_ref()?)))
        {
            Some((project, file)) => Some(inside(project, file)?),
            None => user.and_then(|user| Some(user.dir.join(user.platform.token_file.as_ref()?))),
        },
    };
    Ok(Settings {
        control,
        ca,
        token_file,
    })
}

fn inside(project: &Project, file: &Path) -> Result<PathBuf, Error> {
    let path = project.dir.join(file);
    let is_below = file
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if is_below && !leads_out(&project.dir, &path) {
        Ok(path)
    } else {
        Err(Error::Usage(format!(
            "brink.toml: token_file {:?} is not inside the project. Use --token-file, BRINK_TOKEN_FILE or `brink login`.",
            file.display().to_string()
        )))
    }
}

/// Whether a link in the project leads to a file outside: a repository may hold links, too.
fn leads_out(dir: &Path, path: &Path) -> bool {
    match (dir.canonicalize(), path.canonicalize()) {
        (Ok(dir), Ok(path)) => !path.starts_with(dir),
        // What is not there is not read either.
        (Err(_), _) | (_, Err(_)) => false,
    }
}

fn no_control() -> Error {
    Error::Usage(
        "no control API is configured. Name one in one of these ways:\n  \
         --control https://HOST:PORT (with --ca FILE and --token-file FILE)\n  \
         BRINK_CONTROL, BRINK_CA and BRINK_TOKEN_FILE in the environment\n  \
         `brink login --control https://HOST:PORT --ca FILE --token-file FILE`, once for all later commands\n\
         To run a platform on this machine: `brink dev` in a project's directory."
            .into(),
    )
}

#[cfg(test)]
mod tests;
