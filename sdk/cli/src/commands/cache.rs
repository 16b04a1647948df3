//! `brink cache`.

use crate::{
    args::{CacheAction, CacheExplain},
    client::{Client, encoded},
    error::Error,
    output::{Output, pairs},
    settings::{UserConfig, process_variables},
};
use brink_protocol::control::PopAdmin;
use http::Method;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// The path of the admin address.
const CACHE: &str = "/cache";

/// Does what the command line says.
///
/// # Errors
/// The PoP is not known or not reached, or refuses the question.
pub(super) async fn run(
    action: &CacheAction,
    core: impl FnOnce() -> Result<Client, Error>,
    output: Output,
) -> Result<(), Error> {
    match action {
        CacheAction::Explain(args) => explain(args, core, output).await,
    }
}

async fn explain(
    args: &CacheExplain,
    core: impl FnOnce() -> Result<Client, Error>,
    output: Output,
) -> Result<(), Error> {
    let user = UserConfig::read(&process_variables)?;
    let known = address(args, process_variables("BRINK_ADMIN"), user.as_ref());
    let admin = match (known, &args.pop) {
        // Who has no address of it asks the core, if there is one to ask.
        (Err(Error::Usage(unknown)), Some(pop)) if args.admin.is_none() => {
            told_by(core, pop).await.map_err(|error| {
                Error::Usage(format!("{unknown}\nThe core does not say either: {error}"))
            })?
        }
        (known, _) => known?,
    };
    let headers: Vec<_> = args
        .headers
        .iter()
        .map(|line| field(line))
        .collect::<Result<_, _>>()?;
    let asked = json!({ "url": args.url, "method": args.method, "headers": headers });
    let client = Client::without_token(admin.clone())?;
    let answered = client.send_json(Method::POST, CACHE, &asked).await;
    let told: Value = answered.map_err(|error| match error {
        Error::Unreachable { cause, .. } => Error::Failed(format!(
            "the admin address {admin} could not be reached: {cause}\nIs it the address of [admin] in the PoP's configuration, and can this machine reach it?"
        )),
        error => error,
    })?;
    let pop = text(&told, "/pop");
    if let Some(wanted) = args.pop.as_deref().filter(|wanted| *wanted != pop) {
        return Err(Error::Failed(format!(
            "at {admin} is PoP {pop}, not {wanted}"
        )));
    }
    output.result(&told, described)
}

/// The admin address that a PoP has told the core.
async fn told_by(core: impl FnOnce() -> Result<Client, Error>, pop: &str) -> Result<String, Error> {
    let path = format!("/v1/pops/{}/admin", encoded(pop));
    let told: PopAdmin = core()?.get(&path).await?;
    Ok(told.admin)
}

/// The admin address: of the flag, the environment, or the user's configuration by the PoP's name.
fn address(
    args: &CacheExplain,
    variable: Option<String>,
    user: Option<&UserConfig>,
) -> Result<String, Error> {
    let pops = user.map(|user| &user.platform.pops);
    let known = pops.into_iter().flatten();
    let by_name = || match &args.pop {
        Some(pop) => pops.and_then(|pops| pops.get(pop)).cloned(),
        None => match pops {
            Some(pops) if pops.len() == 1 => pops.values().next().cloned(),
            Some(_) | None => None,
        },
    };
    let found = args.admin.clone().or_else(|| match &args.pop {
        // By a name, what stands under it is more to the point.
        Some(_) => by_name().or(variable.clone()),
        None => variable.clone().or_else(by_name),
    });
    let Some(found) = found else {
        let names: Vec<&str> = known.map(|(name, _)| name.as_str()).collect();
        let which = match (&args.pop, names.as_slice()) {
            (Some(pop), []) => format!("no admin address is known of PoP {pop}"),
            (Some(pop), names) => format!(
                "no admin address is known of PoP {pop}, but of {}",
                names.join(", ")
            ),
            (None, []) => "no PoP is given".to_owned(),
            (None, names) => format!("which PoP? Addresses are known of {}", names.join(", ")),
        };
        return Err(Error::Usage(format!(
            "{which}\nGive it with --admin http://HOST:PORT or BRINK_ADMIN, or name it in [pops] of ~/.config/brink/config.toml"
        )));
    };
    let wrong = || {
        Error::Usage(format!(
            "admin address {found:?}: it is written http[s]://HOST[:PORT]"
        ))
    };
    let uri: http::Uri = found.parse().map_err(|_| wrong())?;
    match (uri.scheme_str(), uri.authority(), uri.path(), uri.query()) {
        (Some("http" | "https"), Some(authority), "/", None)
            if !authority.as_str().contains('@') =>
        {
            Ok(found.trim_end_matches('/').to_owned())
        }
        _ => Err(wrong()),
    }
}

/// `NAME: VALUE`.
fn field(line: &str) -> Result<(String, String), Error> {
    match line.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        // It may be a secret: it is not repeated.
        _ => Err(Error::Usage("-H: it is written 'NAME: VALUE'".into())),
    }
}

fn text(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn list(value: &Value, pointer: &str) -> Vec<String> {
    let list = value.pointer(pointer).and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .map(|item| text(item, ""))
        .collect()
}

fn seconds(value: &Value, pointer: &str) -> String {
    let number = text(value, pointer);
    if number.is_empty() {
        number
    } else {
        format!("{number} s")
    }
}

/// For people.
fn described(told: &Value) -> String {
    let mut out = format!("{} at {}\n\n", text(told, "/url"), text(told, "/pop"));
    let _ = writeln!(
        out,
        "Decision: {}",
        verdict(&text(told, "/decision/verdict"))
    );
    reasons(&mut out, told.pointer("/decision/reasons"));
    if let Some(lately) = told
        .get("lately_not_stored")
        .filter(|lately| lately.is_object())
    {
        let _ = writeln!(
            out,
            "\nThe last answer ({}, {} s ago) was not stored: {}",
            text(lately, "/status"),
            text(lately, "/seconds_ago"),
            text(lately, "/reason"),
        );
        reasons(&mut out, Some(&json!([lately["to_be_stored"]])));
    }
    section(&mut out, "Key", &key_rows(told));
    section(&mut out, "Route", &route_rows(told));
    if let Some(chosen) = told.get("chosen").filter(|chosen| chosen.is_object()) {
        section(&mut out, "Stored", &stored_rows(chosen));
        section(&mut out, "Freshness", &freshness_rows(&chosen["freshness"]));
    }
    let entries = told["entries"].as_array().map_or(0, Vec::len);
    if entries > 1 || (entries == 1 && !told["chosen"].is_object()) {
        let _ = writeln!(out, "\nVariants");
        for entry in told["entries"].as_array().into_iter().flatten() {
            let selected = text(entry, "/variant").replace('\n', "; ");
            let _ = writeln!(
                out,
                "  {} {}, {} old, {} bytes, in {}: {}",
                text(entry, "/status"),
                text(entry, "/state"),
                seconds(entry, "/age_seconds"),
                text(entry, "/body_bytes"),
                text(entry, "/tier"),
                if selected.is_empty() {
                    "for all"
                } else {
                    &selected
                },
            );
        }
    }
    section(&mut out, "Changes", &change_rows(told));
    out.trim_end().to_owned()
}

fn verdict(verdict: &str) -> &str {
    match verdict {
        "serve" => "the stored answer is served",
        "serve-stale" => "the stored answer is served, though stale",
        "validate" => "it is asked whether the stored answer still holds",
        "fetch" => "the answer is fetched",
        "unavailable" => "there is no answer: an error",
        "static" => "the route's own answer",
        other => other,
    }
}

fn reasons(out: &mut String, reasons: Option<&Value>) {
    for reason in reasons.and_then(Value::as_array).into_iter().flatten() {
        let _ = writeln!(
            out,
            "  - {} ({})",
            text(reason, "/text"),
            text(reason, "/source")
        );
    }
}

/// The rows that say something.
fn section(out: &mut String, title: &str, rows: &[(&str, String)]) {
    let rows: Vec<_> = rows
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .cloned()
        .collect();
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{title}");
    for line in pairs(&rows).lines() {
        let _ = writeln!(out, "  {line}");
    }
}

fn key_rows(told: &Value) -> Vec<(&'static str, String)> {
    let by_rule = told.pointer("/key/by_rule").and_then(Value::as_array);
    let by_rule = by_rule
        .into_iter()
        .flatten()
        .map(|part| format!("{} {}", text(part, "/0"), text(part, "/1")));
    vec![
        ("tenant", text(told, "/tenant")),
        ("scheme", text(told, "/key/scheme")),
        ("host", text(told, "/key/host")),
        ("target", text(told, "/key/target")),
        ("by rule", by_rule.collect::<Vec<_>>().join(", ")),
        (
            "left out parameters",
            list(told, "/key/left_out/parameters").join(", "),
        ),
        (
            "left out cookies",
            list(told, "/key/left_out/cookies").join(", "),
        ),
        (
            "left out fields",
            list(told, "/key/left_out/fields").join(", "),
        ),
    ]
}

fn route_rows(told: &Value) -> Vec<(&'static str, String)> {
    let shield = told.pointer("/route/asks_shield").and_then(Value::as_bool);
    vec![
        (
            "route",
            format!("{}{}", text(told, "/route/host"), text(told, "/route/path")),
        ),
        ("answers", text(told, "/route/answers")),
        (
            "shield",
            if shield == Some(true) {
                "asked before the origin".into()
            } else {
                String::new()
            },
        ),
        (
            "plugins, not run here",
            list(told, "/route/plugins_not_run").join(", "),
        ),
    ]
}

fn stored_rows(chosen: &Value) -> Vec<(&'static str, String)> {
    vec![
        ("status", text(chosen, "/status")),
        ("selected by", text(chosen, "/variant").replace('\n', "; ")),
        ("in", text(chosen, "/tier")),
        ("bytes", text(chosen, "/body_bytes")),
        ("ETag", text(chosen, "/etag")),
        ("Last-Modified", text(chosen, "/last_modified")),
        ("tags", list(chosen, "/tags").join(", ")),
        ("number of tags", text(chosen, "/tag_count")),
        ("state", text(chosen, "/state")),
        ("index", text(chosen, "/index")),
        ("position", text(chosen, "/position")),
    ]
}

fn freshness_rows(freshness: &Value) -> Vec<(&'static str, String)> {
    let from = match text(freshness, "/lifetime_from/text") {
        from if from.is_empty() => from,
        from => format!("{from} ({})", text(freshness, "/lifetime_from/source")),
    };
    vec![
        (
            "age by its Date",
            seconds(freshness, "/apparent_age_seconds"),
        ),
        (
            "age when it came",
            seconds(freshness, "/initial_age_seconds"),
        ),
        ("here since", seconds(freshness, "/resident_seconds")),
        ("age", seconds(freshness, "/age_seconds")),
        ("lifetime", seconds(freshness, "/lifetime_seconds")),
        ("lifetime from", from),
        ("left", seconds(freshness, "/left_seconds")),
        (
            "stale-while-revalidate left",
            seconds(freshness, "/while_revalidate_left_seconds"),
        ),
        (
            "stale-if-error left",
            seconds(freshness, "/if_error_left_seconds"),
        ),
    ]
}

fn change_rows(told: &Value) -> Vec<(&'static str, String)> {
    let connected = told.pointer("/applied/connected").and_then(Value::as_bool);
    vec![
        ("applied position", text(told, "/applied/position")),
        ("applied index", text(told, "/applied/index")),
        ("floor", text(told, "/applied/floor")),
        (
            "lease",
            match connected {
                Some(true) => "holds".into(),
                Some(false) => "is over".into(),
                None => String::new(),
            },
        ),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::args::{Cli, Command};
    use crate::project::Platform;
    use clap::Parser as _;

    fn args(line: &str) -> CacheExplain {
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Cache(args) = cli.command else {
            panic!("{line}")
        };
        let CacheAction::Explain(args) = args.action;
        args
    }

    #[test]
    fn addresses_of_pops() {
        let mut platform = Platform::default();
        let user = |platform: &Platform| UserConfig {
            dir: "/".into(),
            platform: platform.clone(),
        };
        let none = user(&platform);
        platform
            .pops
            .insert("ams".into(), "http://10.0.0.1:9901/".into());
        let one = user(&platform);
        platform
            .pops
            .insert("sfo".into(), "http://10.0.0.2:9901".into());
        let two = user(&platform);
        let variable = Some("http://127.0.0.1:1".to_owned());
        for (flags, variable, user, expected) in [
            ("", None, &one, Ok("http://10.0.0.1:9901")),
            ("--pop sfo", None, &two, Ok("http://10.0.0.2:9901")),
            (
                "--pop sfo",
                variable.clone(),
                &two,
                Ok("http://10.0.0.2:9901"),
            ),
            (
                "--pop fra",
                variable.clone(),
                &two,
                Ok("http://127.0.0.1:1"),
            ),
            ("", variable.clone(), &two, Ok("http://127.0.0.1:1")),
            (
                "--pop ams --admin https://a",
                variable,
                &two,
                Ok("https://a"),
            ),
            ("", None, &none, Err("no PoP is given")),
            (
                "",
                None,
                &two,
                Err("which PoP? Addresses are known of ams, sfo"),
            ),
            (
                "--pop fra",
                None,
                &two,
                Err("no admin address is known of PoP fra, but of ams, sfo"),
            ),
            (
                "--pop fra",
                None,
                &none,
                Err("no admin address is known of PoP fra"),
            ),
            ("--admin a", None, &none, Err("admin address \"a\"")),
            (
                "--admin http://a/b",
                None,
                &none,
                Err("admin address \"http://a/b\""),
            ),
            ("--admin http://u:p@a", None, &none, Err("admin address")),
        ] {
            let args = args(&format!("brink cache explain http://h/ {flags}"));
            let got = address(&args, variable, Some(user)).map_err(|error| error.to_string());
            match (got, expected) {
                (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{flags}"),
                (Err(got), Err(expected)) => assert!(got.starts_with(expected), "{flags}: {got}"),
                (got, _) => panic!("{flags}: {got:?}"),
            }
        }
    }

    #[test]
    fn fields_of_a_request() {
        assert_eq!(
            field("Accept:  de ").unwrap(),
            ("Accept".into(), "de".into())
        );
        for wrong in ["secret", ": secret"] {
            assert!(!field(wrong).unwrap_err().to_string().contains("secret"));
        }
    }
}
