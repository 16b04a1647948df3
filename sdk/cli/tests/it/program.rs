//! Runs `brink` away from the user's own configuration.

use serde_json::Value;
use std::{
    ffi::OsStr,
    path::Path,
    process::{Command, Output, Stdio},
};
use tempfile::TempDir;

/// A user: a directory to work in, and one for configuration.
pub(crate) struct User {
    pub(crate) work: TempDir,
    config: TempDir,
    variables: Vec<(&'static str, String)>,
}

/// What a run gave.
pub(crate) struct Run {
    pub(crate) exit: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl User {
    pub(crate) fn new() -> Self {
        Self {
            work: tempfile::tempdir().unwrap(),
            config: tempfile::tempdir().unwrap(),
            variables: Vec::new(),
        }
    }

    /// Sets a variable of the environment.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// Where the configuration lies.
    pub(crate) fn config(&self) -> std::path::PathBuf {
        self.config.path().join("brink")
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.work.path().join(name)
    }

    /// A file in the directory of work.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// The program, not yet running.
    pub(crate) fn command(
        &self,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        dir: &Path,
    ) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_brink"));
        for name in [
            "BRINK_CONTROL",
            "BRINK_CA",
            "BRINK_TOKEN_FILE",
            "BRINK_TENANT",
            "BRINK_BIN_DIR",
            "CARGO_TARGET_DIR",
        ] {
            command.env_remove(name);
        }
        command
            .args(arguments)
            .current_dir(dir)
            .env("XDG_CONFIG_HOME", self.config.path())
            .stdin(Stdio::null());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    pub(crate) fn run_in(&self, arguments: &[&str], dir: &Path) -> Run {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command(arguments, dir).output().unwrap();
        Run {
            exit: status.code().unwrap_or(-1),
            out: String::from_utf8(stdout).unwrap(),
            err: String::from_utf8(stderr).unwrap(),
        }
    }

    /// Runs a command line, split at spaces.
    pub(crate) fn run(&self, line: &str) -> Run {
        self.run_in(
            &line.split_whitespace().collect::<Vec<_>>(),
            self.work.path(),
        )
    }
}

impl Run {
    /// Succeeded; its standard output.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.exit, 0, "out: {}\nerr: {}", self.out, self.err);
        self.out
    }

    /// Succeeded; its standard output as JSON.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        let out = self.ok();
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }

    /// Failed with this exit code; its standard error.
    #[track_caller]
    pub(crate) fn fails(self, exit: i32) -> String {
        assert_eq!(self.exit, exit, "out: {}\nerr: {}", self.out, self.err);
        assert_eq!(self.out, "", "standard output is for results");
        self.err
    }
}

/// The smallest component that Brink runs: a command that is never called.
pub(crate) fn component() -> Vec<u8> {
    wat::parse_str(
        r#"(component
            (core module $m
                (memory (export "memory") 1)
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
                (func (export "execute") (param i32 i32) (result i32) unreachable))
            (core instance $i (instantiate $m))
            (func (export "execute") (param "input" (list u8)) (result (result (list u8) (error (list u8))))
                (canon lift (core func $i "execute") (memory (core memory $i "memory"))
                    (realloc (core func $i "cabi_realloc")))))"#,
    )
    .unwrap()
}
