//! What people and scripts read on standard output: tables, lines, or with `--json` one JSON value.

use crate::error::Error;
use serde::Serialize;
use std::io::{IsTerminal as _, Write as _};

/// How results are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// JSON instead of tables and sentences.
    pub(crate) json: bool,
}

impl Output {
    /// Whether somebody watches: standard output is a terminal, and no JSON is wanted.
    pub(crate) fn is_watched(self) -> bool {
        !self.json && std::io::stdout().is_terminal()
    }

    /// Writes one result: `value` with `--json`, else what `human` makes of it.
    ///
    /// # Errors
    /// Standard output is closed or full.
    pub(crate) fn result<T: Serialize>(
        self,
        value: &T,
        human: impl FnOnce(&T) -> String,
    ) -> Result<(), Error> {
        let mut text = if self.json {
            serde_json::to_string_pretty(value)
                .map_err(|error| Error::failed("the result has no JSON form", error))?
        } else {
            human(value)
        };
        if !text.ends_with('\n') && !text.is_empty() {
            text.push('\n');
        }
        write_out(&text)
    }

    /// Writes one line of a sequence: compact JSON (NDJSON) with `--json`.
    ///
    /// # Errors
    /// Standard output is closed or full.
    pub(crate) fn line<T: Serialize>(
        self,
        value: &T,
        human: impl FnOnce(&T) -> String,
    ) -> Result<(), Error> {
        let text = if self.json {
            serde_json::to_string(value)
                .map_err(|error| Error::failed("the line has no JSON form", error))?
        } else {
            human(value)
        };
        write_out(&format!("{text}\n"))
    }

    /// Tells what is going on, on standard error; silent with `--json`.
    pub(crate) fn progress(self, text: impl std::fmt::Display) {
        if !self.json {
            eprintln!("{text}");
        }
    }
}

/// A table that is drawn again and again in the same place of a terminal.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    lines: usize,
}

impl Screen {
    /// Draws `text` where the last one was.
    ///
    /// # Errors
    /// Standard output is closed or full.
    pub(crate) fn draw(&mut self, text: &str) -> Result<(), Error> {
        let again = redraw(self.lines, text);
        self.lines = text.lines().count();
        write_out(&again)
    }
}

/// What takes the place of the last `lines` lines of a terminal: the cursor goes up, and what is there is erased (ECMA-48
/// CUU, ED).
fn redraw(lines: usize, text: &str) -> String {
    match lines {
        0 => text.to_owned(),
        _ => format!("\x1b[{lines}A\x1b[J{text}"),
    }
}

fn write_out(text: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Error::failed("standard output cannot be written", error))
}

/// Rows in columns, two spaces apart, under headings.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = headings
        .iter()
        .map(|heading| heading.chars().count())
        .collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut text = line(&mut headings.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

/// Names and values, one pair a line.
pub(crate) fn pairs(rows: &[(&str, String)]) -> String {
    let width = rows
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0);
    rows.iter()
        .map(|(name, value)| format!("{name:<width$}  {value}\n"))
        .collect()
}

/// Bytes for people: `15.2 KiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    #[allow(clippy::cast_precision_loss)]
    let mut value = bytes as f64 / 1024.0;
    let mut unit = UNITS[0];
    for next in UNITS.iter().skip(1) {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up() {
        let rows = vec![
            vec!["ams".into(), "yes".into()],
            vec!["singapore".into(), String::new()],
        ];
        assert_eq!(
            table(&["POP", "CONNECTED"], &rows),
            "POP        CONNECTED\nams        yes\nsingapore\n"
        );
        assert_eq!(
            pairs(&[("a", "1".into()), ("long", "2".into())]),
            "a     1\nlong  2\n"
        );
    }

    #[test]
    fn tables_are_redrawn_in_place() {
        assert_eq!(redraw(0, "a\nb\n"), "a\nb\n");
        assert_eq!(redraw(2, "c\n"), "\x1b[2A\x1b[Jc\n");
    }

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (15_565, "15.2 KiB"),
            (3 << 30, "3.0 GiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
