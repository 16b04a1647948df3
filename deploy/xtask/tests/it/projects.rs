//! What a developer does: `brink new`, `build`, `publish`, `deploy`, and the answer at every PoP.

use crate::harness::Stack;
use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// How soon after `brink deploy` has returned every PoP answers with the new version.
const SERVED_WITHIN: Duration = Duration::from_secs(2);

#[track_caller]
fn brink(stack: &Stack, folder: &Path, arguments: &[&str]) {
    let mut command = Command::new(&stack.site.binaries.brink);
    command
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null());
    command
        .env("BRINK_CONTROL", &stack.control.url)
        .env("BRINK_CA", stack.ca());
    command.env("BRINK_TOKEN_FILE", stack.site.token_file());
    // Shared by all runs: the standard library for guests is not built anew each time.
    let target = xtask::binaries::target_folder(&xtask::repository_root()).join("e2e-projects");
    command.env("CARGO_TARGET_DIR", target);
    let output = command.output().expect("brink starts");
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "brink {arguments:?}: {}",
        String::from_utf8_lossy(&said)
    );
}

#[track_caller]
fn new_to_served(template: &str) {
    let stack = Stack::empty();
    let folder = stack.folder("projects");
    brink(&stack, &folder, &["new", "shop", "--template", template]);
    let project = folder.join("shop");
    brink(&stack, &project, &["build"]);
    brink(&stack, &project, &["publish"]);
    brink(&stack, &project, &["deploy"]);
    let returned = Instant::now();
    for pop in 0..2 {
        loop {
            let answer = stack.get(pop, "/shop");
            if answer.status == 200 {
                break;
            }
            assert!(returned.elapsed() < SERVED_WITHIN, "{answer:?}");
        }
    }
}

#[test]
fn in_rust() {
    new_to_served("rust");
}

#[test]
fn in_javascript() {
    new_to_served("js");
}
