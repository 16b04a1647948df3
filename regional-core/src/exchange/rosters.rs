//! Who the PoPs of other cores were, kept in files of this core's own: a core that starts anew while another is not
//! reached knows whom a purge waits for, and for how long.

use crate::{Error, clock::now_ms};
use brink_protocol::{NodeName, peers::PopsAnswer};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::Instant;

/// What a peer said of its PoPs.
#[derive(Debug, Clone)]
pub struct Known {
    /// What it said.
    pub answer: PopsAnswer,
    /// When it was heard.
    pub at: Instant,
    /// When it was heard, in milliseconds since 1970.
    pub at_ms: u64,
}

/// One file.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// When it was heard, in milliseconds since 1970.
    at_ms: u64,
    answer: PopsAnswer,
}

/// What is kept of other cores; nothing, without a directory.
#[derive(Debug, Clone, Default)]
pub(super) struct Rosters(Option<PathBuf>);

impl Rosters {
    /// In a directory, which is made when it is needed.
    pub(super) fn within(directory: PathBuf) -> Self {
        Self(Some(directory))
    }

    fn file(&self, core: &NodeName) -> Option<PathBuf> {
        Some(self.0.as_ref()?.join(format!("{core}.json")))
    }

    /// What was kept of a core. A file that cannot be read is as good as none.
    pub(super) fn load(&self, core: &NodeName) -> Option<Known> {
        let kept: Kept = serde_json::from_slice(&fs::read(self.file(core)?).ok()?).ok()?;
        let since = Duration::from_millis(now_ms().saturating_sub(kept.at_ms));
        let now = Instant::now();
        Some(Known {
            answer: kept.answer,
            at: now.checked_sub(since).unwrap_or(now),
            at_ms: kept.at_ms,
        })
    }

    /// Keeps what a core said.
    pub(super) async fn keep(&self, core: &NodeName, known: &Known) {
        let Some(file) = self.file(core) else { return };
        let kept = Kept {
            at_ms: known.at_ms,
            answer: known.answer.clone(),
        };
        let written = tokio::task::spawn_blocking(move || write(&file, &kept)).await;
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%core, %error, "the PoPs of a peer were not kept"),
            Err(error) => tracing::error!(%core, %error, "the PoPs of a peer were not kept"),
        }
    }

    /// Forgets what was kept of a core.
    pub(super) fn forget(&self, core: &NodeName) {
        if let Some(file) = self.file(core) {
            // Mostly it is not there.
            let _ = fs::remove_file(file);
        }
    }
}

fn write(file: &Path, kept: &Kept) -> Result<(), Error> {
    let failed = |error| Error::file("written", file, error);
    let text = serde_json::to_vec(kept).map_err(|error| Error::corrupt("PoPs of a peer", error))?;
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory).map_err(failed)?;
    }
    let partial = file.with_extension("partial");
    fs::write(&partial, text)
        .and_then(|()| fs::rename(&partial, file))
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use brink_protocol::peers::{PopOfPeer, PopsSeen};

    #[tokio::test]
    async fn what_a_peer_said_outlives_this_core() {
        let directory = tempfile::tempdir().unwrap();
        let rosters = Rosters::within(directory.path().join("peers"));
        let core: NodeName = "core-2".parse().unwrap();
        assert!(rosters.load(&core).is_none());
        let known = Known {
            answer: PopsAnswer {
                lease_ms: 2_000,
                seen: PopsSeen {
                    members: 1,
                    covering: 0,
                },
                pops: vec![PopOfPeer {
                    name: "ams".parse().unwrap(),
                    connected: true,
                    silent_ms: 7,
                    covers: false,
                    note: None,
                }],
            },
            at: Instant::now(),
            at_ms: now_ms() - 100,
        };
        rosters.keep(&core, &known).await;
        let again = rosters.load(&core).unwrap();
        assert_eq!((again.at_ms, &again.answer), (known.at_ms, &known.answer));
        assert!(again.at.elapsed() >= Duration::from_millis(100));
        fs::write(directory.path().join("peers/core-2.json"), b"{").unwrap();
        assert!(rosters.load(&core).is_none(), "cut off");
        rosters.forget(&core);
        rosters.forget(&core);
        Rosters::default().keep(&core, &known).await;
        assert!(Rosters::default().load(&core).is_none());
    }
}
