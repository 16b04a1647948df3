//! Where the servers' programs are.

use crate::error::Error;
use std::path::{Path, PathBuf};

/// The program of a PoP.
pub(super) const EDGE: &str = "brink-edge";
/// The program of a core.
pub(super) const CORE: &str = "brink-core";

/// Finds a program: in `BRINK_BIN_DIR`, beside this one, on PATH.
///
/// # Errors
/// It is in none of them.
pub(super) fn program(name: &str) -> Result<PathBuf, Error> {
    let configured = std::env::var_os("BRINK_BIN_DIR")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from);
    let beside = std::env::current_exe()
        .ok()
        .and_then(|own| own.parent().map(Path::to_owned));
    let path = std::env::var_os("PATH").unwrap_or_default();
    find(name, configured.into_iter().chain(beside).chain(std::env::split_paths(&path))).ok_or_else(|| {
        Error::Usage(format!(
            "the program {name} is not beside brink, in BRINK_BIN_DIR or on PATH. In Brink's repository: cargo build -p {name}"
        ))
    })
}

fn find(name: &str, mut dirs: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let runs = |file: &Path| {
        std::fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    dirs.find_map(|dir| Some(dir.join(name)).filter(|file| runs(file)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_first_that_runs() {
        let root = tempfile::tempdir().unwrap();
        let dirs = ["a", "b", "c"].map(|name| root.path().join(name));
        for dir in &dirs {
            std::fs::create_dir(dir).unwrap();
        }
        assert_eq!(find("p", dirs.clone().into_iter()), None);
        std::fs::write(dirs[1].join("p"), "").unwrap();
        assert_eq!(find("p", dirs.clone().into_iter()), None);
        std::fs::write(dirs[2].join("p"), "").unwrap();
        std::fs::set_permissions(dirs[2].join("p"), std::fs::Permissions::from_mode(0o755))
            .unwrap();
        assert_eq!(find("p", dirs.clone().into_iter()), Some(dirs[2].join("p")));
    }
}
