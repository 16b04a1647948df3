//! `brink tenant export` and `brink tenant import`.

use crate::{
    args::TenantAction,
    client::{Client, Content, PUBLISH_TIME_MAX, REQUEST_TIME_MAX, encoded},
    error::Error,
    moment::{now_ms, time},
    output::{Output, pairs},
};
use aws_lc_rs::digest::{Context, SHA256};
use brink_protocol::{
    Digest,
    transfer::{FORM, LINE_BYTES_MAX, Line, Summary, TenantImported},
};
use http::Method;
use std::{
    fs::File,
    io::{BufRead as _, BufReader, BufWriter, Read as _},
    path::Path,
};

/// Bytes of lines that are sent at a time, and a line more.
const PIECE_BYTES: usize = 4 << 20;

/// Exports or imports.
pub(super) async fn run(
    action: TenantAction,
    client: impl Fn() -> Result<Client, Error>,
    output: Output,
) -> Result<(), Error> {
    match action {
        TenantAction::Export { name, to } => {
            let summary = export(&client()?, &name, &to).await?;
            output.result(&summary, shown)
        }
        TenantAction::Import {
            name,
            from,
            overwrite,
        } => {
            // Before anything is sent.
            verified(&from)?;
            let done = import(&client()?, &name, &from, overwrite).await?;
            output.result(&done, imported)
        }
    }
}

fn shown(summary: &Summary) -> String {
    pairs(&[
        ("Tenant", summary.tenant.clone()),
        ("Begun", time(summary.at_ms)),
        (
            "Records",
            summary.records.saturating_sub(summary.platform).to_string(),
        ),
        ("Events and other rows", summary.platform.to_string()),
        ("Deployments", summary.deployments.to_string()),
        ("Digest", summary.sha256.to_string()),
    ])
}

fn imported(done: &TenantImported) -> String {
    pairs(&[
        ("Written", done.written.to_string()),
        ("Overwritten", done.overwritten.to_string()),
        ("Unchanged", done.unchanged.to_string()),
        ("Left out", done.left_out.to_string()),
    ])
}

async fn export(client: &Client, name: &str, to: &Path) -> Result<Summary, Error> {
    let wrong = |error: std::io::Error| {
        Error::failed(format_args!("{} cannot be written", to.display()), error)
    };
    let dir = to.parent().filter(|dir| !dir.as_os_str().is_empty());
    // Temporary files have mode 0600 from the start.
    let file = tempfile::NamedTempFile::new_in(dir.unwrap_or(Path::new("."))).map_err(wrong)?;
    let mut out = BufWriter::new(file);
    let path = format!("/v1/tenants/{}/export", encoded(name));
    client.download(&path, &mut out, REQUEST_TIME_MAX).await?;
    let file = out
        .into_inner()
        .map_err(|error| wrong(error.into_error()))?;
    file.as_file().sync_all().map_err(wrong)?;
    let summary = verified(file.path())?;
    file.persist(to).map_err(|error| wrong(error.error))?;
    Ok(summary)
}

/// An export as it is read.
struct Lines<'a> {
    path: &'a Path,
    file: BufReader<File>,
    /// The last line that was read, its end included.
    line: Vec<u8>,
    hash: Context,
    records: u64,
    deployments: u64,
}

impl<'a> Lines<'a> {
    fn open(path: &'a Path) -> Result<Self, Error> {
        let file = File::open(path)
            .map_err(|error| Error::Usage(format!("{}: {error}", path.display())))?;
        Ok(Self {
            path,
            file: BufReader::new(file),
            line: Vec::new(),
            hash: Context::new(&SHA256),
            records: 0,
            deployments: 0,
        })
    }

    fn wrong(&self, text: impl std::fmt::Display) -> Error {
        Error::Usage(format!("{}: {text}", self.path.display()))
    }

    /// The next line; a summary is the last, and fits those before it.
    fn next(&mut self) -> Result<Line, Error> {
        self.line.clear();
        let mut part = self.file.by_ref().take(LINE_BYTES_MAX as u64);
        let read = part.read_until(b'\n', &mut self.line);
        read.map_err(|error| self.wrong(error))?;
        if self.line.is_empty() {
            return Err(self.wrong("it has no summary: it was cut off"));
        }
        let says = serde_json::from_slice(&self.line)
            .map_err(|error| self.wrong(format_args!("it was cut off or changed: {error}")))?;
        match &says {
            Line::Record(_) => self.records += 1,
            Line::Deployment(_) => self.deployments += 1,
            Line::Summary(summary) => {
                self.check(summary)?;
                return Ok(says);
            }
        }
        self.hash.update(&self.line);
        Ok(says)
    }

    fn check(&mut self, summary: &Summary) -> Result<(), Error> {
        if summary.form != FORM {
            return Err(self.wrong(format_args!("its form is {}, not {FORM}", summary.form)));
        }
        let is_whole = summary.sha256.as_bytes() == self.hash.clone().finish().as_ref()
            && summary.records == self.records
            && summary.platform <= self.records
            && summary.deployments == self.deployments;
        if !is_whole {
            return Err(self.wrong("its lines are not those of its summary"));
        }
        let rest = self.file.fill_buf().map(<[u8]>::len);
        match rest.map_err(|error| self.wrong(error))? {
            0 => Ok(()),
            _ => Err(self.wrong("something follows its summary")),
        }
    }
}

/// Reads all of an export.
fn verified(path: &Path) -> Result<Summary, Error> {
    let mut lines = Lines::open(path)?;
    loop {
        if let Line::Summary(summary) = lines.next()? {
            return Ok(summary);
        }
    }
}

/// Sends an export in pieces, each with a summary of its own.
async fn import(
    client: &Client,
    name: &str,
    from: &Path,
    overwrite: bool,
) -> Result<TenantImported, Error> {
    let path = format!("/v1/tenants/{}/import?overwrite={overwrite}", encoded(name));
    let mut lines = Lines::open(from)?;
    let mut all = TenantImported::default();
    let (mut piece, mut records) = (Vec::new(), 0);
    loop {
        let line = lines.next()?;
        match &line {
            Line::Record(_) => {
                records += 1;
                piece.extend_from_slice(&lines.line);
            }
            Line::Deployment(_) => all.left_out += 1,
            Line::Summary(_) => {}
        }
        let is_last = matches!(line, Line::Summary(_));
        if piece.len() >= PIECE_BYTES || is_last {
            let piece = Content::Lines(ended(std::mem::take(&mut piece), name, records)?);
            let sent = client.send(Method::POST, &path, piece, PUBLISH_TIME_MAX);
            let done: TenantImported = sent.await?.body;
            records = 0;
            all.written += done.written;
            all.overwritten += done.overwritten;
            all.unchanged += done.unchanged;
            all.left_out += done.left_out;
        }
        if is_last {
            return Ok(all);
        }
    }
}

/// Lines of records with their summary.
fn ended(mut lines: Vec<u8>, tenant: &str, records: u64) -> Result<Vec<u8>, Error> {
    let summary = Line::Summary(Summary {
        form: FORM,
        tenant: tenant.to_owned(),
        at_ms: now_ms(),
        records,
        platform: 0,
        deployments: 0,
        sha256: Digest::of(&lines),
    });
    let json = serde_json::to_vec(&summary)
        .map_err(|error| Error::failed("the summary has no JSON form", error))?;
    lines.extend_from_slice(&json);
    lines.push(b'\n');
    Ok(lines)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_cut_off_or_changed_is_refused() {
        let record =
            br#"{"record":{"collection":"c","partition":"p","sort":"s","version":1,"text":"1"}}"#;
        let line = [record.as_slice(), b"\n"].concat();
        let whole = ended(line.repeat(3), "t", 3).unwrap();
        let miscounted = ended(line.repeat(3), "t", 2).unwrap();
        let changed = String::from_utf8(whole.clone()).unwrap();
        let changed = changed.replacen("\"1\"", "\"2\"", 1).into_bytes();
        let longer = [whole.as_slice(), line.as_slice()].concat();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("export");
        for (number, (bytes, is_whole)) in [
            (whole.as_slice(), true),
            (whole.get(line.len()..).unwrap(), false),
            (whole.get(..line.len() * 3).unwrap(), false),
            (whole.get(..line.len() * 3 - 9).unwrap(), false),
            (whole.get(..whole.len() - 9).unwrap(), false),
            (b"", false),
            (&miscounted, false),
            (&changed, false),
            (&longer, false),
        ]
        .into_iter()
        .enumerate()
        {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(verified(&path).is_ok(), is_whole, "{number}");
        }
    }
}
