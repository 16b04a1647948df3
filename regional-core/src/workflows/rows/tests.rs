//! Rows are read as they were written.
#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn due_rows_are_read_as_they_were_written() {
    let row = DueRow {
        collection: "_workflows-due__eu".into(),
        due: Due {
            at_ms: 12,
            based_on: 3,
            nonce: 0xab,
        },
        place: Place {
            tenant: "default".parse().unwrap(),
            name: "fulfil".parse().unwrap(),
            id: "a/b/c".into(),
        },
        at_work: Some("core-1".into()),
    };
    let mut entry = Entry {
        sort: row.sort(),
        value: Bytes::from_static(b"core-1"),
        version: 1,
        lifetime_ms: None,
    };
    assert_eq!(
        DueRow::read("_workflows-due__eu", &entry),
        Some(row.clone())
    );
    entry.value = Bytes::new();
    assert_eq!(
        DueRow::read("_workflows-due__eu", &entry),
        Some(DueRow {
            at_work: None,
            ..row
        })
    );
    entry.sort = "nonsense".into();
    assert_eq!(DueRow::read("_workflows-due__eu", &entry), None);
}
