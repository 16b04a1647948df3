//! `brink records`.

use crate::{
    args::{Audited, RecordsAction},
    client::{Client, encoded},
    error::Error,
    moment::time,
    output::{Output, table},
};
use brink_protocol::trail::{Author, AuthorKind, TrailEntry, TrailPage};

/// Shows who changed a record.
pub(super) async fn run(
    action: RecordsAction,
    client: &Client,
    output: Output,
) -> Result<(), Error> {
    let RecordsAction::Audit(asked) = action;
    let page: TrailPage = client.get(&path(&asked)).await?;
    output.result(&page, list)
}

fn path(asked: &Audited) -> String {
    let mut path = format!(
        "/v1/records/audit?collection={}&partition={}&sort={}&limit={}",
        encoded(&asked.collection),
        encoded(&asked.partition),
        encoded(&asked.sort),
        asked.limit,
    );
    if let Some(before) = &asked.before {
        path.push_str("&before=");
        path.push_str(&encoded(before));
    }
    path
}

fn author(by: &Author) -> String {
    let kind = match by.kind {
        AuthorKind::Core => "core",
        AuthorKind::Token => "token",
        AuthorKind::Module => "module",
        AuthorKind::Command => "command",
        AuthorKind::Workflow => "workflow step",
        AuthorKind::Projection => "projection",
        AuthorKind::Erasure => "erasure",
    };
    let mut text = format!("{kind} {}", by.name).trim_end().to_owned();
    if let Some(version) = by.version {
        text.push_str(&format!(" v{version}"));
    }
    if let Some(caller) = &by.caller {
        text.push_str(&format!(", called by {caller}"));
    }
    if let Some(subject) = &by.subject {
        text.push_str(&format!(", for {subject}"));
    }
    text
}

fn row(entry: &TrailEntry) -> Vec<String> {
    let version = |version: Option<u64>| version.map_or_else(|| "-".into(), |v| v.to_string());
    vec![
        time(entry.at_ms),
        format!("{} -> {}", version(entry.from), version(entry.to)),
        entry.bytes.map(|b| b.to_string()).unwrap_or_default(),
        author(&entry.by),
        entry.key.clone().unwrap_or_default(),
    ]
}

fn list(page: &TrailPage) -> String {
    if page.entries.is_empty() {
        return "Nothing is kept of changes of this record.\n".into();
    }
    let rows: Vec<_> = page.entries.iter().map(row).collect();
    let mut text = table(&["WHEN", "VERSION", "BYTES", "BY", "KEY"], &rows);
    if let Some(next) = &page.next {
        text.push_str(&format!("There are older ones: --before {next}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_and_shown() {
        let mut asked = Audited {
            collection: "orders".into(),
            partition: "o 1".into(),
            sort: String::new(),
            before: None,
            limit: 10,
        };
        let whole = "/v1/records/audit?collection=orders&partition=o%201&sort=&limit=10";
        assert_eq!(path(&asked), whole);
        asked.before = Some("7x".into());
        assert_eq!(path(&asked), format!("{whole}&before=7x"));
        let entry = TrailEntry {
            at_ms: 0,
            by: Author::new(AuthorKind::Command, "pay")
                .version(3)
                .on_behalf("shop", Some("u1")),
            from: Some(1),
            to: None,
            key: Some("k".into()),
            bytes: None,
            sha256: None,
            expires_at_ms: None,
        };
        let page = TrailPage {
            entries: vec![entry],
            next: Some("7".into()),
        };
        let text = list(&page);
        assert!(text.contains("1 -> -"), "{text}");
        let by = "command pay v3, called by shop, for u1";
        assert!(
            text.contains(by) && text.ends_with("--before 7\n"),
            "{text}"
        );
        assert_eq!(author(&Author::default()), "core");
    }
}
