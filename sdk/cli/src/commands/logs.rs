//! `brink logs`.

use crate::{
    args::Logs,
    client::Client,
    error::Error,
    log_lines::{LINES_MAX, fetch, text},
    output::Output,
};

/// Shows the last lines, and with `--follow` those that come.
pub(super) async fn run(args: &Logs, client: &Client, output: Output) -> Result<(), Error> {
    let module = args.name.as_ref();
    let mut lines = fetch(client, module, None, args.limit).await?;
    let mut last = 0;
    loop {
        for line in &lines {
            output.line(line, text)?;
            last = line.number;
        }
        if !args.follow {
            return Ok(());
        }
        lines = fetch(client, module, Some(last), LINES_MAX).await?;
    }
}
