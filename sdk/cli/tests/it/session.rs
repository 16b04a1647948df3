//! `brink dev` with servers that only pretend: what it starts, what it passes on, how it ends.

use crate::program::{User, component};
use std::{
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    process::Stdio,
};

/// A `brink-edge` that writes down its arguments, says that it is ready, and waits for SIGTERM.
const EDGE: &str = r#"#!/bin/sh
echo "$@" > "$BRINK_BIN_DIR/arguments"
while [ "$1" != --ready-file ]; do shift; done
trap 'echo drained > "$BRINK_BIN_DIR/ended"; exit 0' TERM
echo '{"level":"INFO","message":"quiet line"}' >&2
echo '{"level":"WARN","message":"loud line"}' >&2
echo '{"url":"http://127.0.0.1:4711"}' > "$2.tmp"
mv "$2.tmp" "$2"
while :; do sleep 0.05; done
"#;

fn user(edge: &str) -> User {
    let user = User::new();
    user.write("bin/brink-edge", edge);
    std::fs::set_permissions(
        user.path("bin/brink-edge"),
        std::fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    user.write("a.wasm", component());
    let bin = user.path("bin").display().to_string();
    user.with("BRINK_BIN_DIR", bin)
}

#[test]
fn a_component_is_served_until_the_signal() {
    for (line, arguments, serves) in [
        (
            "dev a.wasm",
            "serve a.wasm --listen 127.0.0.1:8080 --ready-file ",
            "a.wasm at http://127.0.0.1:4711/",
        ),
        (
            "dev --origin http://127.0.0.1:3000 --listen 127.0.0.1:0",
            "proxy --origin http://127.0.0.1:3000 --listen 127.0.0.1:0 --ready-file ",
            "A cache before http://127.0.0.1:3000 at http://127.0.0.1:4711/",
        ),
    ] {
        let user = user(EDGE);
        let mut command = user.command(line.split(' '), user.work.path());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut first)
            .unwrap();
        assert!(first.starts_with(serves), "{first}");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(
            err.contains("edge: WARN loud line") && !err.contains("quiet line"),
            "{err}"
        );
        assert_eq!(
            std::fs::read_to_string(user.path("bin/ended")).unwrap(),
            "drained\n"
        );
        let written = std::fs::read_to_string(user.path("bin/arguments")).unwrap();
        assert!(written.starts_with(arguments), "{written}");
    }
}

#[test]
fn a_server_that_ends_by_itself_is_told_with_its_last_lines() {
    let user = user("#!/bin/sh\necho 'address in use' >&2\nexit 1\n");
    let error = user.run("dev a.wasm").fails(1);
    assert!(
        error.contains("ended by itself") && error.contains("  address in use"),
        "{error}"
    );
}
