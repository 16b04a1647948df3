//! Tables and properties of what is decided about shields.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::http::StaleReason;

#[test]
fn keys_are_spread_and_stay_where_they_are() {
    let shields: Vec<u64> = (0..5).map(mixed).collect();
    let mut first = [0u32; 5];
    for key in 0..10_000 {
        let all = order(mixed(key), &shields);
        assert_eq!(all.len(), 5);
        first[all[0]] += 1;
        // Without one of them, the others keep their order.
        let fewer = order(mixed(key), &shields[..4]);
        let kept: Vec<usize> = all.into_iter().filter(|at| *at != 4).collect();
        assert_eq!(fewer, kept);
    }
    assert!(
        first.iter().all(|n| (1_700..2_300).contains(n)),
        "{first:?}"
    );
    assert!(order(1, &[]).is_empty());
}

#[test]
fn one_that_fails_is_left_alone_and_tried_again() {
    let mut breaker = Breaker::default();
    for _ in 0..FAILURES_MAX {
        assert!(breaker.allows(1_000));
        breaker.failed(1_000);
    }
    assert!(!breaker.allows(1_000) && breaker.is_open(1_000));
    assert!(breaker.allows(1_500), "one tries");
    assert!(!breaker.allows(1_500), "and no other");
    breaker.failed(1_500);
    assert!(!breaker.allows(2_400) && breaker.allows(2_500));
    for _ in 0..40 {
        breaker.failed(10_000);
    }
    assert!(breaker.allows(10_000 + PAUSE_MS_MAX));
    breaker.answered();
    assert!(breaker.allows(10_000) && breaker.allows(10_000));
}

#[test]
fn what_was_outdated_is_remembered_or_everything_is() {
    // Whatever an earlier process knew, it was before this one began.
    let mut outdated = Outdated::begin(40);
    assert_eq!(outdated.since(1, 100), 60);
    outdated.note(1, 100);
    assert_eq!((outdated.since(1, 150), outdated.since(2, 150)), (50, 110));
    for url in 0..=OUTDATED_MAX as u64 {
        outdated.note(url, 200);
    }
    assert_eq!(outdated.since(u64::MAX, 300), 100, "it has forgotten which");
    outdated.note(7, 250);
    assert_eq!(outdated.since(7, 300), 50);
    assert!(outdated.at_ms.len() <= OUTDATED_MAX);
    // Clocks do not go back; if one does, nothing is older than now.
    assert_eq!(outdated.since(7, 0), 0);
}

#[test]
fn an_answer_counts_if_it_was_asked_for_afterwards() {
    for (received_ms, initial_age, since_ms, counts) in [
        (0, 0, 0, false),
        (0, 0, 1_000, false),
        (0, 0, 1_001, true),
        (5_000, 0, 5_500, false),
        (5_000, 0, 6_001, true),
        (5_000, 3, 9_000, false),
        (5_000, 3, 9_001, true),
        (0, u64::MAX, u64::MAX, false),
        (u64::MAX, 0, u64::MAX, false),
    ] {
        assert_eq!(
            is_younger(received_ms, initial_age, since_ms),
            counts,
            "{received_ms} {initial_age} {since_ms}"
        );
    }
}

#[test]
fn a_pop_gets_nothing_stale() {
    for (reuse, expected) in [
        (Reuse::Serve, Reuse::Serve),
        (
            Reuse::ServeStale(StaleReason::WhileRevalidate),
            Reuse::Validate,
        ),
        (Reuse::ServeStale(StaleReason::MaxStale), Reuse::Validate),
        (
            Reuse::ServeStale(StaleReason::Disconnected),
            Reuse::Validate,
        ),
        (Reuse::Disconnected, Reuse::Validate),
        (Reuse::ValidateForRequest, Reuse::ValidateForRequest),
    ] {
        assert_eq!(for_pop(reuse), expected);
    }
}

#[test]
fn what_a_shield_asks_for_in_place_of_a_part() {
    for (complete, widens) in [
        (None, true),
        (Some(WIDENED_BYTES_MAX), true),
        (Some(WIDENED_BYTES_MAX + 1), false),
    ] {
        assert_eq!(may_widen(complete), widens, "{complete:?}");
    }
    for (status, length, taken) in [
        (200, Some("5"), true),
        (200, Some("4194305"), false),
        (200, Some("99999999999999999999999"), false),
        (200, None, false),
        (206, Some("4194305"), true),
        (404, None, true),
    ] {
        let mut headers = HeaderMap::new();
        if let Some(length) = length {
            headers.insert(CONTENT_LENGTH, length.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(
            is_taken_whole(status, &headers),
            taken,
            "{status} {length:?}"
        );
    }
}

#[test]
fn what_a_pop_keeps_of_what_a_shield_lets_it_keep() {
    let range = HeaderMap::from_iter([(RANGE, "bytes=0-1".parse().unwrap())]);
    let none = HeaderMap::new();
    for (request, status, content_range, kept) in [
        (&none, 200, None, true),
        (&none, 404, None, true),
        (&none, 103, None, false),
        (&none, 304, None, false),
        (&range, 200, None, true),
        (&range, 206, Some("bytes 0-1/9"), true),
        (&range, 206, Some("bytes */9"), false),
        (&range, 206, None, false),
        (&range, 416, Some("bytes */9"), false),
        (&none, 416, None, true),
    ] {
        let mut response = HeaderMap::new();
        if let Some(range) = content_range {
            response.insert(http::header::CONTENT_RANGE, range.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(is_kept_by_pop(request, status, &response), kept, "{status}");
    }
    let [whole, part, not, nothing] =
        [200, 206, 304, 416].map(|status| StatusCode::from_u16(status).unwrap());
    assert!(is_told_kept(whole, part) && is_told_kept(whole, not));
    assert!(!is_told_kept(whole, nothing) && is_told_kept(nothing, nothing));
}
