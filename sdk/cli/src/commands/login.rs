//! `brink login`.

use crate::{
    args::{Global, Login},
    client::{Client, Secret},
    error::Error,
    output::Output,
    private_file,
    project::{Platform, read_small},
    settings::{ControlUrl, Settings, UserConfig, process_variables},
};
use brink_protocol::control::Status;
use std::path::{Path, PathBuf};

/// Names of the files in the user's directory.
const CONFIG: &str = "config.toml";
const TOKEN: &str = "token";
const AUTHORITY: &str = "ca.pem";

/// Keeps control URL, authority and token in the user's directory.
pub(super) async fn run(args: &Login, global: &Global, output: Output) -> Result<(), Error> {
    let (settings, user) = wanted(global)?;
    let token_file = settings.token_file.as_deref().ok_or_else(|| {
        missing(
            "the token",
            "--token-file FILE (- reads it from standard input)",
        )
    })?;
    let token = Secret::read(token_file)?;
    let authority = settings.ca.as_deref().map(certificate).transpose()?;
    private_file::directory(&user.dir)?;
    let text = token.expose().to_owned();
    if !args.no_check {
        let _: Status = Client::with_token(&settings, Some(token))?
            .get("/v1/status")
            .await?;
    }
    private_file::replace(&user.dir.join(TOKEN), &format!("{text}\n"))?;
    if let Some(authority) = &authority {
        private_file::replace(&user.dir.join(AUTHORITY), authority)?;
    }
    let platform = Platform {
        control: Some(settings.control.as_str().to_owned()),
        ca: authority.map(|_| AUTHORITY.into()),
        token_file: Some(TOKEN.into()),
        pops: user.platform.pops.clone(),
    };
    let config = toml::to_string(&platform)
        .map_err(|error| Error::failed("the configuration cannot be written", error))?;
    let path = user.dir.join(CONFIG);
    private_file::replace(&path, &config)?;
    output.result(
        &serde_json::json!({ "control": platform.control, "config": path }),
        |_| {
            format!(
                "{} is kept in {}",
                settings.control.as_str(),
                path.display()
            )
        },
    )
}

/// Flags, else the environment; the control URL also from what was kept before, to renew its token.
fn wanted(global: &Global) -> Result<(Settings, UserConfig), Error> {
    let user = UserConfig::read(&process_variables)?.ok_or_else(|| {
        Error::Usage("there is no place to keep it: set HOME or XDG_CONFIG_HOME".into())
    })?;
    let kept = || user.platform.control.clone();
    let control = global
        .control
        .clone()
        .or_else(|| process_variables("BRINK_CONTROL"))
        .or_else(kept);
    let control: ControlUrl = control
        .ok_or_else(|| missing("the control API", "--control https://HOST:PORT"))?
        .parse()?;
    let file = |flag: &Option<PathBuf>, name: &str| {
        flag.clone()
            .or_else(|| process_variables(name).map(PathBuf::from))
    };
    let settings = Settings {
        control,
        ca: file(&global.ca, "BRINK_CA"),
        token_file: file(&global.token_file, "BRINK_TOKEN_FILE"),
    };
    Ok((settings, user))
}

fn missing(what: &str, flag: &str) -> Error {
    Error::Usage(format!("name {what}: brink login {flag}"))
}

/// The authority's file is copied: what it lies beside may move.
fn certificate(path: &Path) -> Result<String, Error> {
    read_small(path)?.ok_or_else(|| Error::Usage(format!("{} does not exist", path.display())))
}
