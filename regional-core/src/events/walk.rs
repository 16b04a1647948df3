//! A walk over streams by their index, page by page.

use super::streams;
use crate::{Error, store::Store};
use brink_protocol::address::PartitionAddress;

/// Where a walk is. It stays there when a page cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    /// Partitions of the index that are not walked through, the next one last.
    left: Vec<PartitionAddress>,
    /// The last stream of the page before, in the next one.
    after: Option<String>,
}

impl Walk {
    /// Over some partitions of the index.
    #[must_use]
    pub fn over(mut indexes: Vec<PartitionAddress>) -> Self {
        indexes.reverse();
        Self {
            left: indexes,
            after: None,
        }
    }

    /// The next streams, which may be none; `None`: there are no more.
    ///
    /// # Errors
    /// The store's.
    pub async fn next(
        &mut self,
        store: &dyn Store,
        limit: u32,
        now_ms: u64,
    ) -> Result<Option<Vec<String>>, Error> {
        let Some(index) = self.left.last() else {
            return Ok(None);
        };
        let (names, more) = streams(store, index, self.after.clone(), limit, now_ms).await?;
        self.after = names.last().cloned().filter(|_| more);
        if self.after.is_none() {
            self.left.pop();
        }
        Ok(Some(names))
    }
}
