//! Bodies that came whole and are longer than a piece: they are cut when they are stored.

use super::{
    content::{Content, PIECE_BYTES},
    fill::Fill,
    stored::{Key, Stored},
};
use http::StatusCode;
use std::sync::Arc;

impl Fill {
    /// An entry as it is stored: if its body is longer than a piece, that is in pieces then, in the tiers. None: there is no
    /// room for them. Parts stay as they are: they are put together with others.
    pub(super) fn laid(&self, stored: &Arc<Stored>) -> Option<Arc<Stored>> {
        match &stored.body {
            Content::Whole(bytes)
                if bytes.len() > PIECE_BYTES && stored.status != StatusCode::PARTIAL_CONTENT =>
            {
                let tiers = &self.shared.tiers;
                if !tiers.admits(&Key(self.key.clone()), bytes.len() as u64) {
                    return None;
                }
                let content = Content::Pieces(tiers.lay(&self.subject.tenant, bytes)?);
                Some(Arc::new(stored.with_body(content)))
            }
            Content::Whole(_) | Content::Pieces(_) => Some(stored.clone()),
        }
    }
}
