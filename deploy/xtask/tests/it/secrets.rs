//! No secret in a log, none readable by others.

use crate::harness::{Stack, order};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            files(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

#[test]
fn no_secret_is_logged_and_files_are_tight() {
    let stack = Stack::shop();
    let token = stack.folder("tokens").join("reader");
    stack.brink(&[
        "token",
        "create",
        "--label",
        "reader",
        "--role",
        "reader",
        "--out",
        token.to_str().unwrap(),
    ]);
    let secrets = [
        "cookie-that-nobody-may-see",
        "bearer-that-nobody-may-see",
        "query-password",
        "key-that-nobody-may-see",
    ];
    let [cookie, bearer, _, key] = secrets;
    for pop in 0..2 {
        let request = stack
            .curl(pop, "/hello")
            .header(&format!("cookie: session={cookie}"));
        request
            .header(&format!("authorization: Bearer {bearer}"))
            .header(&format!("x-api-key: {key}"))
            .send()
            .expect(200);
        stack
            .curl(pop, "/orders")
            .json(&order("A-1", 1))
            .send()
            .expect(201);
        stack
            .curl(pop, "/orders")
            .json(&order("nonsense", 0))
            .header(&format!("cookie: {cookie}"))
            .send();
    }
    stack.ask("/v1/status").send().expect(200);
    stack.ask("/v1/nothing").send().expect(404);

    let logs = stack.logs();
    assert!(logs.len() > 500, "there are logs: {logs}");
    let mut found = Vec::new();
    files(&stack.site.data, &mut found);
    let mut secret_files = 0;
    for file in &found {
        let name = file.file_name().unwrap().to_string_lossy();
        let secret = name == "key"
            || name.ends_with(".key")
            || name.ends_with(".token")
            || name.ends_with(".header")
            || *file == token;
        if !secret {
            continue;
        }
        secret_files += 1;
        let mode = fs::metadata(file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{} has mode {mode:o}", file.display());
        let bytes = fs::read(file).unwrap();
        for line in String::from_utf8_lossy(&bytes)
            .lines()
            .filter(|line| line.len() >= 16 && !line.starts_with("-----"))
        {
            let line = line.strip_prefix("authorization: Bearer ").unwrap_or(line);
            assert!(
                !logs.contains(line),
                "the logs hold a line of {}",
                file.display()
            );
        }
    }
    // The authority's, the core's two, two of each PoP, two tokens and a header.
    assert!(secret_files >= 9, "{found:?}");
    for secret in [cookie, bearer, key] {
        assert!(!logs.contains(secret), "the logs hold {secret}");
    }
    // The store holds every record: it is nobody else's business either.
    for file in found.iter().filter(|file| {
        file.extension()
            .is_some_and(|extension| extension == "redb")
    }) {
        let mode = fs::metadata(file).unwrap().permissions().mode() & 0o077;
        assert_eq!(mode, 0, "{} can be read by others", file.display());
    }
}
