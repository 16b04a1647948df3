//! Coded forms of stored answers: each is made once, off the threads that serve, and kept with what it is made of.
//!
//! A short answer is coded before it is stored: the request that fetched it waits for that, and so do those that wait for it.
//! Others are stored and sent as they are first; the first request that would have liked a coding has it made beside, and
//! gets what is there.

use super::{
    coders::coded,
    content::{Content, PIECE_BYTES},
    shared::Shared,
    stored::{Form, Key, Slot, Stored},
};
use brink_policy::coding::Coding;
use std::sync::Arc;

/// What an entry's forms may have beyond the largest body that is stored, in bytes.
const FORMS_ROOM_BYTES: usize = 2 << 20;

/// Makes the coded form of an entry beside, if there is a place; it takes the place of the entry with all that this has.
pub(super) fn code_beside(shared: &Arc<Shared>, key: Key, stored: Arc<Stored>, coding: Coding) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return;
    };
    if !shared.tiers.holds(&key, stored.id) {
        return;
    }
    let Some(place) = shared.coders.begin(stored.id, coding) else {
        return;
    };
    let shared = Arc::clone(shared);
    runtime.spawn(async move {
        let form = coded(coding, &stored.body, place, &shared.tiers).await;
        if let Some(form) = form {
            put(&shared, key, &stored, coding, form);
        }
        shared.coders.end(stored.id, coding);
    });
}

/// Stores an entry with one more of its forms. It is what it was, as old as it was, and what ends it ends both.
fn put(shared: &Shared, key: Key, stored: &Stored, coding: Coding, form: Form) {
    // Another answer, or a further form, took its place meanwhile.
    if !shared.tiers.holds(&key, stored.id) {
        return;
    }
    let room = usize::try_from(shared.config.object_bytes_max).unwrap_or(usize::MAX);
    let room = room.saturating_add(FORMS_ROOM_BYTES);
    let form = laid(shared, &key, form);
    if let Some(stored) = stored.with_form(coding, form, room) {
        shared.tiers.amend(key, Slot::Answer(Arc::new(stored)));
    }
}

/// The same form, in pieces if it is longer than one. Where there is no room for them it is not worth it.
fn laid(shared: &Shared, key: &Key, form: Form) -> Form {
    let bytes = match &form {
        Form::Coded(Content::Whole(bytes)) if bytes.len() > PIECE_BYTES => bytes,
        Form::Coded(_) | Form::Useless => return form,
    };
    let tenant = key.0.parts().and_then(|(tenant, ..)| tenant.parse().ok());
    let pieces = tenant.and_then(|tenant| shared.tiers.lay(&tenant, bytes));
    pieces.map_or(Form::Useless, |pieces| Form::Coded(Content::Pieces(pieces)))
}
