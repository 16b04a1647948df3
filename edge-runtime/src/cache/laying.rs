//! Bodies that came whole and are longer than a piece: they are cut when they are stored.

use super::{
    content::{Content, PIECE_BYTES, Pieces},
    fill::Fill,
    stored::{Key, Stored},
    tiers::Tiers,
};
use bytes::Bytes;
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
                let id = Tiers::new_filling(&self.subject.tenant);
                let pieces = Pieces::new(id, bytes.len(), PIECE_BYTES)?;
                lay(&self.shared.tiers, &pieces, bytes)?;
                let content = Content::Pieces(Arc::new(pieces));
                Some(Arc::new(stored.with_body(content)))
            }
            Content::Whole(_) | Content::Pieces(_) => Some(stored.clone()),
        }
    }
}

/// Puts a body into the tiers by pieces, all of them or none.
fn lay(tiers: &Tiers, pieces: &Pieces, bytes: &Bytes) -> Option<()> {
    let put = |piece: usize| {
        let bytes = Bytes::copy_from_slice(bytes.get(pieces.covers(piece))?);
        tiers
            .put_piece_now(&Key(pieces.key(piece)), bytes)
            .then_some(())
    };
    let laid = (0..pieces.count()).try_for_each(put);
    let is_there = laid.is_some() && tiers.has_pieces(pieces, &(0..bytes.len()));
    if !is_there {
        tiers.remove_pieces(pieces.id(), pieces.count());
    }
    is_there.then_some(())
}
