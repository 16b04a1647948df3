//! A network without one: packets are numbers, time is told.

#![allow(clippy::unwrap_used)]

use super::*;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn wan(path: Path) -> Wan<u32> {
    let mut wan = Wan::new(1, 3);
    wan.set(0, 1, path);
    wan
}

/// All that arrives up to `now`.
fn arrivals(wan: &mut Wan<u32>, now: Duration) -> Vec<u32> {
    std::iter::from_fn(|| wan.take(now).map(|delivery| delivery.packet)).collect()
}

#[test]
fn nothing_arrives_before_its_delay() {
    let mut wan = wan(Path {
        delay_us: 80_000,
        ..Path::default()
    });
    assert_eq!(wan.offer(0, 1, 7, 100, ms(5)), Fate::UnderWay { copies: 1 });
    assert_eq!(wan.next_due(), Some(ms(85)));
    assert_eq!(wan.take(ms(85) - Duration::from_nanos(1)), None);
    let expected = Delivery {
        from: 0,
        to: 1,
        packet: 7,
    };
    assert_eq!(wan.take(ms(85)), Some(expected));
    assert_eq!((wan.take(ms(1_000)), wan.next_due()), (None, None));
    // The way back is another one.
    wan.offer(1, 0, 8, 100, ms(100));
    assert_eq!(arrivals(&mut wan, ms(100)), [8]);
}

#[test]
fn jitter_keeps_the_order_and_its_bounds() {
    let mut wan = wan(Path {
        delay_us: 10_000,
        jitter_us: 50_000,
        ..Path::default()
    });
    for packet in 0..500 {
        wan.offer(0, 1, packet, 100, ms(u64::from(packet)));
    }
    let mut seen = Vec::new();
    for now in 0..600 {
        for packet in arrivals(&mut wan, ms(now)) {
            assert!(now >= u64::from(packet) + 10, "{packet} at {now}");
            seen.push(packet);
        }
    }
    assert_eq!(seen, (0..500).collect::<Vec<_>>());
}

#[test]
fn held_packets_are_overtaken() {
    let mut wan = wan(Path {
        reorder: 0.2,
        held_us: 5_000,
        ..Path::default()
    });
    for packet in 0..100 {
        wan.offer(0, 1, packet, 100, ms(u64::from(packet)));
    }
    let mut seen = Vec::new();
    for now in 0..200 {
        seen.extend(arrivals(&mut wan, ms(now)));
    }
    assert!(!seen.is_sorted(), "{seen:?}");
    let held = wan.counts().held;
    assert!((5..45).contains(&held), "{held}");
    seen.sort_unstable();
    assert_eq!(seen, (0..100).collect::<Vec<_>>(), "all arrive");
}

#[test]
fn loss_and_duplication_by_their_shares() {
    for (loss, duplicate) in [
        (0.0, 0.0),
        (0.1, 0.0),
        (0.0, 0.1),
        (0.3, 0.3),
        (1.0, 0.0),
        (0.0, 1.0),
    ] {
        let mut wan = wan(Path {
            loss,
            duplicate,
            ..Path::default()
        });
        for packet in 0..10_000 {
            wan.offer(0, 1, packet, 100, ms(0));
        }
        let arrived = arrivals(&mut wan, ms(0));
        let counts = wan.counts();
        let near = |count: u64, of: u64, share: f64| {
            #[allow(clippy::cast_precision_loss)]
            let found = count as f64 / of.max(1) as f64;
            (found - share).abs() < 0.03
        };
        assert!(near(counts.lost, 10_000, loss), "{counts:?}");
        assert!(
            near(counts.duplicated, 10_000 - counts.lost, duplicate) || loss == 1.0,
            "{counts:?}"
        );
        assert_eq!(
            arrived.len() as u64,
            10_000 - counts.lost + counts.duplicated
        );
        assert_eq!(counts.delivered, arrived.len() as u64);
    }
}

#[test]
fn a_cut_loses_what_is_under_way() {
    let path = Path {
        delay_us: 10_000,
        ..Path::default()
    };
    let cut = Path {
        is_cut: true,
        ..path
    };
    let mut wan = wan(path);
    wan.offer(0, 1, 1, 100, ms(0));
    wan.set(0, 1, cut);
    assert_eq!(wan.offer(0, 1, 2, 100, ms(1)), Fate::Dropped(Drop::Cut));
    wan.set(0, 1, path);
    wan.offer(0, 1, 3, 100, ms(2));
    assert_eq!(
        arrivals(&mut wan, ms(100)),
        [3],
        "even when it heals before they arrive"
    );
    assert_eq!((wan.counts().cut, wan.counts().delivered), (2, 1));
    // One way only.
    wan.set(0, 1, cut);
    wan.offer(1, 0, 4, 100, ms(100));
    assert_eq!(arrivals(&mut wan, ms(200)), [4]);
}

#[test]
fn bandwidth_spaces_packets_and_drops_the_tail() {
    // 100 bytes a millisecond; 10 packets of 100 bytes may wait.
    let mut wan = wan(Path {
        bytes_per_second: 100_000,
        queue_bytes_max: 1_000,
        ..Path::default()
    });
    let fates: Vec<_> = (0..12)
        .map(|packet| wan.offer(0, 1, packet, 100, ms(0)))
        .collect();
    let through = fates
        .iter()
        .filter(|fate| matches!(fate, Fate::UnderWay { .. }))
        .count();
    assert_eq!(through, 10);
    assert_eq!(fates.last(), Some(&Fate::Dropped(Drop::QueueFull)));
    for count in 1..=10_u32 {
        assert_eq!(arrivals(&mut wan, ms(u64::from(count))), [count - 1]);
    }
    // A packet larger than the queue goes alone.
    assert_eq!(
        wan.offer(0, 1, 99, 1_500, ms(100)),
        Fate::UnderWay { copies: 1 }
    );
}

#[test]
fn ways_that_are_not_there() {
    let mut wan = wan(Path::default());
    for (from, to) in [(0, 0), (0, 3), (3, 0), (9, 9)] {
        assert_eq!(wan.offer(from, to, 1, 1, ms(0)), Fate::Dropped(Drop::NoWay));
    }
    assert!(wan.path(0, 3).is_none());
    assert_eq!(wan.counts().no_way, 4);
}

#[test]
fn the_network_holds_so_much_and_no_more() {
    let mut wan = wan(Path {
        delay_us: 1_000,
        ..Path::default()
    });
    assert_eq!(
        wan.offer(0, 1, 1, BYTES_MAX, ms(0)),
        Fate::UnderWay { copies: 1 }
    );
    assert_eq!(wan.offer(0, 1, 2, 1, ms(0)), Fate::Dropped(Drop::QueueFull));
    assert_eq!(arrivals(&mut wan, ms(1)), [1]);
    assert_eq!(wan.offer(0, 1, 3, 1, ms(1)), Fate::UnderWay { copies: 1 });
}

#[test]
fn streams_wait_for_a_cut_way_and_for_retransmissions() {
    let mut wan = wan(Path {
        delay_us: 10_000,
        loss: 1.0,
        ..Path::default()
    });
    assert_eq!(wan.stream(0, 1, 100, ms(0)), Some(ms(10 + 200 + 20)));
    wan.set(
        0,
        1,
        Path {
            is_cut: true,
            ..Path::default()
        },
    );
    assert_eq!(wan.stream(0, 1, 100, ms(0)), None);
}

#[test]
fn the_same_seed_does_the_same() {
    let run = |seed| {
        let mut wan = Wan::new(seed, 2);
        wan.set(
            0,
            1,
            Path {
                loss: 0.5,
                jitter_us: 9_000,
                ..Path::default()
            },
        );
        for packet in 0..64 {
            wan.offer(0, 1, packet, 10, ms(0));
        }
        let mut seen = Vec::new();
        for now in 0..20 {
            seen.extend(
                arrivals(&mut wan, ms(now))
                    .into_iter()
                    .map(|packet| (now, packet)),
            );
        }
        seen
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

#[test]
fn impossible_paths() {
    for path in [
        Path {
            loss: 1.1,
            ..Path::default()
        },
        Path {
            duplicate: -0.1,
            ..Path::default()
        },
        Path {
            reorder: f64::NAN,
            ..Path::default()
        },
        Path {
            delay_us: DELAY_US_MAX + 1,
            ..Path::default()
        },
        Path {
            held_us: u64::MAX,
            ..Path::default()
        },
    ] {
        assert!(path.mistake().is_some(), "{path:?}");
    }
    assert_eq!(Path::default().mistake(), None);
}
