//! Streams as tables, each fed whole, byte by byte, and in every two pieces.
#![allow(clippy::unwrap_used)]

use super::*;

const HEADER_MAX: u64 = 100;

fn varint(value: u64) -> Vec<u8> {
    match value {
        0..=0x3f => vec![u8::try_from(value).unwrap()],
        0x40..=0x3fff => u16::try_from(value | 0x4000)
            .unwrap()
            .to_be_bytes()
            .to_vec(),
        0x4000..=0x3fff_ffff => u32::try_from(value | 0x8000_0000)
            .unwrap()
            .to_be_bytes()
            .to_vec(),
        _ => (value | 0xc000_0000_0000_0000).to_be_bytes().to_vec(),
    }
}

fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    let length = u64::try_from(payload.len()).unwrap();
    [varint(kind), varint(length), payload.to_vec()].concat()
}

fn run(mut filter: Filter, pieces: &[&[u8]]) -> Result<Vec<u8>, Excess> {
    let mut kept = Vec::new();
    for piece in pieces {
        filter.push(Bytes::copy_from_slice(piece))?;
        while let Some(bytes) = filter.pop() {
            kept.extend_from_slice(&bytes);
        }
    }
    Ok(kept)
}

fn check(filter: fn() -> Filter, input: &[u8], expected: Result<&[u8], Excess>) {
    let expected = expected.map(<[u8]>::to_vec);
    assert_eq!(run(filter(), &[input]), expected, "whole");
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(run(filter(), &bytes), expected, "byte by byte");
    for at in 0..input.len().min(300) {
        let (first, second) = input.split_at(at);
        assert_eq!(run(filter(), &[first, second]), expected, "split at {at}");
    }
}

#[test]
fn requests_lose_what_has_no_meaning_and_keep_the_rest() {
    let request = || Filter::request(HEADER_MAX);
    let head = frame(HEADERS, &[7; 40]);
    let data = frame(DATA, &[8; 3000]);
    let unknown = frame(0x21 + 0x1f * 5, &[9; 70]);
    let empty = frame(DATA, &[]);
    let reserved = frame(0x06, &[1]);
    check(request, &[], Ok(&[]));
    check(request, &head, Ok(&head));
    let wanted = [head.clone(), data.clone(), head.clone()].concat();
    check(request, &wanted, Ok(&wanted));
    let noisy = [
        &unknown, &head, &unknown, &empty, &data, &empty, &empty, &head, &unknown,
    ];
    check(request, &noisy.map(Vec::as_slice).concat(), Ok(&wanted));
    // h3 has to see what it must refuse.
    check(request, &reserved, Ok(&reserved));
    // A frame that is not whole is passed on as far as it is there.
    let (part, _) = head.split_at(10);
    check(request, part, Ok(part));
    let (part, _) = unknown.split_at(10);
    check(request, part, Ok(&[]));
}

#[test]
fn declared_lengths_are_bounded_before_the_bytes_come() {
    let request = || Filter::request(HEADER_MAX);
    let declared = |kind, length| [varint(kind), varint(length)].concat();
    let mebi32 = 32 * 1024 * 1024;
    check(
        request,
        &declared(HEADERS, mebi32),
        Err(Excess::HeaderSection(mebi32)),
    );
    check(
        request,
        &declared(HEADERS, HEADER_MAX + 1),
        Err(Excess::HeaderSection(HEADER_MAX + 1)),
    );
    check(request, &declared(0x21, mebi32), Err(Excess::Skipped));
    check(
        request,
        &declared(0x21, (1 << 62) - 1),
        Err(Excess::Skipped),
    );
    check(
        request,
        &declared(SETTINGS, mebi32),
        Err(Excess::Frame(SETTINGS, mebi32)),
    );
    check(
        request,
        &declared(0x0d, mebi32),
        Err(Excess::Frame(0x0d, mebi32)),
    );
    // Data is bounded by the body's own limit.
    let data = declared(DATA, mebi32);
    check(request, &data, Ok(&data));
}

#[test]
fn endless_small_noise_ends() {
    let mut filter = Filter::request(HEADER_MAX);
    let mut pushed = 0;
    let noise = Bytes::from(frame(DATA, &[]));
    while filter.push(noise.clone()).is_ok() {
        pushed += noise.len();
        assert!(filter.pop().is_none());
        assert!(pushed <= usize::try_from(SKIPPED_BYTES_MAX).unwrap());
    }
}

#[test]
fn unidirectional_streams_are_bounded_by_their_type() {
    let settings = [varint(CONTROL_STREAM), frame(SETTINGS, &[6, 1])].concat();
    check(Filter::unidirectional, &settings, Ok(&settings));
    let update = frame(0xf0700, b"0u=1");
    let updates = [settings.clone(), update.repeat(40_000)].concat();
    let mut filter = Filter::unidirectional();
    filter.push(Bytes::from(updates)).unwrap();
    let mut kept = Vec::new();
    while let Some(bytes) = filter.pop() {
        kept.extend_from_slice(&bytes);
    }
    assert_eq!(kept, settings);
    let qpack = [varint(2), vec![0x3f; 500]].concat();
    check(Filter::unidirectional, &qpack, Ok(&qpack));
    let huge = [varint(CONTROL_STREAM), varint(SETTINGS), varint(1 << 25)].concat();
    check(
        Filter::unidirectional,
        &huge,
        Err(Excess::Frame(SETTINGS, 1 << 25)),
    );
}

proptest::proptest! {
    /// Whatever comes, however it is cut: the same bytes are kept or the same excess is found, nothing
    /// panics, and what is kept was sent.
    #[test]
    fn any_bytes_however_cut(
        input in proptest::collection::vec(
            proptest::prop_oneof![0_u8..5, proptest::num::u8::ANY], 0..400
        ),
        cuts in proptest::collection::vec(0_usize..400, 0..6),
        unidirectional in proptest::bool::ANY,
    ) {
        let filter = || if unidirectional { Filter::unidirectional() } else { Filter::request(HEADER_MAX) };
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(input.len())).collect();
        cuts.push(input.len());
        cuts.sort_unstable();
        let mut start = 0;
        let mut pieces = Vec::new();
        for cut in cuts {
            pieces.push(input.get(start..cut).unwrap());
            start = cut;
        }
        let whole = run(filter(), &[&input]);
        proptest::prop_assert_eq!(&run(filter(), &pieces), &whole);
        if let Ok(kept) = whole {
            proptest::prop_assert!(kept.len() <= input.len());
        }
    }
}
