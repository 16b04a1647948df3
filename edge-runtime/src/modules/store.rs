//! Components by content address: from this PoP's disk, else from the core.

use crate::{error::Error, files, link::Link};
use brink_protocol::{Digest, control::COMPONENT_BYTES_MAX, link::path};
use bytes::Bytes;
use std::{fs, io, path::PathBuf, sync::Arc};

/// Component files kept beside those in use; beyond them the least recently written go.
const UNUSED_FILES_MAX: usize = 64;

/// Where components come from.
#[derive(Clone)]
pub struct Store {
    dir: Option<Arc<PathBuf>>,
    link: Option<Link>,
}

impl Store {
    /// Keeps components in `dir`; asks the core for those that are not there.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn new(dir: Option<PathBuf>, link: Option<Link>) -> Result<Self, Error> {
        if let Some(dir) = &dir {
            files::make_dir(dir)?;
        }
        Ok(Self {
            dir: dir.map(Arc::new),
            link,
        })
    }

    /// The bytes of a component. A file that is not what its name says is fetched anew.
    ///
    /// # Errors
    /// It is not here and the core does not give it, or gives something else.
    pub async fn bytes(&self, digest: Digest) -> Result<Bytes, Error> {
        if let Some(bytes) = self.on_disk(digest).await {
            return Ok(bytes);
        }
        let wrong = |reason: String| Error::Component { digest, reason };
        let Some(link) = &self.link else {
            return Err(wrong("it is not on disk, and there is no core".into()));
        };
        let bytes = link
            .fetch(path::COMPONENTS, &format!("/{digest}"), COMPONENT_BYTES_MAX)
            .await
            .map_err(|e| wrong(e.to_string()))?;
        let kept = self.keep(digest, bytes.clone());
        match tokio::task::spawn_blocking(kept).await {
            Ok(Ok(())) => Ok(bytes),
            Ok(Err(Error::Component { digest, reason })) => {
                Err(Error::Component { digest, reason })
            }
            Ok(Err(error)) => {
                tracing::warn!(%digest, %error, "component is not kept on disk");
                Ok(bytes)
            }
            Err(stopped) => Err(wrong(stopped.to_string())),
        }
    }

    async fn on_disk(&self, digest: Digest) -> Option<Bytes> {
        let path = self.path(digest)?;
        let read = move || {
            let bytes = fs::read(&path).ok()?;
            (Digest::of(&bytes) == digest).then_some(Bytes::from(bytes))
        };
        tokio::task::spawn_blocking(read).await.ok().flatten()
    }

    fn path(&self, digest: Digest) -> Option<PathBuf> {
        Some(self.dir.as_ref()?.join(format!("{}.wasm", digest.hex())))
    }

    fn keep(
        &self,
        digest: Digest,
        bytes: Bytes,
    ) -> impl FnOnce() -> Result<(), Error> + Send + 'static {
        let path = self.path(digest);
        move || {
            let actual = Digest::of(&bytes);
            if actual != digest {
                let reason = format!("the core gave {actual}");
                return Err(Error::Component { digest, reason });
            }
            path.map_or(Ok(()), |path| files::replace(&path, &bytes))
        }
    }

    /// Deletes files of components that are not `in_use`, but for the [`UNUSED_FILES_MAX`] newest.
    pub async fn prune(&self, in_use: Vec<Digest>) {
        let Some(dir) = self.dir.clone() else { return };
        let pruned = tokio::task::spawn_blocking(move || prune(&dir, &in_use)).await;
        if let Ok(Err(error)) = pruned {
            tracing::warn!(%error, "unused components could not be deleted");
        }
    }
}

fn prune(dir: &PathBuf, in_use: &[Digest]) -> io::Result<()> {
    let names: Vec<String> = in_use.iter().map(|d| format!("{}.wasm", d.hex())).collect();
    let mut unused = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if !names.iter().any(|name| entry.file_name() == name.as_str()) {
            unused.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    unused.sort();
    let excess = unused.len().saturating_sub(UNUSED_FILES_MAX);
    unused
        .iter()
        .take(excess)
        .try_for_each(|(_, path)| fs::remove_file(path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_file_is_believed_only_if_it_is_what_its_name_says() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(Some(dir.path().join("c")), None).unwrap();
        let digest = Digest::of(b"component");
        let error = store.bytes(digest).await.unwrap_err().to_string();
        assert!(error.contains("there is no core"), "{error}");
        let path = store.path(digest).unwrap();
        fs::write(&path, b"other").unwrap();
        assert!(store.bytes(digest).await.is_err());
        fs::write(&path, b"component").unwrap();
        assert_eq!(store.bytes(digest).await.unwrap(), "component");
        let wrong = store.keep(digest, Bytes::from_static(b"other"));
        assert!(wrong().unwrap_err().to_string().contains("the core gave"));
    }

    #[tokio::test]
    async fn only_so_many_unused_files_stay() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(Some(dir.path().to_owned()), None).unwrap();
        let used = Digest::of(b"used");
        fs::write(store.path(used).unwrap(), b"used").unwrap();
        for number in 0..UNUSED_FILES_MAX + 5 {
            fs::write(dir.path().join(format!("{number}.wasm")), b"").unwrap();
        }
        store.prune(vec![used]).await;
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            UNUSED_FILES_MAX + 1
        );
        assert!(store.path(used).unwrap().exists());
    }
}
