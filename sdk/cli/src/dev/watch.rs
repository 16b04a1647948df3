//! Tells when sources change.

use crate::error::Error;
use notify::{EventKind, RecursiveMode, Watcher as _};
use std::{
    ffi::OsStr,
    path::{Component, Path, PathBuf},
    time::Duration,
};
use tokio::{sync::mpsc, time::timeout};

/// How long nothing may change before sources count as saved: editors write in several steps.
const QUIET: Duration = Duration::from_millis(150);
/// Directories that builds and tools write to.
const NOT_SOURCES: [&str; 6] = [
    "target",
    "node_modules",
    "dist",
    ".git",
    ".brink",
    "coverage",
];

/// Watches the sources of a project.
pub(super) struct Watch {
    changes: mpsc::Receiver<()>,
    _watcher: notify::RecommendedWatcher,
}

impl Watch {
    /// Begins to watch `dir`.
    ///
    /// # Errors
    /// The system cannot watch it.
    pub(super) fn begin(dir: &Path) -> Result<Self, Error> {
        let wrong =
            |error| Error::failed(format_args!("{} cannot be watched", dir.display()), error);
        let root = dir
            .canonicalize()
            .map_err(|error| Error::failed(dir.display(), error))?;
        // One is enough: it says "look again".
        let (sender, changes) = mpsc::channel(1);
        let base = root.clone();
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                if event.is_ok_and(|event| concerns(&base, &event)) {
                    let _ = sender.try_send(());
                }
            })
            .map_err(wrong)?;
        // Each directory by itself: watching `target` and `node_modules` would cost thousands of watches.
        watcher
            .watch(&root, RecursiveMode::NonRecursive)
            .map_err(wrong)?;
        for dir in source_dirs(&root) {
            watcher
                .watch(&dir, RecursiveMode::Recursive)
                .map_err(wrong)?;
        }
        Ok(Self {
            changes,
            _watcher: watcher,
        })
    }

    /// Waits for a change, and until no other follows it.
    pub(super) async fn changed(&mut self) {
        if self.changes.recv().await.is_none() {
            // The watcher is gone: nothing changes any more.
            std::future::pending::<()>().await;
        }
        while let Ok(Some(())) = timeout(QUIET, self.changes.recv()).await {}
    }
}

fn source_dirs(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    entries
        .filter(|entry| {
            entry.file_type().is_ok_and(|kind| kind.is_dir()) && is_source(&entry.file_name())
        })
        .map(|entry| entry.path())
        .collect()
}

fn is_source(name: &OsStr) -> bool {
    !NOT_SOURCES.iter().any(|not| name == *not)
}

/// Whether an event may change what is built.
fn concerns(root: &Path, event: &notify::Event) -> bool {
    if matches!(event.kind, EventKind::Access(_)) {
        return false;
    }
    event
        .paths
        .iter()
        .any(|path| is_source_file(path.strip_prefix(root).unwrap_or(path)))
}

fn is_source_file(path: &Path) -> bool {
    let of_editor = |name: &str| {
        name.starts_with(".#") || name.ends_with('~') || name.ends_with(".swp") || name == "4913"
    };
    let made_by_builds = |name: &str| name == "Cargo.lock" || name == "package-lock.json";
    let inside = path.components().all(|part| match part {
        Component::Normal(name) => is_source(name),
        _ => true,
    });
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    inside && !name.is_empty() && !of_editor(&name) && !made_by_builds(&name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sources() {
        for (path, counts) in [
            ("src/lib.rs", true),
            ("brink.toml", true),
            ("Cargo.toml", true),
            ("Cargo.lock", false),
            ("target/debug/x", false),
            ("src/.lib.rs.swp", false),
            ("src/lib.rs~", false),
            ("node_modules/a/b.js", false),
            ("dist/a.wasm", false),
            ("", false),
        ] {
            assert_eq!(is_source_file(Path::new(path)), counts, "{path}");
        }
    }

    #[tokio::test]
    async fn a_written_source_is_told() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("src")).unwrap();
        std::fs::create_dir(root.path().join("target")).unwrap();
        let mut watch = Watch::begin(root.path()).unwrap();
        std::fs::write(root.path().join("target/a"), "1").unwrap();
        std::fs::write(root.path().join("src/lib.rs"), "1").unwrap();
        timeout(Duration::from_secs(20), watch.changed())
            .await
            .unwrap();
    }
}
