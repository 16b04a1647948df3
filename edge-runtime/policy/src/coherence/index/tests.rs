//! Walks against a plain list, and how much work each slice is.
#![allow(clippy::unwrap_used)]
use super::super::SortKey;
use super::*;
use brink_protocol::{
    record::{Bound, Range},
    tag::Tag,
};
use proptest::prelude::*;

fn tags(tags: &[TagHash]) -> Vec<Dependency> {
    tags.iter().copied().map(Dependency::Tag).collect()
}

/// All that a walk comes to, in slices of `steps`.
fn walked<K: Clone>(index: &TagIndex<K>, mut walk: Walk, steps: usize) -> Vec<Met<K>> {
    let mut met = Vec::new();
    while !walk.slice(index, steps, &mut met) {}
    met
}

fn ids<K: Clone>(index: &TagIndex<K>, touch: &Touch) -> Vec<EntryId> {
    let mut ids: Vec<_> = walked(index, Walk::over(touch, EntryId::MAX), 3)
        .into_iter()
        .map(|met| met.id)
        .collect();
    ids.sort_unstable();
    ids
}

#[test]
fn each_once() {
    let mut index = TagIndex::default();
    index.insert(1, "a", 5, &tags(&[10, 20]));
    index.insert(2, "b", 7, &tags(&[20, 30]));
    assert_eq!(
        (index.count(20), index.count(10), index.count(9)),
        (2, 1, 0)
    );
    assert_eq!(ids(&index, &Touch::hard(&[10, 20, 30, 10])), [1, 2]);
    let met = walked(&index, Walk::over(&Touch::hard(&[20]), 2), 1);
    assert_eq!(
        met,
        [Met {
            id: 1,
            key: "a",
            bytes: 5
        }]
    );
    assert_eq!(index.remove(1), Some("a"));
    assert_eq!(index.remove(1), None);
    assert_eq!(index.count(10), 0);
    assert_eq!(ids(&index, &Touch::hard(&[20])), [2]);
    assert_eq!(walked(&index, Walk::over_all(3), 1).len(), 1);
    assert!(walked(&index, Walk::over_all(2), 1).is_empty());
}

fn partition() -> TagHash {
    super::super::tags::partition(&"t".parse().unwrap(), "c", "p")
}

fn range(lower: &str, upper: &str) -> Dependency {
    Dependency::on(&Tag::Range {
        tenant: "t".parse().unwrap(),
        range: Range {
            collection: "c".into(),
            partition: "p".into(),
            lower: Bound::Inclusive(lower.into()),
            upper: Bound::Inclusive(upper.into()),
            limit: 10,
            descending: false,
        },
    })
}

fn write(record: TagHash, sort: &str) -> Touch {
    Touch {
        written: Some(Written {
            partition: partition(),
            sorts: Some(std::iter::once(SortKey::of(sort)).collect()),
        }),
        ..Touch::hard(&[record])
    }
}

#[test]
fn ranges_by_their_bounds() {
    let mut index = TagIndex::default();
    index.insert(1, (), 1, &[range("a", "c")]);
    index.insert(2, (), 1, &[range("b", "d"), Dependency::Tag(7)]);
    index.insert(3, (), 1, &tags(&[partition()]));
    for (sort, expected) in [
        ("a", &[1, 3][..]),
        ("b", &[1, 2, 3]),
        ("d", &[2, 3]),
        ("e", &[3]),
    ] {
        assert_eq!(ids(&index, &write(9, sort)), expected, "{sort}");
    }
    assert_eq!(ids(&index, &write(7, "e")), [2, 3]);
    let mut any = write(9, "e");
    any.written.as_mut().unwrap().sorts = None;
    assert_eq!(ids(&index, &any), [1, 2, 3]);
}

/// However many entries a purge matches, what is done between taking the index and giving it back is a slice; and all
/// slices together pass over each entry once, not over those that are gone again and again.
#[test]
fn a_purge_of_a_million_is_done_in_slices_of_equal_work() {
    const ENTRIES: u64 = 1_000_000;
    const SLICE: usize = 256;
    let mut index = TagIndex::default();
    for id in 1..=ENTRIES {
        index.insert(id, (), 1, &tags(&[7, 1_000_000 + id]));
    }
    assert_eq!(index.count(7), 1_000_000);
    let mut walk = Walk::over(&Touch::hard(&[7]), ENTRIES + 1);
    let (mut slices, mut removed) = (0u64, 0u64);
    loop {
        let (mut met, before) = (Vec::new(), walk.steps());
        let over = walk.slice(&index, SLICE, &mut met);
        slices += 1;
        assert!(walk.steps() - before <= SLICE as u64);
        assert!(met.len() <= SLICE);
        for met in &met {
            index.remove(met.id);
            removed += 1;
        }
        // Some that come meanwhile are not its business.
        index.insert(ENTRIES + slices, (), 1, &tags(&[7]));
        if over {
            break;
        }
    }
    assert_eq!(removed, ENTRIES);
    assert!(walk.steps() <= ENTRIES + 1, "{}", walk.steps());
    assert_eq!(index.count(7) as u64, slices);
}

proptest! {
    #[test]
    fn same_as_a_list(
        steps in proptest::collection::vec((any::<bool>(), 1u64..8, proptest::collection::btree_set(0u64..5, 0..4), proptest::option::of((0u8..4, 0u8..4))), 0..60),
        slice in 1usize..5,
    ) {
        let key = |n: u8| char::from(b'a' + n).to_string();
        let mut index = TagIndex::default();
        let mut list: Vec<(u64, Vec<Dependency>)> = Vec::new();
        for (add, id, own, bounds) in steps {
            let own: Vec<u64> = own.into_iter().collect();
            let mut on = tags(&own);
            on.extend(bounds.map(|(lower, upper)| range(&key(lower), &key(upper))));
            index.remove(id);
            list.retain(|(other, _)| *other != id);
            if add {
                index.insert(id, (), id, &on);
                list.push((id, on));
            }
            list.sort_by_key(|(id, _)| *id);
            let with = |tags: &[u64]| list.iter().filter(|(_, on)| on.iter().any(|d| matches!(d, Dependency::Tag(t) if tags.contains(t)))).map(|(id, _)| *id).collect::<Vec<_>>();
            for tag in 0..5 {
                prop_assert_eq!(index.count(tag), with(&[tag]).len());
            }
            for touched in [&[0][..], &[1, 2], &[4, 0, 3]] {
                let touch = Touch::hard(touched);
                let mut met: Vec<_> = walked(&index, Walk::over(&touch, 100), slice).iter().map(|m| m.id).collect();
                met.sort_unstable();
                prop_assert_eq!(&met, &with(touched));
                prop_assert_eq!(index.may_match(&touch), !met.is_empty());
            }
            for n in 0..4 {
                let sort = SortKey::of(&key(n));
                let expected: Vec<_> = list.iter().filter(|(_, on)| on.iter().any(|d| match d {
                    Dependency::Tag(tag) => *tag == 3,
                    Dependency::Range { bounds, .. } => bounds.may_contain(&sort),
                })).map(|(id, _)| *id).collect();
                prop_assert_eq!(ids(&index, &write(3, &key(n))), expected);
            }
            prop_assert_eq!(walked(&index, Walk::over_all(100), slice).len(), list.len());
            prop_assert_eq!(index.len(), list.len());
        }
        for (id, _) in list {
            index.remove(id);
        }
        prop_assert!(index.tags.0.iter().chain(index.ranges.0.iter()).all(FxHashMap::is_empty));
    }
}
