//! What is written, and what waits for its second time.

use super::*;

const CAPACITY: u64 = 1 << 30;

fn disk() -> Admission {
    Admission::new(CAPACITY, 1 << 20)
}

fn stored(hash: u64, bytes: u64) -> Candidate {
    Candidate {
        hash,
        bytes,
        is_there: false,
        is_full: true,
        holdings: Holdings {
            bytes: CAPACITY,
            tenants: 1,
            capacity_bytes: CAPACITY,
        },
    }
}

/// Others come by, of so many bytes together, none of them twice.
fn pass(disk: &mut Admission, first: u64, bytes: u64) {
    for n in 0..bytes / 100_000 {
        disk.admits(&stored(first + n * 7_919, 100_000));
    }
}

#[test]
fn what_is_written() {
    let little = Holdings {
        bytes: CAPACITY / 4 - 1,
        tenants: 2,
        capacity_bytes: CAPACITY,
    };
    let cases = [
        (
            "there is room",
            Candidate {
                is_full: false,
                ..stored(1, 100)
            },
            true,
        ),
        ("the first time", stored(1, 100), false),
        ("the second time", stored(1, 100), true),
        (
            "it was written: as if it were the first",
            stored(1, 100),
            false,
        ),
        (
            "in the place of another",
            Candidate {
                is_there: true,
                ..stored(2, 100)
            },
            true,
        ),
        (
            "of a tenant with little",
            Candidate {
                holdings: little,
                ..stored(3, 100)
            },
            true,
        ),
        ("of no bytes", stored(4, 0), false),
        ("larger than anything", stored(5, u64::MAX), false),
    ];
    let mut disk = disk();
    for (name, candidate, expected) in cases {
        assert_eq!(disk.admits(&candidate), expected, "{name}");
    }
}

#[test]
fn remembered_for_as_long_as_the_size_allows() {
    let sixteenths = |n| CAPACITY / 16 * n;
    let cases = [
        ("of mean size, soon", 100_000, sixteenths(1), true),
        ("of mean size, in time", 100_000, sixteenths(14), true),
        ("of mean size, too late", 100_000, sixteenths(17), false),
        ("large, soon", 1 << 20, sixteenths(2), true),
        ("large, too late", 1 << 20, sixteenths(5), false),
        ("small, in time", 1_000, sixteenths(60), true),
        ("small, too late", 1_000, sixteenths(66), false),
    ];
    for (name, bytes, passed, expected) in cases {
        let mut disk = Admission::new(CAPACITY, 64 << 20);
        pass(&mut disk, 1 << 40, CAPACITY / 8);
        assert!(!disk.admits(&stored(1, bytes)), "{name}");
        pass(&mut disk, 1 << 50, passed);
        assert_eq!(disk.admits(&stored(1, bytes)), expected, "{name}");
    }
}

#[test]
fn memory_is_bounded() {
    for (capacity, memory, expected) in [
        (0, 0, 256),
        (1 << 20, 0, 256),
        (1 << 30, 1 << 20, 1 << 20),
        (1 << 30, (1 << 20) - 1, 1 << 19),
        (1 << 30, 1 << 30, 2 << 20),
        (u64::MAX, u64::MAX, 64 << 20),
    ] {
        let disk = Admission::new(capacity, memory);
        assert_eq!(disk.memory_bytes(), expected, "{capacity} {memory}");
    }
    let mut disk = Admission::new(0, 0);
    for n in 0..100_000 {
        disk.admits(&stored(n, n));
    }
}
