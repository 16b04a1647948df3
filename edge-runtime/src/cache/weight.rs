//! What an entry costs in memory: each allocation that is made for it, rounded up to what the allocator gives.
//!
//! docs/decisions/0028 has what the process really takes.

use super::content::Content;
use super::stored::{Key, Slot, Stored, Variant, head_bytes};
use brink_policy::{
    coherence::{Bounds, Depends as _, TagIndex},
    eviction::Bounded,
};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Room of a field in a map of `http`, beside the bytes of its name and value.
const FIELD_BYTES: usize = 104;
/// Room of a further value of a field.
const FURTHER_VALUE_BYTES: usize = 72;
/// What a buffer that several share has beside its bytes: their count.
const SHARED_BYTES: usize = 32;
/// The count of an `Arc`.
const ARC_BYTES: usize = 16;
/// A status line, and the line feeds of a head.
const STATUS_LINE_BYTES: usize = 40;
/// A position: few entries have one of their own.
const POSITION_BYTES: usize = 96;

/// What the allocator gives for `bytes`: multiples of 16 up to 128, then four sizes for each doubling.
pub(super) fn allocated(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        1..=128 => bytes.next_multiple_of(16),
        _ => {
            let step = bytes.next_power_of_two() / 8;
            bytes.checked_next_multiple_of(step).unwrap_or(usize::MAX)
        }
    }
}

/// What a slot costs in memory, in bytes.
pub(super) fn weight(key: &Key, slot: &Slot) -> usize {
    match slot {
        Slot::Answer(stored) => weight_of(key, stored),
        Slot::Variants(list) => {
            let each = list.iter().map(|variant| {
                allocated(variant.selection.len())
                    + allocated(variant.language.len())
                    + allocated(variant.fields.len() * size_of::<HeaderName>())
                    + 2 * size_of::<Variant>()
            });
            of_key(key) + each.sum::<usize>()
        }
        Slot::Piece(bytes) => of_key(key) + of_bytes(bytes.len()),
    }
}

/// What a response costs in memory, in bytes, with its places in the order and in the tag index.
pub(super) fn weight_of(key: &Key, stored: &Stored) -> usize {
    let ranges = stored.on.iter().filter(|on| on.bounds().is_some());
    let bounds: usize = ranges.map(|_| allocated(size_of::<Bounds>())).sum();
    let on = allocated(size_of_val(&*stored.on)) + bounds;
    of_key(key)
        // The tag index has its own.
        + 2 * on
        + stored.on.len() * TagIndex::<Key>::TAG_BYTES
        + TagIndex::<Key>::ENTRY_BYTES
        + allocated(key.0.as_str().len())
        + POSITION_BYTES
        + of_stored(stored)
}

fn of_key(key: &Key) -> usize {
    allocated(key.0.as_str().len()) + Bounded::<Key, Slot>::ENTRY_BYTES
}

fn of_stored(stored: &Stored) -> usize {
    let forms = stored.coded_forms().map(of_stored);
    allocated(ARC_BYTES + size_of::<Stored>())
        + of_fields(&stored.headers)
        + stored.trailers.as_deref().map_or(0, of_trailers)
        + of_content(&stored.body)
        + allocated(stored.described.len())
        + allocated(stored.forms_table_bytes())
        + forms.sum::<usize>()
        // As it is sent, from the first hit on.
        + allocated(head_bytes(&stored.headers) + STATUS_LINE_BYTES)
}

/// A body, as far as it lies in its entry.
fn of_content(content: &Content) -> usize {
    match content {
        Content::Whole(bytes) => of_bytes(bytes.len()),
        Content::Pieces(pieces) => {
            allocated(ARC_BYTES + size_of_val(&**pieces))
                + allocated(pieces.id().tenant.as_str().len())
        }
    }
}

fn of_bytes(length: usize) -> usize {
    allocated(length) + SHARED_BYTES
}

/// A trailer section, in a box.
fn of_trailers(section: &HeaderMap) -> usize {
    allocated(size_of::<HeaderMap>()) + of_fields(section)
}

/// A map of fields, whose values lie in one buffer.
fn of_fields(headers: &HeaderMap) -> usize {
    let names = headers
        .iter()
        .map(|(name, _)| allocated(name.as_str().len()));
    let values: usize = headers.values().map(HeaderValue::len).sum();
    let places = headers.capacity();
    let further = headers.len() - headers.keys_len();
    allocated((places + places / 3).next_power_of_two() * 4)
        + allocated(places * FIELD_BYTES)
        + allocated(2 * further * FURTHER_VALUE_BYTES)
        + names.sum::<usize>()
        + allocated(values)
        + SHARED_BYTES
}

#[cfg(test)]
mod tests;
