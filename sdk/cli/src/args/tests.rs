//! What command lines are accepted, and what they mean.
#![allow(clippy::unwrap_used)]

use super::*;
use clap::CommandFactory as _;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn command_lines() {
    for (line, accepted) in [
        ("brink", false),
        ("brink fly", false),
        ("brink new hello", true),
        ("brink events read orders o-1 --after 3", true),
        ("brink events read orders", false),
        (
            "brink events append orders o-1 k --payload 1 --file x",
            false,
        ),
        ("brink events tail orders o-1", true),
        ("brink projections list", true),
        ("brink projections replay p --from 3 --partition o-1", true),
        (
            "brink projections drop-target p --source a --target b",
            false,
        ),
        (
            "brink projections drop-target p --source a --target b --yes",
            true,
        ),
        ("brink new Hello", false),
        ("brink new hello --template rust-plugin", true),
        ("brink new hello --template cobol", false),
        ("brink build --release", true),
        ("brink build --release --debug", false),
        ("brink build --package a", false),
        (
            "brink build --manifest-path modules/Cargo.toml --package a --package b --out out",
            true,
        ),
        (
            "brink build --manifest-path modules/Cargo.toml --dir x",
            false,
        ),
        ("brink dev some.wasm --listen 127.0.0.1:8080", true),
        ("brink dev some.wasm --origin http://a", false),
        ("brink dev some.wasm --listen 8080", false),
        (
            "brink dev --origin http://127.0.0.1:3000 --keep-data",
            false,
        ),
        ("brink inspect", false),
        ("brink publish x.wasm --name x --json", true),
        ("brink versions hello", true),
        ("brink deploy hello --version x", false),
        (
            "brink deploy hello --version 3 --route a/b --config A=B --grant clock --wait --timeout 5",
            true,
        ),
        ("brink deploy hello --grant fly", false),
        ("brink deploy hello --wait --no-wait", false),
        ("brink rollback hello --to 2", true),
        ("brink routes", true),
        ("brink routes set /a", false),
        ("brink routes set /a --module b", true),
        ("brink routes set /a --module b --origin http://c", false),
        ("brink routes set /a --module b --status 201", false),
        ("brink routes set /a --static x --status 99", false),
        ("brink routes delete /a", true),
        ("brink purge", false),
        ("brink purge --all", true),
        ("brink purge --all --key a", false),
        (
            "brink purge --key a --url b --prefix c/d --host e --soft --wait --timeout 3",
            true,
        ),
        ("brink purge --all --timeout 0", false),
        ("brink purge --everything --wait=quorum", true),
        ("brink purge --everything --wait quorum", false),
        ("brink purge --key a --dry-run", true),
        ("brink purge --key a --dry-run --wait", false),
        (
            "brink purge --key a --max-objects 5 --confirm --idempotency-key x",
            true,
        ),
        ("brink purge --key a --stagger 3601", false),
        ("brink purge --key a --stagger 60 --soft", false),
        ("brink purges", true),
        ("brink purges 01J", true),
        ("brink purges 01J --key a", false),
        ("brink purges --selector keys", false),
        ("brink purges --url a/b --from 2h --limit 100", true),
        ("brink pops --watch", true),
        ("brink logs hello --follow --limit 5", true),
        ("brink logs --limit 0", false),
        (
            "brink token create --label ci --role publisher --out f",
            true,
        ),
        ("brink token create --label ci --role god --out f", false),
        ("brink token create --label ci --role reader", false),
        ("brink token revoke", false),
        (
            "brink --control https://a --ca b --token-file c status --json",
            true,
        ),
        ("brink status --control https://a", true),
        ("brink completion fish", true),
        ("brink completion cmd.exe", false),
    ] {
        let parsed = parse(line);
        assert_eq!(
            parsed.is_ok(),
            accepted,
            "{line}: {:?}",
            parsed.err().map(|error| error.to_string())
        );
    }
}

#[test]
fn tokens_are_not_arguments() {
    for line in ["brink status --token x", "brink login --token x"] {
        assert!(parse(line).is_err(), "{line}");
    }
}
