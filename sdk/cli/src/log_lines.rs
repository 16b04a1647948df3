//! What modules logged, as the control API keeps it.

use crate::{client::Client, error::Error, moment::time};
use brink_protocol::{ModuleName, link::LogLine};
use serde::{Deserialize, Serialize};

/// For how long the control API is asked to wait for a line, in milliseconds.
const WAIT_MS: u64 = 10_000;
/// Most lines of one answer.
pub(crate) const LINES_MAX: u32 = 1000;

/// A line and its place among all lines of the core.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NumberedLine {
    /// Counts from 1 since the core's start.
    pub(crate) number: u64,
    /// The line.
    #[serde(flatten)]
    pub(crate) line: LogLine,
}

/// Asks for lines. Without a number: the newest, in order. With one: those after it, oldest first; if there is none yet, the
/// answer comes with the first, or empty after 10 s.
///
/// # Errors
/// The control API does not answer.
pub(crate) async fn fetch(
    client: &Client,
    module: Option<&ModuleName>,
    after: Option<u64>,
    limit: u32,
) -> Result<Vec<NumberedLine>, Error> {
    let module = module
        .map(|name| format!("&module={name}"))
        .unwrap_or_default();
    let after = after
        .map(|number| format!("&after={number}&wait_ms={WAIT_MS}"))
        .unwrap_or_default();
    client
        .get(&format!("/v1/logs?limit={limit}{module}{after}"))
        .await
}

/// One line: time, level, module@place, message, fields. What modules wrote cannot move the terminal's cursor.
pub(crate) fn text(NumberedLine { line, .. }: &NumberedLine) -> String {
    let fields: String = line
        .fields
        .iter()
        .map(|(name, value)| format!(" {name}={value:?}"))
        .collect();
    let text = format!(
        "{} {:<5} {}@{} {}{fields}",
        time(line.at_ms),
        line.level,
        line.module,
        line.place,
        line.message
    );
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn as_people_read_it() {
        let line = LogLine {
            at_ms: 0,
            tenant: "default".parse().unwrap(),
            module: "orders".parse().unwrap(),
            place: "ams".into(),
            level: "info".into(),
            message: "placed\x1b[2J\n".into(),
            fields: vec![("order".into(), "01J".into())],
            trace_id: None,
        };
        assert_eq!(
            text(&NumberedLine { number: 1, line }),
            "1970-01-01T00:00:00.000Z info  orders@ams placed [2J  order=\"01J\""
        );
    }
}
