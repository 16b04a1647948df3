//! Every target with its seeds and what lies close to them: cut short, one bit flipped, one byte more, two of them in one.

use brink_fuzz::{TARGETS, target};

#[test]
fn seeds_and_what_lies_close_to_them() {
    for target in &TARGETS {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{}", target.name);
        for seed in &seeds {
            (target.run)(seed);
            for end in 0..seed.len() {
                let (before, after) = seed.split_at(end);
                (target.run)(before);
                (target.run)(after);
                for insert in [b'\n', b',', b'"', b' ', 0, 0xff] {
                    (target.run)(&[before, &[insert], after].concat());
                }
                for bit in 0..8 {
                    let mut flipped = seed.clone();
                    flipped
                        .iter_mut()
                        .skip(end)
                        .take(1)
                        .for_each(|byte| *byte ^= 1 << bit);
                    (target.run)(&flipped);
                }
            }
            for other in &seeds {
                (target.run)(&[seed.as_slice(), other.as_slice()].concat());
            }
        }
    }
}

#[test]
fn each_has_its_name() {
    for one in &TARGETS {
        assert_eq!(target(one.name).map(|found| found.name), Some(one.name));
    }
    assert!(target("nothing").is_none());
}
